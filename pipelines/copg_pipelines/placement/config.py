"""The section ``placement`` of a recipe: machines, volumes and secrets of its tasks on Kubernetes."""

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Any, Literal

from copg_components._object_store import ACCESS_KEY, SECRET_KEY
from copg_components.cluster.secrets import KEYS, MOUNTED
from pydantic import Field

from copg.config import Natural, configuration, parse_config
from copg.errors import ConfigError
from copg.run.stage_settings import merged
from copg.stages.table import EVERY
from copg_pipelines.placement.pod_config import TaskConfig, check_names

TASKS = ("resolve", *EVERY, "summary")
"""Components that a placement can set apart; a shard of a stage is placed like the stage."""

OWN: Mapping[str, Mapping[str, Any]] = {"resolve": {"retry": {"count": 0}}}
"""What a stage has unless the recipe sets it there: what ``resolve`` refuses, it would refuse again."""

NotRoot = Annotated[int, Field(ge=1, description="it must not be root's")]


@configuration
class ImageConfig:
    """Image of the tasks, unless the command that compiles names another."""

    name: str = ""
    """With its digest (``registry/copg@sha256:...``): a cached result knows the image by this text alone."""
    pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = ""
    """When a node fetches it; empty: Kubernetes' own rule."""
    pull_secrets: list[str] = field(default_factory=list)
    """Secrets with which a private registry is asked."""

    def __post_init__(self) -> None:
        if len(self.name.split()) > 1:
            raise ValueError(f"image.name={self.name!r} must be one name, such as registry/copg@sha256:...")
        check_names("image.pull_secrets", *self.pull_secrets)


@configuration
class VolumeConfig:
    """A PersistentVolumeClaim in every pod."""

    claim: str = "copg-runs"
    """Its name."""
    path: str = "/runs"
    """Where pods see it."""
    sub_path: str = ""
    """Folder of it that is mounted; empty: all."""

    def __post_init__(self) -> None:
        check_names("volumes.claim", self.claim)
        if not self.path.startswith("/") or self.path == "/":
            raise ValueError(f"volumes.path={self.path!r} must be an absolute directory such as /runs")


@configuration
class SecretConfig:
    """Keys of a Secret as environment variables of the same names.

    With the default's keys a task mounts the Secret, which weighs a fifth of that on a server, and exports
    them itself.
    """

    name: str = "copg-secrets"
    """Of the Secret."""
    keys: list[str] = field(default_factory=lambda: list(KEYS))
    """Those that become variables, where it has them."""
    variables: dict[str, str] = field(default_factory=dict)
    """More keys of it, whose variables have other names: ``{accesskey: AWS_ACCESS_KEY_ID}``."""
    optional: bool = True
    """Whether pods start without the Secret or a key of it."""

    def __post_init__(self) -> None:
        check_names("secrets.name", self.name)

    @property
    def folder(self) -> str:
        """Where a task sees it as files, one a key; empty where its keys are variables alone."""
        return f"{MOUNTED}/{self.name}" if self.keys == list(KEYS) and not self.variables else ""

    @property
    def variable_of(self) -> dict[str, str]:
        """The environment variable of each key."""
        return {**{key: key for key in self.keys}, **self.variables}


@configuration
class MinioConfig:
    """What KFP calls ``minio://``: where its launcher keeps artifacts, and the tasks find them again."""

    endpoint: str = ""
    """With its scheme, such as ``http://minio-service.kubeflow:9000``; empty: the launcher's own default."""
    secret: str = "mlpipeline-minio-artifact"
    """Empty: the tasks get no keys, and do again what an earlier run did unless KFP's cache answers."""
    access_key: str = "accesskey"
    """Key of the Secret that holds the access key."""
    secret_key: str = "secretkey"
    """Key of the Secret that holds the secret key."""

    def __post_init__(self) -> None:
        check_names("stores.minio.secret", *filter(None, [self.secret]))
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"stores.minio.endpoint={self.endpoint!r} must begin with http:// or https://")

    @property
    def secrets(self) -> list[SecretConfig]:
        """The keys as the tasks get them."""
        variables = {self.access_key: ACCESS_KEY, self.secret_key: SECRET_KEY}
        return [SecretConfig(name=self.secret, keys=[], variables=variables)] if self.secret else []


@configuration
class StoresConfig:
    """Where what outlives a run lies: paths of a volume, or URLs; empty: under the directory of the runs."""

    completions: str = ""
    """Those that ``sample`` drew."""
    rewards: str = ""
    """Of values of rewards."""
    references: str = ""
    """Of the reference's log-probabilities."""
    checkpoints: str = ""
    """Of trainings that are under way."""
    champions: str = ""
    """To which promoted policies are copied."""
    minio: MinioConfig = field(default_factory=MinioConfig)
    tracking: str = "http://copg-mlflow:5000"
    """MLflow server, where the recipe names none: parallel pods must not write to one SQLite file. A cluster
    without copg's own names its own."""


@configuration
class SecurityConfig:
    """As whom the tasks run: never root. KFP itself drops all capabilities and sets seccomp's default."""

    user: NotRoot = 65532
    """Id of the user."""
    group: NotRoot = 65532
    """Id of the group, which also owns what is written."""


@configuration
class RunConfig:
    """Limits of a whole run."""

    timeout_hours: Annotated[float, Field(ge=0, le=500_000)] = 0.0
    """In whole seconds; 0: none."""
    keep_days: Annotated[float, Field(ge=0, le=20_000)] = 7.0
    """How long the run's Workflow and pods stay after its end, however it ended; 0: an hour, KFP's own time.
    KFP's persistence agent deletes them after a day in any case, unless its Deployment says otherwise."""


@configuration
class PlacementConfig:
    """Everything a recipe says about the cluster."""

    image: ImageConfig = field(default_factory=ImageConfig)
    shards: Annotated[int, Field(ge=1, le=20, description="a run holds some 50 tasks")] = 1
    """Tasks among which score and reference share their work."""
    trials_at_once: Natural = 0
    """Of the loop over trials; 0: as many as there is room for."""
    volumes: list[VolumeConfig] = field(default_factory=lambda: [VolumeConfig()])
    secrets: list[SecretConfig] = field(default_factory=lambda: [SecretConfig()])
    environment: dict[str, str] = field(default_factory=dict)
    """Of every task, such as HF_HUB_OFFLINE; nothing secret."""
    stores: StoresConfig = field(default_factory=StoresConfig)
    paths: dict[str, str] = field(default_factory=dict)
    """How the recipe's paths begin, and where that lies in a pod: ``{../../runs: /runs}``."""
    security: SecurityConfig = field(default_factory=SecurityConfig)
    run: RunConfig = field(default_factory=RunConfig)
    defaults: TaskConfig = field(default_factory=TaskConfig)
    """Of every task."""
    stages: dict[str, TaskConfig] = field(default_factory=dict)
    """What is different for a stage, laid over ``defaults``."""

    def __post_init__(self) -> None:
        if unknown := set(self.stages) - set(TASKS):
            raise ValueError(f"placement.stages {sorted(unknown)} are unknown; use {list(TASKS)}")
        spread = [name for name, task in self.stages.items() if task.nodes > 1 and name != "train"]
        if spread or self.defaults.nodes > 1:
            raise ValueError("placement: nodes > 1 is for stages.train alone: no other stage spans machines")
        if self.task("train").nodes > 1 and not self.volumes:
            raise ValueError("placement: nodes > 1 needs a volume that all pods of the training can write to")

    def task(self, stage: str) -> TaskConfig:
        """The pod of a stage's task."""
        return self.stages.get(stage, self.defaults)


def parse_placement(settings: Mapping[str, Any]) -> PlacementConfig:
    """The placement of a recipe, each stage's entry completed by ``defaults``.

    Raises:
        ConfigError: one line with the key, the value found and what is allowed.
    """
    defaults = _mapping(settings.get("defaults"), "placement.defaults")
    _check_task(defaults, "placement.defaults")
    stages = {**OWN, **_mapping(settings.get("stages"), "placement.stages")}
    for name, stage in stages.items():
        own = merged(defaults, OWN.get(name, {}))
        stages[name] = merged(own, _mapping(stage, f"placement.stages.{name}"))
        _check_task(stages[name], f"placement.stages.{name}")
    whole = {**settings, "defaults": defaults, "stages": stages}
    return parse_config(PlacementConfig, whole, where="placement")


def _mapping(settings: Any, where: str) -> dict[str, Any]:
    if not isinstance(settings or {}, Mapping):
        raise ConfigError(f"{where}={settings!r}: must be a mapping")
    return dict(settings or {})


def _check_task(settings: Mapping[str, Any], where: str) -> None:
    try:
        parse_config(TaskConfig, settings, where=where)
    except ConfigError as error:
        line = str(error)
        raise ConfigError(line if line.startswith(where) else f"{where}: {line}") from None

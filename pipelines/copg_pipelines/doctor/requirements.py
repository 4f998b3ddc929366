"""What a recipe's placement asks of a cluster."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from copg.run.recipe import load_recipe
from copg_pipelines.placement.config import ImageConfig, PlacementConfig, SecretConfig, parse_placement


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """What runs will ask of a cluster."""

    kfp_namespace: str = "kubeflow"
    namespace: str = "kubeflow"
    """Where the tasks run."""
    image: ImageConfig = field(default_factory=ImageConfig)
    """To pull for a try; none without a name."""
    gpus: dict[str, int] = field(default_factory=dict)
    """How many of each resource one pod asks for."""
    secrets: list[SecretConfig] = field(default_factory=lambda: [SecretConfig(keys=[])])
    """With the keys that pods read."""
    claims: tuple[str, ...] = ("copg-runs",)
    tracking: str = "http://copg-mlflow:5000"
    """MLflow server of the runs."""
    several_nodes: bool = False
    queue: bool = False


def requirements_of(recipe: Path | None, kfp_namespace: str, namespace: str, image: str) -> Requirements:
    """For ``doctor``: of a recipe, or of any.

    Args:
        recipe: its file; None: what every recipe needs.
        kfp_namespace: where KFP is installed.
        namespace: where the tasks run.
        image: to pull for a try; empty: the placement's, if it names one.
    """
    if recipe is None:
        placement, tracking = PlacementConfig(secrets=[SecretConfig(keys=[])]), ""
    else:
        loaded = load_recipe(recipe)
        placement, tracking = parse_placement(loaded.placement), loaded.tracking
    pods = [placement.defaults, *placement.stages.values()]
    gpus: dict[str, int] = {}
    for pod in pods:
        if pod.gpu.count:
            gpus[pod.gpu.type] = max(gpus.get(pod.gpu.type, 0), pod.gpu.count)
    return Requirements(
        kfp_namespace=kfp_namespace,
        namespace=namespace,
        image=replace(placement.image, name=image or placement.image.name),
        gpus=gpus,
        secrets=placement.secrets,
        claims=tuple(volume.claim for volume in placement.volumes),
        tracking=tracking or placement.stores.tracking,
        several_nodes=any(pod.nodes > 1 for pod in pods),
        queue=any(pod.queue for pod in pods),
    )

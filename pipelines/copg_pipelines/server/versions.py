"""Versions of a pipeline on a KFP server: named after what they hold, so that none is there twice."""

import contextlib
import hashlib
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kfp_server_api as api

import copg
from copg.errors import ConfigError
from copg_pipelines.dags.compiled import read_compiled
from copg_pipelines.server.client import Client, every
from copg_pipelines.server.connection import ClientError
from copg_pipelines.target import Target

DIGEST_LENGTH = 12
SOURCE = Path(__file__).parents[3]
PACKAGES = ("copg", "components", "pipelines")
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Dag:
    """A compiled DAG, and what its version is called."""

    path: Path
    recipe: str
    """Name of the recipe it was compiled with."""
    revision: str
    """Of our source: a commit, with ``+dirty`` when files differ from it."""

    @property
    def digest(self) -> str:
        """First digits of the SHA-256 of the compiled DAG."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()[:DIGEST_LENGTH]

    @property
    def version(self) -> str:
        """``0.1.0-3d1a9b1c0f2e+dirty-9a0b1c2d3e4f``: package, source, compiled DAG."""
        return f"{copg.__version__}-{self.revision}-{self.digest}"


def source_revision(source: Path = SOURCE) -> str:
    """The commit of our source, ``+dirty`` when it was changed since; ``unknown`` outside of a repository."""

    def git(*words: str) -> str:
        command = ["git", "-C", str(source), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "copg/__init__.py")  # else it is somebody else's repository
        commit = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--", *PACKAGES)
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return commit + ("+dirty" if changed else "")


def find_pipeline(client: Client, name: str) -> Any | None:
    """The pipeline of that name in the client's namespace; None when there is none."""
    try:
        return client.pipelines.pipeline_service_get_pipeline_by_name(name, namespace=client.namespace)
    except ClientError as error:
        if error.status == 404:
            return None
        raise


def get_pipeline(client: Client, name: str) -> Any:
    """The pipeline of that name.

    Raises:
        ClientError: there is none, or the server refuses.
    """
    found = find_pipeline(client, name)
    if found is None:
        where = f" in namespace {client.namespace!r}" if client.namespace else ""
        raise ClientError(
            f"pipeline {name!r} is not on {client.connection.host}{where}: create it first", 404
        )
    return found


def list_versions(client: Client, pipeline_id: str) -> list[Any]:
    """The versions of a pipeline, the newest first."""
    listing = client.pipelines.pipeline_service_list_pipeline_versions
    found = every(lambda **page: listing(pipeline_id, sort_by="created_at desc", **page), "pipeline_versions")
    return list(found)


def get_version(client: Client, pipeline_id: str, name: str) -> Any:
    """A version by its name, or by the digest of its DAG, at whose end it stands.

    Raises:
        ClientError: there is no such version, or more than one.
    """
    versions = list_versions(client, pipeline_id)
    found = [each for each in versions if name in (each.name, each.display_name, each.pipeline_version_id)]
    found = found or [each for each in versions if version_name(each).endswith(f"-{name}")]
    if len(found) == 1:
        return found[0]
    known = ", ".join(version_name(each) for each in versions[:5]) or "none"
    problem = "names several versions" if found else "is unknown"
    raise ClientError(f"version={name!r} {problem}; the latest are: {known}", 404)


def version_name(version: Any) -> str:
    """What a version is called, for people."""
    return str(version.display_name or version.name)


def reference_to(version: Any) -> Any:
    """What a run or a schedule is pinned by."""
    return api.V2beta1PipelineVersionReference(
        pipeline_id=version.pipeline_id, pipeline_version_id=version.pipeline_version_id
    )


def ensure_version(client: Client, pipeline: str, dag: Dag) -> tuple[Any, bool]:
    """The version of a pipeline that holds this DAG, made where there is none, and whether it was made.

    Raises:
        ClientError: the server refuses, or holds another DAG under that name.
    """
    found = find_pipeline(client, pipeline) or _make_pipeline(client, pipeline)
    known = _holding(client, found.pipeline_id, dag)
    if known is not None:
        return known, False
    try:
        made = client.uploads.upload_pipeline_version(
            str(dag.path),
            name=resource_name(dag.version),
            display_name=dag.version,
            pipelineid=found.pipeline_id,
            description=f"recipe {dag.recipe}, copg {copg.__version__}, source {dag.revision}",
            tags=json.dumps({"recipe": dag.recipe}),
        )
    except ClientError as error:  # 409, or an answer that got lost: somebody else's upload, or our own
        if error.status not in (0, 409) and error.status < 500:
            raise
        known = _holding(client, found.pipeline_id, dag)
        if known is None:
            raise
        return known, False
    return made, True


def put(client: Client, target: Target) -> tuple[Any, bool]:
    """The version that holds a recipe's DAG, and whether it was made just now."""
    with compiled(target) as file:
        return ensure_version(client, target.pipeline_name, file)


def chosen(client: Client, target: Target) -> Any:
    """A version: the one that is named, else the one that holds the recipe's DAG.

    Raises:
        ConfigError: neither is named, or both.
    """
    if (target.recipe is None) == (not target.version):
        raise ConfigError("give either --recipe or --version")
    if target.version:
        pipeline = get_pipeline(client, target.pipeline_name)
        return get_version(client, pipeline.pipeline_id, target.version)
    return put(client, target)[0]


@contextlib.contextmanager
def compiled(target: Target) -> Iterator[Dag]:
    """A recipe's DAG in a file of its own, checked for what goes wrong on servers.

    Raises:
        LintError: no server could run it.
        ConfigError: no run could promote anybody, as far as settings and records that can be read here tell.
    """
    from copg.run.few_prompts import refuse_hopeless
    from copg_pipelines.dags.compiling import compile_dag
    from copg_pipelines.dags.lint import warn_or_refuse

    recipe = target.load()
    with tempfile.TemporaryDirectory(prefix="copg-dag-") as folder:
        path = Path(folder) / f"{target.dag}.yaml"
        compile_dag(target.dag, recipe, path, run_dir=target.runs_there(recipe), image=target.image)
        warn_or_refuse(path)
        here = target.load(here=True)
        refuse_hopeless(here, Path(target.runs_there(here)))
        yield Dag(path, recipe.name, target.revision or source_revision())


def _make_pipeline(client: Client, name: str) -> Any:
    """An empty pipeline: uploading a file would name its first version after the pipeline."""
    wanted = api.V2beta1Pipeline(
        name=name,
        display_name=name,
        description="Align a language model on a score of whole completions.",
        namespace=client.namespace or None,
    )
    try:
        return client.pipelines.pipeline_service_create_pipeline(wanted)
    except ClientError as error:
        found = find_pipeline(client, name) if error.status == 409 else None
        if found is None:
            raise
        return found


def _holding(client: Client, pipeline_id: str, dag: Dag) -> Any | None:
    """The version that holds this DAG, whatever revision of the source compiled it."""
    for version in list_versions(client, pipeline_id):
        if version_name(version).endswith(f"-{dag.digest}"):
            if not _same_dag(version.pipeline_spec, dag.path):
                raise ClientError(
                    f"version {version_name(version)} holds another DAG than {dag.path}: it was made by hand "
                    "or changed; delete it, or compile for another --pipeline"
                )
            return version
    return None


def _same_dag(on_server: Any, path: Path) -> bool:
    """Whether the server's form of a DAG and a compiled file mean the same."""
    if not on_server:
        return True  # a listing may leave it out; the name carries its digest
    spec, platform = read_compiled(path)
    mine = {"pipeline_spec": spec, "platform_spec": platform}
    theirs = on_server if "pipeline_spec" in on_server else {"pipeline_spec": on_server}
    return all(_meaning(mine.get(part)) == _meaning(theirs.get(part)) for part in mine)


def _meaning(value: Any) -> Any:
    """Plain values without what a server leaves out or in as it likes: empty fields, ``1`` or ``1.0``."""
    if isinstance(value, Mapping):
        found = {str(key): _meaning(item) for key, item in value.items()}
        return {key: item for key, item in found.items() if item not in ({}, [], None, "", False)} or None
    if isinstance(value, list | tuple):
        return [_meaning(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def resource_name(version: str) -> str:
    """The version's name as a Kubernetes name, which some servers keep versions under."""
    return re.sub(r"[^a-z0-9.-]", "-", version.lower())

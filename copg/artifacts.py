"""Artifacts: directories that exist for the next stage once ``manifest.json`` lies in them."""

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from copg.digests import file_digest, json_digest
from copg.errors import ArtifactError

MANIFEST = "manifest.json"
INCOMPLETE = ".incomplete"
WEIGHTS_DELETED = "weights_deleted.txt"
"""Left in a policy whose weights were deleted to free the disk: a sentence that says why."""
VERSION = 1
"""Of the layout below; raised by hand when a reader of the old one would misread the new one."""
BASELINES = ("reference", "champion")
"""Whose evaluations trials are compared with; no trial has such a name."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artifact is, and what it came from."""

    schema: str
    """``groups``, ``scored``, ``referenced``, ``policy``, ``evaluation``, ``report`` or ``registration``."""
    stage: str
    rows: int
    digest: str
    """Of schema and deterministic files: equal contents have equal digests on every machine and day."""
    files: dict[str, str]
    """SHA-256 of each deterministic file, by relative path."""
    config: dict[str, Any] = field(default_factory=dict)
    """The stage's settings, as resolved."""
    parents: dict[str, str] = field(default_factory=dict)
    """Digest of each input artifact, by its name."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the stage wants the next one or a reader to know: counts, metrics, ``diverged``."""
    version: int = VERSION
    others: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the files that stay out of the digest, by relative path."""
    seal: str = ""
    """SHA-256 of all that stands above; empty in one of 0.1.0, which had none."""

    @property
    def true_seal(self) -> str:
        """What ``seal`` is where nothing changed since."""
        return json_digest(json.loads(json.dumps(asdict(replace(self, seal="")))))


def check_free(directory: Path) -> None:
    """See that a stage may fill a directory: it is empty, or holds what an interrupted attempt left.

    Raises:
        ArtifactError: when something else, or a finished artifact, lies there.
    """
    if directory.exists() and any(directory.iterdir()) and not (directory / INCOMPLETE).exists():
        raise ArtifactError(f"{directory}: is not empty; choose another output or remove it")


def begin(directory: Path) -> Path:
    """An empty directory for a stage to fill; what an interrupted attempt left there is removed.

    Raises:
        ArtifactError: when something else, or a finished artifact, lies there.
    """
    check_free(directory)
    if directory.exists():
        for left in sorted(directory.iterdir(), key=lambda path: path.name != MANIFEST):
            if left.name != INCOMPLETE:  # killed here, the next attempt goes on with it
                shutil.rmtree(left) if left.is_dir() else left.unlink()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / INCOMPLETE).touch()
    return directory


def seal(
    directory: Path,
    *,
    schema: str,
    stage: str,
    rows: int,
    config: Mapping[str, Any],
    parents: Mapping[str, str],
    facts: Mapping[str, Any] | None = None,
    volatile: tuple[str, ...] = (),
) -> Manifest:
    """Write the manifest, last and at once: from here on the artifact exists.

    Args:
        volatile: relative paths, files or directories, whose bytes carry times, run ids or HTML and so
            stay out of the digest.
    """
    found: tuple[dict[str, str], dict[str, str]] = {}, {}
    for name in sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()):
        if name not in (MANIFEST, INCOMPLETE):
            apart = any(name == v or name.startswith(f"{v}/") for v in volatile)
            sync(directory / name)
            found[apart][name] = file_digest(directory / name)
    files, others = found
    manifest = Manifest(
        schema=schema,
        stage=stage,
        rows=rows,
        digest=_content_digest(schema, VERSION, files),
        files=files,
        config=dict(config),
        parents=dict(parents),
        facts=dict(facts or {}),
        others=others,
    )
    manifest = replace(manifest, seal=manifest.true_seal)
    write_json(directory / MANIFEST, asdict(manifest))
    (directory / INCOMPLETE).unlink(missing_ok=True)  # last: without it, nobody takes away what is half made
    return manifest


def is_sealed(directory: Path) -> bool:
    """Whether an artifact lies there that nobody is still making."""
    return (directory / MANIFEST).is_file() and not (directory / INCOMPLETE).exists()


def _content_digest(schema: str, version: int, files: Mapping[str, str]) -> str:
    return json_digest({"schema": schema, "version": version, "files": dict(files)})


def parse_manifest(text: str | bytes) -> Manifest:
    """A manifest, as it was written.

    Raises:
        ValueError: it is none, or not what was written.
    """
    try:
        manifest = Manifest(**json_value(text))
    except TypeError as error:
        raise ValueError(str(error)) from None
    if manifest.seal not in ("", manifest.true_seal):
        raise ValueError("it changed since it was written")
    if manifest.digest != _content_digest(manifest.schema, manifest.version, manifest.files):
        raise ValueError("its digest is not that of its files")
    return manifest


def read_manifest(directory: Path, *, schema: str, verify: bool = True) -> Manifest:
    """The manifest of an artifact, once its files are what the manifest says.

    Args:
        schema: what the caller can read.
        verify: also compare the SHA-256 of every file.

    Raises:
        ArtifactError: no manifest, another schema or version, a file missing or changed.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise ArtifactError(f"{directory}: no finished artifact, {MANIFEST} is missing")
    again = f"remove {directory} and run again: it is made once more"
    try:
        manifest = parse_manifest(path.read_bytes())
    except ValueError as error:
        raise ArtifactError(f"{path}: cannot be read as a manifest: {error}; {again}") from None
    if (manifest.schema, manifest.version) != (schema, VERSION):
        found = f"{manifest.schema} v{manifest.version}"
        raise ArtifactError(f"{directory}: holds {found}, this stage reads {schema} v{VERSION}")
    for name in manifest.files:
        file = directory / name
        if not file.is_file():
            note = directory / WEIGHTS_DELETED
            why = note.read_text().strip() if note.is_file() else f"{MANIFEST} lists it"
            raise ArtifactError(f"{file}: is missing: {why}")
    others = {name: digest for name, digest in manifest.others.items() if (directory / name).is_file()}
    for name, digest in {**manifest.files, **others}.items() if verify else ():
        if file_digest(directory / name) != digest:
            changed = f"{directory / name}: changed since stage '{manifest.stage}' wrote it"
            raise ArtifactError(f"{changed}; {again}")
    return manifest


def warnings_of(*manifests: Manifest) -> list[str]:
    """What the stages behind these artifacts warned of: each line once, with the name of its stage.

    A stage hands on the warnings of its inputs with its own, so that whoever reads the last artifact of a run
    reads what befell the records at its beginning.
    """
    return list(dict.fromkeys(line for each in manifests for line in each.facts.get("warnings", [])))


def evaluation_name(directory: Path) -> str:
    """Whose evaluation lies there: a trial's name, ``reference`` or ``champion``."""
    return str(read_manifest(directory, schema="evaluation", verify=False).facts["name"])


def find_baselines(directories: Iterable[Path]) -> tuple[Path, Path | None]:
    """Find the evaluation of the reference, and that of the champion where there is one.

    Raises:
        ArtifactError: the reference's is not among them.
    """
    found = {evaluation_name(directory): directory for directory in directories}
    reference, champion = map(found.get, BASELINES)
    if reference is None:
        raise ArtifactError(f"baselines: none of {sorted(found)} is the evaluation of the reference")
    return reference, champion


def json_value(text: str | bytes) -> Any:
    """What a small file of JSON says, whoever wrote it.

    Raises:
        ValueError: it is no JSON, or nested so deeply that Python gives up.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply to be read") from None


def write_json(path: Path, value: Any) -> None:
    """Indented JSON without NaN, visible whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(path) as part:
        part.write_bytes(text.encode("utf-8", "backslashreplace"))  # JSON has a lone surrogate so


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to fill, which takes its place once its bytes are on the disk.

    What goes wrong leaves ``path`` as it was; of two writers the last one has the last word.
    """
    part = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex[:12]}.part")
    try:
        yield part
        sync(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have the disk hold what a file or folder holds: a rename may not arrive there before its bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # not every volume does it for folders
            raise
    finally:
        os.close(descriptor)

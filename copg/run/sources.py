"""What a recipe's names stand for today: files by their bytes, hub names by the commit they point to."""

import glob
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from copg.data.files import file_format, source_digest, source_files
from copg.digests import json_digest
from copg.errors import DamageError, ModelError, RecordError
from copg.lm.kinds import check_kind
from copg.lm.weights import check_fetched, check_files
from copg.run.hub import Source, check_weights_on_hub, find_on_hub, has_weights
from copg.stores.files import open_files
from copg.stores.model_files import ADAPTER, MODEL_FILES, model_digest, policy_digest, text_digest, text_files
from copg.stores.sealed import read_sealed, write_sealed

MEMO, ENTRIES = "digests.json", "entries"


class DigestMemo:
    """Digests of files that did not change since: gigabytes are read once, not at every start.

    A file counts as unchanged while path, size and time of change (to the nanosecond) are the same.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / MEMO
        self.known = _known(self.path)

    def digest(self, name: str, files: Collection[Path], compute: Callable[[], str]) -> str:
        """The digest of ``files``, from memory where none of them changed.

        Args:
            name: what the digest is of.
            files: all it depends on.
            compute: reads them.
        """
        state = {str(f): [f.stat().st_size, f.stat().st_mtime_ns, f.stat().st_ino] for f in sorted(files)}

        def announced() -> str:
            _announce(name, sum(file.stat().st_size for file in files))
            return compute()

        return self.remembered(name, state, announced)

    def remembered(self, name: str, state: Any, find: Callable[[], str]) -> str:
        """What ``find`` says of something, from memory where its state is still the same."""
        digest = json_digest(state)
        entry = self.known.get(name)
        if entry is None or entry["state"] != digest:
            entry = {"state": digest, "digest": find()}
            self.known[name] = entry
            write_sealed(self.path, {ENTRIES: self.known})
        return str(entry["digest"])


def _known(path: Path) -> dict[str, Any]:
    """What a memo holds; nothing where it is damaged, or of 0.1.0, which gave it no digest."""
    try:
        entries = read_sealed(path, remedy="the files are read again").get(ENTRIES, {})
    except DamageError as error:
        print(f"warning: {error}", file=sys.stderr, flush=True)
        return {}
    return entries if isinstance(entries, dict) else {}


def _announce(name: str, num_bytes: int) -> None:
    if num_bytes > 2**30:
        print(f"digesting {name}: {num_bytes / 2**30:.1f} GiB, once", file=sys.stderr, flush=True)


def find_records(records: str, revision: str | None, memo: DigestMemo) -> Source:
    """A file, folder or pattern of files, or the name of a ``datasets`` data set at a revision.

    Raises:
        RecordError: there is nothing under that name.
    """
    named = source_files(records)
    if not named:
        return find_on_hub(records, revision, "dataset", RecordError)
    files = [file for _, file in named]
    digest = memo.digest(f"records {records}", files, lambda: source_digest(named))
    return Source(digest, Path(records), num_bytes=sum(file.stat().st_size for file in files))


def find_model(model: str, revision: str | None, memo: DigestMemo) -> Source:
    """A model directory, or the name of a model on the hub at a revision.

    Raises:
        ModelError: there is no loadable model under that name; of the hub, as far as it can be reached.
    """
    path = Path(model)
    if path.is_dir():
        check_files(path)
        files = {f for pattern in MODEL_FILES for f in path.glob(pattern)}
        return Source(memo.digest(f"model {model}", files, lambda: model_digest(path)), path)
    if looks_like_path(model):
        raise ModelError(f"model={model!r}: no such directory")
    found = find_on_hub(model, revision, "model", ModelError)
    check_source(model, found)
    return found


def check_source(model: str, found: Source) -> None:
    """Refuse files that cannot be loaded: in a directory, or on the hub as far as it can be reached.

    Raises:
        ModelError: names the file, and what is wrong with it.
    """
    check_files(model, found.revision)
    if found.revision is not None and not has_weights(found.folder):
        check_weights_on_hub(model, found.revision)


def digest_text(model: str, source: Source, memo: DigestMemo) -> str:
    """Of what decides how a model reads records, from memory where no file of it changed."""
    if source.folder is None or source.revision is not None:  # a commit of the hub has one digest for all
        return source.digest
    folder = source.folder
    return memo.digest(f"text of {model}", text_files(folder), lambda: text_digest(folder))


def find_text(model: str, revision: str | None, memo: DigestMemo) -> str:
    """``digest_text`` of a model by its name; its weights need not be there.

    Raises:
        ModelError: there is no model under that name, or a file of it cannot be read.
    """
    folder = Path(model)
    if not folder.is_dir():
        return digest_text(model, find_model(model, revision, memo), memo)
    check_fetched(folder)
    return digest_text(model, Source("", folder), memo)


def find_policy(policy: str, revision: str | None, memo: DigestMemo) -> Source:
    """Where training starts: as ``find_model``; the directory may be an adapter's too.

    Raises:
        ModelError: there is nothing loadable under that name.
    """
    path = Path(policy)
    if looks_like_path(policy) and not path.is_dir():
        raise ModelError(f"train.start_from={policy!r}: no such directory")
    if not (path / ADAPTER).is_file():
        found = find_model(policy, revision, memo)
        check_kind(policy, found.revision)
        return found
    digest = policy_digest(policy, lambda base: find_model(base, None, memo).digest)
    check_files(path)
    return Source(digest, path)


def looks_like_path(name: str) -> bool:
    """True for what can only be meant as a path: hub names are ``name`` or ``owner/name``."""
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or glob.has_magic(name):
        return True
    return file_format(Path(name)) is not None


def fetch(uri: str, into: Path) -> Path:
    """A directory by its address: where it lies when it is local, else a copy under ``into``.

    Raises:
        ModelError: the address cannot be read.
    """
    local = uri.removeprefix("file://")
    if "://" not in local:
        return Path(local)
    try:
        files, path = open_files(uri)
        files.get(path.rstrip("/") + "/", str(into), recursive=True)
    except (ImportError, OSError, ValueError) as error:
        raise ModelError(f"{uri}: cannot be fetched: {error}") from None
    return into

"""Checkpoints of a training in a folder, or in an object store behind a folder of this machine."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from copg.data.holding import hold_folder
from copg.digests import json_digest
from copg.stores.files import open_files
from copg.training.checkpoint import STATE, is_whole, list_checkpoints
from copg.training.config import TrainConfig


class CheckpointStore:
    """The folder of one run, which every attempt of it finds again."""

    def __init__(self, location: str, run: str) -> None:
        """Nothing is copied yet.

        Args:
            location: of the checkpoints of all runs: a folder, or a URL such as ``s3://bucket/checkpoints``.
            run: name of this one.
        """
        self.folder = Path(location) / run
        self._damaged: set[str] = set()
        self._remote = "://" in location
        if self._remote:
            self.folder = Path(tempfile.gettempdir()) / "copg-checkpoints" / run
            self._fs, path = open_files(location)
            self._root = f"{path.rstrip('/')}/{run}"

    @contextmanager
    def held(self, patience_s: float) -> Iterator[None]:
        """Keep other trainings of this machine, or of a shared folder, out while the block runs.

        Args:
            patience_s: seconds to wait for one that is there; it may be saving its last step.

        Raises:
            ConfigError: it is still there then; says who it is.
        """
        with hold_folder(self.folder, patience_s):
            yield

    def fetch(self) -> None:
        """Fill the folder with the latest whole checkpoint of the store and what lies beside the checkpoints.

        One that is damaged is named, and replaced by the next that has its name.
        """
        if not self._remote:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self._get(self._root, self.folder)
        for source in reversed(self._steps()):
            target = self.folder / source.rpartition("/")[2]
            self._get(source, target)
            if is_whole(target):
                return
            shutil.rmtree(target)
            self._damaged.add(target.name)

    def _get(self, source: str, target: Path) -> None:
        target.mkdir(exist_ok=True)
        for file in self._files(source):
            self._fs.get_file(file, str(target / file.rpartition("/")[2]))

    def push(self) -> None:
        """Copy to the store what is new; a checkpoint's state goes last: half of one counts for nothing."""
        if not self._remote:
            return
        here = [step.name for step in list_checkpoints(self.folder)]
        stored = [path.rpartition("/")[2] for path in self._steps()]
        for name in here:
            if name not in stored or name in self._damaged:
                files = sorted((self.folder / name).iterdir(), key=lambda file: file.name == STATE)
                for file in files:
                    self._put(file, f"{name}/{file.name}")
        for file in self.folder.iterdir():
            if file.is_file() and not file.name.startswith("."):
                self._put(file, file.name)
        for name in set(stored) - set(here):
            self._fs.rm_file(f"{self._root}/{name}/{STATE}")
            self._fs.rm(f"{self._root}/{name}", recursive=True)

    def remove(self) -> None:
        """Delete everything: the policy lies where it is safe."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if not self._remote:
            return
        self._fs.invalidate_cache()
        if self._fs.exists(self._root):
            self._fs.rm(self._root, recursive=True)

    def _put(self, file: Path, name: str) -> None:
        target = f"{self._root}/{name}"
        self._fs.makedirs(target.rpartition("/")[0], exist_ok=True)
        self._fs.put_file(str(file), target)

    def _steps(self) -> list[str]:
        """Whole checkpoints, oldest first."""
        self._fs.invalidate_cache()
        return sorted(path.rpartition("/")[0] for path in self._fs.glob(f"{self._root}/step_*/{STATE}"))

    def _files(self, path: str) -> list[str]:
        if not self._fs.exists(path):
            return []
        return sorted(entry["name"] for entry in self._fs.ls(path, detail=True) if entry["type"] == "file")


def checkpoint_store(config: TrainConfig, referenced: str) -> CheckpointStore:
    """The store of one training, named after all that decides its result: every attempt finds the same one.

    Args:
        referenced: digest of the groups it trains on.
    """
    return CheckpointStore(config.checkpoint.folder, json_digest([config.identity(), referenced])[:20])

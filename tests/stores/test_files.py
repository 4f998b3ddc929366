"""A store that is away for a while changes nothing; what is wrong with a call is told at once."""

import errno
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from copg.artifacts import MANIFEST, seal
from copg.errors import ArtifactError, StoreError
from copg.stores import addresses, files
from copg.stores.addresses import copy_artifact, find_damage, is_finished
from copg.stores.files import open_files, passes, patiently, reach_stores
from copg.stores.retrying import Retries
from copg.stores.reward_store import open_rewards
from copg.training.checkpoint import save_checkpoint
from copg.training.checkpoint_store import CheckpointStore

KEYS = [bytes([n]) * 16 for n in range(3)]


class Flaky:
    """A file system in memory, every call of which fails once before it works."""

    def __init__(self) -> None:
        self.inner = fsspec.filesystem("memory", skip_instance_cache=True)
        self.protocol = ("flaky",)
        self.failed: list[str] = []
        self.away = False
        """Whether calls never work."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)

        def call(*args: Any, **options: Any) -> Any:
            asked = f"{name} {args}"
            if self.away or asked not in self.failed:
                self.failed.append(asked)
                raise OSError(errno.EBUSY, "Please reduce your request rate.")  # as s3fs says SlowDown
            self.failed.remove(asked)
            return found(*args, **options)

        return call


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Flaky]:
    fs = Flaky()
    monkeypatch.setattr(fsspec, "url_to_fs", lambda url: (fs, f"/{url.partition('://')[2]}"))
    monkeypatch.setattr(files, "RETRIES", Retries(first_s=0.001, longest_s=0.002, patience_s=0.2))
    (tmp_path / "machine").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "machine"))
    yield fs
    fs.inner.rm("/bucket", recursive=True) if fs.inner.exists("/bucket") else None


def test_values_are_written_and_read_while_every_call_fails_once(
    flaky: Flaky, capfd: pytest.CaptureFixture[str]
) -> None:
    store = open_rewards("memory://bucket/rewards", "d" * 20, {"name": "length"})
    store.append(KEYS, [1.0, 2.0, 3.0])
    store.flush()
    again = open_rewards("memory://bucket/rewards", "d" * 20)
    assert again.get(KEYS) == [1.0, 2.0, 3.0]
    assert again.verify() == {"rows": 3, "not_finite": 0, "contradictions": 0}
    assert "did not work (OSError: [Errno 16] Please reduce your request rate.); trying again" in (
        capfd.readouterr().err
    )


def test_a_store_that_stays_away_is_told_as_such_and_no_shard_is_blamed(
    flaky: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_rewards("memory://bucket/rewards", "d" * 20, {"name": "length"})
    store.append(KEYS, [1.0, 2.0, 3.0])
    store.flush()
    paths = store.shards.paths()
    monkeypatch.setattr(store.shards, "paths", lambda: paths)  # listed, and then the store goes away
    flaky.away = True
    with pytest.raises(StoreError, match="reduce your request rate"):
        next(store.shards.batches())


def test_whatever_a_client_raises_is_one_line_without_secrets(
    flaky: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ClientError(Exception):
        """As botocore's, which is no OSError."""

    def refused(*_: Any, **__: Any) -> None:
        raise ClientError("Access denied\nat https://ada:s3cr3t@minio.example/b?sig=s3cr3t today")

    store = open_rewards("memory://bucket/rewards", "d" * 20, {"name": "length"})
    store.append(KEYS, [1.0, 2.0, 3.0])
    store.flush()
    monkeypatch.setattr(flaky.inner, "glob", refused)
    with pytest.raises(StoreError) as caught:
        store.shards.paths()
    assert str(caught.value) == (
        "the store at flaky:// did not do 'glob' (ClientError: Access denied at https://minio.example/b "
        "today): see to its address, keys and rights, and run again"
    )
    assert "s3cr3t" not in repr(caught.value.__cause__)
    with pytest.raises(FileNotFoundError):
        store.shards.fs.cat_file("/bucket/nowhere")


def test_a_checkpoint_is_pushed_and_fetched_while_every_call_fails_once(flaky: Flaky, tmp_path: Path) -> None:
    store = CheckpointStore("memory://bucket/checkpoints", "run")
    store.fetch()
    model = torch.nn.Linear(2, 1)
    save_checkpoint(store.folder, 1, model, torch.optim.AdamW(model.parameters()), {}, keep=1)
    store.push()
    shutil.rmtree(store.folder)  # another machine
    again = CheckpointStore("memory://bucket/checkpoints", "run")
    again.fetch()
    assert {path.name for path in again.folder.rglob("*") if path.is_file()} == {
        "state.json",
        "model.safetensors",
        "optimizer.safetensors",
    }


def test_an_artifact_is_looked_at_and_copied_while_every_call_fails_once(
    flaky: Flaky, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(addresses, "LOOKING", files.RETRIES)
    content = b"weights"
    (tmp_path / "model").write_bytes(content)
    manifest = seal(tmp_path, schema="policy", stage="train", rows=1, config={}, parents={})
    for name in ("model", MANIFEST):
        flaky.inner.pipe_file(f"/bucket/policy/{name}", (tmp_path / name).read_bytes())
    assert is_finished("memory://bucket/policy")
    assert find_damage("memory://bucket/policy", digest=manifest.digest) == ""
    copy_artifact("memory://bucket/policy", "memory://bucket/champion")
    assert flaky.inner.cat_file("/bucket/champion/model") == content
    flaky.away = True
    capsys.readouterr()
    assert not is_finished("memory://bucket/policy")  # nobody can look
    assert "memory://bucket/policy: cannot be looked at, so it is made again (" in capsys.readouterr().err
    with pytest.raises(ArtifactError, match="cannot be looked at"):
        find_damage("memory://bucket/policy", digest=manifest.digest)


def test_a_folder_is_as_patient_as_its_disk(tmp_path: Path) -> None:
    fs, path = open_files(str(tmp_path))
    assert (type(fs).__name__, path) == ("LocalFileSystem", str(tmp_path))


class HttpError(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


class TransportError(Exception):
    """Called like httpx's own."""


class OfflineModeIsEnabled(ConnectionError):
    """Called like the hub's own."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (OSError(errno.EIO, "We encountered an internal error"), True),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (HttpError(503), True),
        (TransportError(), True),
        (type("ReadTimeout", (TransportError,), {})(), True),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
        (HttpError(404), False),
        (PermissionError(errno.EACCES, "Access Denied"), False),
        (FileNotFoundError(errno.ENOENT, "NoSuchBucket"), False),
        (OfflineModeIsEnabled(), False),
        (ValueError("connection"), False),
    ],
    ids=lambda value: value if isinstance(value, bool) else f"{type(value).__name__} {value}"[:40],
)
def test_what_passes_and_what_does_not(error: Exception, expected: bool) -> None:
    assert passes(error) is expected
    tries: list[int] = []

    def ask() -> None:
        tries.append(1)
        raise error

    with pytest.raises(type(error)) as caught:
        patiently(ask, what="it", retries=Retries(first_s=0.001, attempts=3))
    assert caught.value is error
    assert len(tries) == (3 if expected else 1)


def test_what_is_waited_for_and_until_when_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    tries = [0.0, 0.05]

    def ask() -> str:
        time.sleep(tries[-1])
        if tries.pop():
            raise TimeoutError("no reply")
        return "found"

    retries = Retries(first_s=0.001, patience_s=9.0)
    assert patiently(ask, what="s3://bucket", retries=retries, told_s=0.01) == "found"
    late, failed = capfd.readouterr().err.splitlines()
    assert late == "s3://bucket has not come back for 0.01 s; waiting for it"
    told = r"s3://bucket did not work \(TimeoutError: no reply\); trying again, until \d\d:\d\d:\d\d .*"
    assert re.fullmatch(told, failed)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_store_that_does_not_answer_is_one_line_before_anything_is_computed(
    flaky: Flaky, hangs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Retries(first_s=0.001, longest_s=0.002, patience_s=0.1)
    reach_stores(["memory://bucket/scores", "/tmp"], retries=short)  # which works at the second attempt
    flaky.away = True
    with monkeypatch.context() as patched:
        if hangs:  # as a client does that waits for minutes
            patched.setattr(flaky.inner, "exists", lambda _: time.sleep(0.3))
            flaky.away, flaky.failed = False, ["exists ('/bucket/scores',)"]
        with pytest.raises(StoreError, match=r"^memory://bucket/scores: the store does not answer within 0"):
            reach_stores(["memory://bucket/scores"], retries=short)


def test_what_a_store_refuses_is_no_matter_of_reaching_it(
    flaky: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: str) -> None:
        raise PermissionError(errno.EACCES, "Access Denied")

    flaky.failed = ["exists ('/bucket/scores',)"]
    with monkeypatch.context() as patched:
        patched.setattr(flaky.inner, "exists", refused)
        reach_stores(["memory://bucket/scores"])
    assert flaky.failed == []

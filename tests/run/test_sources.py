"""What names stand for: files by their bytes, hub names by a commit, addresses by what lies there."""

import json
import os
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
from huggingface_hub import HfApi

from copg.errors import ModelError, RecordError
from copg.run.sources import DigestMemo, fetch, find_model, find_policy, find_records, looks_like_path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def memo(tmp_path: Path) -> DigestMemo:
    return DigestMemo(tmp_path / "runs")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference_dir: Path) -> Path:
    """The hub's cache as a download leaves it, with one model and one data set, and no network."""
    cache = tmp_path / "hub"
    for name in ("models--owner--tiny", "datasets--owner--records"):
        (cache / name / "refs").mkdir(parents=True)
        (cache / name / "refs/main").write_text(COMMIT)
        shutil.copytree(reference_dir, cache / name / "snapshots" / COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    return cache


def test_records_are_known_by_names_and_bytes_wherever_they_lie(tmp_path: Path, memo: DigestMemo) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "one.jsonl").write_text("{}\n")
        (tmp_path / folder / "two.jsonl").write_text("{}\n{}\n")
    first = find_records(str(tmp_path / "a"), None, memo)
    assert first.num_bytes == 3 + 6
    assert find_records(str(tmp_path / "b"), None, memo).digest == first.digest
    assert find_records(str(tmp_path / "a/*.jsonl"), None, memo).digest == first.digest
    (tmp_path / "b/two.jsonl").rename(tmp_path / "b/three.jsonl")
    assert find_records(str(tmp_path / "b"), None, memo).digest != first.digest


def test_a_file_is_read_again_when_it_changed(tmp_path: Path, memo: DigestMemo) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("{}\n")
    before = find_records(str(path), None, memo)
    changed = path.stat().st_mtime_ns
    path.write_text("[]\n")  # as many bytes
    os.utime(path, ns=(changed + 1, changed + 1))
    assert find_records(str(path), None, memo).digest != before.digest


def test_digests_are_remembered_between_runs_until_a_file_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"1")
    computed: list[str] = []

    def compute() -> str:
        computed.append("once")
        return "digest"

    for _ in range(2):
        assert DigestMemo(tmp_path).digest("model", [path], compute) == "digest"
    assert len(computed) == 1
    os.utime(path, ns=(1, 1))
    DigestMemo(tmp_path).digest("model", [path], compute)
    assert len(computed) == 2


def test_a_hub_name_is_the_commit_it_points_to(hub: Path, memo: DigestMemo) -> None:
    model = find_model("owner/tiny", None, memo)
    assert model.revision == COMMIT
    assert model.folder == hub / "models--owner--tiny/snapshots" / COMMIT
    assert find_model("owner/tiny", COMMIT, memo) == model
    records = find_records("owner/records", None, memo)
    assert (records.revision, records.num_bytes) == (COMMIT, 0)
    assert records.digest != model.digest


def test_a_model_of_the_hub_is_refused_for_what_its_files_say_as_one_that_lies_here(
    hub: Path, memo: DigestMemo, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = hub / "models--owner--tiny/snapshots" / COMMIT
    weights = (snapshot / "model.safetensors").rename(hub / "elsewhere")
    held = ["config.json", "pytorch_model.bin", "onnx/model.safetensors"]
    monkeypatch.setattr(HfApi, "list_repo_files", lambda self, name, revision: held)
    with pytest.raises(ModelError, match=r"owner/tiny: no \*\.safetensors weights on the hub; pickled"):
        find_model("owner/tiny", None, memo)
    held.append("model.safetensors")
    assert find_model("owner/tiny", None, memo).revision == COMMIT
    weights.rename(snapshot / "model.safetensors")
    config = json.loads((snapshot / "config.json").read_text())
    (snapshot / "config.json").write_text(json.dumps({**config, "_attn_implementation": "someone/kernel"}))
    with pytest.raises(ModelError, match=r"_attn_implementation='someone/kernel' would choose the code"):
        find_model("owner/tiny", None, memo)


def test_where_training_starts_must_draw(hub: Path, memo: DigestMemo) -> None:
    assert find_policy("owner/tiny", None, memo).revision == COMMIT
    snapshot = hub / "models--owner--tiny/snapshots" / COMMIT
    (snapshot / "config.json").write_text(json.dumps({"model_type": "musicgen"}))
    with pytest.raises(ModelError, match="owner/tiny: model type 'musicgen' is refused: it writes codes of"):
        find_policy("owner/tiny", None, memo)


def test_a_commit_needs_neither_network_nor_cache(hub: Path, memo: DigestMemo) -> None:
    found = find_model("owner/elsewhere", COMMIT, memo)
    assert (found.revision, found.folder) == (COMMIT, None)


def test_a_hub_name_that_nobody_knows_is_told_with_the_reason(hub: Path, memo: DigestMemo) -> None:
    with pytest.raises(ModelError, match="model='owner/none': no such local path, and the hub gave none: "):
        find_model("owner/none", None, memo)
    with pytest.raises(RecordError, match="dataset='owner/none'"):
        find_records("owner/none", None, memo)


@pytest.mark.parametrize(
    "name", ["./a", "../a", "/a", "~/a", "a/b/c", "a.jsonl", "a.jsonl.gz", "b.csv", "d/*"]
)
def test_what_can_only_be_a_path(name: str) -> None:
    assert looks_like_path(name)


@pytest.mark.parametrize("name", ["gpt2", "owner/model", "owner/model-1.5b", "owner/v2.0"])
def test_what_may_be_a_name_of_the_hub(name: str) -> None:
    assert not looks_like_path(name)


def test_a_policy_is_used_where_it_lies_or_copied_from_its_address(
    tmp_path: Path, reference_dir: Path
) -> None:
    assert fetch(str(reference_dir), tmp_path) == reference_dir
    assert fetch(f"file://{reference_dir}", tmp_path) == reference_dir
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.put(f"{reference_dir}/", "/policy/", recursive=True)
    away = tmp_path / "away"
    away.mkdir()
    copied = fetch("memory://policy", away)
    assert {path.name for path in copied.iterdir()} == {path.name for path in reference_dir.iterdir()}
    with pytest.raises(ModelError, match="memory://gone: cannot be fetched"):
        fetch("memory://gone", away)
    with pytest.raises(ModelError, match="nosuch://x: cannot be fetched"):
        fetch("nosuch://x", away)

"""What ``resolve`` digested is what the stages read: anything else is refused, and filed under no digest."""

import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from copg.data.files import source_digest, source_files
from copg.data.record_pass import RecordPass
from copg.errors import ModelError, RecordError
from copg.lm import reference as reference_pass
from copg.lm.config import ReaderConfig
from copg.rewards.contract import RewardSpec
from copg.run.recipe import parse_recipe
from copg.run.resolve import ResolveConfig, plan_recipe
from copg.run.sources import DigestMemo, find_model
from copg.stages.evaluate import EvaluateConfig, evaluate_policy
from copg.stages.reference import ReferenceConfig, reference_groups
from copg.stages.reward import RewardConfig, train_reward
from copg.stages.train import train_policy
from copg.stages.validate import ValidateConfig, validate_records
from copg.stores.model_files import model_digest, policy_digest, text_digest
from copg.stores.promised import weights_as_promised
from copg.training.config import CheckpointConfig, MonitorConfig, TrainConfig, TrialConfig
from tests import tiny
from tests.changing import change, change_while_loaded

SHORT = RewardSpec("length", params={"max": 4})


@pytest.fixture
def model(reference_dir: Path, tmp_path: Path) -> Path:
    """A reference that a test may change."""
    return Path(shutil.copytree(reference_dir, tmp_path / "model"))


@pytest.fixture
def records(tmp_path: Path) -> Path:
    tiny.write_records(tmp_path / "records.jsonl", 40, 3, rewarded=True)
    return tmp_path / "records.jsonl"


def rot(path: Path) -> None:
    """The same without a word to the file system, as a disk does it."""
    state = path.stat()
    change(path)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


def grow(records: Path) -> None:
    tiny.write_records(records, 44, 3)


def promised(records: Path) -> ValidateConfig:
    return ValidateConfig(workers=0, records_digest=source_digest(source_files(str(records))))


def test_records_that_are_what_was_promised_are_read(records: Path, tmp_path: Path) -> None:
    assert validate_records(promised(records), str(records), tmp_path / "groups")["records/read"] == 40.0


def test_records_that_grew_since_the_run_began_are_refused(records: Path, tmp_path: Path) -> None:
    config = promised(records)
    grow(records)
    with pytest.raises(RecordError, match=r"records\.jsonl: changed since the run began; run again"):
        validate_records(config, str(records), tmp_path / "groups")
    assert not (tmp_path / "groups/manifest.json").exists()


def test_records_that_grow_while_they_are_read_are_refused(
    records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RecordPass.run

    def run_and_grow(*args, **more):
        run(*args, **more)
        grow(records)

    monkeypatch.setattr(RecordPass, "run", run_and_grow)
    with pytest.raises(RecordError, match=r"records\.jsonl: changed while it was read"):
        validate_records(promised(records), str(records), tmp_path / "groups")
    assert not (tmp_path / "groups/manifest.json").exists()


def reference(model: Path, root: Path) -> ReferenceConfig:
    return ReferenceConfig(model=str(model), model_digest=model_digest(model), store=str(root / "store"))


def shards(root: Path) -> list[Path]:
    return list((root / "store").rglob("*.parquet"))


def test_weights_that_changed_give_the_reference_store_nothing(model: Path, tmp_path: Path) -> None:
    scored = tiny.write_scored(tmp_path / "scored", train=6, select=2, gate=2)
    config = reference(model, tmp_path)
    change(model / "model.safetensors")
    with pytest.raises(ModelError, match="model: changed since the run began"):
        reference_groups(config, scored, tmp_path / "referenced")
    assert shards(tmp_path) == []
    reference_groups(reference(model, tmp_path), scored, tmp_path / "referenced")  # as a rerun promises
    assert len(shards(tmp_path)) == 1


def test_weights_that_change_while_they_are_loaded_give_it_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = tiny.write_scored(tmp_path / "scored", train=6, select=2, gate=2)
    change_while_loaded(monkeypatch, reference_pass, "load_model", model / "model.safetensors")
    with pytest.raises(ModelError, match="model: changed while it was read"):
        reference_groups(reference(model, tmp_path), scored, tmp_path / "referenced")
    assert shards(tmp_path) == []


def test_no_training_and_no_evaluation_begins_from_other_weights(model: Path, tmp_path: Path) -> None:
    scored = tiny.write_scored(tmp_path / "scored", train=6, select=2, gate=2)
    reference_groups(reference(model, tmp_path), scored, tmp_path / "referenced")
    then = model_digest(model)
    (model / "generation_config.json").write_text("{} ")
    training = TrainConfig(
        model=str(model),
        model_digest=then,
        trial=TrialConfig(beta=0.1),
        checkpoint=CheckpointConfig(folder=str(tmp_path / "checkpoints")),
        samples=MonitorConfig(num_prompts=0),
    )
    assert "model_digest" not in training.identity()  # the digest of the groups says it
    with pytest.raises(ModelError, match="changed since the run began"):
        train_policy(training, tmp_path / "referenced", tmp_path / "policy", tmp_path / "training")
    evaluation = EvaluateConfig(model=str(model), model_digest=then, num_prompts=2, rewards=[SHORT])
    with pytest.raises(ModelError, match="changed since the run began"):
        evaluate_policy(evaluation, scored, tmp_path / "evaluation", policy=None)
    assert asdict(evaluation)["model_digest"] == then


def test_no_reward_model_begins_from_another_base_than_was_promised(model: Path, tmp_path: Path) -> None:
    tiny.write_records(tmp_path / "rewarded.jsonl", 8, 2, rewarded=True)
    groups = tmp_path / "groups"
    validate_records(ValidateConfig(workers=0), str(tmp_path / "rewarded.jsonl"), groups)
    config = RewardConfig(model=str(model), model_digest=model_digest(model))
    change(model / "model.safetensors")
    with pytest.raises(ModelError, match="model: changed since the run began"):
        train_reward(config, groups, tmp_path / "reward_model")
    assert not (tmp_path / "reward_model/manifest.json").exists()


def test_records_are_read_by_no_other_tokeniser_than_was_promised(
    model: Path, records: Path, tmp_path: Path
) -> None:
    reader = ReaderConfig(model=str(model), text_digest=text_digest(model), max_dropped_fraction=1.0)
    config = ValidateConfig(workers=0, reader=reader)
    change(model / "model.safetensors")  # no text's business
    validate_records(config, str(records), tmp_path / "groups")
    (model / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    with pytest.raises(ModelError, match="model: changed since the run began"):
        validate_records(config, str(records), tmp_path / "others")
    assert not (tmp_path / "others/manifest.json").exists()


def test_a_run_promises_the_base_of_its_reward_model_and_the_tokeniser_of_every_reader(
    model: Path, reference_dir: Path, records: Path, tmp_path: Path
) -> None:
    values = {"name": "x", "records": str(records), "model": str(reference_dir), "trials": [{"beta": 0.1}]}
    values |= {"reward": {"model": str(model)}, "validate": {"reader": {"model": str(model)}}, "sample": {}}
    resolve = ResolveConfig(recipe=parse_recipe(values), run_dir=str(tmp_path / "runs"))

    def promised() -> tuple[str, str, str, str]:
        plans = plan_recipe(resolve).plans
        readers = [plans[stage]["config"]["reader"]["text_digest"] for stage in ("validate", "sample")]
        return (plans["reward"]["config"]["model_digest"], *readers, plans["validate"]["key"])

    first = promised()
    assert first[:3] == (model_digest(model), text_digest(model), text_digest(model))
    (model / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    assert [was == now for was, now in zip(first, promised(), strict=True)] == [False] * 4


def test_a_policy_to_start_from_is_held_to_its_digest_and_a_name_of_the_hub_is_not(model: Path) -> None:
    digest = policy_digest(str(model))
    with weights_as_promised(str(model), digest):
        pass
    with weights_as_promised("owner/name", "of its commit"):
        pass
    change(model / "model.safetensors")
    with pytest.raises(ModelError, match="changed since"), weights_as_promised(str(model), digest):
        pass


def test_weights_that_a_disk_changed_name_the_memo_that_goes_on_believing_in_them(
    model: Path, tmp_path: Path
) -> None:
    def promised() -> str:
        return find_model(str(model), None, DigestMemo(tmp_path)).digest

    before = promised()
    rot(model / "model.safetensors")
    for _ in range(2):  # another run takes the same from the memo
        again = weights_as_promised(str(model), promised())
        with pytest.raises(ModelError, match=r"changed since .* remove digests\.json from"), again:
            pass
    (tmp_path / "digests.json").unlink()
    assert promised() != before
    with weights_as_promised(str(model), promised()):
        pass

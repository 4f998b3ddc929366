"""``train``: it learns, refuses what it cannot trust, and a killed run loses nothing."""

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from copg.artifacts import INCOMPLETE, begin, is_sealed, read_manifest, seal
from copg.config import parse_config
from copg.data.group_files import GroupWriter, read_groups
from copg.errors import ArtifactError, ConfigError, MismatchError, ModelError
from copg.lm.config import GenerationConfig, RowConfig
from copg.lm.load import load_model
from copg.lm.rows import TokenGroup
from copg.lm.scorer import group_logps
from copg.losses import DRAWN_BY_REFERENCE
from copg.rewards.contract import RewardSpec
from copg.stages.reference import ReferenceConfig, reference_groups
from copg.stages.train import train_policy
from copg.tracking.runs import KIND
from copg.training.config import (
    ADAPTER_RATE,
    ALL_WEIGHTS_RATE,
    CheckpointConfig,
    LoraConfig,
    MonitorConfig,
    OptimizerConfig,
    TrackingConfig,
    TrainConfig,
    TrialConfig,
)
from copg.training.log import LAST, read_metrics
from copg.training.loop import Loop
from tests import tiny
from tests.serving import JsonHandler, serving

COVERS_CAT = RewardSpec("reference_overlap", params={"column": "facts"})


@pytest.fixture(scope="session")
def referenced(reference_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("referenced")
    scored = tiny.write_scored(root / "scored", train=32)
    config = ReferenceConfig(model=str(reference_dir), store=str(root / "store"))
    reference_groups(config, scored, root / "referenced")
    return root / "referenced"


@pytest.fixture
def config(reference_dir: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        model=str(reference_dir),
        trial=TrialConfig(beta=0.1),
        checkpoint=CheckpointConfig(folder=str(tmp_path / "checkpoints")),
        epochs=4,
        groups_per_step=8,
        optimizer=OptimizerConfig(learning_rate=3e-3),
        samples=MonitorConfig(
            every_steps=8, num_prompts=8, rewards=[COVERS_CAT], generation=GenerationConfig(max_new_tokens=8)
        ),
        threads=1,
    )


def train(config: TrainConfig, referenced: Path, root: Path) -> tuple[Path, Path]:
    train_policy(config, referenced, root / "policy", root / "training")
    return root / "policy", root / "training"


def weights_of(policy: Path) -> dict[str, torch.Tensor]:
    return load_file(policy / "model.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_better_completions_gain_and_worse_ones_lose(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    policy, training = train(replace(config, epochs=16), referenced, tmp_path)
    facts = read_manifest(training, schema="training").facts
    assert facts["policy"] == read_manifest(policy, schema="policy").digest
    assert not facts["diverged"]
    steps = [line for line in read_metrics(training / "metrics.jsonl") if "loss/mean" in line]
    assert len(steps) == facts["steps"] == 64
    assert steps[0]["residual/fraction"] == pytest.approx(1, abs=1e-3)  # the policy starts as the reference
    assert steps[0]["log_ratio/mean"] == pytest.approx(0, abs=1e-3)
    assert steps[-1]["loss/mean"] < 0.7 * steps[0]["loss/mean"]
    assert steps[-1]["log_ratio/best"] > 0.1 + steps[-1]["log_ratio/worst"]
    model = load_model(policy)
    gaps = []
    for group in read_groups(referenced, "train"):
        ids = [c.token_ids for c in group.completions]
        ratio = torch.tensor(group_logps(model, [TokenGroup(group.prompt_ids, ids)])[0]) - torch.tensor(
            [c.ref_logps for c in group.completions]
        )
        rewards = torch.tensor([c.reward for c in group.completions])
        gaps.append((ratio[rewards.argmax()] - ratio[rewards.argmin()]).item())
    assert sum(gap > 0 for gap in gaps) > 0.7 * len(gaps)


def test_steps_of_tied_groups_alone_do_not_keep_a_training_from_its_end(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    config = replace(config, groups_per_step=1, until_residual=1e9, samples=MonitorConfig(num_prompts=0))
    _, training = train(config, referenced, tmp_path)
    residuals = [line["residual/fraction"] for line in read_metrics(training / "metrics.jsonl")]
    assert None in residuals[-LAST:]
    assert len([each for each in residuals if each is not None]) == LAST


def test_the_best_third_is_trained_on_by_ranks_and_every_prompt_is_told(
    config: TrainConfig, referenced: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = TrialConfig(beta=1e4)
    config = replace(config, data="best_third", transform="rank", epochs=1, trial=trial)
    _, training = train(config, referenced, tmp_path)
    manifest = read_manifest(training, schema="training")
    assert manifest.rows == round(32 / 3)
    assert manifest.facts["steps"] == 2
    told = pq.read_table(training / "prompts.parquet")
    assert told.num_rows == 32
    assert set(told.column_names) == {"ids", "tied", "contrast", "effective", "support", "gain"}
    assert manifest.facts["metrics"]["prompts/gain_of_best_third"] > 1 / 3
    assert manifest.facts["ladder"]["rungs"]
    said = capsys.readouterr().err
    assert "warning: trial copg_10000: beta=10000 is so high" in said
    assert manifest.facts["hints"]
    assert f"hint: trial copg_10000 {manifest.facts['hints'][0]}" in said


@pytest.mark.parametrize(
    "rows",
    [
        RowConfig(tokens_per_batch=64),
        RowConfig(tokens_per_row=256, tokens_per_batch=1024),
        RowConfig(tokens_per_row=30, split_groups=True),
    ],
    ids=["one_group_a_batch", "many_groups_a_row", "groups_in_parts"],
)
def test_how_groups_share_rows_and_batches_does_not_change_what_is_learnt(
    config: TrainConfig, referenced: Path, tmp_path: Path, rows: RowConfig
) -> None:
    one_step = replace(config, epochs=1, groups_per_step=32, samples=MonitorConfig(num_prompts=0))
    expected = weights_of(train(one_step, referenced, tmp_path / "a")[0])
    found = weights_of(train(replace(one_step, rows=rows), referenced, tmp_path / "b")[0])
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=2e-5, rtol=0)


KILLED_RUN = """
import json, sys, time
from pathlib import Path
from copg.config import parse_config
from copg.stages.train import TrainConfig, train_policy
import copg.training.loop as loop
step = loop.Loop._step
loop.Loop._step = lambda *args: (time.sleep(0.1), step(*args))[1]  # so that a signal lands inside the run
root = Path(sys.argv[3])
config = parse_config(TrainConfig, json.loads(sys.argv[1]), where="train")
train_policy(config, Path(sys.argv[2]), root / "policy", root / "training")
"""


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)], ids=lambda n: n.name
)
def test_a_killed_run_resumes_to_the_same_bits(
    config: TrainConfig, referenced: Path, tmp_path: Path, number: signal.Signals
) -> None:
    config = replace(
        config, checkpoint=replace(config.checkpoint, every_steps=3), trial=TrialConfig(beta=0.1, seed=7)
    )
    whole, whole_training = train(
        replace(config, checkpoint=replace(config.checkpoint, folder=str(tmp_path / "other"))),
        referenced,
        tmp_path / "whole",
    )
    command = [sys.executable, "-c", KILLED_RUN, json.dumps(asdict(config)), str(referenced), str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 200
    while not list((tmp_path / "checkpoints").glob("*/step_*3")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.15)  # past the checkpoint, so that lines have to be cut back
    process.send_signal(number)
    process.communicate(timeout=200)
    assert process.returncode == (-9 if number == signal.SIGKILL else 143)
    assert not (tmp_path / "policy").exists()

    policy, training = train(config, referenced, tmp_path)
    resumed = read_manifest(training, schema="training").facts["resumed_from"]
    assert 3 <= resumed < 16
    assert same(weights_of(whole), weights_of(policy))
    assert (
        read_manifest(policy, schema="policy").files.keys()
        == read_manifest(whole, schema="policy").files.keys()
    )

    def without_times(path: Path) -> list[dict[str, float]]:
        lines = read_metrics(path / "metrics.jsonl")
        return [{k: v for k, v in line.items() if k not in ("time_s", "tokens/per_s")} for line in lines]

    assert without_times(training) == without_times(whole_training)
    assert not any((tmp_path / "checkpoints").iterdir())  # nothing is left that no run needs


def test_a_training_that_was_killed_between_its_two_artifacts_makes_the_second_beside_the_first(
    config: TrainConfig, referenced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, epochs=1)
    _, whole = train(config, referenced, tmp_path / "whole")
    with monkeypatch.context() as killed:
        killed.setattr("copg.stages.train._write_training", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(config, referenced, tmp_path / "cut")
    first = read_manifest(tmp_path / "cut/policy", schema="policy")
    monkeypatch.setattr("copg.stages.train._write_policy", lambda *given: 1 / 0)  # it is not made again
    policy, training = train(config, referenced, tmp_path / "cut")
    assert read_manifest(policy, schema="policy") == first
    found, expected = (read_manifest(each, schema="training").facts for each in (training, whole))
    assert (found["policy"], found["metrics"]) == (first.digest, expected["metrics"])
    with pytest.raises(ArtifactError, match="training: is not empty; choose another output or remove it"):
        train(config, referenced, tmp_path / "cut")


def test_a_policy_that_was_killed_while_it_was_sealed_is_made_again(
    config: TrainConfig, referenced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, epochs=1)
    with monkeypatch.context() as killed:
        killed.setattr("copg.stages.train._write_training", lambda *given: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(config, referenced, tmp_path)
    (tmp_path / "policy" / INCOMPLETE).touch()  # the mark goes after the manifest is there
    assert all(map(is_sealed, train(config, referenced, tmp_path)))


def test_another_s_policy_is_refused_before_anything_is_trained(
    config: TrainConfig, referenced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(replace(config, epochs=1), referenced, tmp_path)
    shutil.rmtree(tmp_path / "training")
    monkeypatch.setattr("copg.training.start.load_policy", lambda *given: 1 / 0)
    with pytest.raises(ArtifactError, match="policy: is not empty; choose another output or remove it"):
        train(config, referenced, tmp_path)


def test_a_finished_training_that_stays_writes_the_same_policy_again_without_a_step(
    config: TrainConfig, referenced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = replace(config.samples, num_prompts=2)
    checkpoint = replace(config.checkpoint, every_steps=3, yields="best", when_done="keep")
    config = replace(config, epochs=1, samples=samples, checkpoint=checkpoint)
    first, _ = train(config, referenced, tmp_path / "first")
    steps = [path.name for path in (tmp_path / "checkpoints").glob("*/step_*")]
    assert steps == ["step_00000004"]  # 32 groups, 8 a step: the last, though 3 was saved and 2 may be kept

    monkeypatch.setattr(Loop, "_step", lambda *_: pytest.fail("trained again"))
    second, training = train(config, referenced, tmp_path / "second")
    assert read_manifest(second, schema="policy").digest == read_manifest(first, schema="policy").digest
    facts = read_manifest(training, schema="training").facts
    assert (facts["resumed_from"], facts["steps"]) == (4, 4)
    assert len(read_metrics(training / "metrics.jsonl")) == 6  # four steps, drawn before and after


ONE_OF_TWO = """
import json, sys
from pathlib import Path
from copg.config import parse_config
from copg.stages.train import TrainConfig, train_policy
root = Path(sys.argv[3])
config = parse_config(TrainConfig, json.loads(sys.argv[1]), where="train")
train_policy(config, Path(sys.argv[2]), root / "policy", root / "training")
"""


def test_two_processes_give_the_weights_of_one(config: TrainConfig, referenced: Path, tmp_path: Path) -> None:
    alone, _ = train(config, referenced, tmp_path / "alone")
    script = tmp_path / "train.py"
    script.write_text(ONE_OF_TWO)
    config = replace(config, checkpoint=CheckpointConfig(folder=str(tmp_path / "two")))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    arguments = [str(script), json.dumps(asdict(config)), str(referenced), str(tmp_path)]
    done = subprocess.run([*launch, *arguments], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    facts = read_manifest(tmp_path / "training", schema="training").facts
    assert facts["processes"] == 2
    together = weights_of(tmp_path / "policy")
    for name, tensor in weights_of(alone).items():
        torch.testing.assert_close(together[name], tensor, atol=1e-6, rtol=0)


def test_the_same_seed_gives_the_same_bits_and_another_gives_others(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    first = weights_of(train(config, referenced, tmp_path / "a")[0])
    assert same(first, weights_of(train(config, referenced, tmp_path / "b")[0]))
    other = replace(config, trial=TrialConfig(beta=0.1, seed=1))
    assert not same(first, weights_of(train(other, referenced, tmp_path / "c")[0]))


def test_a_trial_that_explodes_ends_marked_with_weights_that_are_finite(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    config = replace(config, optimizer=OptimizerConfig(learning_rate=1e18, warmup_fraction=0.0))
    policy, training = train(config, referenced, tmp_path)
    facts = read_manifest(training, schema="training").facts
    assert facts["diverged"]
    assert "not finite" in facts["reason"]
    assert all(torch.isfinite(tensor).all() for tensor in weights_of(policy).values())


def test_an_adapter_trains_and_its_base_stays(
    config: TrainConfig, referenced: Path, reference_dir: Path, tmp_path: Path
) -> None:
    config = replace(config, lora=LoraConfig(rank=4), epochs=8)
    policy, training = train(config, referenced, tmp_path)
    assert (policy / "adapter_model.safetensors").is_file()
    assert not (policy / "model.safetensors").exists()
    steps = [line for line in read_metrics(training / "metrics.jsonl") if "loss/mean" in line]
    assert steps[-1]["loss/mean"] < steps[0]["loss/mean"]
    prompt, ids = [1, 5, 6], [[7, 8, 2]]
    adapted, base = load_model(policy), load_model(reference_dir)
    group = [TokenGroup(prompt, ids)]
    assert group_logps(adapted, group) != group_logps(base, group)
    with adapted.disable_adapter():
        assert group_logps(adapted, group)[0] == pytest.approx(group_logps(base, group)[0], abs=1e-5)


def start_elsewhere(reference_dir: Path, folder: Path) -> str:
    """A policy with the reference's tokeniser and somewhat other weights."""
    shutil.copytree(reference_dir, folder)
    model = load_model(folder)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn_like(weight)
    model.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4)])
def test_the_distance_of_a_policy_that_starts_elsewhere_is_from_the_reference(
    config: TrainConfig, referenced: Path, reference_dir: Path, tmp_path: Path, lora: LoraConfig | None
) -> None:
    start = start_elsewhere(reference_dir, tmp_path / "start")
    tiny_step = OptimizerConfig(learning_rate=1e-12)
    config = replace(config, start_from=start, lora=lora, epochs=1, optimizer=tiny_step)
    _, training = train(config, referenced, tmp_path)
    drawn = [line for line in read_metrics(training / "metrics.jsonl") if "kl/mean" in line]
    assert drawn[0]["kl/mean"] == pytest.approx(drawn[-1]["kl/mean"], abs=1e-3)
    assert drawn[0]["kl/mean"] > 0.05


def test_weights_that_were_replaced_in_place_start_a_new_training(
    config: TrainConfig, referenced: Path, reference_dir: Path, tmp_path: Path
) -> None:
    start = start_elsewhere(reference_dir, tmp_path / "start")
    config = replace(config, start_from=start, epochs=1)
    first = weights_of(train(config, referenced, tmp_path)[0])
    shutil.copyfile(reference_dir / "model.safetensors", Path(start) / "model.safetensors")
    policy, training = train(config, referenced, tmp_path / "again")
    assert not same(first, weights_of(policy))
    assert read_manifest(training, schema="training").facts["resumed_from"] == 0


def test_a_start_with_another_vocabulary_is_refused(
    config: TrainConfig, referenced: Path, reference_dir: Path, tmp_path: Path
) -> None:
    start = start_elsewhere(reference_dir, tmp_path / "start")
    file = Path(start) / "tokenizer.json"
    file.write_text(file.read_text().replace('"bird"', '"fish"'))
    with pytest.raises(ModelError, match="start: has another vocabulary than"):
        train(replace(config, start_from=start), referenced, tmp_path)


def test_bfloat16_compute_moves_float32_weights(
    config: TrainConfig, reference_dir: Path, tmp_path: Path
) -> None:
    rows = RowConfig(compute_dtype="bfloat16")
    scored = tiny.write_scored(tmp_path / "scored", train=16)
    reference = ReferenceConfig(model=str(reference_dir), store=str(tmp_path / "store"), rows=rows)
    reference_groups(reference, scored, tmp_path / "referenced")
    config = replace(config, rows=rows, optimizer=OptimizerConfig(learning_rate=1e-6), epochs=2)
    policy, _ = train(config, tmp_path / "referenced", tmp_path)
    before, after = weights_of(reference_dir), weights_of(policy)
    name = "model.layers.0.mlp.up_proj.weight"
    assert after[name].dtype == torch.float32
    assert not torch.equal(before[name], after[name])


def test_pure_bfloat16_is_refused() -> None:
    settings = {
        "model": "m",
        "trial": {"beta": 1},
        "checkpoint": {"folder": "f"},
        "rows": {"parameter_dtype": "bfloat16", "compute_dtype": "bfloat16"},
    }
    with pytest.raises(ConfigError, match="bfloat16 weights do not move"):
        parse_config(TrainConfig, settings, where="train")


def test_gradient_checkpointing_changes_nothing_but_memory(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    config = replace(config, epochs=1, samples=MonitorConfig(num_prompts=0))
    plain = weights_of(train(config, referenced, tmp_path / "a")[0])
    found = weights_of(train(replace(config, gradient_checkpointing=True), referenced, tmp_path / "b")[0])
    for name, tensor in plain.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=0)


def test_another_model_than_the_cached_reference_is_refused(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    other = tiny.save_model(tmp_path / "other", seed=1)
    with pytest.raises(MismatchError, match="changed since stage 'reference': weights or device"):
        train(replace(config, model=str(other)), referenced, tmp_path)


def test_another_precision_than_the_cached_reference_is_named(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    import copg.training.start

    tight = {"bfloat16": 1e-4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copg.training.start, "TOLERANCES", tight)
        with pytest.raises(MismatchError, match="compute_dtype"):
            train(replace(config, rows=RowConfig(compute_dtype="bfloat16")), referenced, tmp_path)


def test_the_best_checkpoint_is_yielded_when_asked_for(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    config = replace(
        config, samples=replace(config.samples, every_steps=4), trial=TrialConfig(beta=0.1, method="copg")
    )
    best = replace(config, checkpoint=replace(config.checkpoint, yields="best"))
    policy, training = train(best, referenced, tmp_path / "best")
    facts = read_manifest(training, schema="training").facts
    step = int(facts["metrics"]["best/step"])
    drawn = {
        line["step"]: line["reward/mean"]
        for line in read_metrics(training / "metrics.jsonl")
        if "reward/mean" in line
    }
    assert drawn[step] == max(drawn.values())
    last = weights_of(train(config, referenced, tmp_path / "last")[0])
    assert same(last, weights_of(policy)) == (step == max(drawn))


@pytest.mark.parametrize(
    "method",
    ["copg_mean", "ipo", "dpo", "astar_po", "dro_v", "rpo", "qrpo", "sft", "pg_value"],
)
def test_every_method_runs_in_the_same_trainer(
    config: TrainConfig, referenced: Path, tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = replace(
        config, trial=TrialConfig(beta=0.5, method=method), epochs=1, samples=MonitorConfig(num_prompts=0)
    )
    policy, _ = train(config, referenced, tmp_path)
    assert not same(weights_of(Path(config.model)), weights_of(policy))
    # these logs were not said to be draws of the reference
    warned = f"warning: trial {method}_0.5: method={method} takes the completions for draws of the reference"
    assert (warned in capsys.readouterr().err) == (method in DRAWN_BY_REFERENCE)


def test_values_and_norms_go_on_from_a_checkpoint_to_the_same_bits_and_no_policy_has_a_head(
    config: TrainConfig, referenced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, trial=TrialConfig(beta=0.1, method="dro_v"), epochs=2, groups_per_step=4)
    optimizer = replace(config.optimizer, max_grad_norm=None)
    config = replace(config, samples=MonitorConfig(num_prompts=0), optimizer=optimizer)
    whole, whole_training = train(config, referenced, tmp_path / "whole")
    checkpoint = replace(config.checkpoint, every_steps=3)
    config = replace(config, checkpoint=checkpoint)

    def killed(loop: Loop, number: int, tracker: object) -> None:
        assert loop.state.step < 13, "killed"
        step(loop, number, tracker)

    step = Loop._step
    with monkeypatch.context() as patched:
        patched.setattr(Loop, "_step", killed)
        with pytest.raises(AssertionError, match="killed"):
            train(config, referenced, tmp_path / "cut")
    kept = max((tmp_path / "checkpoints").glob("*/step_*/model.safetensors"))
    assert load_file(kept)["value_head.weight"].any()
    policy, training = train(config, referenced, tmp_path / "cut")
    assert read_manifest(training, schema="training").facts["resumed_from"] == 12
    assert same(weights_of(whole), weights_of(policy))
    assert weights_of(policy).keys() == weights_of(Path(config.model)).keys()
    steps, again = (read_metrics(each / "metrics.jsonl") for each in (whole_training, training))
    for name in ("value/error_fraction", "gradient/norm", "gradient/clipped_fraction"):
        assert [line[name] for line in steps] == [line[name] for line in again]
    assert steps[0]["value/error_fraction"] == pytest.approx(1, abs=1e-3)
    clipped = [line["gradient/clipped_fraction"] for line in steps]
    assert clipped[9] == 0  # of ten steps, which say what is usual
    assert 0 < clipped[-1] < 0.3


def test_one_completion_a_prompt_teaches_where_values_are_learnt(
    reference_dir: Path, config: TrainConfig, tmp_path: Path
) -> None:
    scored = tiny.write_scored(tmp_path / "scored", train=16, completions=1)
    settings = ReferenceConfig(model=str(reference_dir), store=str(tmp_path / "store"), min_completions=1)
    metrics = reference_groups(settings, scored, tmp_path / "referenced")
    assert metrics["reference/computed"] == 16
    config = replace(config, epochs=1, samples=MonitorConfig(num_prompts=0))
    moved = {}
    for method in ("copg", "dro_v"):
        trial = TrialConfig(beta=0.1, method=method)
        policy, _ = train(replace(config, trial=trial), tmp_path / "referenced", tmp_path / method)
        moved[method] = not same(weights_of(reference_dir), weights_of(policy))
    assert moved == {"copg": False, "dro_v": True}


def test_weights_that_explode_just_before_a_draw_end_the_trial_as_well(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    samples = replace(config.samples, every_steps=1)
    optimizer = OptimizerConfig(learning_rate=1e18, warmup_fraction=0.0)
    config = replace(config, optimizer=optimizer, samples=samples)
    _, training = train(config, referenced, tmp_path)
    facts = read_manifest(training, schema="training").facts
    assert facts["diverged"]
    assert facts["reason"].startswith("step 1: logits")


def test_the_rate_is_the_trials_or_the_recipes_or_that_of_what_is_trained(config: TrainConfig) -> None:
    def with_rates(trial: float | None, optimizer: float | None, lora: LoraConfig | None) -> TrainConfig:
        own = TrialConfig(beta=0.1, learning_rate=trial)
        return replace(config, trial=own, optimizer=OptimizerConfig(learning_rate=optimizer), lora=lora)

    lora = LoraConfig()
    found = [with_rates(3e-3, 2e-3, lora), with_rates(None, 2e-3, lora), with_rates(None, None, lora)]
    found.append(with_rates(None, None, None))
    rates = [3e-3, 2e-3, ADAPTER_RATE, ALL_WEIGHTS_RATE]
    assert [each.peak_rate for each in found] == rates
    assert [each.identity()["optimizer"]["learning_rate"] for each in found] == rates


@pytest.mark.parametrize(
    ("epochs", "num_groups", "size"), [(1, 264, 4), (1, 640, 10), (2, 640, 20), (1, 10_000, 32), (1, 3, 4)]
)
def test_few_prompts_make_small_steps_where_no_number_is_given(
    config: TrainConfig, epochs: int, num_groups: int, size: int
) -> None:
    config = replace(config, epochs=epochs, groups_per_step=None)
    assert config.step_size(num_groups) == size
    assert replace(config, groups_per_step=7).step_size(num_groups) == 7


def thumbs_up_and_down(folder: Path) -> Path:
    """One completion a prompt, and a thumb for each."""
    begin(folder)
    with GroupWriter(folder) as writer:
        for number, group in enumerate(tiny.make_groups(12)):
            only = replace(group.completions[0], reward=float(number % 3 == 0))
            writer.write("train", replace(group, completions=[only]))
    seal(folder, schema="scored", stage="score", rows=12, config={}, parents={})
    return folder


def log_prob(model: PreTrainedModel, prompt: list[int], ids: list[int]) -> float:
    """Of one completion, from the logits of its whole text."""
    whole = torch.tensor([[*prompt, *ids]])
    with torch.no_grad():
        logps = model(whole).logits[0, :-1].float().log_softmax(-1).gather(1, whole[0, 1:, None])
    return float(logps[len(prompt) - 1 :].sum())


def test_kto_learns_from_one_thumb_a_prompt_beside_completions_of_other_prompts(
    reference_dir: Path, config: TrainConfig, tmp_path: Path
) -> None:
    scored = thumbs_up_and_down(tmp_path / "scored")
    settings = ReferenceConfig(model=str(reference_dir), store=str(tmp_path / "store"), min_completions=1)
    reference_groups(settings, scored, tmp_path / "lonely")
    reference_groups(replace(settings, mismatched=True), scored, tmp_path / "referenced")
    start = tiny.save_model(tmp_path / "start", seed=7)  # where the reference point is not 0 at once
    trial = TrialConfig(beta=0.1, method="kto")
    config = replace(config, trial=trial, start_from=str(start), epochs=1, groups_per_step=12)
    config = replace(config, rows=RowConfig(tokens_per_batch=1), samples=MonitorConfig(num_prompts=0))
    with pytest.raises(
        ConfigError, match=r"lonely: no training prompt has .*: set reference\.mismatched: true"
    ):
        train(config, tmp_path / "lonely", tmp_path / "refused")
    policy, training = train(config, tmp_path / "referenced", tmp_path)
    assert not same(weights_of(start), weights_of(policy))

    first, reference = load_model(start), load_model(reference_dir)
    groups = list(read_groups(tmp_path / "referenced", "train"))
    moved, own = [], []
    for before, group in pairwise([groups[-1], *groups]):
        for ratios, holder in ((moved, before), (own, group)):
            (completion,) = holder.completions
            text = group.prompt_ids, completion.token_ids
            ratios.append(log_prob(first, *text) - log_prob(reference, *text))
    z = sum(moved) / 12
    assert z > 1
    assert abs(z - sum(own) / 12) > 0.5  # which the prompts' own would give
    (line,) = read_metrics(training / "metrics.jsonl")
    assert line["reference_point/mean"] == pytest.approx(z, rel=1e-4)
    sides = [1 if group.completions[0].reward else -1 for group in groups]
    losses = [1 / (1 + math.exp(side * 0.1 * (d - z))) for side, d in zip(sides, own, strict=True)]
    assert line["loss/mean"] == pytest.approx(sum(losses) / 12, rel=1e-4)


class Forgetful(JsonHandler):
    """A tracking server that takes a run and its parameters, and no metric."""

    params: ClassVar[list[dict[str, str]]] = []

    def do_GET(self) -> None:
        tags = [{"key": key, "value": value} for key, value in KIND.items()]
        there = {"experiment_id": "1", "name": "x", "lifecycle_stage": "active", "tags": tags}
        self.say(200, {"experiment": there})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if body.get("metrics"):
            self.say(400, {"error_code": "BAD_REQUEST", "message": "no room for metrics"})
            return
        self.params.extend(body.get("params", []))
        run = {"info": {"run_id": "r", "run_uuid": "r", "experiment_id": "1", "status": "RUNNING"}}
        self.say(200, {"run": {**run, "data": {}}} if self.path.endswith("runs/create") else {})


@pytest.mark.nightly
def test_metrics_that_no_tracker_took_are_a_warning_of_what_was_trained(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    own = replace(config.trial, learning_rate=2e-3)
    with serving(Forgetful) as address:
        tracking = TrackingConfig(uri=address, experiment="x")
        outputs = train(replace(config, epochs=1, trial=own, tracking=tracking), referenced, tmp_path)
    assert {"key": "learning_rate", "value": "0.002"} in Forgetful.params  # the trial's, not the recipe's
    for output, schema in zip(outputs, ("policy", "training"), strict=True):
        (warning,) = read_manifest(output, schema=schema).facts["warnings"]
        assert warning.startswith(f"train-copg_0.1: tracking at {address} failed: ")
        assert warning.endswith("no room for metrics; step 0 and later are not tracked")

"""Training in several processes that ``train`` starts itself: the same result, stopped and failing as one."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import psutil
import pytest
import torch
from safetensors.torch import load_file

from copg.artifacts import read_manifest
from copg.config import parse_config
from copg.errors import ConfigError, MemoryLimitError, MismatchError
from copg.lm.config import GenerationConfig, RowConfig
from copg.stages.reference import ReferenceConfig, reference_groups
from copg.stages.train import train_policy
from copg.training.config import (
    CheckpointConfig,
    LaunchConfig,
    LoraConfig,
    MonitorConfig,
    OptimizerConfig,
    TrainConfig,
    TrialConfig,
)
from copg.training.launch import ALIVE, FAILURE, ProcessError, raise_failure, take_part, write_request
from copg.training.log import read_metrics
from tests import tiny

FSDP2 = LaunchConfig(processes=2, sharding="fsdp2")


@pytest.fixture(scope="module")
def referenced(reference_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("referenced")
    config = ReferenceConfig(model=str(reference_dir), store=str(root / "store"))
    reference_groups(config, tiny.write_scored(root / "scored", train=32), root / "referenced")
    return root / "referenced"


@pytest.fixture
def config(reference_dir: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        model=str(reference_dir),
        trial=TrialConfig(beta=0.1),
        checkpoint=CheckpointConfig(folder=str(tmp_path / "checkpoints")),
        epochs=4,
        groups_per_step=7,  # and one a micro-batch: four for one process, three for the other
        optimizer=OptimizerConfig(learning_rate=3e-3),
        rows=RowConfig(tokens_per_batch=1),
        samples=MonitorConfig(every_steps=8, num_prompts=4, generation=GenerationConfig(max_new_tokens=4)),
        threads=1,
        launch=LaunchConfig(processes=1),
    )


def train(config: TrainConfig, referenced: Path, root: Path) -> Path:
    train_policy(config, referenced, root / "policy", root / "training")
    return root / "policy"


def assert_close(policy: Path, other: Path, name: str = "model.safetensors", atol: float = 1e-6) -> None:
    expected, found = load_file(other / name), load_file(policy / name)
    assert expected.keys() == found.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, atol=atol, rtol=0)


ALONE_IN_ITS_PROCESS = """
import json, sys
from pathlib import Path
from copg.config import parse_config
from copg.stages.train import TrainConfig, train_policy
root = Path(sys.argv[3])
config = parse_config(TrainConfig, json.loads(sys.argv[1]), where="train")
train_policy(config, Path(sys.argv[2]), root / "policy", root / "training")
"""


OFTEN = """
import sys
from contextlib import ExitStack
import torch
from torch import distributed
from copg.training.launch import hold_group

def train(held):
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    hold_group(held)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))
    model(torch.ones(2, 4)).sum().backward()
    distributed.barrier()
    distributed.destroy_process_group()

for _ in range(2000):
    with ExitStack() as held:
        train(held)
"""


@pytest.mark.nightly
def test_a_process_of_several_never_hangs_at_its_end() -> None:
    done = subprocess.run([sys.executable, "-c", OFTEN], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


@pytest.mark.nightly
@pytest.mark.parametrize("method", ["copg", "dro_v"])  # whose head of values is in shards too
def test_shards_on_two_processes_stopped_and_resumed_give_the_weights_of_one(
    config: TrainConfig, referenced: Path, tmp_path: Path, method: str
) -> None:
    config = replace(config, epochs=6, trial=TrialConfig(beta=0.1, method=method))
    alone = train(config, referenced, tmp_path / "alone")
    shards = replace(
        config, launch=FSDP2, checkpoint=replace(config.checkpoint, every_steps=2, yields="last")
    )
    arguments = [json.dumps(asdict(shards)), str(referenced), str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", ALONE_IN_ITS_PROCESS, *arguments]) as process:
        while not list((tmp_path / "checkpoints").glob("*/step_*2")):
            assert process.poll() is None
            time.sleep(0.02)
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=100) == 143  # 128 + SIGTERM
    assert psutil.wait_procs(started, timeout=10)[1] == []
    assert not (tmp_path / "policy").exists()

    policy = train(shards, referenced, tmp_path)
    facts = read_manifest(tmp_path / "training", schema="training").facts
    assert facts["processes"] == 2
    assert 2 <= facts["resumed_from"] < 30  # 6 epochs of 32 / 7 steps, rounded up
    assert_close(policy, alone, atol=1e-5 if method == "dro_v" else 1e-6)
    of_one, of_both = (metrics(root / "training") for root in (tmp_path / "alone", tmp_path))
    assert of_one.keys() == of_both.keys()
    for step, values in of_one.items():
        assert of_both[step] == {name: pytest.approx(v, rel=1e-3, abs=1e-5) for name, v in values.items()}


def metrics(training: Path) -> dict[int, dict[str, float]]:
    """Of each step what was measured of its groups, whichever process had them."""
    lines = [json.loads(line) for line in (training / "metrics.jsonl").read_text().splitlines()]
    timed = ("tokens/per_s", "step")
    steps = {
        line["step"]: {k: v for k, v in line.items() if k not in timed}
        for line in lines
        if "loss/mean" in line
    }
    assert len(steps) == 30
    return steps


@pytest.mark.nightly
def test_an_adapter_with_checkpointed_activations_in_shards_is_the_same(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    adapter = replace(config, lora=LoraConfig(rank=4), epochs=2, gradient_checkpointing=True)
    alone = train(adapter, referenced, tmp_path / "alone")
    best = replace(adapter, launch=FSDP2, checkpoint=CheckpointConfig(folder=str(tmp_path / "two")))
    assert_close(train(best, referenced, tmp_path), alone, "adapter_model.safetensors")


@pytest.mark.nightly
@pytest.mark.parametrize("sharding", ["ddp", "fsdp2"])
def test_a_reference_point_over_processes_with_unequal_shares_is_that_of_one(
    config: TrainConfig, reference_dir: Path, tmp_path: Path, sharding: Literal["ddp", "fsdp2"]
) -> None:
    settings = ReferenceConfig(model=str(reference_dir), store=str(tmp_path / "store"), mismatched=True)
    reference_groups(settings, tiny.write_scored(tmp_path / "scored", train=8), tmp_path / "referenced")
    start = str(tiny.save_model(tmp_path / "start", seed=7))
    kto = replace(config, trial=TrialConfig(beta=0.1, method="kto"), start_from=start)
    kto = replace(kto, samples=MonitorConfig(num_prompts=0))
    launch = LaunchConfig(processes=2, sharding=sharding)
    two = replace(kto, launch=launch, checkpoint=CheckpointConfig(folder=str(tmp_path / "two")))
    points = []
    for name, each in (("alone", kto), ("spread", two)):
        train(each, tmp_path / "referenced", tmp_path / name)
        lines = read_metrics(tmp_path / name / "training" / "metrics.jsonl")
        points.append([line["reference_point/mean"] for line in lines])
    assert points[0][0] > 1
    assert points[1] == pytest.approx(points[0], rel=1e-4)
    assert_close(tmp_path / "spread" / "policy", tmp_path / "alone" / "policy")


@pytest.mark.nightly
def test_a_users_mistake_in_a_process_is_the_same_error_here(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    other = tiny.save_model(tmp_path / "other", seed=1)
    config = replace(config, model=str(other), launch=LaunchConfig(processes=2))
    with pytest.raises(MismatchError, match="changed since stage 'reference': weights or device"):
        train(config, referenced, tmp_path)


def test_a_process_that_dies_without_a_word_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="one of 8 processes was killed"):
        raise_failure(tmp_path, "one of 8 processes was killed: torchrun ended with 1")


@pytest.mark.nightly
def test_a_training_that_nobody_follows_any_more_saves_a_checkpoint_and_ends(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    launch = LaunchConfig(processes=1, abandoned_s=4)
    config = replace(config, epochs=100_000, samples=MonitorConfig(num_prompts=0), launch=launch)
    folder, checkpoints = tmp_path / "folder", tmp_path / "checkpoints"
    paths = {"referenced": referenced, "policy": tmp_path / "policy", "training": tmp_path / "training"}
    write_request(folder, asdict(config), **paths)
    (folder / ALIVE).touch()
    command = [sys.executable, "-m", "copg.stages.train", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        followed_until = time.monotonic() + 8  # twice as long as it may be left alone
        while time.monotonic() < followed_until or not list(checkpoints.glob("*/metrics.jsonl")):
            (folder / ALIVE).touch()
            assert process.poll() is None
            time.sleep(0.1)
        assert not list(checkpoints.glob("*/step_*"))
        _, said = process.communicate(timeout=100)
        assert process.returncode == 143  # 128 + SIGTERM
    assert "nobody has followed this training for 4 s" in said
    assert len(list(checkpoints.glob("*/step_*"))) == 1


def test_a_pod_that_is_started_again_after_the_end_has_nothing_to_do(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    train(config, referenced, tmp_path)
    before = read_manifest(tmp_path / "policy", schema="policy")
    paths = {"referenced": referenced, "policy": tmp_path / "policy", "training": tmp_path / "training"}
    write_request(tmp_path / "folder", asdict(config), **paths)
    take_part(tmp_path / "folder", train_policy)
    assert read_manifest(tmp_path / "policy", schema="policy") == before


def test_a_full_card_in_a_process_is_a_mistake_that_outranks_what_the_others_noted(
    config: TrainConfig, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")

    paths = {name: tmp_path / name for name in ("referenced", "policy", "training")}
    write_request(tmp_path, asdict(config), **paths)
    (tmp_path / FAILURE).write_text(json.dumps({"kind": "", "message": "a peer was lost"}))
    with pytest.raises(RuntimeError, match="out of memory"):
        take_part(tmp_path, full)
    with pytest.raises(MemoryLimitError, match=r"the card is full.*; lower train\.rows\.tokens_per_batch="):
        raise_failure(tmp_path, "unused")


def test_over_how_many_processes_it_is_spread_is_no_part_of_what_a_checkpoint_belongs_to(
    config: TrainConfig,
) -> None:
    assert replace(config, launch=FSDP2).identity() == config.identity()


def test_parts_of_groups_do_not_go_with_shards() -> None:
    settings = {
        "model": "m",
        "trial": {"beta": 1},
        "checkpoint": {"folder": "f"},
        "rows": {"split_groups": True, "tokens_per_row": 64},
        "launch": {"sharding": "fsdp2"},
    }
    with pytest.raises(ConfigError, match="use ddp, or rows large enough"):
        parse_config(TrainConfig, settings, where="train")

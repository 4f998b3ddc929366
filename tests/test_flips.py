"""One bit flipped in whatever a later stage or run reads: the same result, or a line that names the file."""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from copg_pipelines.local import RECIPE, kept_recipe
from copg_pipelines.local_cache import CACHE, vouched

from copg.artifacts import begin, read_manifest, seal
from copg.data.group_files import read_groups
from copg.errors import ArtifactError, CopgError
from copg.evaluation.results import contender, read_measured
from copg.lm.endpoint import Endpoint
from copg.rewards.weights import check_trained
from copg.run.history import read_runs
from copg.run.machine import read_machine, write_machine
from copg.run.plan_files import read_plan, store_plan
from copg.run.recipe import parse_recipe
from copg.run.sources import DigestMemo
from copg.run.summary import write_summary
from copg.run.task_record import TaskRecord, read_json, read_record, write_record
from copg.stores.addresses import find_damage
from copg.stores.completion_store import COMPLETIONS, open_completions, read_drawn
from copg.stores.model_files import model_digest
from copg.stores.reference_store import REFERENCES, Numerics, completion_key, open_references
from copg.stores.reward_store import REWARDS, open_rewards
from copg.stores.sealed import write_sealed
from copg.stores.values import ValueKind, find_stores
from copg.training.checkpoint import load_latest, load_tensors, save_checkpoint, save_tensors, trained_tensors
from copg.training.log import read_metrics
from tests import evaluations, tiny

KEYS = [completion_key([1], [i]) for i in range(40)]
REPAIRED = "repaired"
"""What a reader gives that took a file for absent, and said so: the work is done once more."""


@dataclass
class Kind:
    """A kind of file."""

    make: Callable[[Path], None]
    """Leaves files in a folder."""
    read: Callable[[Path], Any]
    """What a later stage or run takes from them."""
    places: Callable[[Path], dict[Path, list[int]]] | None = None
    """Which bytes of which files it takes; None: all of them."""


def net(fill: float = 0.0) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A model and an optimiser that made a step."""
    model = torch.nn.Linear(8, 2)
    torch.nn.init.constant_(model.weight, fill)
    torch.nn.init.constant_(model.bias, fill)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    return model, optimizer


def make_checkpoints(folder: Path) -> None:
    for step in (1, 2):
        torch.manual_seed(step)
        save_checkpoint(folder, step, *net(float(step)), {"note": step}, keep=2)


def read_checkpoints(folder: Path) -> Any:
    """State, weights and moments; those of the checkpoint before are a repair."""
    model, optimizer = net()
    state = load_latest(folder, model, optimizer)
    assert state is not None, "both were damaged by one bit"
    weights = {name: tensor.tolist() for name, tensor in trained_tensors(model).items()}
    moments = [{k: v.tolist() for k, v in each.items()} for each in optimizer.state.values()]
    found = (state, weights, moments, torch.get_rng_state().tolist())
    return REPAIRED if state["step"] == 1 else found


def make_best(folder: Path) -> None:
    save_tensors(folder / "best.safetensors", trained_tensors(net(3.0)[0]))


def read_best(folder: Path) -> Any:
    model = net()[0]
    load_tensors(folder / "best.safetensors", model)
    return [tensor.tolist() for tensor in trained_tensors(model).values()]


def make_shards(folder: Path) -> None:
    store = open_references(str(folder), Numerics("w", "float32", "float32"))
    store.append(KEYS, [-float(i) for i in range(40)], [2] * 40, ["cpu"] * 40, [""] * 40)
    store.flush()


def make_rewards(folder: Path) -> None:
    store = open_rewards(str(folder), "d" * 20, {"reward": "length", "version": 1}, rows_per_shard=1)
    store.append(KEYS, [i / 7 for i in range(40)])
    store.flush()


SAMPLER = {"engine": "own", "model": "m", "temperature": 1.0}


def make_completions(folder: Path) -> None:
    store = open_completions(str(folder), SAMPLER)
    texts = [f"red cat {number}" for number in range(40)]
    store.append(KEYS, [float(i % 4) for i in range(40)], texts, [True] * 40, [4] * 40)
    store.flush()


def read_completions(folder: Path) -> Any:
    drawn = read_drawn(open_completions(str(folder), SAMPLER), KEYS)
    return sorted(drawn.items(), key=lambda each: each[0]), told_beside(COMPLETIONS, folder)


def told_beside(kind: ValueKind, folder: Path) -> list[dict[str, Any]]:
    """What stands beside the shards of a store, for people."""
    return [store.about() for store in find_stores(kind, str(folder))]


def make_summary(folder: Path) -> None:
    write_sealed(
        folder / "run.json", {"run": "0123456789ab", "name": "x", "started": "2026", "warnings": ["w"]}
    )
    write_summary(folder, succeeded=False)


def read_summary(folder: Path) -> Any:
    return read_json(folder / "summary.json"), read_runs([folder])


def make_training(folder: Path) -> None:
    begin(folder)
    (folder / "metrics.jsonl").write_text('{"step": 1, "loss/mean": 0.5}\n{"step": 2, "loss/mean": 0.25}\n')
    told = {"schema": "training", "stage": "train", "rows": 1, "config": {"a": 1.5}, "parents": {"p": "q"}}
    seal(folder, **told, facts={"diverged": False, "x": [1, None]}, volatile=("metrics.jsonl",))


def read_training(folder: Path) -> Any:
    return read_manifest(folder, schema="training"), read_metrics(folder / "metrics.jsonl")


def make_policy(folder: Path) -> None:
    begin(folder)
    save_tensors(folder / "model.safetensors", trained_tensors(net(3.0)[0]))
    seal(folder, schema="policy", stage="train", rows=1, config={}, parents={}, facts={"trial": "copg_0.1"})


def read_policy(folder: Path) -> Any:
    digest = "89ab"  # of the registry: not in the folder
    damage = find_damage(str(folder), digest=digest)
    if not damage.startswith("another artifact"):
        raise ArtifactError(f"{folder}: {damage}")
    return damage, read_manifest(folder, schema="policy")


def make_evaluation(folder: Path) -> None:
    groups = evaluations.make_groups(folder.parent / f"{folder.name}-groups", 4)
    evaluations.make_evaluation(folder, evaluations.SWEEP[0], groups, 4)


def read_evaluation(folder: Path) -> Any:
    measured = read_measured(folder)
    return repr((asdict(measured), contender(measured)))  # a text: NaN is not equal to itself


def read_memo(folder: Path, found: str = REPAIRED) -> Any:
    return DigestMemo(folder).remembered("model m", ["state", 1.5, "é"], lambda: found)


def make_record(folder: Path) -> None:
    facts = {"gate": {"reward": {"mean": 0.25}}}
    outputs = {"policy": "/runs/artifacts/policy"}
    record = TaskRecord("train", "train-a", "k" * 64, {"name": "a"}, state="succeeded", outputs=outputs)
    record.facts = facts
    write_record(folder, record)


def read_only_record(folder: Path) -> Any:
    return read_record(next((folder / "stages").glob("[!.]*"))) or REPAIRED


def make_recipe(folder: Path) -> None:
    trials = [{"method": "copg", "beta": 0.05}, {"method": "ipo", "beta": 1.0}]
    rewards = [{"name": "length", "params": {"max": 20}}]
    values = {"name": "x", "records": "/r.jsonl", "model": "/m", "rewards": rewards, "trials": trials}
    write_sealed(folder / RECIPE, {"dag": "align", **asdict(parse_recipe(values))})


PLAN = {"key": "k" * 64, "config": {"epochs": 3, "optimizer": {"learning_rate": 1e-6}, "store": None}}


def read_only_plan(folder: Path) -> Any:
    (path,) = (folder / "plans").glob("[!.]*")
    return read_plan({"digest": path.stem}, str(folder))


def endpoint(folder: Path) -> Endpoint:
    return Endpoint("http://127.0.0.1:9/v1", None, str(folder), None, 0.0, 1, 1.0)


def make_cache(folder: Path) -> None:
    with vouched(folder):
        (folder / CACHE).mkdir()
        (folder / CACHE / "a.json").write_text('{"policy": {"uri": "/runs/artifacts/policy"}}')


def read_cache(folder: Path) -> Any:
    with vouched(folder):
        return [entry.read_text() for entry in (folder / CACHE).iterdir()] or REPAIRED


RUN_FILE = {"run": "0123456789ab", "tasks": [{"task": "train-a", "stage": "train"}], "warnings": ["w"]}


def make_reward_model(folder: Path) -> None:
    begin(folder)
    (folder / "model.safetensors").write_bytes(bytes(range(256)))
    (folder / "config.json").write_text('{"num_labels": 1}')
    seal(folder, schema="reward_model", stage="reward", rows=1, config={}, parents={}, facts={})


def read_reward_model(folder: Path) -> list[bytes]:
    check_trained(str(folder), model_digest(folder))
    return [(folder / name).read_bytes() for name in ("model.safetensors", "config.json")]


KINDS = {
    "groups": Kind(
        lambda folder: tiny.write_scored(folder, train=6, select=2, gate=2) and None,
        lambda folder: (read_manifest(folder, schema="scored"), list(read_groups(folder, "train"))),
    ),
    "training": Kind(make_training, read_training),
    "policy": Kind(make_policy, read_policy),
    "evaluation": Kind(make_evaluation, read_evaluation),
    "checkpoints": Kind(make_checkpoints, read_checkpoints),
    "best weights": Kind(make_best, read_best),
    "reward model": Kind(make_reward_model, read_reward_model),
    "reference store": Kind(
        make_shards,
        lambda folder: (
            open_references(str(folder), Numerics("w", "float32", "float32")).lookup(KEYS),
            told_beside(REFERENCES, folder),
        ),
    ),
    "reward store": Kind(
        make_rewards,
        lambda folder: (open_rewards(str(folder), "d" * 20).get(KEYS), told_beside(REWARDS, folder)),
    ),
    "completion store": Kind(make_completions, read_completions),
    "summary": Kind(make_summary, read_summary),
    "memo": Kind(lambda folder: read_memo(folder, "found") and None, read_memo),
    "record": Kind(make_record, read_only_record),
    "run": Kind(lambda f: write_sealed(f / "run.json", RUN_FILE), lambda f: read_json(f / "run.json")),
    "recipe": Kind(make_recipe, kept_recipe),
    "machine": Kind(  # that of another machine counts as none
        lambda folder: write_machine(folder, cores=8, tasks_at_once=2),
        lambda folder: read_machine(folder) or REPAIRED,
    ),
    "plan": Kind(lambda folder: store_plan(folder, PLAN, {}) and None, read_only_plan),
    "judge": Kind(
        lambda folder: endpoint(folder)._keep("0a" * 32, "good: 7"),
        lambda folder: endpoint(folder)._cached("0a" * 32) or REPAIRED,
    ),
    "cache": Kind(make_cache, read_cache),
}


def read(kind: Kind, folder: Path) -> tuple[Any, str]:
    """What a reader takes, or the line in which it refuses."""
    try:
        return kind.read(folder), ""
    except CopgError as error:
        return None, str(error)


def flip(kind: Kind, folder: Path, num_bits: int, seed: str) -> int:
    """How many bits of the files of a kind were told or repaired; each other one changed nothing.

    Raises:
        AssertionError: a bit changed what is read, without a word.
    """
    folder.mkdir()
    kind.make(folder)
    content = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    places = kind.places(folder) if kind.places else {path: range(len(content[path])) for path in content}
    files = [path for path in content if places.get(path)]
    expected, rng, told = kind.read(folder), random.Random(seed), 0
    for number in range(num_bits):
        path = files[number % len(files)]
        place, bit = rng.choice(places[path]), rng.randrange(8)
        changed = bytearray(content[path])
        changed[place] ^= 1 << bit
        path.write_bytes(changed)
        where = f"{path.relative_to(folder)}: byte {place}, bit {bit}"
        found, line = read(kind, folder)
        assert str(folder) in line and "\n" not in line if line else found in (expected, REPAIRED), where
        told += bool(line) or found == REPAIRED
        for each, data in content.items():  # also what a repair took away
            each.write_bytes(data)
    return told


@pytest.mark.parametrize("name", KINDS)
def test_one_bit_changes_nothing_or_is_told(name: str, tmp_path: Path) -> None:
    assert flip(KINDS[name], tmp_path / "kind", 24, name) > 0


@pytest.mark.nightly
@pytest.mark.parametrize("name", KINDS)
def test_two_thousand_bits_over_all_kinds_change_nothing_or_are_told(name: str, tmp_path: Path) -> None:
    assert flip(KINDS[name], tmp_path / "kind", 2000 // len(KINDS) + 1, f"whole {name}") > 0


def test_what_changes_without_a_word_is_found(tmp_path: Path) -> None:
    silent = Kind(lambda folder: (folder / "a").write_text("7") and None, lambda f: (f / "a").read_bytes())
    with pytest.raises(AssertionError, match="a: byte 0"):
        flip(silent, tmp_path / "kind", 1, "")

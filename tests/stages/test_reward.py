import itertools
import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from copg.artifacts import begin, read_manifest, seal
from copg.config import parse_config
from copg.data.group_files import GroupWriter
from copg.errors import ConfigError, RewardError
from copg.records import Completion, Group, prompt_id
from copg.rewards.contract import Ensemble, RewardSpec, Scale
from copg.rewards.mixture import build_mixture
from copg.rewards.reward_model import RewardModel
from copg.stages.reward import RewardConfig, train_reward
from copg.training.config import LoraConfig, OptimizerConfig
from tests.rewards.conftest import WORDS, llama_tokenizer, save_bert

FAST = OptimizerConfig(learning_rate=3e-3, warmup_fraction=0.1)


def preference(number: int, rng: random.Random) -> Group:
    """The completion with "cat" is preferred; where it stands, and how long the two are, says nothing."""
    words = [w for w in WORDS if w not in ("cat", "dog")]
    prompt = f"{' '.join(rng.choices(words, k=3))} {number}"
    better, worse = (rng.choices(words, k=rng.randint(1, 5)) for _ in range(2))
    better.insert(rng.randint(0, len(better)), "cat")
    worse.insert(rng.randint(0, len(worse)), "dog")
    completions = [Completion(" ".join(better), reward=1.0), Completion(" ".join(worse), reward=0.0)]
    rng.shuffle(completions)
    return Group(id=prompt_id(prompt), prompt=prompt, completions=completions, source=f"d:{number}")


def write(
    directory: Path,
    num_groups: int,
    make: Callable[[int, random.Random], Group] = preference,
    **config: Any,
) -> Path:
    """Three of four prompts in train, the rest in select; ``config`` is that of ``validate``."""
    rng = random.Random(0)
    splits = itertools.cycle(["train", "train", "train", "select"])
    begin(directory)
    with GroupWriter(directory) as writer:
        for number, split in zip(range(num_groups), splits, strict=False):
            writer.write(split, make(number, rng))
    seal(directory, schema="groups", stage="validate", rows=num_groups, config=config, parents={})
    return directory


@pytest.fixture(scope="module")
def groups(tmp_path_factory) -> Path:
    return write(tmp_path_factory.mktemp("data") / "groups", 240)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    """A language model: no head, no padding token."""
    directory = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS) + 7,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    llama_tokenizer().save_pretrained(directory)
    return str(directory)


def test_members_are_trained_from_the_next_seeds_and_each_is_a_reward_model_of_its_own(
    base, tmp_path
) -> None:
    groups = write(tmp_path / "groups", 40)
    config = RewardConfig(model=base, groups_per_step=8, optimizer=FAST, members=2, seed=3)
    metrics = train_reward(config, groups, tmp_path / "model")
    alone = {seed: replace(config, members=1, seed=seed) for seed in (3, 4)}
    found = {seed: train_reward(one, groups, tmp_path / f"{seed}") for seed, one in alone.items()}
    assert metrics == {**found[3], **{f"{name}/1": value for name, value in found[4].items()}}
    kept = {seed: read_manifest(tmp_path / f"{seed}", schema="reward_model").files for seed in found}
    both = [read_manifest(tmp_path / at, schema="reward_model").files for at in ("model", "model/member_1")]
    assert both == [kept[3], kept[4]]
    assert kept[3] != kept[4]

    judges = Ensemble(name="judges")
    specs = [
        RewardSpec(
            "reward_model", params={"model": str(tmp_path / at)}, label=at, ensemble=judges, standardise=True
        )
        for at in ("model", "model/member_1")
    ]
    mixture = build_mixture(specs, scales={spec.part: Scale(0.0, 1.0) for spec in specs})
    scores = mixture(["the dog"] * 2, ["cat cat", "dog dog dog"], [{}] * 2)
    assert scores.total == pytest.approx([min(values) for values in zip(*scores.parts.values(), strict=True)])
    assert min(mixture.disagreements(scores.parts)["judges"]) > 0


def test_a_language_model_learns_the_preference_and_score_can_use_it(base, groups, tmp_path) -> None:
    config = RewardConfig(model=base, epochs=3, groups_per_step=8, optimizer=FAST)
    metrics = train_reward(config, groups, tmp_path / "model")
    assert metrics["accuracy/mean"] > 0.95
    assert metrics["accuracy/low"] > metrics["length_accuracy/mean"] + 0.1
    assert metrics["loss/mean"] < 0.3
    # 180 prompts of train in steps of 8: 23 an epoch
    assert metrics["steps/done"] == 69
    assert metrics["pairs/count"] == 60
    manifest = read_manifest(tmp_path / "model", schema="reward_model")
    assert manifest.facts["metrics"] == metrics
    assert sum(row["pairs"] for row in manifest.facts["reliability"]) == 60
    lines = [json.loads(line) for line in (tmp_path / "model/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 70))
    assert lines[-1]["loss/mean"] < lines[0]["loss/mean"]
    cat, dog = RewardModel(model=str(tmp_path / "model"))(
        ["it is 7"] * 2, ["the cat ran", "the dog ran"], [{}] * 2
    )
    assert cat > dog + 1


def thumb(number: int, rng: random.Random) -> Group:
    """One completion a prompt; with "cat" it is liked, with "dog" it is not; every tenth has no thumb."""
    words = [w for w in WORDS if w not in ("cat", "dog")]
    prompt = f"{' '.join(rng.choices(words, k=3))} {number}"
    liked = rng.random() < 0.6
    said = rng.choices(words, k=rng.randint(1, 5))
    said.insert(rng.randint(0, len(said)), "cat" if liked else "dog")
    completion = Completion(" ".join(said), reward=None if number % 10 == 9 else float(liked))
    return Group(id=prompt_id(prompt), prompt=prompt, completions=[completion], source=f"d:{number}")


def test_thumbs_on_single_completions_teach_a_reward_that_scores_any_other(base, tmp_path, capsys) -> None:
    config = RewardConfig(model=base, epochs=3, groups_per_step=8, optimizer=FAST)
    groups = write(tmp_path / "groups", 160, thumb)
    metrics = train_reward(config, groups, tmp_path / "model")
    assert metrics["auc/mean"] > metrics["length_auc/high"]
    assert metrics["auc/low"] > 0.7  # all of 32 told apart: as sure as 16 thumbs of the scarcer kind can be
    assert metrics["loss/mean"] < metrics["constant_loss/mean"] / 2
    assert metrics["calibration/error"] < 0.2
    # every 10th from 9 on has no thumb, every 4th from 3 on is held out: 8 of 40 (19, 39, ...) are both
    assert metrics["dropped/completions_without_thumb"] == 16
    assert metrics["thumbs/count"] == 40 - 8
    facts = read_manifest(tmp_path / "model", schema="reward_model").facts
    assert facts["learns"] == "thumbs"
    assert sum(row["thumbs"] for row in facts["reliability"]) == 32
    assert "the reward learnt from thumbs: held-out auc 1.00" in capsys.readouterr().err
    cat, dog, drawn = RewardModel(model=str(tmp_path / "model"))(
        ["it is 7"] * 3, ["the cat ran", "the dog ran", "no cat"], [{}] * 3
    )
    assert min(cat, drawn) > 0 > dog


def test_thumbs_that_mean_nothing_are_told(base, tmp_path, capsys) -> None:
    def random_thumb(number: int, rng: random.Random) -> Group:
        made = thumb(number, rng)
        made.completions[0].reward = float(rng.random() < 0.5)
        return made

    groups = write(tmp_path / "groups", 60, random_thumb)
    train_reward(RewardConfig(model=base), groups, tmp_path / "model")
    told = capsys.readouterr().err
    assert "it cannot be told from a coin" in told
    assert told.count("the reward learnt from thumbs: held-out auc") == 1


def of_a_document(make: Callable[[int, random.Random], Group]) -> Callable[[int, random.Random], Group]:
    """Prompts of six held-out documents, by a column that the recipe names."""

    def made(number: int, rng: random.Random) -> Group:
        return replace(make(number, rng), columns={"doc": {"id": number % 24}})

    return made


@pytest.mark.nightly
@pytest.mark.parametrize("make", [preference, thumb])
def test_held_out_prompts_of_a_document_count_as_one(base, tmp_path, make) -> None:
    ends = []
    for name, columns in (("apart", {}), ("together", {"cluster": "doc.id"})):
        groups = write(tmp_path / name, 96, of_a_document(make), columns=columns)
        metrics = train_reward(RewardConfig(model=base), groups, tmp_path / f"{name} model")
        measure = "auc" if make is thumb else "accuracy"
        ends.append([metrics[f"{measure}/{end}"] for end in ("mean", "low", "high")])
    (mean, low, high), (same, lower, higher) = ends
    assert mean == same
    assert (low, high) != (lower, higher)  # 24 prompts of 6 documents


def test_what_is_learnt_can_be_chosen(base, groups, tmp_path) -> None:
    config = RewardConfig(model=base, groups_per_step=64, learns="thumbs")
    assert "auc/mean" in train_reward(config, groups, tmp_path / "thumbs")
    singles = write(tmp_path / "singles", 40, thumb)
    for_pairs = RewardConfig(model=base, learns="pairs")
    with pytest.raises(RewardError, match="completion 1 has reward=None, no rank"):
        train_reward(for_pairs, singles, tmp_path / "pairs")


def test_the_same_settings_give_the_same_weights(base, groups, tmp_path) -> None:
    config = RewardConfig(model=base, groups_per_step=64, optimizer=FAST, seed=3)
    for name in ("one", "two"):
        train_reward(config, groups, tmp_path / name)
    digests = {read_manifest(tmp_path / name, schema="reward_model").digest for name in ("one", "two")}
    assert len(digests) == 1


def test_the_token_budget_changes_no_gradient(base, tmp_path) -> None:
    groups = write(tmp_path / "groups", 32)
    found = []
    for tokens in (1, 100_000):
        config = RewardConfig(model=base, groups_per_step=12, tokens_per_batch=tokens, optimizer=FAST)
        train_reward(config, groups, tmp_path / str(tokens))
        lines = (tmp_path / str(tokens) / "metrics.jsonl").read_text().splitlines()
        found.append([json.loads(line)["loss/mean"] for line in lines])
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_an_adapter_is_merged_and_an_encoder_learns_as_well(base, groups, tmp_path) -> None:
    lora = RewardConfig(model=base, epochs=3, groups_per_step=8, optimizer=FAST, lora=LoraConfig(rank=8))
    assert train_reward(lora, groups, tmp_path / "lora")["accuracy/mean"] > 0.9
    assert not (tmp_path / "lora/adapter_config.json").exists()
    encoder = save_bert(tmp_path / "bert", ["score"])
    config = RewardConfig(model=encoder, epochs=3, groups_per_step=8, optimizer=FAST)
    assert train_reward(config, groups, tmp_path / "pair")["accuracy/mean"] > 0.9


def test_data_without_pairs_is_one_clear_line(base, tmp_path) -> None:
    directory = tmp_path / "groups"
    begin(directory)
    with GroupWriter(directory) as writer:
        tied = [Completion("cat", reward=1.0), Completion("dog", reward=1.0)]
        writer.write("train", Group(id="a", prompt="the", completions=tied, source="d:1"))
    seal(directory, schema="groups", stage="validate", rows=1, config={}, parents={})
    told = "0 prompts of train hold a pair; at least 2 are needed; a completion alone .* teaches by a thumb"
    with pytest.raises(RewardError, match=told):
        train_reward(RewardConfig(model=base, learns="pairs"), directory, tmp_path / "model")
    # read as thumbs, which they may as well be
    with pytest.raises(RewardError, match="train: 1 prompts hold a thumb; at least 2 are needed"):
        train_reward(RewardConfig(model=base), directory, tmp_path / "model")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs=0 must be >= 1"),
        ({"min_gap": -1}, "must be >= 0"),
        ({"beta": 1}, "beta is unknown"),
        ({"learns": "ranks"}, "learns='ranks' must be 'auto' or 'pairs' or 'thumbs'"),
    ],
)
def test_wrong_settings_are_refused(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(RewardConfig, {"model": "m", **settings}, where="reward")

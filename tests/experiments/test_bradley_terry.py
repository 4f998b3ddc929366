"""A reward model learned from ranked pairs, read back by the product's own reward."""

import random
from pathlib import Path

from copg.records import Completion, Group, prompt_id
from copg.rewards import RewardSpec, build_reward
from experiments.bradley_terry import ranked_pairs, train_reward_model
from tests.tiny import save_model

WORDS = ["red", "green", "blue", "cat", "dog", "bird"]


def make_groups(number: int, seed: int) -> list[Group]:
    """The more cats the better."""
    rng = random.Random(seed)
    groups = []
    for _ in range(number):
        prompt = " ".join(rng.choices(WORDS, k=4)) + " ?"
        texts = [" ".join(rng.choices(WORDS, k=5)) for _ in range(3)]
        completions = [Completion(text, reward=float(text.split().count("cat"))) for text in texts]
        groups.append(Group(prompt_id(prompt), prompt, completions))
    return groups


def test_pairs_are_all_unequal_ones_the_better_first() -> None:
    # rewards 1, 0, 1: (0 > 1), (2 > 1); the tie gives none
    completions = [
        Completion("cat", reward=1.0),
        Completion("dog", reward=0.0),
        Completion("a cat", reward=1.0),
    ]
    assert ranked_pairs([Group("0", "red ?", completions)]) == [(0, 0, 1), (0, 2, 1)]


def test_the_model_ranks_held_out_completions_and_the_product_reads_it(tmp_path: Path) -> None:
    reference = save_model(tmp_path / "reference")
    train, held_out = make_groups(400, seed=0), make_groups(60, seed=1)
    report = train_reward_model(train, held_out, reference, tmp_path / "reward", epochs=4, learning_rate=1e-3)
    assert report["accuracy"] > 0.9
    assert report["pairs"] == len(ranked_pairs(held_out))
    reward = build_reward(
        RewardSpec("reward_model", params={"model": str(tmp_path / "reward"), "form": "text"})
    )
    many, none = reward(["red ?", "red ?"], ["cat cat cat cat dog", "dog dog red red dog"], [{}, {}])
    assert many > none + 1


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    reference = save_model(tmp_path / "reference")
    groups = make_groups(20, seed=2)
    for name in ("one", "two"):
        train_reward_model(groups, groups, reference, tmp_path / name, epochs=1)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two

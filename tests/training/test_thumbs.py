import math
from collections import Counter

import pytest
import torch

from copg.errors import RewardError
from copg.lm.text import TextCodec
from copg.records import Completion, Group
from copg.training.lessons import Reader
from copg.training.thumbs import Thumbs, check_thumbs, hold_thumbs, logistic_loss, read_thumbs
from tests.rewards.conftest import llama_tokenizer


def group(*rewards: float | None, texts: tuple[str, ...] = ("cat", "dog", "dog ran on the mat")) -> Group:
    completions = [Completion(text, reward=r) for text, r in zip(texts, rewards, strict=False)]
    return Group(id="g", prompt="the", completions=completions, source="d:4")


def read(groups: list[Group], max_tokens: int = 99) -> tuple[list[Thumbs], Counter[str]]:
    dropped: Counter[str] = Counter()
    reader = Reader(TextCodec(llama_tokenizer()), "text", max_tokens)
    return list(read_thumbs(groups, reader, dropped=dropped)), dropped


def test_the_loss_is_the_cross_entropy_of_a_thumb() -> None:
    # P(up) = sigmoid(ln 3) = 3/4: up costs ln 4/3, down ln 4; at 0 either costs ln 2
    scores, up = torch.tensor([math.log(3), math.log(3), 0.0]), torch.tensor([1.0, 0.0, 1.0])
    expected = [math.log(4 / 3), math.log(4), math.log(2)]
    assert logistic_loss(scores, up).tolist() == pytest.approx(expected)
    loss, right = Thumbs([], [], up.tolist()).loss(scores)
    assert float(loss) == pytest.approx(sum(expected) / 3)
    # the first is on its side, the second is not, and 0 is on neither side of .5 but counts as down
    assert right == pytest.approx(1 / 3)


def test_thumbs_are_told_from_preferences_by_how_many_prompts_hold_both() -> None:
    single, pair, unjudged = group(1), group(1, 0), group(None)
    assert hold_thumbs([single, group(0), pair, unjudged])  # one of three
    assert not hold_thumbs([single, pair])  # one of two
    assert not hold_thumbs([pair, pair])
    assert not hold_thumbs([single, group(0.5)])
    assert not hold_thumbs([unjudged])


def test_completions_without_a_thumb_are_counted_and_those_of_a_prompt_stay_together() -> None:
    found, dropped = read([group(1, None, 0), group(None), group(0, 1)])
    assert [g.up for g in found] == [[1.0, 0.0], [0.0, 1.0]]
    assert [g.lengths for g in found] == [[3, 18], [3, 3]]
    assert dropped == {"completions_without_thumb": 2}
    # "<s> the dog ran on the mat </s>" has 8 tokens
    found, dropped = read([group(1, None, 0)], max_tokens=6)
    assert [g.up for g in found] == [[1.0]]
    assert dropped == {"completions_without_thumb": 1, "thumbs_too_long": 1}


def test_a_reward_that_is_no_thumb_is_named() -> None:
    with pytest.raises(RewardError, match=r"d:4: completion 2 has reward=0.5, a thumb is 1 or 0; .*pairs"):
        read([group(1, 0.5)])


def test_thumbs_that_are_all_alike_teach_nothing() -> None:
    found, _ = read([group(1), group(1)])
    with pytest.raises(RewardError, match="train: all 2 thumbs are up: a reward needs both"):
        check_thumbs(found, "train")
    with pytest.raises(RewardError, match="1 prompts hold a thumb; at least 2"):
        check_thumbs(found[:1], "train")
    check_thumbs(read([group(1), group(0)])[0], "train")

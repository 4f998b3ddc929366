import math
from collections import Counter

import pytest
import torch

from copg.errors import RecordError, RewardError
from copg.evaluation.learnt_reward import log_loss
from copg.lm.text import TextCodec
from copg.records import Completion, Group
from copg.training.comparisons import bradley_terry_loss, ranked_pairs, read_comparisons
from copg.training.lessons import Reader
from tests.rewards.conftest import TEMPLATE, llama_tokenizer


def test_the_loss_is_the_cross_entropy_of_a_pair() -> None:
    # sigmoid(0) = 1/2: ln 2; sigmoid(ln 3) = 3/4: ln 4/3; sigmoid(-ln 3) = 1/4: ln 4
    better, worse = torch.tensor([1.0, math.log(3), 0.0]), torch.tensor([1.0, 0.0, math.log(3)])
    expected = [math.log(2), math.log(4 / 3), math.log(4)]
    assert bradley_terry_loss(better, worse).tolist() == pytest.approx(expected)
    assert log_loss((better - worse).tolist()) == pytest.approx(sum(expected) / 3)
    assert log_loss([-2000.0]) == 2000.0


def test_every_pair_that_differs_is_ranked_and_ties_are_none() -> None:
    assert ranked_pairs([1, 3, 2], min_gap=0, limit=9, key="") == [(1, 0), (2, 0), (1, 2)]
    assert ranked_pairs([1, 1, 2], min_gap=0, limit=9, key="") == [(2, 0), (2, 1)]
    assert ranked_pairs([1, 3, 2], min_gap=1, limit=9, key="") == [(1, 0)]
    assert ranked_pairs([5, 5], min_gap=0, limit=9, key="") == []


def test_of_many_pairs_a_sample_is_taken_that_no_run_changes() -> None:
    rewards = list(range(20))
    first = ranked_pairs(rewards, min_gap=0, limit=5, key="a")
    assert len(set(first)) == 5
    assert all(rewards[i] > rewards[j] for i, j in first)
    assert ranked_pairs(rewards, min_gap=0, limit=5, key="a") == first
    assert ranked_pairs(rewards, min_gap=0, limit=5, key="b") != first


def group(rewards: list[float | None], texts: list[str]) -> Group:
    completions = [Completion(t, reward=r) for t, r in zip(texts, rewards, strict=True)]
    return Group(id="g", prompt="the", completions=completions, source="d:4")


def read(groups: list[Group], max_tokens: int = 99) -> tuple[list, Counter]:
    dropped: Counter[str] = Counter()
    reader = Reader(TextCodec(llama_tokenizer()), "text", max_tokens)
    return list(read_comparisons(groups, reader, min_gap=0, limit=9, dropped=dropped)), dropped


def test_a_prompt_that_the_chat_template_cannot_write_is_named() -> None:
    tools = [{"type": "function", "function": {"name": "look"}}]
    called = group([1, 0], ["cat", "dog"])
    called.columns = {"tools": tools}
    reader = Reader(TextCodec(llama_tokenizer(TEMPLATE)), "chat", 99)
    with pytest.raises(RecordError, match=r"^d:4: the chat template writes nothing of the 1 tools"):
        list(read_comparisons([called], reader, min_gap=0, limit=9, dropped=Counter()))


def test_only_completions_in_a_pair_are_read_and_the_rest_is_counted() -> None:
    found, dropped = read(
        [
            group([1, 0, 0], ["cat", "dog", "dog ran"]),
            group([1, 1], ["cat", "dog"]),
            group([2, 1, 0], ["cat", "dog", "dog ran on the mat"]),
        ],
        max_tokens=6,
    )
    # "<s> the cat </s>" is 4 tokens; the last completion has 8
    assert [g.pairs for g in found] == [[(0, 1), (0, 2)], [(0, 1)]]
    assert [len(g.encodings) for g in found] == [3, 2]
    assert found[1].lengths == [3, 3]
    assert dropped == {"groups_without_pair": 1, "pairs_too_long": 2}
    assert [g.differences(s) for g, s in zip(found, [[3.0, 1.0, 5.0], [0.0, 0.5]], strict=True)] == [
        [2.0, -2.0],
        [-0.5],
    ]


def test_a_completion_without_a_reward_is_named() -> None:
    with pytest.raises(RewardError, match="d:4: completion 2 has reward=None, no rank"):
        read([group([1, None], ["cat", "dog"])])

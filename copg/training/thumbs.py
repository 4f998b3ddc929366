"""Thumbs on single completions, and the logistic loss on them, for logs in which nothing is compared."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from copg.errors import RewardError
from copg.records import CLUSTER, Group, cluster_of
from copg.rewards.classifier import Encoding
from copg.training.lessons import Reader


def logistic_loss(scores: Tensor, up: Tensor) -> Tensor:
    """Cross-entropy of a thumb when P(up) = sigmoid(score).

    Args:
        scores: [N] logits.
        up: [N] 1 for a thumb up, 0 for one down.

    Returns:
        [N] nats.
    """
    return torch.nn.functional.binary_cross_entropy_with_logits(scores, up, reduction="none")


@dataclass(frozen=True, slots=True)
class Thumbs:
    """One group as the reward model reads it."""

    encodings: list[Encoding]
    """Of the completions that have a thumb."""
    lengths: list[int]
    """Characters of each."""
    up: list[float]
    """1 or 0 of each."""
    cluster: str = ""
    """What its prompt shares with those that count as one with it; empty where it stands for itself."""

    def loss(self, scores: Tensor) -> tuple[Tensor, float]:
        """Of [K] scores: mean loss of a thumb, nats, and the share on whose side of .5 they are."""
        up = torch.tensor(self.up, device=scores.device)
        right = (scores > 0) == (up > 0)
        return logistic_loss(scores, up).mean(), float(right.float().mean())


def hold_thumbs(groups: Iterable[Group]) -> bool:
    """Whether groups came with thumbs, not with preferences.

    True where every reward is 0 or 1 and fewer than half of the prompts that have any hold both.
    """
    judged = compared = 0
    for group in groups:
        values = {completion.reward for completion in group.completions} - {None}
        if not values <= {0.0, 1.0}:
            return False
        judged += bool(values)
        compared += len(values) == 2
    return 2 * compared < judged


def read_thumbs(
    groups: Iterable[Group], reader: Reader, *, dropped: Counter[str], cluster: str = CLUSTER
) -> Iterator[Thumbs]:
    """The groups that hold a thumb; what is left out is counted in ``dropped``.

    Args:
        cluster: column whose equal values make prompts count as one.

    Raises:
        RewardError: a reward that is neither 0 nor 1.
        RecordError: the model's chat template refuses a prompt.
    """
    for group in groups:
        encodings, lengths, up = [], [], []
        for k, completion in enumerate(group.completions, 1):
            if completion.reward is None:
                dropped["completions_without_thumb"] += 1
                continue
            if completion.reward not in (0.0, 1.0):
                raise RewardError(
                    f"{group.source}: completion {k} has reward={completion.reward:g}, a thumb is 1 or 0; "
                    "reward.learns: pairs ranks the completions of a prompt by any reward"
                )
            encoding = reader.read(group, completion.text)
            if encoding is None:
                dropped["thumbs_too_long"] += 1
                continue
            encodings.append(encoding)
            lengths.append(len(completion.text))
            up.append(completion.reward)
        if up:
            yield Thumbs(encodings, lengths, up, cluster_of(group, cluster) or "")


def check_thumbs(data: Sequence[Thumbs], where: str) -> None:
    """Refuse thumbs that nothing can be told apart by.

    Raises:
        RewardError: fewer than two prompts hold a thumb, or all thumbs are alike.
    """
    every = [thumb for group in data for thumb in group.up]
    if len(data) < 2:
        raise RewardError(f"{where}: {len(data)} prompts hold a thumb; at least 2 are needed")
    if len(set(every)) < 2:
        raise RewardError(
            f"{where}: all {len(every)} thumbs are {'up' if every[0] else 'down'}: a reward needs both to "
            "tell them apart; bring more records, or hold out more (validate.select_fraction)"
        )

"""Training data in memory: token ids of whole groups, flat, and the order they are met in."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from copg.data.mismatched import mismatched_of
from copg.errors import ArtifactError
from copg.lm.rows import TokenGroup
from copg.losses.groups import Completions, widen
from copg.records import Group
from copg.training.transforms import Transform, spread_within, transform_rewards

ROUNDING = 1e-9
"""Spreads of the training rewards from their mean that say nothing."""


class TrainData:
    """Groups with token ids, rewards and reference log-probabilities, 4 bytes a token."""

    def __init__(
        self, groups: Iterable[Group], transform: Transform = "none", *, mismatched: bool = False
    ) -> None:
        """Read all groups.

        Args:
            groups: of the train split.
            transform: what is made of their rewards.
            mismatched: read the completion of another prompt that stage ``reference`` put beside each.

        Raises:
            ArtifactError: a completion lacks its reward, token ids or reference log-probability, or there is
                no group at all.
        """
        tokens: list[np.ndarray] = []
        self.ids: list[str] = []
        self._first: list[int] = []
        rewards: list[float] = []
        ref_logps: list[float] = []
        self._mismatched: dict[int, tuple[NDArray[np.int32], float]] = {}
        for group in groups:
            if mismatched and (other := mismatched_of(group)):
                self._mismatched[len(self.ids)] = (np.asarray(other[0], np.int32), other[1])
            self.ids.append(group.id)
            self._first.append(len(tokens))
            tokens.append(np.asarray(group.prompt_ids, np.int32))
            for c in group.completions:
                if c.token_ids is None or c.reward is None or c.ref_logps is None:
                    raise ArtifactError(f"group {group.id} ({group.source}): not scored or not referenced")
                tokens.append(np.asarray(c.token_ids, np.int32))
                rewards.append(c.reward)
                ref_logps.append(c.ref_logps)
        if not self.ids:
            raise ArtifactError("there is no group of the train split to train on")
        self._first.append(len(tokens))
        self._ends = np.cumsum([len(part) for part in tokens])
        self._num_scored = np.array([np.count_nonzero(part >= 0) for part in tokens])
        self._tokens = np.concatenate(tokens)
        found = transform_rewards(np.array(rewards, np.float64), self._firsts(), transform)
        self.rewards = torch.from_numpy(found)  # in float64, cast once they are centred
        self.ref_logps = torch.tensor(ref_logps, dtype=torch.float32)
        self.spread = _positive(spread_within(np.split(found, self._firsts()[1:-1])))
        """Standard deviation of rewards within a prompt, mean over prompts of several completions, in reward
        units; 1 where all are tied."""
        self.mean = float(found.mean())
        """Of all rewards, reward units."""
        self.overall_spread = _positive(float((found - self.mean).std()))
        """Standard deviation of all rewards, across prompts too; 1 where all are equal."""

    def by_prompt(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """[K] rewards and [K] log-probabilities under the reference of each prompt."""
        places = self._firsts()[1:-1]
        values = (self.rewards.numpy(), self.ref_logps.double().numpy())
        return zip(*(np.split(each, places) for each in values), strict=True)

    def _firsts(self) -> np.ndarray:
        """[groups + 1] where the values of each group's completions begin."""
        return np.asarray(self._first) - np.arange(len(self._first))

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.ids)

    def token_group(self, index: int) -> TokenGroup:
        """Prompt and completions of one group."""
        first, last = self._first[index], self._first[index + 1]
        start = 0 if first == 0 else self._ends[first - 1]
        parts = np.split(self._tokens[start : self._ends[last - 1]], self._ends[first : last - 1] - start)
        return TokenGroup(parts[0], parts[1:], self.ids[index])  # type: ignore[arg-type]

    def token_groups(self, indices: Iterable[int]) -> list[TokenGroup]:
        """Prompts and completions of some groups."""
        return [self.token_group(index) for index in indices]

    def mismatched(self, indices: Iterable[int]) -> tuple[list[TokenGroup], list[float]]:
        """Prompts of some groups, each with a completion of another prompt, and its log-probability under the
        reference, nats; without those that have none.
        """
        found = [index for index in indices if index in self._mismatched]
        others = [self._mismatched[index] for index in found]
        prompts = [self.token_group(index) for index in found]
        groups = [
            TokenGroup(each.prompt_ids, [ids], each.id)  # type: ignore[list-item]
            for each, (ids, _) in zip(prompts, others, strict=True)
        ]
        return groups, [ref_logps for _, ref_logps in others]

    def num_tokens(self, index: int) -> int:
        """Tokens of one group in a row."""
        return self.token_group(index).num_tokens

    def completions(self, indices: Sequence[int], scored: Tensor) -> Completions:
        """Those of some groups, numbered 0.. in the order given.

        Args:
            indices: of the groups.
            scored: [N] log-probabilities of their completions under the policy, or [N, 2] with the value of
                each one's prompt, which is in the units of ``in_units``.

        Returns:
            On the device of ``scored``.
        """
        spans = [self._span(i) for i in indices]
        chosen = torch.tensor([c for span in spans for c in span])
        sizes = torch.tensor([len(span) for span in spans])
        group = torch.repeat_interleave(torch.arange(len(spans)), sizes)
        parts = [p for i in indices for p in range(self._first[i] + 1, self._first[i + 1])]
        num_tokens = torch.from_numpy(self._num_scored[parts])
        known = (self.ref_logps[chosen], self.rewards[chosen], num_tokens, group)
        policy_logps, values = (scored, None) if scored.ndim == 1 else scored.unbind(1)
        found = Completions(policy_logps, *(value.to(scored.device) for value in known))
        return found._replace(values=values)

    def in_units(self, completions: Completions, beta: float) -> tuple[Completions, float]:
        """Rewards and beta in units of the training rewards, so that what is made of them has no unit.

        The unit is their spread within a prompt. Where values of prompts are learnt, which compare across
        prompts, it is the standard deviation of all, and rewards count from their mean: values then begin at
        0 wherever a reward has its zero.
        """
        origin, unit = (0.0, self.spread) if completions.values is None else (self.mean, self.overall_spread)
        return completions._replace(rewards=(completions.rewards - origin) / unit), beta / unit

    def from_point(self, completions: Completions, reference_point: float) -> Completions:
        """With a reference point of the step, and rewards that count from their mean, in spreads.

        The mean of all training rewards is what is neither good nor bad: of thumbs, those up lie above it and
        those down below, whatever numbers stand for them. What differs from it by rounding alone is at 0.
        """
        rewards = (completions.rewards - self.mean) / self.overall_spread
        rewards = rewards.where(rewards.abs() > ROUNDING, rewards.new_zeros(()))
        point = torch.full_like(widen(completions.policy_logps), reference_point)
        return completions._replace(rewards=rewards, reference_point=point)

    def stored_logps(self, index: int) -> list[float]:
        """Log-probability under the reference of each completion of one group, nats."""
        span = self._span(index)
        return self.ref_logps[span.start : span.stop].tolist()

    def _span(self, index: int) -> range:
        """Places of the values of one group's completions."""
        # Before each group lie one prompt a group and the completions: completions alone have values.
        return range(self._first[index] - index, self._first[index + 1] - index - 1)


def _positive(spread: float) -> float:
    return spread if 0 < spread < np.inf else 1.0


def epoch_order(num_groups: int, *, seed: int, epoch: int) -> np.ndarray:
    """[num_groups] permutation for one epoch; a function of seed and epoch alone, so a cursor resumes it."""
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(num_groups)


def step_groups(num_groups: int, groups_per_step: int, step: int, *, seed: int) -> list[int]:
    """Groups of optimiser step ``step`` (from 0); the last step of an epoch may have fewer."""
    steps_per_epoch = -(-num_groups // groups_per_step)
    epoch, place = divmod(step, steps_per_epoch)
    order = epoch_order(num_groups, seed=seed, epoch=epoch)
    chosen: list[int] = order[place * groups_per_step : (place + 1) * groups_per_step].tolist()
    return chosen


def share_groups(lengths: Sequence[int], num_processes: int) -> list[list[int]]:
    """Places in ``lengths`` for each process, with about equal tokens; the longest are dealt out first."""
    shares: list[list[int]] = [[] for _ in range(num_processes)]
    load = [0] * num_processes
    for place in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        least = min(range(num_processes), key=lambda p: (load[p], p))
        shares[least].append(place)
        load[least] += lengths[place]
    return shares

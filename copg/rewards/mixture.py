"""The weighted sum of several rewards, with its parts; an ensemble of them is one reward of it."""

import math
from collections.abc import Mapping, Sequence

from copg.errors import CopgError, RewardError
from copg.records import prompt_text
from copg.rewards.bounds import check_ranges
from copg.rewards.contract import (
    Columns,
    Prompts,
    RecordFault,
    Reward,
    RewardSpec,
    Scale,
    Scores,
    finite_floats,
)
from copg.rewards.ensemble import coefficient_of, ensembles_of, spread
from copg.rewards.own import ANYTHING, describe
from copg.rewards.registry import build_reward, check_parts, check_promised, reward_digest
from copg.rewards.stored import StoredReward
from copg.stores.reward_store import open_rewards


class Mixture:
    """Rewards by the name of their part, and how they are summed."""

    def __init__(
        self,
        specs: Sequence[RewardSpec],
        rewards: Mapping[str, Reward],
        scales: Mapping[str, Scale] | None = None,
    ) -> None:
        self.specs = {spec.part: spec for spec in specs}
        self.rewards = dict(rewards)
        self.scales = dict(scales or {})
        """Of the parts that are standardised."""
        self.ensembles = ensembles_of(specs)

    def __call__(
        self,
        prompts: Prompts,
        completions: Sequence[str],
        columns: Columns,
        *,
        sources: Sequence[str] | None = None,
    ) -> Scores:
        """Rewards of a batch; the completions of one prompt stand next to each other.

        ``sources`` is how an error names each record; the start of its prompt if not given.

        Raises:
            RewardError: a reward failed, or gave a value that is no finite number; names the record.
        """
        names = sources if sources is not None else _names(prompts)
        parts = self.parts(prompts, completions, columns, names)
        return Scores(self.total(parts, names), parts)

    @property
    def computing(self) -> dict[str, Reward]:
        """The rewards by part, without the stores of their values."""
        return {p: r.reward if isinstance(r, StoredReward) else r for p, r in self.rewards.items()}

    def flush(self) -> None:
        """Write what stores still hold in memory."""
        for reward in self.rewards.values():
            if isinstance(reward, StoredReward):
                reward.store.flush()

    def warnings(self) -> list[str]:
        """What the rewards have to tell of the values they gave, in lines."""
        found = []
        for part, reward in self.computing.items():
            told = getattr(reward, "warnings", None)
            found += [f"reward '{part}': {line}" for line in (told() if callable(told) else ())]
        return found

    def parts(
        self, prompts: Prompts, completions: Sequence[str], columns: Columns, names: Sequence[str]
    ) -> dict[str, list[float]]:
        """[N] each reward alone; errors as above."""
        return {
            part: _values(part, reward, prompts, completions, columns, names)
            for part, reward in self.rewards.items()
        }

    def total(self, parts: Mapping[str, Sequence[float]], names: Sequence[str]) -> list[float]:
        """[N] the sum of parts that ``parts`` gave.

        Raises:
            RewardError: a part is standardised and its scale is not known, or the sum is not finite.
        """
        counted = self.contributions(parts).values()
        total = [math.fsum(values) for values in zip(*counted, strict=True)]
        for i, value in enumerate(total):
            if not math.isfinite(value):
                raise RewardError(f"{names[i]}: the weighted sum of rewards is {value}: lower the weights")
        return total

    def contributions(self, parts: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        """[N] what each part adds to the sum: standardised, clipped, constrained and weighted.

        A member of an ensemble adds its share of the mean; what is taken off for their disagreement stands
        under the ensemble's name.

        Raises:
            RewardError: a part is standardised and its scale is not known.
        """
        counted = {part: self._counted(spec, parts) for part, spec in self.specs.items()}
        weights = {part: spec.weight for part, spec in self.specs.items()}
        for members in self.ensembles.values():
            weights |= {spec.part: spec.weight / len(members) for spec in members}
        found = {part: [weights[part] * value for value in values] for part, values in counted.items()}
        for name, members in self.ensembles.items():
            cost = -members[0].weight * coefficient_of(members)
            found[name] = [cost * apart for apart in _disagreement(members, counted)]
        return found

    def disagreements(self, parts: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
        """[N] standard deviation over the members of each ensemble, on the scale on which they are averaged.

        Raises:
            RewardError: a part is standardised and its scale is not known.
        """
        counted = {
            spec.part: self._counted(spec, parts) for members in self.ensembles.values() for spec in members
        }
        return {name: _disagreement(members, counted) for name, members in self.ensembles.items()}

    def _counted(self, spec: RewardSpec, parts: Mapping[str, Sequence[float]]) -> list[float]:
        values = list(parts[spec.part])
        if spec.standardise:
            if spec.part not in self.scales:
                raise RewardError(
                    f"reward '{spec.part}' is standardised, and its mean and spread are not given"
                )
            mean, std = self.scales[spec.part]
            values = [(value - mean) / std for value in values]
        if spec.clip is not None:
            low, high = spec.clip
            values = [min(max(value, low), high) for value in values]
        if spec.only_if is not None:
            condition, deciding = spec.only_if, parts[spec.only_if.part]
            values = [
                value if condition.passes(other) else condition.otherwise
                for value, other in zip(values, deciding, strict=True)
            ]
        return values


def _disagreement(members: Sequence[RewardSpec], counted: Mapping[str, Sequence[float]]) -> list[float]:
    return [spread(each) for each in zip(*(counted[spec.part] for spec in members), strict=True)]


def _values(
    part: str,
    reward: Reward,
    prompts: Prompts,
    completions: Sequence[str],
    columns: Columns,
    names: Sequence[str],
) -> list[float]:
    try:
        return finite_floats(reward(prompts, completions, columns), len(completions))
    except RecordFault as fault:
        raise RewardError(f"{names[fault.index]}: reward '{part}': {fault}") from None
    except CopgError as error:
        raise RewardError(f"reward '{part}': {error}") from None
    except ANYTHING as error:
        raise RewardError(
            f"reward '{part}' failed on a batch starting at {names[0]}: {describe(error)}"
        ) from error


def _names(prompts: Prompts) -> list[str]:
    """How an error names each record of a batch of which nothing but the prompts is known."""
    texts = (" ".join(prompt_text(prompt).split()) for prompt in prompts)
    return [f"prompt {text[:60]!r}" for text in texts]


def build_mixture(
    specs: Sequence[RewardSpec],
    *,
    scales: Mapping[str, Scale] | None = None,
    store: str | None = None,
    check_samples: int = 0,
) -> Mixture:
    """The mixture a recipe's ``rewards`` describe.

    Args:
        specs: at least one; what they promise is compared with what lies there.
        scales: mean and standard deviation of the parts that are standardised, as ``score`` left them.
        store: folder or URL where values are kept; None computes every value.
        check_samples: size of the sample of stored values of each reward to compute again and compare.

    Raises:
        RewardError: no reward, an unknown one, two parts of one name, a condition on no part, an ensemble
            that means nothing, or a reward that reads something else than was promised.
        ConfigError: a reward's settings are wrong.
    """
    if not specs:
        raise RewardError("rewards is empty: name at least one reward")
    check_parts(specs)
    rewards = {spec.part: build_reward(spec) for spec in specs}
    check_ranges(specs, rewards)
    for spec in specs:
        check_promised(spec, rewards[spec.part])
    if store is not None:
        rewards = {spec.part: _stored(spec, rewards[spec.part], store, check_samples) for spec in specs}
    return Mixture(specs, rewards, scales)


def _stored(spec: RewardSpec, reward: Reward, store: str, check_samples: int) -> StoredReward:
    values = open_rewards(store, reward_digest(spec, reward), {"name": spec.name, "params": spec.params})
    repeatable = getattr(reward, "repeatable", True)
    return StoredReward(reward, values, check_samples=check_samples if repeatable else 0)

"""The weighted sum of several rewards, with its parts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from copg.errors import CopgError, RewardError
from copg.records import Prompt, prompt_text
from copg.rewards.contract import RecordFault, Reward, RewardSpec, Scores
from copg.rewards.own import describe
from copg.rewards.registry import build_reward


class Mixture:
    """Rewards by the name of their part, and what each weighs."""

    def __init__(self, rewards: Mapping[str, Reward], weights: Mapping[str, float]) -> None:
        self.rewards = dict(rewards)
        self.weights = dict(weights)

    def __call__(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[str],
        columns: Sequence[Mapping[str, Any]],
        *,
        sources: Sequence[str] | None = None,
    ) -> Scores:
        """Rewards of a batch; the completions of one prompt stand next to each other.

        Args:
            prompts: [N] the prompt of each completion.
            completions: [N] texts.
            columns: [N] what else the record held.
            sources: [N] how an error names each record; the start of its prompt if not given.

        Raises:
            RewardError: a reward failed, or gave a value that is no finite number; names the record.
        """
        names = _Names(prompts, sources)
        parts = {
            part: self._values(part, reward, prompts, completions, columns, names)
            for part, reward in self.rewards.items()
        }
        total = [
            math.fsum(weight * parts[part][i] for part, weight in self.weights.items())
            for i in range(len(completions))
        ]
        for i, value in enumerate(total):
            if not math.isfinite(value):
                raise RewardError(f"{names[i]}: the weighted sum of rewards is {value}: lower the weights")
        return Scores(total, parts)

    def _values(
        self,
        part: str,
        reward: Reward,
        prompts: Sequence[Prompt],
        completions: Sequence[str],
        columns: Sequence[Mapping[str, Any]],
        names: "_Names",
    ) -> list[float]:
        try:
            given = reward(prompts, completions, columns)
        except RecordFault as fault:
            raise RewardError(f"{names[fault.index]}: reward '{part}': {fault}") from None
        except CopgError as error:
            raise RewardError(f"reward '{part}': {error}") from None
        except Exception as error:  # a user's own function may raise anything
            raise RewardError(
                f"reward '{part}' failed on a batch starting at {names[0]}: {describe(error)}"
            ) from error
        return _floats(part, given, len(completions), names)


class _Names:
    """How an error names the records of a batch."""

    def __init__(self, prompts: Sequence[Prompt], sources: Sequence[str] | None) -> None:
        self._prompts = prompts
        self._sources = sources

    def __getitem__(self, index: int) -> str:
        if self._sources is not None:
            return self._sources[index]
        text = " ".join(prompt_text(self._prompts[index]).split())
        return f"prompt {text[:60]!r}"


def _floats(part: str, given: Any, expected: int, names: _Names) -> list[float]:
    try:
        values = list(given)
    except TypeError:
        raise RewardError(
            f"reward '{part}' must give one number a completion, got {type(given).__name__}"
        ) from None
    if len(values) != expected:
        raise RewardError(f"reward '{part}' gave {len(values)} values for {expected} completions")
    for i, value in enumerate(values):
        try:
            values[i] = math.nan if isinstance(value, str) else float(value)
        except (TypeError, ValueError, OverflowError):
            values[i] = math.nan
        if not math.isfinite(values[i]):
            raise RewardError(f"{names[i]}: reward '{part}' gave {value!r:.60}, no finite number")
    return values


def build_mixture(specs: Sequence[RewardSpec]) -> Mixture:
    """The mixture a recipe's ``rewards`` describe.

    Raises:
        RewardError: no reward, an unknown one, or two parts of one name.
        ConfigError: a reward's settings are wrong.
    """
    if not specs:
        raise RewardError("rewards is empty: name at least one reward")
    parts = [spec.part for spec in specs]
    for part in parts:
        if parts.count(part) > 1:
            raise RewardError(f"reward '{part}' is there {parts.count(part)} times: give each a 'label'")
    return Mixture(
        {spec.part: build_reward(spec) for spec in specs}, {spec.part: spec.weight for spec in specs}
    )

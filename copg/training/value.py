"""What each training prompt is worth: how much contrast it holds, and how much of it the policy can use."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from copg.rewards.tilting import tilt
from copg.training.config import SHARE, Chosen
from copg.training.data import TrainData


@dataclass(frozen=True, slots=True)
class PromptValues:
    """Of each prompt, in the order of the data."""

    ids: Sequence[str]
    tied: NDArray[np.bool_]
    """All rewards equal, or one completion: nothing to learn but the pull to the reference."""
    contrast: NDArray[np.float64]
    """Standard deviation of its rewards, reward units."""
    effective: NDArray[np.float64]
    """Completions that still count at the trial's beta, 1 / sum of squared weights."""
    support: NDArray[np.float64]
    """Share that the reference gives the best completion, among those of the prompt."""
    gain: NDArray[np.float64]
    """J* - J_ref over its completions at the trial's beta, reward units; of order alone, the contrast."""

    def best(self, chosen: Chosen) -> set[str]:
        """Ids of the prompts of highest gain; of equal ones the first by id."""
        keep = max(1, round(SHARE[chosen] * len(self.ids)))
        order = sorted(range(len(self.ids)), key=lambda i: (-self.gain[i], self.ids[i]))
        return {self.ids[i] for i in order[:keep]}

    def table(self) -> pa.Table:
        """A row a prompt."""
        return pa.table({name: getattr(self, name) for name in self.__dataclass_fields__})

    def metrics(self) -> dict[str, float]:
        """Means over prompts, and how much of the whole gain its best third holds."""
        total, keep = float(self.gain.sum()), self.best("best_third")
        best = float(sum(g for i, g in zip(self.ids, self.gain, strict=True) if i in keep))
        return {
            "prompts/tied": float(self.tied.mean()),
            "prompts/effective": float(self.effective.mean()),
            "prompts/support": float(self.support.mean()),
            **({"prompts/gain_of_best_third": best / total} if total > 0 else {}),
        }


def value_prompts(data: TrainData, beta: float | None) -> PromptValues:
    """The value of each prompt.

    Args:
        data: with rewards in reward units and log-probabilities of the reference.
        beta: the trial's; None where it is not in reward units: all completions then count.
    """
    rows = []
    for rewards, logps in data.by_prompt():
        equal = np.zeros_like(rewards)
        found = tilt(rewards[None], equal[None], beta) if beta else None
        spread = float((rewards - rewards.min()).std(ddof=1)) if len(rewards) > 1 else 0.0
        shares = np.exp(logps - logps.max())
        rows.append(
            (
                np.ptp(rewards) == 0,
                spread,
                float(found.effective[0]) if found else float(len(rewards)),
                float(shares[rewards == rewards.max()].sum() / shares.sum()),
                float((found.objective - found.base_reward)[0]) if found else spread,
            )
        )
    tied, *others = (np.array(column) for column in zip(*rows, strict=True))
    return PromptValues(data.ids, tied, *others)

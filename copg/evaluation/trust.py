"""Whether a reward model that was trained here may decide a promotion: it has to know more than length."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copg.artifacts import MANIFEST, read_manifest
from copg.errors import ArtifactError
from copg.rewards.contract import RewardSpec

OVER_LENGTH = "over_length"
"""Metrics of a reward model: what it gets beyond what length alone gets, on the same held-out prompts."""
COIN = 0.5


@dataclass(frozen=True)
class Learnt:
    """A reward model among the rewards of a run, and how well it does on held-out prompts."""

    part: str
    """Its name among the rewards."""
    learns: str
    """``pairs`` or ``thumbs``."""
    metrics: Mapping[str, float]

    @property
    def measure(self) -> str:
        """What it is measured by."""
        return "auc" if self.learns == "thumbs" else "accuracy"

    @property
    def rival(self) -> str:
        """What it cannot surely be told from; empty where it is surely better than a coin and than length."""
        low = self.metrics[f"{self.measure}/low"]
        if low <= COIN:
            return "a coin"
        if f"{OVER_LENGTH}/low" in self.metrics:
            return "length" if self.metrics[f"{OVER_LENGTH}/low"] <= 0 else ""
        return "length" if low <= self.metrics[f"length_{self.measure}/mean"] else ""

    def told(self) -> str:
        """In words, how well it does."""
        mean, low, high, length = (
            self.metrics[key]
            for key in (
                *(f"{self.measure}/{end}" for end in ("mean", "low", "high")),
                f"length_{self.measure}/mean",
            )
        )
        return f"held-out {self.measure} {mean:.2f} ({low:.2f} to {high:.2f}), by length alone {length:.2f}"

    def condition(self) -> tuple[str, bool]:
        """As the gate says it, and whether it holds."""
        said = f"reward model {self.part}: {self.told()}"
        if not self.rival:
            return f"{said}, is surely better than a coin and than length", True
        return (
            f"{said}, cannot be told from {self.rival}, so what it judges may be noise; "
            "promote.guards.learnt_reward: false promotes all the same",
            False,
        )


def find_learnt(specs: Iterable[RewardSpec]) -> list[Learnt]:
    """The reward models that were trained here, among rewards that count."""
    found = []
    for spec in specs:
        folder = Path(str(spec.params.get("model") or ""))
        if spec.weight == 0 or not spec.params.get("model") or not (folder / MANIFEST).is_file():
            continue
        try:
            facts = read_manifest(folder, schema="reward_model", verify=False).facts
        except ArtifactError:
            continue  # of something else, which its reward tells
        found.append(Learnt(spec.part, str(facts["learns"]), _numbers(facts["metrics"])))
    return found


def read_learnt(facts: Mapping[str, Any]) -> list[Learnt]:
    """Those of an evaluation's facts; none where it is of an earlier version."""
    return [Learnt(**each) for each in facts.get("learnt", [])]


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}

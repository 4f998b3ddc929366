"""Evaluations as report and promotion read them, and the outcome that both come to."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from copg.artifacts import Manifest, read_manifest
from copg.errors import ArtifactError
from copg.evaluation.gate import Contender, Decision, choose_trial, decide, exclusion
from copg.records import Estimate, Evaluation

GENERATIONS = "generations.parquet"
_UNKNOWN = {"mean": math.nan, "low": math.nan, "high": math.nan}


@dataclass(frozen=True, slots=True)
class Measured:
    """One evaluation artifact: whose it is, and what was measured."""

    directory: Path
    manifest: Manifest
    name: str
    policy_uri: str
    """Where the policy lies; empty for the reference."""
    policy_digest: str
    splits: dict[str, Evaluation]
    """By ``select`` and ``gate``."""


@dataclass(frozen=True, slots=True)
class Evaluations:
    """All evaluations of one run, made on the same held-out prompts."""

    groups: Manifest
    reference: Measured
    champion: Measured | None
    """The policy that served until this run; None where there is none."""
    trials: Sequence[Measured]

    @property
    def everyone(self) -> list[Measured]:
        """The reference, the champion where there is one, and the trials."""
        return [self.reference, *([self.champion] if self.champion else []), *self.trials]

    @property
    def parents(self) -> dict[str, str]:
        """Digests of the groups and of every evaluation, by name."""
        return {"groups": self.groups.digest, **{one.name: one.manifest.digest for one in self.everyone}}


@dataclass(frozen=True, slots=True)
class Draws:
    """What was drawn on one split, by prompt id, each with one value a completion."""

    rewards: dict[str, list[float]] = field(default_factory=dict)
    """Reward units."""
    kls: dict[str, list[float]] = field(default_factory=dict)
    """Nats from the reference."""
    parts: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    """By part, then prompt; before weighting."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Which trial is best, and whether it is promoted."""

    best: Measured | None
    decision: Decision
    excluded: dict[str, str]
    """Why a trial could not be chosen, by its name."""


def read_measured(directory: Path) -> Measured:
    """Open an evaluation artifact.

    Raises:
        ArtifactError: the directory holds no evaluation, or changed since it was written.
    """
    manifest = read_manifest(directory, schema="evaluation")
    found = json.loads((directory / "evaluation.json").read_text())
    facts = manifest.facts
    return Measured(
        directory=directory,
        manifest=manifest,
        name=facts["name"],
        policy_uri=facts.get("policy_uri") or "",
        policy_digest=facts.get("policy_digest") or "",
        splits={split: _evaluation(found[split]) for split in ("select", "gate")},
    )


def read_evaluations(
    groups: Path, *, reference: Path, champion: Path | None, trials: Sequence[Path]
) -> Evaluations:
    """Open the evaluations of one run.

    Raises:
        ArtifactError: an input is not an evaluation, or was made on other groups than these.
    """
    found = Evaluations(
        read_manifest(groups, schema="groups"),
        read_measured(reference),
        read_measured(champion) if champion else None,
        [read_measured(path) for path in trials],
    )
    digest = found.groups.digest
    for one in found.everyone:
        parent = one.manifest.parents.get("groups", digest)
        if parent != digest:
            raise ArtifactError(
                f"{one.directory}: {one.name} was evaluated on groups {parent[:12]}, the others on "
                f"{digest[:12]}; policies are compared on the same prompts only"
            )
    return found


def _evaluation(value: Mapping[str, Any]) -> Evaluation:
    known = {f.name: value[f.name] for f in fields(Evaluation) if f.name in value}
    for name in ("reward", "kl", "length"):
        known[name] = _estimate(known[name])
    known["kl_k1"] = _estimate(known["kl_k1"]) if known.get("kl_k1") else None
    known["finished_fraction"] = _number(known["finished_fraction"])
    known["parts"] = {name: _estimate(part) for name, part in (known.get("parts") or {}).items()}
    return Evaluation(**known)


def _estimate(value: Mapping[str, float | None] | None) -> Estimate:
    """JSON has no NaN: what a diverged trial could not measure is null there."""
    filled = {key: math.nan if number is None else number for key, number in (value or _UNKNOWN).items()}
    return Estimate(**filled)


def read_draws(measured: Measured, split: str) -> Draws:
    """Rewards and parts of every completion of one split, without the texts; empty where none were kept."""
    path = measured.directory / GENERATIONS
    if not path.is_file():
        return Draws()
    file = pq.ParquetFile(path)  # read_table loads a data set
    kl = "kl" if "kl" in file.schema_arrow.names else "log_ratio"  # of the same mean
    table = file.read(["split", "id", "reward", "parts", kl])
    draws = Draws()
    for row in table.filter(pc.equal(table["split"], split)).to_pylist():
        draws.rewards.setdefault(row["id"], []).append(_number(row["reward"]))
        draws.kls.setdefault(row["id"], []).append(_number(row[kl]))
        for part, value in row["parts"] or ():
            draws.parts.setdefault(part, {}).setdefault(row["id"], []).append(_number(value))
    return draws


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def contender(measured: Measured) -> Contender:
    """A policy as the gate sees it; without rewards by prompt where one of them is not finite."""
    rewards = read_draws(measured, "gate").rewards
    finite = all(math.isfinite(value) for values in rewards.values() for value in values)
    return Contender(measured.splits["gate"], measured.policy_digest, rewards if finite else {})


def data_faults(groups: Manifest) -> list[str]:
    """Why validation found the data not valid; a validation that failed left no artifact at all."""
    if groups.facts.get("valid", True):
        return []
    return [str(reason) for reason in groups.facts.get("reasons", [])] or ["validation says so"]


def judge(evaluations: Evaluations, *, max_kl: float, min_gain: float) -> Outcome:
    """Choose the best trial on the select split and gate it on the gate split."""
    on_select = [trial.splits["select"] for trial in evaluations.trials]
    reasons = {e.name: exclusion(e, max_kl=max_kl) for e in on_select}
    excluded = {name: reason for name, reason in reasons.items() if reason is not None}
    chosen = choose_trial(on_select, max_kl=max_kl)
    if chosen is None:
        why = tuple(excluded.values()) or ("there are no trials",)
        return Outcome(None, Decision(False, why), excluded)
    best = next(trial for trial in evaluations.trials if trial.name == chosen.name)
    decision = decide(
        contender(best),
        contender(evaluations.reference),
        contender(evaluations.champion) if evaluations.champion else None,
        max_kl=max_kl,
        min_gain=min_gain,
        data_faults=data_faults(evaluations.groups),
    )
    return Outcome(best, decision, excluded)

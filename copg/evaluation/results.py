"""Evaluations as report and promotion read them, and the outcome that both come to."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from copg.artifacts import Manifest, read_manifest
from copg.data.group_files import read_groups
from copg.errors import ArtifactError
from copg.evaluation.criteria import Criteria
from copg.evaluation.draws import Draws, mix_folder
from copg.evaluation.draws import read_draws as read_drawn
from copg.evaluation.estimates import Bounds
from copg.evaluation.gate import Contender, Decision, choose_trial, decide, exclusion
from copg.evaluation.guards import check_guards, missing_guards
from copg.evaluation.objective import Objective, measure_objective
from copg.evaluation.trust import read_learnt
from copg.records import CLUSTER, Estimate, Evaluation, cluster_of
from copg.rewards.drawn import validated
from copg.rewards.ladder import Ladder, read_ladder

_UNKNOWN = {"mean": math.nan, "low": math.nan, "high": math.nan}


@dataclass(frozen=True, slots=True)
class Measured:
    """One evaluation artifact, or a mix that it holds beside its trial: whose it is, what was measured."""

    directory: Path
    manifest: Manifest
    name: str
    policy_uri: str
    """Where the policy lies; empty for the reference."""
    policy_digest: str
    splits: dict[str, Evaluation]
    """By ``select`` and ``gate``."""
    weight: float | None = None
    """Of the trial's policy in a mix; None for what is none."""
    of: str = ""
    """Of a mix, its trial; it lies at the trial's ``policy_uri`` and is to be scaled from there."""
    mixes: "Sequence[Measured]" = ()
    """Of a trial, in the order of its settings."""

    @property
    def has_weights(self) -> bool:
        """Whether there is a policy to register: a mix of logits has none of its own."""
        return self.weight is None or bool(self.policy_digest)


@dataclass(frozen=True)
class Evaluations:
    """All evaluations of one run, made on the same held-out prompts."""

    groups: Manifest
    reference: Measured
    champion: Measured | None
    """The policy that served until this run; None where there is none."""
    trials: Sequence[Measured]
    folder: Path | None = None
    """Where the groups lie; None where their texts are not at hand."""

    @cached_property
    def logged(self) -> dict[str, list[float]]:
        """Characters of the logged completions of each gate prompt."""
        groups = [] if self.folder is None else read_groups(self.folder, "gate")
        return {group.id: [float(len(c.text)) for c in group.completions] for group in groups}

    @cached_property
    def clusters(self) -> dict[str, str]:
        """What prompts that belong together share, by prompt id; one without a cluster is not there."""
        if self.folder is None:
            return {}
        column = cluster_column(self.groups)
        groups = (group for split in ("select", "gate") for group in read_groups(self.folder, split))
        found = {group.id: cluster_of(group, column) for group in groups}
        return {prompt: cluster for prompt, cluster in found.items() if cluster is not None}

    @cached_property
    def ladder(self) -> Ladder | None:
        """What the logs can support, as the trials were trained by it, else as ``score`` had it."""
        known = (one.manifest.facts.get("ladder") for one in (*self.trials, self.reference))
        return next((read_ladder(facts) for facts in known if facts), None)

    def predicted_gain(self, beta: float) -> float | None:
        """The most that J can gain at a beta as the logs predict it, reward units; None without a ladder."""
        return self.ladder.gain_at(beta) if self.ladder else None

    def objective(self, mine: Draws, theirs: Draws, beta: float | None) -> Objective | None:
        """J of a policy and what it gains, by its draws and the reference's, at a beta; None without one."""
        if beta is None:
            return None
        drawn, known = (mine.rewards, mine.kls, theirs.rewards), self.predicted_gain(beta)
        return measure_objective(*drawn, beta=beta, predicted=known, clusters=self.clusters)

    @property
    def everyone(self) -> list[Measured]:
        """The reference, the champion where there is one, and the trials."""
        return [self.reference, *([self.champion] if self.champion else []), *self.trials]

    @property
    def candidates(self) -> list[Measured]:
        """Each trial, and its mixes after it."""
        return [one for trial in self.trials for one in (trial, *trial.mixes)]

    @property
    def parents(self) -> dict[str, str]:
        """Digests of the groups and of every evaluation, by name."""
        return {"groups": self.groups.digest, **{one.name: one.manifest.digest for one in self.everyone}}


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
    trial = _measured(directory, manifest, manifest.facts)
    mixes = [
        replace(
            _measured(mix_folder(directory, told["weight"]), manifest, told),
            weight=told["weight"],
            of=trial.name,
        )
        for told in manifest.facts.get("mixes", [])
    ]
    return replace(trial, mixes=mixes)


def _measured(directory: Path, manifest: Manifest, told: Mapping[str, Any]) -> Measured:
    found = json.loads((directory / "evaluation.json").read_text())
    return Measured(
        directory=directory,
        manifest=manifest,
        name=told["name"],
        policy_uri=manifest.facts.get("policy_uri") or "",
        policy_digest=told.get("policy_digest") or "",
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
        groups,
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
    for name in ("kl_k1", "objective"):
        known[name] = _estimate(known[name]) if known.get(name) else None
    known["finished_fraction"] = _number(known["finished_fraction"])
    known["parts"] = {name: _estimate(part) for name, part in (known.get("parts") or {}).items()}
    return Evaluation(**known)


def _estimate(value: Mapping[str, float | None] | None) -> Estimate:
    """JSON has no NaN: what a diverged trial could not measure is null there."""
    filled = {key: math.nan if number is None else number for key, number in (value or _UNKNOWN).items()}
    return Estimate(**filled)


def cluster_column(groups: Manifest) -> str:
    """Whose equal values belong together; groups without such a column have the name all the same."""
    return str(validated(groups).get("columns", {}).get("cluster", CLUSTER))


def read_draws(measured: Measured, split: str) -> Draws:
    """What was drawn on one split, without the texts; empty where nothing was kept."""
    return read_drawn(measured.directory, split)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def contender(
    measured: Measured, split: str = "gate", clusters: Mapping[str, str] | None = None
) -> Contender:
    """A policy as the gate sees it; without rewards by prompt where one of them is not finite."""
    draws = read_draws(measured, split)
    finite = all(math.isfinite(value) for values in draws.rewards.values() for value in values)
    rewards, bounds = draws.rewards if finite else {}, bounds_of(measured)
    return Contender(measured.splits[split], measured.policy_digest, rewards, bounds, clusters or {})


def bounds_of(measured: Measured, part: str = "reward") -> Bounds:
    """Lowest and highest value of the reward, or of a part of it, where the evaluation knows of such."""
    found = measured.manifest.facts.get("bounds", {}).get(part)
    return None if found is None else (float(found[0]), float(found[1]))


def data_faults(groups: Manifest) -> list[str]:
    """Why validation found the data not valid; a validation that failed left no artifact at all."""
    if groups.facts.get("valid", True):
        return []
    return [str(reason) for reason in groups.facts.get("reasons", [])] or ["validation says so"]


def judge(evaluations: Evaluations, criteria: Criteria) -> Outcome:
    """Choose the best trial, or scaled adapter of one, on the select split and gate it on the gate split."""
    clusters = evaluations.clusters
    reasons = {one.name: _exclusion(one, criteria.max_kl) for one in evaluations.candidates}
    excluded = {name: reason for name, reason in reasons.items() if reason is not None}
    able = {one.name: one for one in evaluations.candidates if one.name not in excluded}
    on_select = [contender(one, "select", clusters) for one in able.values()]
    reference = contender(evaluations.reference, "select", clusters)
    chosen = choose_trial(on_select, reference, max_kl=criteria.max_kl)
    if chosen is None:
        why = tuple(excluded.values()) or ("there are no trials",)
        return Outcome(None, Decision(False, why), excluded)
    best = able[chosen.evaluation.name]
    decision = decide(
        contender(best, clusters=clusters),
        contender(evaluations.reference),
        contender(evaluations.champion) if evaluations.champion else None,
        criteria=criteria,
        data_faults=data_faults(evaluations.groups),
        guards=_learnt(evaluations, criteria) | _guards(evaluations, best, criteria),
    )
    return Outcome(best, decision, excluded)


def _exclusion(one: Measured, max_kl: float) -> str | None:
    """Why a trial or a mix cannot be chosen; None when it can."""
    found = exclusion(one.splits["select"], max_kl=max_kl)
    if found is None and not one.has_weights:
        return f"{one.name} mixes the logits of two models, which no weights hold: it cannot be registered"
    return found


def _learnt(evaluations: Evaluations, criteria: Criteria) -> dict[str, bool]:
    """A sentence a reward model that was trained for these, and whether it knows enough to judge."""
    if not criteria.guards.learnt_reward:
        return {}
    return dict(each.condition() for each in read_learnt(evaluations.reference.manifest.facts))


def _guards(evaluations: Evaluations, best: Measured, criteria: Criteria) -> dict[str, bool]:
    """A sentence a guard, and whether it holds; one that was not measured does not."""
    mine, theirs = read_draws(best, "gate"), read_draws(evaluations.reference, "gate")
    lacking = {
        f"guard {part}: it was not measured, name it among the rewards with weight 0": False
        for draws in (mine, theirs)
        for part in missing_guards(draws, criteria.guards)
    }
    if not (mine.rewards and theirs.rewards):
        return lacking
    logged, clusters = evaluations.logged, evaluations.clusters
    return lacking | check_guards(mine, theirs, criteria.guards, logged=logged, clusters=clusters)

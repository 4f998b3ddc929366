"""``report``: evaluations and trainings in, one page that works offline out."""

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from copg.artifacts import Manifest, begin, read_manifest, seal, warnings_of, write_json
from copg.config import AtLeastOne, Natural, configuration
from copg.evaluation.criteria import (
    DEFAULT_MAX_KL,
    Criteria,
    ErrorConfig,
    GuardConfig,
    MaxKL,
    MinGain,
)
from copg.evaluation.results import Evaluations, Outcome, judge, read_evaluations
from copg.evaluation.trust import read_learnt
from copg.progress import track
from copg.report.curves import read_curves
from copg.report.markdown import render_markdown
from copg.report.numbers import compare_policies, on_frontier, plain, report_numbers
from copg.report.page import Contents, render_brief, render_page
from copg.report.policy import TRIAL, Policy
from copg.report.samples import pick_samples

__all__ = ["ReportConfig", "report_trials"]

PAGE, BRIEF = "report.html", "brief.html"
"""The whole page, of megabytes, and one of kilobytes."""
LIBRARIES = ("copg", "torch", "transformers", "accelerate", "peft", "datasets", "numpy", "mlflow", "plotly")


@configuration
class ReportConfig:
    """The page's name, how much it shows, and the bounds of ``promote`` that it judges by."""

    name: str = "report"
    """Name of the recipe, which is the page's title."""
    max_kl: MaxKL = DEFAULT_MAX_KL
    """Nats a completion; the bound of ``promote``."""
    min_gain: MinGain = 0.0
    """Reward units; the bound of ``promote``."""
    report_beta: Annotated[float, Field(gt=0, description="the price of a nat")] | None = None
    """Reward units per nat at which J of all is told; None: that of the CoPG trial nearest the best."""
    error: ErrorConfig = field(default_factory=ErrorConfig)
    """That of ``promote``, whose level the gain is held against; a report spends none of it."""
    guards: GuardConfig = field(default_factory=GuardConfig)
    """Those of ``promote``."""
    num_samples: Natural = 3
    """Prompts shown of each kind: gained most, in the middle, gained least."""
    max_characters: AtLeastOne = 4000
    """A prompt or completion longer than this is cut, and says so."""
    lineage: dict[str, Any] = field(default_factory=dict)
    """Shown as it is: digests of data, model, rewards and code, the run's name."""


def report_trials(
    config: ReportConfig,
    *,
    groups: Path,
    reference: Path,
    champion: Path | None,
    evaluations: list[Path],
    trainings: list[Path],
    report: Path,
    address: str = "",
) -> dict[str, float]:
    """Write ``report.html``, and less of it: ``brief.html``, ``report.md``, the numbers as ``report.json``.

    The outcome is that of the gate on the same numbers, so promotion comes to the same one, unless the
    champion changes between the two stages.

    Args:
        groups: what all evaluations were made on.
        reference: its evaluation, as ``champion`` and ``evaluations`` are those of champion and trials.
        trainings: records of the trials' trainings; a trial without one has no curves.
        report: where the artifact goes.
        address: where people will find it, for the link of the small page; empty: not told.

    Returns:
        Reward, KL and J of the best trial, its gains over the reference, and counts of trials.

    Raises:
        ArtifactError: an input is not what it should be, or was made on other groups.
    """
    found = read_evaluations(groups, reference=reference, champion=champion, trials=evaluations)
    trained = {path: read_manifest(path, schema="training") for path in trainings}
    bounds = {"max_kl": config.max_kl, "min_gain": config.min_gain}
    outcome = judge(found, Criteria(**bounds, level=config.error.level, guards=config.guards))
    policies = compare_policies(found, outcome, list(trained.values()), report_beta=config.report_beta)
    warnings = warnings_of(found.groups, *trained.values(), *(one.manifest for one in found.everyone))
    contents = replace(_contents(config, found, trained, policies, outcome), warnings=warnings)
    page, brief = render_page(contents), render_brief(contents, address and f"{address}/{PAGE}")
    begin(report)
    (report / PAGE).write_text(page, encoding="utf-8")
    (report / BRIEF).write_text(brief, encoding="utf-8")
    brief_text = render_markdown(config.name, policies, outcome, warnings)
    (report / "report.md").write_text(brief_text, encoding="utf-8")
    facts = {"data": plain(found.groups.facts), "logged": plain(_logged(found)), "warnings": warnings}
    facts["ladder"] = found.ladder.facts() if found.ladder else None
    facts["learnt"] = plain(found.reference.manifest.facts.get("learnt", []))
    write_json(report / "report.json", report_numbers(policies, outcome, name=config.name, **bounds, **facts))
    metrics = _metrics(policies)
    seal(
        report,
        schema="report",
        stage="report",
        rows=len(found.trials),
        config=asdict(config),
        parents=found.parents,
        facts={"metrics": metrics, "warnings": warnings},
        volatile=(PAGE, BRIEF),
    )
    return metrics


def _contents(
    config: ReportConfig,
    found: Evaluations,
    trained: Mapping[Path, Manifest],
    policies: Sequence[Policy],
    outcome: Outcome,
) -> Contents:
    _, *others = found.everyone
    others += [outcome.best] if outcome.best and outcome.best.weight is not None else []
    shown = track(others, "picking samples") if config.num_samples else []
    return Contents(
        name=config.name,
        policies=policies,
        outcome=outcome,
        frontier=on_frontier(policies),
        curves={manifest.facts["trial"]: read_curves(path) for path, manifest in trained.items()},
        picked=[(one.name, pick_samples(one, found.reference, config.num_samples)) for one in shown],
        data={"prompts": found.groups.rows, **found.groups.facts},
        logged=_logged(found),
        ladder=found.ladder,
        artifacts=_artifacts(found, trained.values()),
        versions=_versions(),
        settings=_settings(found, trained.values()),
        lineage=config.lineage,
        max_kl=config.max_kl,
        max_characters=config.max_characters,
        learnt=[each.condition()[0] for each in read_learnt(found.reference.manifest.facts)],
    )


def _logged(found: Evaluations) -> Mapping[str, Any]:
    """How the records' rewards are distributed, as the evaluation of the reference read it."""
    logged: Mapping[str, Any] = found.reference.manifest.facts.get("logged", {})
    return logged


def _artifacts(found: Evaluations, trained: Iterable[Manifest]) -> list[tuple[str, str, str, str]]:
    named = [("groups", found.groups)]
    named += [(manifest.facts["trial"], manifest) for manifest in trained]
    named += [(one.name, one.manifest) for one in found.everyone]
    rows = [(name, manifest.stage, str(manifest.rows), manifest.digest) for name, manifest in named]
    return rows + [(one.name, "policy", "", one.policy_digest) for one in found.everyone if one.policy_digest]


def _settings(found: Evaluations, trained: Iterable[Manifest]) -> dict[str, dict[str, Any]]:
    settings = {found.groups.stage: found.groups.config}
    settings |= {f"train, {manifest.facts['trial']}": manifest.config for manifest in trained}
    return settings | {f"evaluate, {one.name}": one.manifest.config for one in found.everyone}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _metrics(policies: Sequence[Policy]) -> dict[str, float]:
    trials = [policy for policy in policies if policy.role == TRIAL]
    metrics = {
        "trials/evaluated": float(len(trials)),
        "trials/below_reference": float(sum(policy.below_reference for policy in trials)),
        "trials/diverged": float(sum(policy.diverged for policy in trials)),
    }
    for best in (policy for policy in policies if policy.best):
        metrics |= {"reward/best": best.gate.reward.mean, "kl/best": best.gate.kl.mean}
        metrics |= {"gain/best": best.gain.mean} if best.gain else {}
        if objective := best.objective:
            metrics |= {"objective/beta": objective.beta, "objective/best": objective.value.mean}
            metrics |= {"objective_gain/best": objective.gain.mean}
            metrics |= {"objective_share/best": objective.share.mean} if objective.share else {}
    return metrics

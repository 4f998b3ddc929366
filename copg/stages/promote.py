"""``promote``: evaluations in, a decision and a version in the model registry out."""

from collections.abc import Sequence
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from copg.artifacts import Manifest, begin, seal, warnings_of, write_json
from copg.config import AtLeastOne, configuration
from copg.errors import ConfigError
from copg.evaluation.criteria import (
    DEFAULT_MAX_KL,
    Criteria,
    ErrorConfig,
    GuardConfig,
    MaxKL,
    MinGain,
)
from copg.evaluation.gate import gain
from copg.evaluation.results import Evaluations, Measured, Outcome, contender, read_evaluations
from copg.evaluation.spending import judge_within_budget
from copg.evaluation.succession import register_best, rejected_if_champion_changed
from copg.report.model_card import model_card, objective_of
from copg.rewards.tables import interval
from copg.tracking.champions import retire_champions
from copg.tracking.mlflow import DEFAULT_URI
from copg.tracking.pointer import RUN_KEY
from copg.tracking.registry import CHAMPION, PREVIOUS, RegisteredVersion, Registry
from copg.tracking.retention import delete_weights

__all__ = ["PromoteConfig", "promote_best"]

CARD = "model_card.md"


@configuration
class PromoteConfig:
    """What a trial has to pass, and where it is registered then."""

    model_name: str
    """Name of the registered model."""
    tracking_uri: str = DEFAULT_URI
    """``sqlite:///FILE``, or the address of an MLflow server."""
    max_kl: MaxKL = DEFAULT_MAX_KL
    """Nats a completion: the upper end of the KL's interval may not exceed it."""
    min_gain: MinGain = 0.0
    """Reward units: the lower end of the gain's interval must exceed it."""
    error: ErrorConfig = field(default_factory=ErrorConfig)
    """How often a policy that is no better may ever be promoted."""
    guards: GuardConfig = field(default_factory=GuardConfig)
    """What must not get worse while the reward gets better."""
    report_beta: Annotated[float, Field(gt=0, description="the price of a nat")] | None = None
    """Reward units per nat at which the card tells J; None: that of the CoPG trial nearest the best."""
    keep: Literal["all", "winner"] | list[str] = "winner"
    """Whose weights stay on disk: everybody's, the best trial's, or those of the best and of these names."""
    champions: str = ""
    """Folder or URL to which a promoted policy is copied, so that it outlasts the run's artifacts; empty: it
    is registered where it lies."""
    keep_champions: AtLeastOne = 2
    """Champions before the present one whose copies stay, for a rollback."""
    replaces: str | None = None
    """Version that was champion when the run began, empty for none: nobody else's place is taken. None: that
    of the champion's evaluation."""
    tags: dict[str, str] = field(default_factory=dict)
    """Tags of the registered version: digests of data, model, rewards and code."""
    run_id: str = ""
    """Id of the pipeline's run, which becomes a tag; empty: no tag."""

    def __post_init__(self) -> None:
        if not self.model_name:
            raise ValueError("model_name is empty; name the registered model")

    @property
    def criteria(self) -> Criteria:
        """What a trial is held against."""
        return Criteria(
            max_kl=self.max_kl, min_gain=self.min_gain, level=self.error.level, guards=self.guards
        )


def promote_best(
    config: PromoteConfig,
    *,
    groups: Path,
    reference: Path,
    champion: Path | None,
    evaluations: list[Path],
    registration: Path,
) -> dict[str, float]:
    """Register the best trial; make it champion when it passes the gate, challenger when it does not.

    Of the mixes of a trial its scaled adapters compete as trials do; the best of them is written as a policy
    of its own. A trial that does not pass is no failure: the decision says why.

    Args:
        groups: what all evaluations were made on.
        reference: its evaluation, as ``champion`` and ``evaluations`` are those of champion and trials.
        registration: where ``registration.json`` and the model card go.

    Returns:
        Gain over reference and champion, reward units, and whether the trial was promoted.

    Raises:
        ArtifactError: an input is not an evaluation of these groups.
        TrackingError: the registry cannot be reached, or refuses.
    """
    found = read_evaluations(groups, reference=reference, champion=champion, trials=evaluations)
    _check_keep(config, found)
    registry = Registry(config.tracking_uri, config.model_name)
    registry.settle()
    registry.check_champion()
    outcome, spent = judge_within_budget(
        found,
        config.criteria,
        registry,
        budget=config.error.budget,
        run_key=config.tags.get(RUN_KEY, ""),
    )
    outcome = rejected_if_champion_changed(
        outcome, measured=found.champion, now=registry.get(CHAMPION), replaces=config.replaces
    )
    begin(registration)
    version, outcome = register_best(
        registry,
        outcome,
        folder=config.champions,
        tags=_tags(config, outcome.best, found.groups) if outcome.best else {},
        describe=lambda ended: _card(config, found, ended),
    )
    retired = retire_champions(registry, folder=config.champions, keep=config.keep_champions)
    if outcome.best:
        (registration / CARD).write_text(_card(config, found, outcome))
    decision = _decision(outcome, registry, version, retired)
    error = {"budget": config.error.budget, **asdict(spent)} if spent else None
    worth = objective_of(found, outcome.best, config.report_beta) if outcome.best else None
    told = {"error": error, "objective": worth.facts() if worth else None}
    write_json(registration / "registration.json", {**decision, **told})
    metrics = _metrics(outcome, found)
    weights = _free_disk(config, registry, found.trials, outcome)
    seal(
        registration,
        schema="registration",
        stage="promote",
        rows=len(found.trials),
        config=asdict(config),
        parents=found.parents,
        facts={"metrics": metrics, "weights": weights, "warnings": _warnings(found, weights, retired)},
        volatile=(CARD,),  # it names the run
    )
    return metrics


def _decision(
    outcome: Outcome, registry: Registry, version: str | None, retired: dict[str, str]
) -> dict[str, Any]:
    """``registration.json``."""
    return {
        "promoted": outcome.decision.promoted,
        "reasons": list(outcome.decision.reasons),
        "trial": outcome.best.name if outcome.best else None,
        "version": version,
        "model_name": registry.model_name,
        "champion": _version_facts(registry.get(CHAMPION)),
        "previous": _version_facts(registry.get(PREVIOUS)),
        "retired": retired,
    }


def _check_keep(config: PromoteConfig, found: Evaluations) -> None:
    names = [trial.name for trial in found.trials]
    unknown = sorted(set(config.keep) - set(names)) if isinstance(config.keep, list) else []
    if mixed := [one for one in found.candidates if one.weight is not None and one.name in unknown]:
        whose = ", ".join(sorted({one.of for one in mixed}))
        raise ConfigError(f"promote.keep={unknown}: a mix has no weights on disk; name its trial: {whose}")
    if unknown:
        raise ConfigError(f"promote.keep={unknown} are no trials; use names of {names}, or 'all' or 'winner'")


def _card(config: PromoteConfig, found: Evaluations, outcome: Outcome) -> str:
    assert outcome.best is not None
    tags = _tags(config, outcome.best, found.groups)
    return model_card(
        config.model_name, found, outcome.best, outcome.decision, tags, report_beta=config.report_beta
    )


def _tags(config: PromoteConfig, best: Measured, groups: Manifest) -> dict[str, str]:
    run = {"run_id": config.run_id} if config.run_id else {}
    known = {"trial": best.name, "groups": groups.digest, "evaluation": best.manifest.digest}
    gate = best.splits["gate"]
    measured = {"reward": interval(gate.reward), "kl": interval(gate.kl)}
    return {**config.tags, **known, **measured, **run}


def _free_disk(
    config: PromoteConfig, registry: Registry, trials: Sequence[Measured], outcome: Outcome
) -> dict[str, str]:
    """Delete the weights of trials that lost, and say what became of each trial's.

    Without a best trial nothing is deleted.
    """
    if config.keep == "all" or outcome.best is None:
        return {trial.name: "kept" for trial in trials}
    versions = registry.versions()
    registered = {version.digest for version in versions}
    sources = {version.policy_uri.rstrip("/") for version in versions}
    found = {}
    for trial in trials:
        if isinstance(config.keep, list) and trial.name in config.keep:
            found[trial.name] = "kept: named in 'keep'"
        elif trial.policy_digest in registered or trial.policy_uri.rstrip("/") in sources:
            found[trial.name] = "kept: registered"
        elif trial.name == outcome.best.of:
            found[trial.name] = f"kept: {outcome.best.name} is made of it"
        elif not trial.policy_uri:
            found[trial.name] = "kept: its evaluation does not say where it lies"
        else:
            reason = (
                f"the weights of trial {trial.name} were deleted when {outcome.best.name} was registered as "
                f"{config.model_name!r}; train it again with promote.keep set to 'all' or to its name"
            )
            deleted = delete_weights(trial.policy_uri, digest=trial.policy_digest, reason=reason)
            found[trial.name] = str(deleted)
    return found


def _warnings(found: Evaluations, weights: dict[str, str], retired: dict[str, str]) -> list[str]:
    """What was deleted, after what was warned of the evaluations."""
    gone = [name for name, told in weights.items() if not told.startswith("kept")]
    lines = []
    if gone:
        lines.append(
            f"the weights of {', '.join(gone)}, which lost, were deleted (promote.keep: all keeps them)"
        )
    lines += [f"copy of champion {version} {told}" for version, told in retired.items()]
    return [
        *warnings_of(*(one.manifest for one in found.everyone)),
        *(f"promote: {line}" for line in lines),
    ]


def _version_facts(version: RegisteredVersion | None) -> dict[str, str] | None:
    if version is None:
        return None
    return {"version": version.version, "source": version.policy_uri, "digest": version.digest}


def _metrics(outcome: Outcome, found: Evaluations) -> dict[str, float]:
    metrics = {"policy/promoted": float(outcome.decision.promoted)}
    if best := outcome.best:
        metrics["gain/reference"] = gain(contender(best), contender(found.reference)).mean
        if found.champion and found.champion.policy_digest != best.policy_digest:
            metrics["gain/champion"] = gain(contender(best), contender(found.champion)).mean
    return metrics

"""``promote``: evaluations in, a decision and a version in the model registry out."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from copg.artifacts import Manifest, begin, read_manifest, seal, write_json
from copg.config import STRICT
from copg.errors import ArtifactError, ConfigError
from copg.evaluation.gate import DEFAULT_MAX_KL, Decision, gain
from copg.evaluation.results import (
    Measured,
    Verdict,
    check_same_groups,
    contender,
    data_faults,
    judge,
    read_measured,
)
from copg.report.model_card import model_card
from copg.tracking.mlflow import DEFAULT_URI
from copg.tracking.retention import delete_weights
from copg.tracking.runs import CHAMPION, PREVIOUS, Registered, Registry

__all__ = ["PromoteConfig", "promote_best"]

CARD = "model_card.md"


@dataclass(frozen=True, kw_only=True)
class PromoteConfig:
    """What a trial has to pass, and where it is registered then."""

    __pydantic_config__ = STRICT

    model_name: str
    """Of the registered model."""
    tracking_uri: str = DEFAULT_URI
    """``sqlite:///FILE``, or the address of an MLflow server."""
    max_kl: float = DEFAULT_MAX_KL
    """Nats a completion: the upper end of the KL's interval may not exceed it."""
    min_gain: float = 0.0
    """Reward units: the lower end of the gain's interval must exceed it."""
    keep: Literal["all", "winner"] | list[str] = "winner"
    """Whose weights stay on disk: everybody's, the best trial's, or those of the best and of these names."""
    tags: dict[str, str] = field(default_factory=dict)
    """Of the registered version: digests of data, model, rewards and code."""
    run_id: str = ""
    """Of the pipeline's run, kept as a tag; empty: none."""

    def __post_init__(self) -> None:
        if not self.model_name:
            raise ValueError("model_name is empty; name the registered model")
        if not self.max_kl > 0:
            raise ValueError(f"max_kl={self.max_kl} must be > 0: at 0 only the reference itself would pass")
        if self.min_gain < 0:
            raise ValueError(f"min_gain={self.min_gain} must be >= 0: below it a worse policy could pass")


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

    A trial that does not pass is no failure: the decision says why.

    Args:
        config: settings.
        groups: what all evaluations were made on.
        reference: evaluation of the reference.
        champion: evaluation of the champion, where there is one.
        evaluations: of each trial.
        registration: where ``registration.json`` and the model card go.

    Returns:
        Gain over reference and champion, reward units, and whether the trial was promoted.

    Raises:
        ArtifactError: an input is not an evaluation of these groups.
        TrackingError: the registry cannot be reached, or refuses.
    """
    data = read_manifest(groups, schema="groups")
    trials = [read_measured(path) for path in evaluations]
    base, former = read_measured(reference), read_measured(champion) if champion else None
    everyone = [*trials, base, *([former] if former else [])]
    check_same_groups(data, everyone)
    _check_keep(config, trials)
    verdict = judge(
        trials, base, former, max_kl=config.max_kl, min_gain=config.min_gain, faults=data_faults(data)
    )
    registry = Registry(config.tracking_uri, config.model_name)
    decision = _hold_if_moved(verdict, former, registry.get(CHAMPION))
    begin(registration)
    version = None
    if best := verdict.best:
        tags = _tags(config, best, data)
        card = model_card(config.model_name, best, base, former, data, decision, tags)
        (registration / CARD).write_text(card)
        version = _register(registry, card, tags, best, decision.promoted)
    _write_decision(registration, registry, verdict, decision, version)
    metrics = _metrics(verdict, decision, base, former)
    seal(
        registration,
        schema="registration",
        stage="promote",
        rows=len(trials),
        config=asdict(config),
        parents={"groups": data.digest, **{one.name: one.manifest.digest for one in everyone}},
        facts={"metrics": metrics, "weights": _free_disk(config, registry, trials, verdict)},
        volatile=(CARD,),  # it names the run
    )
    return metrics


def _write_decision(
    registration: Path, registry: Registry, verdict: Verdict, decision: Decision, version: str | None
) -> None:
    value = {
        "promoted": decision.promoted,
        "reasons": list(decision.reasons),
        "trial": verdict.best.name if verdict.best else None,
        "version": version,
        "model_name": registry.model_name,
        "champion": _brief(registry.get(CHAMPION)),
        "previous": _brief(registry.get(PREVIOUS)),
    }
    write_json(registration / "registration.json", value)


def _check_keep(config: PromoteConfig, trials: list[Measured]) -> None:
    names = [trial.name for trial in trials]
    unknown = sorted(set(config.keep) - set(names)) if isinstance(config.keep, list) else []
    if unknown:
        raise ConfigError(f"promote.keep={unknown} are no trials; use names of {names}, or 'all' or 'winner'")


def _hold_if_moved(verdict: Verdict, former: Measured | None, now: Registered | None) -> Decision:
    """The decision, unless another run has crowned a policy that this one was not measured against."""
    measured = {one.policy_digest for one in (verdict.best, former) if one is not None}
    if not verdict.decision.promoted or now is None or now.digest in measured:
        return verdict.decision
    reason = f"version {now.version} became champion without being measured by this run; run it again"
    return Decision(False, (reason,))


def _tags(config: PromoteConfig, best: Measured, data: Manifest) -> dict[str, str]:
    run = {"run_id": config.run_id} if config.run_id else {}
    known = {"trial": best.name, "groups": data.digest, "evaluation": best.manifest.digest}
    return {**config.tags, **known, **run}


def _register(registry: Registry, card: str, tags: dict[str, str], best: Measured, promoted: bool) -> str:
    """The best trial's version, carrying its alias."""
    if not (best.policy_uri and best.policy_digest):
        raise ArtifactError(f"{best.directory}: {best.name} has no policy_uri or policy_digest to register")
    version = registry.register_version(
        best.policy_uri, digest=best.policy_digest, tags=tags, description=card
    )
    now = registry.get(CHAMPION)
    if promoted:
        registry.crown(version)
    elif now is None or now.version != version:
        registry.challenge(version)
    return version


def _free_disk(
    config: PromoteConfig, registry: Registry, trials: list[Measured], verdict: Verdict
) -> dict[str, str]:
    """What became of each trial's weights; without a best trial nothing is deleted."""
    if config.keep == "all" or verdict.best is None:
        return {trial.name: "kept" for trial in trials}
    versions = registry.versions()
    registered = {version.digest for version in versions}
    sources = {version.source.rstrip("/") for version in versions}
    told = {}
    for trial in trials:
        if isinstance(config.keep, list) and trial.name in config.keep:
            told[trial.name] = "kept: named in 'keep'"
        elif trial.policy_digest in registered or trial.policy_uri.rstrip("/") in sources:
            told[trial.name] = "kept: registered"
        elif not trial.policy_uri:
            told[trial.name] = "kept: its evaluation does not say where it lies"
        else:
            reason = (
                f"the weights of trial {trial.name} were deleted when {verdict.best.name} was registered as "
                f"{config.model_name!r}; train it again with promote.keep set to 'all' or to its name"
            )
            deleted = delete_weights(trial.policy_uri, digest=trial.policy_digest, reason=reason)
            told[trial.name] = str(deleted)
    return told


def _brief(version: Registered | None) -> dict[str, str] | None:
    if version is None:
        return None
    return {"version": version.version, "source": version.source, "digest": version.digest}


def _metrics(
    verdict: Verdict, decision: Decision, reference: Measured, former: Measured | None
) -> dict[str, float]:
    metrics = {"policy/promoted": float(decision.promoted)}
    if verdict.best is not None:
        metrics["gain/reference"] = gain(contender(verdict.best), contender(reference)).mean
        if former is not None and former.policy_digest != verdict.best.policy_digest:
            metrics["gain/champion"] = gain(contender(verdict.best), contender(former)).mean
    return metrics

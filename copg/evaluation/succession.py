"""Who follows a champion: a trial that passed the gate takes its place, unless somebody was faster."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from copg.evaluation.gate import Decision
from copg.evaluation.results import Measured, Outcome
from copg.evaluation.spending import policy_uri
from copg.stores.addresses import find_damage
from copg.tracking.champions import keep_policy, keep_scaled
from copg.tracking.registry import CHAMPION, RegisteredVersion, Registry


def rejected_if_champion_changed(
    outcome: Outcome, *, measured: Measured | None, now: RegisteredVersion | None, replaces: str | None
) -> Outcome:
    """The outcome; not promoted where the champion is not the one that the run began with.

    Args:
        outcome: of the gate.
        measured: evaluation of the champion, where the run has one.
        now: the champion in the registry.
        replaces: version that was champion when the run began, empty for none; None where that is not known.
    """
    if not outcome.decision.promoted or _stands_already(outcome, now):
        return outcome
    if replaces is None:
        same = now is None or (measured is not None and measured.policy_digest == now.digest)
    else:
        same = replaces == (now.version if now else "")
    if same:
        return outcome
    if now is None:
        reason = f"version {replaces} was champion when this run began and is no more; run it again"
    else:
        reason = f"version {now.version} became champion without being measured by this run; run it again"
    return replace(outcome, decision=Decision(False, (reason,)))


def register_best(
    registry: Registry,
    outcome: Outcome,
    *,
    folder: str,
    tags: Mapping[str, str],
    describe: Callable[[Outcome], str],
) -> tuple[str | None, Outcome]:
    """Register the best trial, as champion where it was promoted and nobody was faster.

    Args:
        registry: in which, under its name.
        outcome: of the gate.
        folder: to which the policy of a champion is copied; empty: it is registered where it lies.
        tags: of the version.
        describe: the text of the version, for an outcome.

    Returns:
        Its version, None without a best trial; and the outcome, which says so where somebody was faster.

    Raises:
        TrackingError: the registry cannot be reached, or refuses.
    """
    best, now = outcome.best, registry.get(CHAMPION)
    if best is None:
        return None, outcome
    told: dict[str, Any] = {"digest": best.policy_digest, "tags": tags, "description": describe(outcome)}
    if not outcome.decision.promoted or _stands_intact(outcome, now):
        uri = policy_uri(best) if best.weight is None else _scaled(registry, best, folder)
        version = registry.register_version(uri, **told)
        if not outcome.decision.promoted and (now is None or now.version != version):
            registry.make_challenger(version)
        return version, outcome
    version = registry.bid(_kept(registry, best, folder), **told, replaces=now.version if now else "")
    faster = registry.award(version)
    if faster is None:
        return version, outcome
    reason = f"version {faster.version} became champion at the same time and was faster; run it again"
    outcome = replace(outcome, decision=Decision(False, (reason,)))
    registry.describe(version, describe(outcome))
    registry.make_challenger(version)
    return version, outcome


def _stands_already(outcome: Outcome, now: RegisteredVersion | None) -> bool:
    return now is not None and outcome.best is not None and outcome.best.policy_digest == now.digest


def _stands_intact(outcome: Outcome, now: RegisteredVersion | None) -> bool:
    """Whether the best trial is champion already, with its weights where the registry says."""
    if now is None or not _stands_already(outcome, now):
        return False
    return not find_damage(now.policy_uri, digest=now.digest)


def _kept(registry: Registry, best: Measured, folder: str) -> str:
    """The address of the policy to register: a copy, where there is a folder for it."""
    if best.weight is not None:
        return _scaled(registry, best, folder)
    if not folder:
        return best.policy_uri
    name = registry.model_name
    return keep_policy(best.policy_uri, digest=best.policy_digest, folder=folder, model_name=name)


def _scaled(registry: Registry, best: Measured, folder: str) -> str:
    """The address of a scaled adapter, which is written only now."""
    assert best.weight is not None
    where = {"folder": folder, "model_name": registry.model_name}
    return keep_scaled(policy_uri(best), best.weight, digest=best.policy_digest, **where)

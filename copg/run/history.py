"""What earlier runs came to: the summary of each stays, beside that of the latest."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copg.errors import ConfigError, DamageError
from copg.records import Estimate
from copg.report.history.page import PastRun
from copg.run.summary import HISTORY, SUMMARY
from copg.stores.sealed import read_sealed


def read_runs(roots: list[Path]) -> list[PastRun]:
    """Every run of some directories, in the order of time.

    Args:
        roots: directories of runs, or folders in which these lie.

    Raises:
        ConfigError: no run has ended in one of them.
    """
    found: dict[tuple[str, str], PastRun] = {}
    for root in roots:
        inner = [root, *(path for path in sorted(root.glob("*")) if path.is_dir())]
        here = [(each, summary) for each in inner for summary in _summaries(each)]
        if not here:
            raise ConfigError(f"{root}: no run has ended there: neither {SUMMARY} nor {HISTORY}/ is in it")
        for each, summary in here:
            found[(str(each), str(summary["run"]))] = _past_run(str(each), summary)
    return sorted(found.values(), key=lambda run: run.started)


def _summaries(root: Path) -> list[dict[str, Any]]:
    """Those that can be read; what is damaged is named."""
    found = []
    for path in (*sorted((root / HISTORY).glob("*.json")), root / SUMMARY):
        try:
            summary = read_sealed(path, remedy="this run is left out")
        except DamageError as error:
            print(f"warning: {error}", file=sys.stderr, flush=True)
            continue
        if summary.get("run"):
            found.append(summary)
    return found


def _past_run(root: str, summary: Mapping[str, Any]) -> PastRun:
    trials = summary.get("trials") or []
    promoted = next((trial["name"] for trial in trials if trial.get("promoted")), None)
    best = summary.get("best") or promoted  # a summary of 0.1.0 names no other
    known = [each for trial in trials for each in (trial, *trial.get("mixes", []))]
    trial: Mapping[str, Any] = next((each for each in known if each["name"] == best), {})
    failure = summary.get("failure")
    champion = summary.get("champion") or {}
    seconds = summary.get("seconds") or {}
    return PastRun(
        root=root,
        name=str(summary.get("name") or ""),
        run=str(summary["run"]),
        started=str(summary.get("started") or ""),
        failed=f"{failure['stage']}: {failure['cause']}" if failure else "",
        best=str(best or ""),
        promoted=bool(summary.get("promoted")),
        version=str(summary.get("version") or (champion.get("version") if promoted else "") or ""),
        champion=str(champion.get("version") or ""),
        reward=_estimate(trial.get("reward"), trial.get("reward_low"), trial.get("reward_high")),
        kl=_estimate(trial.get("kl"), trial.get("kl_low"), trial.get("kl_high")),
        gain=_of_objective(trial.get("objective")),
        reference=(summary.get("reference") or {}).get("reward"),
        trials=len(trials),
        seconds=float(sum(seconds.get(task, 0.0) for task in summary.get("executed", []))),
        reused=len(summary.get("cached") or []),
    )


def _of_objective(objective: Any) -> Estimate | None:
    gain = (objective or {}).get("gain") or {}
    return _estimate(*(gain.get(end) for end in ("mean", "low", "high")))


def _estimate(mean: Any, low: Any, high: Any) -> Estimate | None:
    """None where it was not measured, or is not finite and stands there as a text."""
    if not all(isinstance(each, int | float) for each in (mean, low, high)):
        return None
    return Estimate(float(mean), float(low), float(high))

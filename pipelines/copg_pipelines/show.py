"""A run's summary for people."""

from typing import Any


def failure_line(summary: dict[str, Any]) -> str:
    """Stage, trial and cause, in one line."""
    failure = summary["failure"]
    trial = f", trial {failure['trial']}" if failure["trial"] else ""
    return f"error: stage {failure['stage']}{trial}: {failure['cause']} (log: {summary['log']})"


def show_summary(summary: dict[str, Any]) -> None:
    """Print what was found, what it cost, and where the report is."""
    print()
    print(f"{'':<24}{'reward':>8}{'95 % interval':>20}{'KL, nats':>10}{'95 % interval':>20}")
    print(_row("reference", summary["reference"], ""))
    for trial in summary["trials"]:
        note = "  promoted" if trial["promoted"] else "  diverged" if trial["diverged"] else ""
        print(_row(trial["name"], trial, note))
    print()
    for reason in summary["reasons"]:
        print(f"  {reason}")
    if summary["cached"]:
        print(f"unchanged, from the cache: {', '.join(summary['cached'])}")
    print(f"report: {summary['report']}")


def _row(name: str, estimates: dict[str, Any], note: str) -> str:
    reward, kl = (_estimate(estimates, quantity) for quantity in ("reward", "kl"))
    return f"{name:<24}{reward}{kl}{note}"


def _estimate(estimates: dict[str, Any], quantity: str) -> str:
    mean, low, high = (estimates[f"{quantity}{end}"] for end in ("", "_low", "_high"))
    if not all(isinstance(value, int | float) for value in (mean, low, high)):
        return f"{'-':>10}{'':>20}" if quantity == "kl" else f"{'-':>8}{'':>20}"
    width = 10 if quantity == "kl" else 8
    return f"{mean:>{width}.3f}{f'{low:.3f} to {high:.3f}':>20}"

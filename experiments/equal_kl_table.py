"""What ``experiments.equal_kl`` prints."""

from collections.abc import Mapping
from typing import Any


def show(result: Mapping[str, Any]) -> None:
    """The tables, and what is missing or failed."""
    if "policies" in result:
        for reward in result["rewards"]:
            _rewards(result, reward)
        _objective(result)
        _settings(result)
    for failure in result.get("failures", []):
        print(f"failed: {failure['unit']}: {failure['failed']}")
    for method, unit in result["missing"].items():
        print(f"missing: {method}, next {unit}")
    if seconds := result.get("seconds"):
        print(", ".join(f"{name} {value:.0f} s" for name, value in seconds.items()))


def _rewards(result: Mapping[str, Any], reward: str) -> None:
    print(f"{reward} at equal KL, gate split; reference {_estimate(result['reference'][reward])}")
    print(f"{'method':<10}" + "".join(f"{f'{kl:g} nats':>26}" for kl in result["kls"]))
    for name, policy in result["policies"].items():
        cells = [_cell(at, reward, policy["seeds"]) for at in policy["at_kl"]]
        print(f"{name:<10}" + "".join(f"{cell:>26}" for cell in cells))
    print("less CoPG there")
    for name, policy in result["policies"].items():
        cells = [_estimate(at[f"{reward}_less_copg"]) for at in policy["at_kl"]]
        if any(cells):
            print(f"{name:<10}" + "".join(f"{cell or '-':>26}" for cell in cells))


def _cell(at: Mapping[str, Any], reward: str, seeds: int) -> str:
    return _estimate(at[reward]) or f"{at['reached']} of {seeds} seeds reach it"


def _estimate(found: Mapping[str, float] | None) -> str:
    return "" if found is None else f"{found['mean']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _objective(result: Mapping[str, Any]) -> None:
    if result["beta"] is None:
        return
    predicted = result["predicted_gain"]
    told = "nothing" if predicted is None else f"{predicted:.3f}"
    print(f"J = reward - {result['beta']:g} KL, less the reference's; the logs predict {told}")
    print(f"{'method':<10}{'at KL':>8}{'gain':>26}{'share':>26}{'as trained':>26}")
    for name, policy in result["policies"].items():
        best, own = policy["J"], policy["J_as_trained"]
        cells = [_estimate(each) or "-" for each in (best["gain"], best["share"], own["gain"])]
        print(f"{name:<10}{best['kl']:>8g}" + "".join(f"{cell:>26}" for cell in cells))


def _settings(result: Mapping[str, Any]) -> None:
    print("settings by the select split, one seed: beta, rate, mean reward at up to the KLs")
    for name, settings in result["settings"].items():
        for each in settings:
            score = "failed" if each["score"] is None else f"{each['score']:.4f}"
            chosen = "  chosen" if each["chosen"] else ""
            print(f"{name:<10}{each['beta']:>8g}{each['learning_rate']:>10g}{score:>10}{chosen}")

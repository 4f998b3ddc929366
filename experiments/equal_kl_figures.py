"""The figure of ``experiments.equal_kl``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.figures import LINES, new_figure, save_figure

APART = 0.012
"""Share of the axis by which methods at one KL stand beside one another, so that their intervals are told."""
THIN = {"error_kw": {"elinewidth": 0.8, "ecolor": "#444444"}}
TITLES = {"reward": "reward that is maximised", "true": "true reward"}


def draw(result: Mapping[str, Any], path: Path) -> None:
    """Rewards against KL, one panel a reward, and J as bars: beside one panel, below two.

    Large marks with 95 % intervals over seeds and prompts are at the common KLs; small ones are policies and
    mixes as they were measured, one line a seed. The same marks are at the end of each bar's name.
    """
    rewards, bars = result["rewards"], result["beta"] is not None
    panels = len(rewards) + bars
    figure, axes = new_figure(2 if panels > 1 else 1, rows=2 if panels > 2 else 1, height=3.3)
    for ax, reward in zip(axes.flat, rewards, strict=False):
        _rewards(ax, result, reward)
    axes[0, 0].set_ylabel("reward on the gate split (reward units)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, ncols=5, loc="outside lower center")
    if bars:
        _bars(axes.flat[panels - 1], result)
    for ax in axes.flat[panels:]:
        ax.set_axis_off()
    save_figure(figure, path)


def _rewards(ax: Any, result: Mapping[str, Any], reward: str) -> None:
    start, width = result["reference"][reward], max(result["kls"]) * 1.25
    seen = [start["low"], start["high"]]
    ax.axhspan(start["low"], start["high"], color="#666666", alpha=0.12, linewidth=0)
    ax.axhline(start["mean"], color="#666666", linewidth=0.8)
    names = list(result["policies"])
    for i, name in enumerate(names):
        policy, line = result["policies"][name], LINES[name]
        for seed in policy["places"]:
            shown = sorted((p["kl"], p[reward]) for p in seed)
            kls, values = [0.0, *(kl for kl, _ in shown)], [start["mean"], *(value for _, value in shown)]
            seen += [value for kl, value in shown if kl <= width]
            ax.plot(kls, values, color=line.color, linestyle=line.style, linewidth=0.6, alpha=0.5)
            ax.plot(kls[1:], values[1:], line.marker, color=line.color, markersize=2, alpha=0.5)
        told = [at for at in policy["at_kl"] if at[reward]]
        # where no KL is reached by all seeds, the name still stands in the legend
        x = [at["kl"] + (i - (len(names) - 1) / 2) * APART * width for at in told]
        mean = [at[reward]["mean"] for at in told]
        error = [[abs(at[reward][end] - at[reward]["mean"]) for at in told] for end in ("low", "high")]
        seen += [at[reward][end] for at in told for end in ("low", "high")]
        ax.errorbar(
            x, mean, error, fmt=line.marker, color=line.color, label=line.label, markersize=4, capsize=1.5,
            elinewidth=0.8,
        )  # fmt: skip
    room = 0.05 * (max(seen) - min(seen)) or 1.0
    ax.set(xlabel="KL(policy ‖ reference), nats a completion", title=TITLES[reward])
    ax.set(xlim=(0, width), ylim=(min(seen) - room, max(seen) + room))
    ax.set_xticks(result["kls"])


def _bars(ax: Any, result: Mapping[str, Any]) -> None:
    """J less the reference's, methods from top to bottom: at the chosen KL filled, as trained hatched."""
    names = list(result["policies"])[::-1]
    for y, name in enumerate(names):
        policy, line = result["policies"][name], LINES[name]
        for key, shift, fill in (("J", 0.2, True), ("J_as_trained", -0.2, False)):
            gain = policy[key]["gain"]
            if gain is None:
                if fill:
                    ax.text(0, y + shift, " not reached by all seeds", va="center", fontsize=6)
                continue
            error = [[abs(gain[end] - gain["mean"])] for end in ("low", "high")]
            look = {"color": line.color} if fill else {"color": "white", "edgecolor": line.color}
            hatch = None if fill else "////"
            ax.barh(y + shift, gain["mean"], 0.38, xerr=error, capsize=1.5, hatch=hatch, **look, **THIN)
    if result["predicted_gain"] is not None:
        ax.axvline(result["predicted_gain"], color="#000000", linestyle=":", linewidth=0.8)
    ax.axvline(0, color="#666666", linewidth=0.8)
    ax.set_yticks(range(len(names)), [LINES[name].label for name in names])
    title = f"J at β = {result['beta']:g}\nfilled: at the chosen KL; hatched: as trained"
    ax.set_title(title)
    ax.set_xlabel("gain over the reference (reward units)\ndotted: what the logs predict")

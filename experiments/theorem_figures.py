"""The figure of ``experiments.theorem``."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.figures import LINES, new_figure, save_figure


def draw(runs: list[dict], path: Path, *, initial: float, beta: float) -> None:
    """Left CoPG, every mixture and K; right all methods at K = 4, mean and range over mixtures and seeds."""
    figure, axes = new_figure(2, height=3.0, sharey=True)
    mixtures = list(dict.fromkeys(run["mixture"] for run in runs))
    sizes = sorted({run["k"] for run in runs})
    colors = dict(zip(mixtures, ("#0072B2", "#E69F00", "#009E73"), strict=False))
    styles = dict(zip(sizes, ("-", "--", ":"), strict=False))
    for mixture in mixtures:
        for k in sizes:
            same = [r for r in runs if (r["method"], r["mixture"], r["k"]) == ("copg", mixture, k)]
            if same:
                label = f"{mixture}, K = {k}"
                _band(axes[0, 0], same, initial, label=label, color=colors[mixture], linestyle=styles[k])
    for method, line in LINES.items():
        same = [r for r in runs if r["method"] == method and r["k"] == 4]
        if same:
            label = line.label if same[0]["beta"] == beta else f"{line.label}, β = {same[0]['beta']:g}"
            _band(axes[0, 1], same, initial, **{**line.plot(), "label": label})
    axes[0, 0].set(title="CoPG, by sampler and group size", ylabel="regret / initial regret")
    axes[0, 1].set(title="K = 4, over three samplers: mean and range")
    for ax in axes[0]:
        ax.axhline(0.05, color="#666666", linewidth=0.8)
        ax.text(0, 0.047, "5 %", color="#444444", va="top", fontsize=7)
        ax.set(xlabel="optimiser steps of 128 completions", yscale="log", ylim=(2e-3, 2))
    axes[0, 0].legend(frameon=False, ncols=2, loc="upper right", fontsize=6)
    axes[0, 1].legend(frameon=False, loc="lower left", fontsize=6)
    save_figure(figure, path)


def _band(ax: Any, runs: list[dict], initial: float, **line: Any) -> None:
    regret = np.array([run["regret"] for run in runs]) / initial
    ax.plot(runs[0]["steps"], regret.mean(0), **line)
    ax.fill_between(
        runs[0]["steps"], regret.min(0), regret.max(0), color=line["color"], alpha=0.15, linewidth=0
    )

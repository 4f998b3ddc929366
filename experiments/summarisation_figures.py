"""The figures of ``experiments.summarisation``."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps

from copg.evaluation.frontier import Point, frontier
from experiments.figures import LINES, new_figure, save_figure

STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))


def draw_curves(runs: list[dict], path: Path) -> None:
    """Figures 2, 3 and 4: reward of generations along training, one curve a beta, one panel a method."""
    methods = [method for method in dict.fromkeys(run["method"] for run in runs) if method != "sft"]
    figure, axes = new_figure(len(methods), height=3.2, sharey=True)
    for ax, method in zip(axes[0], methods, strict=True):
        own = [run for run in runs if run["method"] == method]
        for i, run in enumerate(own):
            color = colormaps["cividis"](0.9 * i / max(1, len(own) - 1))
            _curve(ax, [run], label=f"β = {run['beta']:g}", color=color, linestyle=STYLES[i % len(STYLES)])
        ax.set(title=LINES[method].label, xlabel="optimiser steps")
        # beneath the panel: a curve may go anywhere in it
        ax.legend(frameon=False, fontsize=6, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    axes[0, 0].set_ylabel("reward of generations (reward units)\nmean ± s.e. over prompts")
    save_figure(figure, path)


def draw_betas(runs: list[dict], reference: dict, path: Path) -> None:
    """Left figure 5, final reward against beta; right what the paper has not: reward against KL."""
    figure, axes = new_figure(2, height=3.0, sharey=True)
    start = reference["gate"]["reward"]
    for method in dict.fromkeys(run["method"] for run in runs):
        line = LINES[method]
        own = sorted((run for run in runs if run["method"] == method), key=lambda run: run["beta"])
        for ax, key in ((axes[0, 0], None), (axes[0, 1], "kl")):
            x = [run["beta"] if key is None else run["gate"]["kl"]["mean"] for run in own]
            mean, low, high = (
                np.array([run["gate"]["reward"][part] for run in own]) for part in ("mean", "low", "high")
            )
            shown = {
                "color": line.color,
                "marker": line.marker,
                "markersize": 4,
                "capsize": 2,
                "elinewidth": 0.8,
            }
            joined = line.style if key is None else "none"
            if key is None and method == "sft":
                continue  # it has no beta
            ax.errorbar(x, mean, [mean - low, high - mean], linestyle=joined, label=line.label, **shown)
        points = [
            Point(str(run["beta"]), run["gate"]["kl"]["mean"], run["gate"]["reward"]["mean"]) for run in own
        ]
        best = frontier(points, reference_reward=start["mean"])
        axes[0, 1].plot(
            [p.kl for p in best], [p.reward for p in best], color=line.color, linestyle=line.style
        )
    for ax in axes[0]:
        ax.axhline(start["mean"], color="#666666", linewidth=0.8)
    axes[0, 0].set(xscale="log", xlabel="β", ylabel="final reward (reward units), 95 % over prompts")
    axes[0, 1].set(xlabel="KL(policy ‖ reference), nats a completion", title="frontier of each method")
    axes[0, 0].set(title="final reward against β; grey: the reference")
    axes[0, 1].legend(frameon=False)
    save_figure(figure, path)


def draw_best(best: list[dict], by_k: list[dict], path: Path) -> None:
    """Left figure 6, the best beta of each method; right CoPG on 2, 4 and all completions of a prompt."""
    figure, axes = new_figure(2, height=3.0)
    for method in dict.fromkeys(run["method"] for run in best):
        own = [run for run in best if run["method"] == method]
        line = LINES[method]
        _curve(axes[0, 0], own, **{**line.plot(), "label": f"{line.label}, β = {own[0]['beta']:g}"})
    for k, color, style in zip(
        dict.fromkeys(run["k"] for run in by_k),
        ("#E69F00", "#009E73", "#0072B2"),
        ("--", "-.", "-"),
        strict=False,
    ):
        own = [run for run in by_k if run["k"] == k]
        _curve(axes[0, 1], own, label=f"K = {k or 'all'}", color=color, linestyle=style)
    seeds = len({run["seed"] for run in best})
    what = f"{seeds} seeds" if seeds > 1 else "one seed"
    axes[0, 0].set(title=f"the best β of each, {what}", ylabel="reward of generations (reward units)")
    axes[0, 1].set(title="CoPG by completions a prompt, about equal tokens")
    for ax in axes[0]:
        ax.set_xlabel("optimiser steps")
        ax.legend(frameon=False)
    save_figure(figure, path)


def _curve(ax: Any, runs: list[dict], **line: Any) -> None:
    """Mean over seeds; shaded by the standard error of prompts and seeds together."""
    length = min(len(run["curve"]["step"]) for run in runs)
    reward = np.array([run["curve"]["reward"][:length] for run in runs])
    # Every seed samples the same prompts with the same noise, so their error does not shrink with seeds.
    prompts = np.array([run["curve"]["reward_se"][:length] for run in runs]).mean(0)
    seeds = reward.std(0, ddof=1) / len(runs) ** 0.5 if len(runs) > 1 else 0.0
    error = np.sqrt(prompts**2 + seeds**2)
    steps, mean = runs[0]["curve"]["step"][:length], reward.mean(0)
    ax.plot(steps, mean, **line)
    ax.fill_between(steps, mean - error, mean + error, color=line["color"], alpha=0.15, linewidth=0)

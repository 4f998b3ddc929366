"""One look for every figure: colour-blind safe, told apart in grey by line and marker, readable in print."""

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure


class Line(NamedTuple):
    """How a method is drawn, in every figure."""

    label: str
    color: str
    style: Any
    marker: str

    def plot(self) -> dict[str, Any]:
        """Keyword arguments of ``Axes.plot``."""
        return {"label": self.label, "color": self.color, "linestyle": self.style}


# The colours of Okabe and Ito.
LINES = {
    "copg": Line("CoPG", "#0072B2", "-", "o"),
    "ipo": Line("IPO", "#D55E00", "--", "s"),
    "dpo": Line("DPO", "#CC79A7", (0, (3, 1, 1, 1, 1, 1)), "D"),
    "pg": Line("PG, no baseline", "#000000", ":", "v"),
    "pg_value": Line("PG, b = E[R]", "#009E73", "-.", "^"),
    "pg_regularised_value": Line(r"PG, b = E[$R_\beta$]", "#E69F00", (0, (6, 2)), "P"),
    "sft": Line("SFT on the best", "#56B4E9", (0, (1, 1)), "X"),
    # in no figure with the policy gradients, whose colours they share
    "rpo": Line("RPO", "#009E73", "-.", "^"),
    "astar_po": Line("A*-PO", "#E69F00", (0, (6, 2)), "P"),
    "qrpo": Line("QRPO", "#000000", ":", "v"),
    "best_of": Line("best of n", "#666666", (0, (4, 1)), "*"),
}

PRINT = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "lines.linewidth": 1.4,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 100,
    "svg.hashsalt": "copg",
}
"""For a figure as wide as a page's text (170 mm) at its own size."""

PAGE_WIDTH = 6.7
"""Inches."""


def new_figure(columns: int = 1, rows: int = 1, *, height: float = 2.6, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure of panels ``height`` inches high, and its axes."""
    plt.rcParams.update(PRINT)
    return plt.subplots(
        rows, columns, figsize=(PAGE_WIDTH, height * rows), layout="constrained", squeeze=False, **kwargs
    )


def save_figure(figure: Figure, path: Path) -> list[Path]:
    """Write PNG (to look at) and PDF (to print) beside each other; ``path`` has no suffix."""
    files = [path.with_suffix(suffix) for suffix in (".png", ".pdf")]
    for file in files:
        # Without dates, so that the same numbers give the same file.
        metadata = {"CreationDate": None} if file.suffix == ".pdf" else {"Software": None}
        figure.savefig(file, dpi=200, metadata=metadata)
    plt.close(figure)
    return files

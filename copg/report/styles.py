"""How policies are told apart: a colour and a mark for each method, a dash for each beta of it."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from copg.report.policy import CHAMPION, MIX, REFERENCE, Policy

COLOURED_METHODS = ("copg", "ipo", "dpo", "rpo", "sft")
"""Methods that have their own colour whatever else is there."""
NUM_COLOURS = 7
"""Of the palette of Okabe and Ito, black left for the reference: ``--c0`` to ``--c6`` of the style sheet."""
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "pentagon")
DASH_ARRAYS = {
    "solid": "", "dash": "7 5", "dot": "1.5 4", "dashdot": "7 4 1.5 4", "longdash": "11 5",
    "longdashdot": "11 4 4 4",
}  # fmt: skip
"""By plotly's names of dashes, the same as SVG has them."""
LABEL_LENGTH = 28


@dataclass(frozen=True, slots=True)
class Style:
    """How one policy is drawn, the same in every chart."""

    colour: str
    """``palette:NAME``: the page's script puts the colour of light, dark or print there."""
    symbol: str
    dash: str

    @property
    def variable(self) -> str:
        """Name of the colour's variable in the style sheet."""
        return self.colour.removeprefix("palette:")

    @property
    def dash_array(self) -> str:
        """The dash as an attribute of an SVG line."""
        return DASH_ARRAYS[self.dash]


def style_of(policies: Sequence[Policy]) -> dict[str, Style]:
    """A style for each policy, by its role or its trial's name; a mix has that of its trial."""
    others = [p.method for p in policies if p.method is not None and p.method not in COLOURED_METHODS]
    methods = [*COLOURED_METHODS, *dict.fromkeys(others)]
    styles = {REFERENCE: Style("palette:ink", "x", "solid"), CHAMPION: Style("palette:ink", "star", "solid")}
    dashes = tuple(DASH_ARRAYS)
    betas: dict[str | None, int] = {}
    for policy in sorted(
        (p for p in policies if p.role not in (*styles, MIX)), key=lambda p: (p.beta or 0.0, p.name)
    ):
        place = methods.index(policy.method) if policy.method is not None else len(methods)
        number = betas[policy.method] = betas.get(policy.method, -1) + 1
        styles[policy.name] = Style(
            f"palette:c{place % NUM_COLOURS}", SYMBOLS[place % len(SYMBOLS)], dashes[number % len(dashes)]
        )
    return styles | {p.name: styles[p.of] for p in policies if p.role == MIX}


def key_of(policy: Policy) -> str:
    """The key of a policy's style."""
    return policy.role if policy.role in (REFERENCE, CHAMPION) else policy.name


def shortened(name: str) -> str:
    """A name cut to what a chart has room for."""
    return name if len(name) <= LABEL_LENGTH else f"{name[: LABEL_LENGTH - 1]}…"


def label(name: str) -> str:
    """A shortened name as a text of plotly, which reads a little HTML there: escaped."""
    return html.escape(shortened(name), quote=False)

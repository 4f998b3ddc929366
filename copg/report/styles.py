"""How policies are told apart: a colour and a mark for each method, a dash for each beta of it."""

import html
from collections.abc import Sequence
from dataclasses import dataclass

from copg.report.numbers import CHAMPION, REFERENCE, Policy

METHODS = ("copg", "ipo", "dpo", "pg", "sft")
"""Those that have their own colour whatever else is there."""
NUM_COLOURS = 7
"""Of the palette of Okabe and Ito, black left for the reference: ``--c0`` to ``--c6`` of the style sheet."""
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "pentagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
LABEL_LENGTH = 28


@dataclass(frozen=True, slots=True)
class Style:
    """Of one policy, the same in every chart."""

    colour: str
    """``palette:NAME``: the page's script puts the colour of light, dark or print there."""
    symbol: str
    dash: str


def style_of(policies: Sequence[Policy]) -> dict[str, Style]:
    """A style for each policy, by its role or its trial's name."""
    others = [p.method for p in policies if p.method is not None and p.method not in METHODS]
    methods = [*METHODS, *dict.fromkeys(others)]
    styles = {REFERENCE: Style("palette:ink", "x", "solid"), CHAMPION: Style("palette:ink", "star", "solid")}
    betas: dict[str | None, int] = {}
    for policy in sorted(
        (p for p in policies if p.role not in styles), key=lambda p: (p.beta or 0.0, p.name)
    ):
        place = methods.index(policy.method) if policy.method is not None else len(methods)
        number = betas[policy.method] = betas.get(policy.method, -1) + 1
        styles[policy.name] = Style(
            f"palette:c{place % NUM_COLOURS}", SYMBOLS[place % len(SYMBOLS)], DASHES[number % len(DASHES)]
        )
    return styles


def key_of(policy: Policy) -> str:
    """Under which a policy's style is found."""
    return policy.role if policy.role in (REFERENCE, CHAMPION) else policy.name


def label(name: str) -> str:
    """A name as a chart's text, which reads a little HTML: escaped, and cut to fit."""
    return html.escape(name if len(name) <= LABEL_LENGTH else f"{name[: LABEL_LENGTH - 1]}…", quote=False)

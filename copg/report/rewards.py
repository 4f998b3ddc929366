"""What the page says of the rewards: those of the records, and which part a policy gained on."""

from collections.abc import Mapping, Sequence
from typing import Any

from copg.report.fragments import escape, folded, span, table
from copg.report.numbers import REFERENCE, Policy
from copg.rewards.tables import (
    COUNTS_HEAD,
    HEAD,
    agreement_rows,
    counts_rows,
    distribution_rows,
    number,
    parts_of,
)

TRAIN = "train"


def contribution_table(policies: Sequence[Policy]) -> str:
    """The gain of each policy, split by what each part adds to the sum; empty with fewer than two parts."""
    rows = [policy for policy in policies if policy.role != REFERENCE and policy.contributions]
    parts = list(dict.fromkeys(part for policy in rows for part in policy.contributions))
    if len(parts) < 2:
        return ""
    head = "".join(f'<th scope="col" class="n">{escape(part)}' for part in parts)
    body = "".join(
        f'<tr class="{"best" if policy.best else ""}"><th scope="row">{escape(policy.name)}'
        f'<td class="n">{span(policy.gain)}'
        + "".join(f'<td class="n">{span(policy.contributions.get(part))}' for part in parts)
        for policy in rows
    )
    return (
        '<h3 class="apart">Where the gain came from, in reward units: the parts add up</h3>'
        '<div class="scrolled"><table><thead><tr><th scope="col">policy<th scope="col" class="n">gain'
        f"{head}</thead><tbody>{body}</tbody></table></div>"
    )


def rewards_html(splits: Mapping[str, Any]) -> str:
    """Distribution, ties, agreement and length of the rewards of the records, by split.

    Args:
        splits: what ``score`` found, by split.
    """
    train = splits[TRAIN]
    inner = table(COUNTS_HEAD, counts_rows(splits))
    inner += f'<h3 class="apart">Distribution in the train split</h3>{table(HEAD, distribution_rows(train))}'
    parts = parts_of(train)
    if agreement := agreement_rows(train, parts):
        inner += '<h3 class="apart">Agreement of the parts: correlation within a training prompt</h3>'
        inner += table(["", *parts], agreement)
    betas = _betas(train["metrics"])
    inner += f"<p>{betas}</p>" if betas else ""
    for split, facts in splits.items():
        if split != TRAIN and facts["completions"]:
            inner += folded(f"Distribution in the {split} split", table(HEAD, distribution_rows(facts)))
    return inner


def _betas(metrics: Mapping[str, float]) -> str:
    """The spread, and the betas at which a policy would end about so far from the reference."""
    found = [
        f"{number(beta)} for about {key.removeprefix('beta/at_').removesuffix('_nats')}"
        for key, beta in metrics.items()
        if key.startswith("beta/at_")
    ]
    if not found:
        return "Rewards differ within no training prompt."
    spread = number(metrics.get("reward/spread"))
    return f"With a spread of {spread} within a prompt, &beta; {', '.join(found)} nats from the reference."

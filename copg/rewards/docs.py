"""Data docs of the rewards: how they are distributed, and what is odd about them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from copg.data.checks import Check
from copg.data.docs import Table, write_docs
from copg.data.suite import Suite
from copg.rewards.distribution import Distribution
from copg.rewards.ladder import HEAD as HEAD_OF_LADDER
from copg.rewards.ladder import Ladder
from copg.rewards.tables import (
    COUNTS_HEAD,
    HEAD,
    agreement_rows,
    counts_rows,
    distribution_rows,
    parts_of,
)

FAR_OUT = 8.0
"""Standard deviations from the mean of its split, from where a reward is looked at."""
SAME = 0.98
"""Correlation within prompts from which two parts, or a part and the length, say the same."""
COMPLETION_CHECKS = [
    Check(
        "far_out",
        f"a reward lies within {FAR_OUT:g} standard deviations of its split's mean",
        "deviations",
        FAR_OUT,
        -FAR_OUT,
        rejects=False,
    )
]
PROMPT_CHECKS = [
    Check("single", "a prompt has two completions to compare", "completions", minimum=2, rejects=False),
    Check("tied", "the rewards of a prompt differ", "tied", 0, rejects=False),
]
PART_CHECKS = [
    Check("constant_part", "a part differs within some training prompt", "constant", 0, rejects=False),
    Check(
        "length_alone",
        f"a part is no mere length: correlation within prompts up to {SAME:g}",
        "length_correlation",
        SAME,
        -SAME,
        rejects=False,
    ),
    Check(
        "same_as_another",
        f"two parts do not say the same: correlation within prompts up to {SAME:g}",
        "agreement",
        SAME,
        rejects=False,
    ),
]


def write_reward_docs(
    directory: Path,
    records: str,
    metrics: Mapping[str, float],
    distributions: Mapping[str, Distribution],
    ladder: Ladder,
    failed: Sequence[str],
) -> list[Suite]:
    """Write ``docs/index.html`` of a ``scored`` artifact.

    Args:
        directory: of the artifact.
        records: what was scored, as a person names it.
        metrics: of the stage.
        distributions: of the rewards, by split.
        ladder: of the train split.
        failed: records whose reward failed, in a line each.

    Returns:
        The checks with their counts; none of them rejects anything.
    """
    completions = Suite("completions", COMPLETION_CHECKS)
    prompts, parts = Suite("prompts", PROMPT_CHECKS), Suite("parts", PART_CHECKS)
    for distribution in distributions.values():
        if sum(distribution.num_completions):  # prompts held out may have none
            completions.run({"deviations": _deviations(distribution.values("reward"))})
        if distribution.num_groups:
            prompts.run(_prompts(distribution))
    train = distributions["train"]
    if train.num_compared:
        parts.run(_parts(train))
    suites = [suite for suite in (completions, prompts, parts) if suite.facts()[0]["rows"]]
    lead = ladder.advice(train.spread)[0]
    write_docs(
        directory,
        records,
        metrics,
        failed[:10],
        suites,
        stage="score",
        lead=f"{_sentence(lead)}.",
        tables=[*_rungs(ladder), *_tables(distributions)],
    )
    return suites


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _rungs(ladder: Ladder) -> list[Table]:
    return [Table(_sentence(ladder.summary()), HEAD_OF_LADDER, ladder.rows())] if ladder.rungs else []


def _deviations(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found: np.ndarray = (values - values.mean()) / values.std()
    return found


def _prompts(distribution: Distribution) -> dict[str, np.ndarray]:
    spreads = np.frombuffer(distribution.spreads)
    return {
        "completions": np.frombuffer(distribution.num_completions, np.int64),
        "tied": np.where(np.isnan(spreads), np.nan, spreads == 0),
    }


def _parts(train: Distribution) -> dict[str, np.ndarray]:
    names = train.names[1:] or train.names
    metrics = train.metrics()
    length = [metrics.get(f"{name}/length_correlation", np.nan) for name in names]
    strongest = [_strongest(train, name, [other for other in names if other != name]) for name in names]
    constant = [float(metrics.get(f"{name}/spread", 0.0) == 0) for name in names]
    columns = {"constant": constant, "length_correlation": length, "agreement": strongest}
    return {name: np.array(values, np.float64) for name, values in columns.items()}


def _strongest(train: Distribution, name: str, others: Sequence[str]) -> float:
    """Largest absolute correlation with another part; NaN where there is none."""
    found = [train.correlation(name, other) for other in others]
    return max((abs(value) for value in found if value is not None), default=np.nan)


def _tables(distributions: Mapping[str, Distribution]) -> list[Table]:
    splits = {split: distribution.facts() for split, distribution in distributions.items()}
    tables = [Table("Prompts", COUNTS_HEAD, counts_rows(splits))]
    tables += [
        Table(f"Distribution, {split}", HEAD, distribution_rows(facts))
        for split, facts in splits.items()
        if facts["completions"]
    ]
    parts = parts_of(splits["train"])
    if agreement := agreement_rows(splits["train"], parts):
        tables.append(Table("Agreement of the parts within a training prompt", ["", *parts], agreement))
    return tables

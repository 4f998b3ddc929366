"""Stage ``score``: the reward of every completion, given or computed, with the parts it is made of."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from copg.artifacts import MANIFEST, Manifest, begin, read_manifest, seal, warnings_of
from copg.config import AtLeastOne, Fraction, Natural, configuration
from copg.data.docs import DOCS
from copg.data.group_files import GroupWriter, count_groups, read_groups
from copg.errors import RewardError
from copg.records import SPLITS, in_shard
from copg.rewards.bulk import BulkScorer
from copg.rewards.computed import Computed
from copg.rewards.contract import RewardSpec
from copg.rewards.distribution import Distribution
from copg.rewards.docs import write_reward_docs
from copg.rewards.drawn import SAMPLER, Draws
from copg.rewards.given import Given
from copg.rewards.ladder import Ladder
from copg.rewards.mixture import Mixture, build_mixture
from copg.rewards.predicting import build_ladder
from copg.rewards.shape import shape_of


@configuration
class ScoreConfig:
    """Where rewards come from."""

    source: Literal["computed", "given"] = "computed"
    """``computed`` by ``rewards``; ``given`` with the records, each of which must then have one."""
    completions_from: Literal["reference", "others"] = "others"
    """Who drew the completions, which the ladder of betas has to know: the reference at temperature 1, or
    others, for whose completions the ladder is an extrapolation that ``reference`` makes good. A recipe whose
    ``sample`` has the reference draw so says ``reference``; those that were logged then stay out of it."""
    rewards: list[RewardSpec] = field(default_factory=list)
    """What is summed; with ``given`` it judges only completions made later, in train and evaluate."""
    completions_per_batch: AtLeastOne = 1024
    """How many a reward is called with at once; a group is never split."""
    store: str | None = None
    """Folder or URL of the reward store, shared by all runs; None computes every value."""
    check_samples: Natural = 16
    """Size of the sample of stored values of each reward to compute again and compare, another each time."""
    max_changed_fraction: Fraction = 0.0
    """Share of them that may come out differently before the stage stops."""
    retries: Natural = 1
    """How often a record is tried again whose reward failed."""
    max_failed_fraction: Fraction = 0.0
    """Share of the records that may fail: they are left out and counted."""
    compare_groups: Natural = 64
    """With ``given``: groups on which ``rewards`` are computed too, to tell how far they agree."""

    def __post_init__(self) -> None:
        if self.source == "computed" and not self.rewards:
            raise ValueError("score: rewards is empty: name at least one, or set source: given")
        if self.source == "given" and any(spec.standardise for spec in self.rewards):
            raise ValueError("score: 'standardise' needs source: computed, whose train split gives the scale")


def score_groups(config: ScoreConfig, groups: Path, scored: Path) -> dict[str, float]:
    """Fill the reward of every completion of every split.

    Args:
        groups: artifact of schema ``groups``.
        scored: directory for the artifact of schema ``scored``, with data docs of the rewards.

    Returns:
        Counts over all splits and statistics of the train split; the manifest's facts hold those of every
        split, with quantiles, the scales of standardised parts, and why records failed.

    Raises:
        RewardError: a record without its reward, or a reward that failed; the message names the record.
    """
    manifest = read_manifest(groups, schema="groups")
    begin(scored)
    source = _open_source(config, groups)
    writer, distributions, draws = _fill(source, groups, scored)
    train = distributions["train"]
    if not train.num_groups:
        raise RewardError(f"{groups}: no group is left to train on: {_why(config, source.facts())}")
    shape = shape_of(train.by_prompt())
    ladder = _ladder(config, manifest, train, draws)
    metrics = {
        "groups/count": float(sum(writer.num_groups.values())),
        "completions/count": float(sum(writer.num_completions.values())),
        **source.metrics(),
        **train.metrics(),
        **ladder.metrics(),
        **shape.metrics(),
    }
    facts = {
        "metrics": metrics,
        "splits": {split: distribution.facts() for split, distribution in distributions.items()},
        "ladder": ladder.facts(),
        **source.facts(),
    }
    records = str(manifest.facts.get("records", groups.name))
    warnings = [*train.warnings(), *source.warnings()]
    suites = write_reward_docs(scored, records, metrics, distributions, ladder, facts.get("failed", []))
    seal(
        scored,
        schema="scored",
        stage="score",
        rows=sum(writer.num_groups.values()),
        config=asdict(config),
        parents={"groups": manifest.digest},
        facts={
            **facts,
            "checks": [fact for suite in suites for fact in suite.facts()],
            "warnings": [
                *warnings_of(manifest),
                *_of_reward_models(config.rewards),
                *(f"score: {line}" for line in warnings),
            ],
        },
        volatile=(DOCS,),
    )
    told = (*ladder.advice(train.spread), *shape.lines(), *warnings, *source.remarks())
    print(*dict.fromkeys(told), sep="\n", file=sys.stderr)
    return metrics


def _open_source(config: ScoreConfig, groups: Path) -> Given | Computed:
    if config.source == "given":
        return Given(config.rewards, compare_groups=config.compare_groups)
    mixture, scorer = _open_scorer(config, groups)
    return Computed(config.rewards, mixture, scorer)


def _open_scorer(config: ScoreConfig, groups: Path) -> tuple[Mixture, BulkScorer]:
    """The recipe's mixture, and what computes its parts for the groups."""
    mixture = build_mixture(config.rewards, store=config.store, check_samples=config.check_samples)
    return mixture, BulkScorer(
        mixture,
        sum(count_groups(groups, split) for split in SPLITS),
        completions_per_batch=config.completions_per_batch,
        retries=config.retries,
        max_failed_fraction=config.max_failed_fraction,
        max_changed_fraction=config.max_changed_fraction,
    )


def _fill(
    source: Given | Computed, groups: Path, scored: Path
) -> tuple[GroupWriter, dict[str, Distribution], Draws]:
    """Write every split with its rewards; how many groups there are, how rewards are distributed, and the
    rewards of what a run drew for training prompts.
    """
    distributions, draws = {split: Distribution(source.part_names) for split in SPLITS}, Draws()
    with GroupWriter(scored) as writer:
        for split, distribution in distributions.items():
            for group in source.fill(groups, split):
                distribution.add(group.completions)
                if split == "train":
                    draws.add(group.completions)
                writer.write(split, group)
    return writer, distributions, draws


def _ladder(config: ScoreConfig, groups: Manifest, train: Distribution, draws: Draws) -> Ladder:
    """Of the reference's own draws alone where stage ``sample`` had it draw, else of all completions."""
    if config.completions_from == "reference" and SAMPLER in groups.facts:
        if draws.most > 1:
            return build_ladder(draws.by_prompt(), base="reference")
        return build_ladder(train.by_prompt(), base="others")  # one drawn beside one that was logged
    return build_ladder(train.by_prompt(), base=config.completions_from)


def _of_reward_models(specs: Sequence[RewardSpec]) -> list[str]:
    """What was warned of when the reward models among these were trained, as far as it is written beside."""
    folders = [Path(str(spec.params["model"])) for spec in specs if spec.params.get("model")]
    trained = [folder for folder in folders if (folder / MANIFEST).is_file()]
    return warnings_of(*(read_manifest(each, schema="reward_model", verify=False) for each in trained))


def _why(config: ScoreConfig, facts: dict[str, Any]) -> str:
    """What became of all groups of the train split."""
    if not facts.get("failed"):
        return "validate left none"
    return (
        f"{len(facts['failed'])} failed, and score.max_failed_fraction={config.max_failed_fraction:g} lets "
        f"them; the first: {facts['failed'][0]}"
    )


def score_shard(config: ScoreConfig, groups: Path, shard: int, num_shards: int) -> int:
    """Put the rewards of shard ``shard`` (from 0) in the store, for ``score_groups`` to find.

    Returns:
        How many groups are in the shard.

    Raises:
        RewardError: a reward failed; the message names the record.
    """
    read_manifest(groups, schema="groups")
    if config.source == "given" or config.store is None:
        return 0
    mixture, scorer = _open_scorer(replace(config, check_samples=0), groups)
    every = chain.from_iterable(read_groups(groups, split) for split in SPLITS)
    num_groups = scorer.keep(group for group in every if in_shard(group.id, shard, num_shards))
    for line in mixture.warnings():  # the stage itself finds the values in the store
        print(line, file=sys.stderr)
    return num_groups

"""Stage ``score``: the reward of every completion, given or computed, with the parts it is made of."""

import sys
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict, field, replace
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from copg.artifacts import MANIFEST, begin, read_manifest, seal, warnings_of
from copg.config import AtLeastOne, Fraction, Natural, configuration
from copg.data.docs import DOCS
from copg.data.group_files import GroupWriter, count_groups, read_groups
from copg.errors import RewardError
from copg.progress import track
from copg.records import SPLITS, Completion, Group, in_shard
from copg.rewards.bulk import BulkScorer
from copg.rewards.contract import RewardSpec
from copg.rewards.distribution import Distribution, scale_of
from copg.rewards.docs import write_reward_docs
from copg.rewards.mixture import Mixture, build_mixture
from copg.rewards.predicting import build_ladder
from copg.rewards.registry import digest_of_rewards
from copg.rewards.shape import shape_of

AGREE = 0.5
"""Correlation from which rewards that were given and those of the recipe are taken to mean the same."""


@configuration
class ScoreConfig:
    """Where rewards come from."""

    source: Literal["computed", "given"] = "computed"
    """``computed`` by ``rewards``; ``given`` with the records, each of which must then have one."""
    completions_from: Literal["reference", "others"] = "others"
    """Who drew the completions, which the ladder of betas has to know: the reference at temperature 1, or
    others, for whose completions the ladder is an extrapolation that ``reference`` makes good."""
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
    source = _Given(config) if config.source == "given" else _Computed(config, groups)
    distributions = {split: Distribution(source.part_names) for split in SPLITS}
    with GroupWriter(scored) as writer:
        for split, distribution in distributions.items():
            for group in source.fill(groups, split):
                distribution.add(group.completions)
                writer.write(split, group)
    train = distributions["train"]
    if not train.num_groups:
        raise RewardError(f"{groups}: no group is left to train on: {_why(config, source.facts())}")
    shape = shape_of(train.by_prompt())
    ladder = build_ladder(train.by_prompt(), base=config.completions_from)
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
            "warnings": [*warnings_of(manifest), *source.learnt(), *(f"score: {line}" for line in warnings)],
        },
        volatile=(DOCS,),
    )
    for line in (*ladder.advice(train.spread), *shape.lines(), *warnings, *source.remarks()):
        print(line, file=sys.stderr)
    return metrics


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
    scorer = _Computed(replace(config, check_samples=0), groups).scorer
    every = chain.from_iterable(read_groups(groups, split) for split in SPLITS)
    return scorer.keep(group for group in every if in_shard(group.id, shard, num_shards))


class _Given:
    """Rewards that came with the records, beside the recipe's own on a few of them."""

    def __init__(self, config: ScoreConfig) -> None:
        self.part_names: list[str] = []
        self._config = config
        self._agreement = Distribution(["given"])

    def fill(self, groups: Path, split: str) -> Iterator[Group]:
        for group in track(read_groups(groups, split), f"score {split}", count_groups(groups, split)):
            for k, completion in enumerate(group.completions, 1):
                if completion.reward is None or not isfinite(completion.reward):
                    raise RewardError(
                        f"{group.source}: completion {k} came with reward={completion.reward}: with source "
                        "'given' each needs a finite one; or list rewards and set source: computed"
                    )
            yield group
        if split == "train" and self._config.rewards:
            self._compare(build_mixture(self._config.rewards), groups)

    def _compare(self, mixture: Mixture, groups: Path) -> None:
        for group in islice(read_groups(groups, "train"), self._config.compare_groups):
            texts = [c.text for c in group.completions]
            scores = mixture(
                [group.prompt] * len(texts),
                texts,
                [group.columns_of(completion) for completion in group.completions],
                sources=[f"{group.source}: completion {k}" for k in range(1, len(texts) + 1)],
            )
            self._agreement.add(
                [
                    Completion(c.text, reward=total, parts={"given": c.reward or 0.0})
                    for c, total in zip(group.completions, scores.total, strict=True)
                ]
            )

    def metrics(self) -> dict[str, float]:
        agreement = self._agreement.correlation("reward", "reward_given")
        return {} if agreement is None else {"rewards/agreement": agreement}

    def facts(self) -> dict[str, Any]:
        return {"rewards_digest": None, "scales": {}}

    def remarks(self) -> list[str]:
        agreement = self.metrics().get("rewards/agreement")
        if agreement is None or agreement < AGREE:
            return []
        return [self._agreeing(agreement)]

    def warnings(self) -> list[str]:
        agreement = self.metrics().get("rewards/agreement")
        if agreement is None or agreement >= AGREE:
            return []
        return [f"{self._agreeing(agreement)}: trials are trained on the first, and judged by the second"]

    def learnt(self) -> list[str]:
        return _of_reward_models(self._config.rewards)

    def _agreeing(self, correlation: float) -> str:
        return (
            f"within a prompt, the rewards given and those of the recipe, which judge what is generated, "
            f"correlate by {correlation:.2f} ({self._agreement.num_compared} prompts)"
        )


class _Computed:
    """Rewards by the recipe's mixture: parts of a split first, then, once the scales are known, their sum."""

    def __init__(self, config: ScoreConfig, groups: Path) -> None:
        self._config = config
        self._mixture = build_mixture(config.rewards, store=config.store, check_samples=config.check_samples)
        self.scorer = BulkScorer(
            self._mixture,
            sum(count_groups(groups, split) for split in SPLITS),
            completions_per_batch=config.completions_per_batch,
            retries=config.retries,
            max_failed_fraction=config.max_failed_fraction,
            max_changed_fraction=config.max_changed_fraction,
        )
        self.part_names = list(self._mixture.rewards)
        self._num_replaced = 0

    def fill(self, groups: Path, split: str) -> Iterator[Group]:
        values = {part: array("d") for part in self.part_names}
        kept = bytearray()
        found = track(read_groups(groups, split), f"score {split}", count_groups(groups, split))
        try:
            for _, parts in self.scorer.score(found):
                kept.append(parts is not None)
                for part, of_group in (parts or {}).items():
                    values[part].extend(of_group)
        finally:
            self._mixture.flush()
        if split == "train":
            self._mixture.scales = {
                spec.part: scale_of(spec.part, values[spec.part])
                for spec in self._config.rewards
                if spec.standardise
            }
        start = 0
        for group, keep in zip(read_groups(groups, split), kept, strict=True):
            if keep:
                end = start + len(group.completions)
                self._write(group, {part: list(values[part][start:end]) for part in values})
                start = end
                yield group

    def _write(self, group: Group, parts: dict[str, list[float]]) -> None:
        names = [f"{group.source}: completion {k}" for k in range(1, len(group.completions) + 1)]
        for k, total in enumerate(self._mixture.total(parts, names)):
            completion = group.completions[k]
            self._num_replaced += completion.reward is not None
            completion.reward = total
            completion.parts = {part: values[k] for part, values in parts.items()}

    def metrics(self) -> dict[str, float]:
        return {"rewards/replaced": float(self._num_replaced), **self.scorer.metrics()}

    def facts(self) -> dict[str, Any]:
        return {
            "rewards_digest": digest_of_rewards(self._config.rewards),
            "scales": {part: scale._asdict() for part, scale in self._mixture.scales.items()},
            "failed": self.scorer.failed[:100],
        }

    def remarks(self) -> list[str]:
        if not self._num_replaced:
            return []
        return [f"{self._num_replaced} completions came with a reward, which the recipe's replaces"]

    def warnings(self) -> list[str]:
        failed = self.scorer.failed
        return [f"{len(failed)} records failed and are left out, the first: {failed[0]}"] if failed else []

    def learnt(self) -> list[str]:
        return _of_reward_models(self._config.rewards)

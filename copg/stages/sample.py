"""Stage ``sample``: groups in, the same with the completions that are missing out, each drawn once."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from copg.artifacts import Manifest, begin, read_manifest, seal, warnings_of
from copg.config import AtLeastOne, Natural, configuration
from copg.data.group_files import GroupWriter, read_groups
from copg.data.json_lines import Defect
from copg.errors import ModelError, RecordError
from copg.lm.config import EndpointConfig, GenerationConfig, ReaderConfig, RowConfig, TextConfig
from copg.lm.drawing import Drawing, chunks
from copg.lm.endpoint_sampler import EndpointSampler
from copg.lm.fit import RecordFit, open_fit
from copg.lm.sampling import ModelSampler, Sampler
from copg.lm.tally import Tally
from copg.records import SPLITS, Completion, Group, in_shard
from copg.rewards.drawn import SAMPLER, VALIDATED, note_draw, validated
from copg.stores.completion_store import Drawn, open_completions, read_drawn
from copg.stores.promised import weights_as_promised

CHAMPION = "champion"
"""As ``model`` of a recipe: whoever is champion when a run begins, the reference while nobody is."""
PLAIN = {"n": 1, "best_of": 1, "stream": False}
"""Fields of a request which have a reply be another than the one that is read, unless they say this."""
GROUPS_PER_CHUNK = 4096
"""Most that are in memory at once."""


@configuration
class SampleConfig:
    """Who draws, how many, and how."""

    model: str
    """Model directory, adapter or hub name that draws; a recipe's ``champion`` is whoever that is."""
    store: str
    """Folder or URL of the store of completions; give every run the same one."""
    completions: AtLeastOne = 4
    """How many a training prompt shall have; those that were logged count."""
    revision: str | None = None
    """Of the hub."""
    model_digest: str = ""
    """Of the model's weights, when it is known already; empty: computed here."""
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    """Length, temperature, top-p, seed, and the engine."""
    endpoint: EndpointConfig | None = None
    """Who draws instead of ``model``, by the same length, temperature and top-p."""
    rows: RowConfig = field(default_factory=RowConfig)
    """Precision of the model that draws."""
    text: TextConfig = field(default_factory=TextConfig)
    """How prompts and completions become tokens; the recipe's, the same for every stage."""
    reader: ReaderConfig | None = None
    """The model that will be trained on what is drawn: what it cannot say is left out; a recipe's own."""
    threads: Natural = 0
    """CPU threads; 0: torch's own choice."""

    def __post_init__(self) -> None:
        if self.generation.temperature == 0 and self.completions > 2 and self.endpoint is None:
            raise ValueError(
                f"completions={self.completions} at generation.temperature=0 would be one completion again "
                "and again: raise the temperature, or ask for 2 where one was logged"
            )
        body = {} if self.endpoint is None else self.endpoint.body
        if more := [name for name, ours in PLAIN.items() if body.get(name, ours) not in (None, ours)]:
            raise ValueError(f"endpoint.body has {more}: a completion is a request, and its reply read whole")


def sample_groups(config: SampleConfig, groups: Path, sampled: Path) -> dict[str, float]:
    """Draw what the prompts of the train split lack; held-out prompts stay as they are.

    A completion is a function of model, settings, prompt and its number among the prompt's. What the store
    has is not drawn again, so that a killed stage goes on, and more prompts cost what they alone need. A
    completion that stands there already counts once, and a prompt that is left with fewer than two distinct
    ones is left out. Each that was drawn has a column ``drawn``: engine, model, temperature, top-p, seed,
    number, and how often it came.

    Args:
        groups: artifact of schema ``groups``; prompts may have any number of completions.
        sampled: where an artifact of the same schema goes, with the facts of that one.

    Returns:
        Completions drawn, found in the store, that came with the records, and left out, by reason.

    Raises:
        ModelError: the model or endpoint cannot draw, or fails too often.
        RecordError: no prompt is left to train on.
        StoreError: a shard of the store cannot be read.
    """
    parent = read_manifest(groups, schema="groups")
    drawing = _draw(config, lambda: read_groups(groups, "train"))
    begin(sampled)
    filling = _Filling(config, drawing)
    with GroupWriter(sampled) as writer:
        for split in SPLITS:
            found = read_groups(groups, split)
            for group in filling(found) if split == "train" else found:
                writer.write(split, group)
    for line in (*drawing.tally.lines(), *filling.tally.lines()):
        print(line, file=sys.stderr, flush=True)
    if not writer.num_groups["train"]:
        raise RecordError(f"{groups}: no prompt is left to train on: {_why(drawing.tally, filling)}")
    metrics = {
        "groups/count": float(sum(writer.num_groups.values())),
        **{f"groups/{split}": float(count) for split, count in writer.num_groups.items()},
        "completions/count": float(sum(writer.num_completions.values())),
        **drawing.metrics(),
        **filling.metrics(),
    }
    seal(
        sampled,
        schema="groups",
        stage="sample",
        rows=sum(writer.num_groups.values()),
        config=asdict(config),
        parents={"groups": parent.digest},
        facts=_facts(parent, drawing, filling, metrics),
    )
    return metrics


def sample_shard(config: SampleConfig, groups: Path, shard: int, num_shards: int) -> int:
    """Put what one share of the prompts lacks into the store, for ``sample_groups`` to find.

    Args:
        groups: artifact of schema ``groups``.
        shard: which share, from 0.
        num_shards: how many there are; any number gives the same completions.

    Returns:
        How many groups of the train split are in it.
    """
    read_manifest(groups, schema="groups")

    def mine() -> Iterator[Group]:
        return (group for group in read_groups(groups, "train") if in_shard(group.id, shard, num_shards))

    _draw(config, mine)
    return sum(1 for _ in mine())


def _facts(
    parent: Manifest, drawing: Drawing, filling: "_Filling", metrics: dict[str, float]
) -> dict[str, Any]:
    """Those of the groups as they were checked, who drew what, and what was left out."""
    doubts = (drawing.sampler.doubts, drawing.tally.warnings(), filling.tally.warnings())
    left_out = [f"sample: {line}" for lines in doubts for line in lines]
    own = {
        VALIDATED: validated(parent),
        "metrics": {**parent.facts.get("metrics", {}), **metrics},
        SAMPLER: drawing.sampler.about,
        "warnings": [*warnings_of(parent), *left_out],
    }
    return {**parent.facts, **own}


def _why(tally: Tally, filling: "_Filling") -> str:
    """What became of all groups of the train split."""
    dropped = tally.dropped + filling.tally.dropped
    if not dropped:
        return "validate left none"
    first = {**filling.tally.first, **tally.first}
    return ", ".join(f"{n} {reason}, first {first[reason]}" for reason, n in dropped.most_common())


def _draw(config: SampleConfig, groups: Callable[[], Iterable[Group]]) -> Drawing:
    """Have drawn what neither groups nor store have; gives who drew and what came of it."""
    if config.model == CHAMPION and config.endpoint is None:
        raise ModelError(
            f"sample.model={CHAMPION!r} is looked up where a run begins; alone, the stage needs the "
            "directory that `copg champion show` prints"
        )
    sampler: Sampler
    if config.endpoint is None:
        who = (config.model, config.revision, config.model_digest)
        sampler = ModelSampler(*who, config.generation, config.rows, config.text)
    else:
        sampler = EndpointSampler(config.endpoint, config.generation, config.text)
    drawing = Drawing(sampler, open_completions(config.store, sampler.about), config.completions)
    if drawing.look(groups()):
        if config.threads:
            import torch

            torch.set_num_threads(config.threads)
        promised = "" if config.endpoint else config.model_digest
        with weights_as_promised(config.model, promised):
            drawing.run(groups())
    return drawing


@dataclass
class _Filling:
    """Groups with what was drawn for them."""

    config: SampleConfig
    drawing: Drawing
    tally: Tally = field(default_factory=Tally)
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, groups: Iterable[Group]) -> Iterator[Group]:
        """Those that have two distinct completions then."""
        for chunk in chunks(groups, GROUPS_PER_CHUNK):
            keys = {key for group in chunk for key in self.drawing.keys_of(group)}
            known = read_drawn(self.drawing.store, keys)
            for group in chunk:
                self.counts["logged"] += len(group.completions)
                self._fill(group, known)
                if len(group.completions) > 1:
                    yield group
                else:
                    self.tally.drop("fewer_than_two_distinct_completions", group.source)

    def _fill(self, group: Group, known: dict[bytes, Drawn]) -> None:
        there = {(completion.text, completion.finished): completion for completion in group.completions}
        for sample, key in enumerate(self.drawing.keys_of(group)):
            drawn = known.get(key)
            text = None if drawn is None else self._said(group, drawn)
            if drawn is None or text is None:
                continue
            completion = there.get((text, drawn.finished))
            if completion is None:
                completion = there[text, drawn.finished] = Completion(text, drawn.finished)
                group.completions.append(completion)
            else:
                self.counts["duplicate"] += 1
            note_draw(completion, {**self._about, "sample": sample})

    @cached_property
    def _about(self) -> dict[str, Any]:
        about = self.drawing.sampler.about
        return {name: about[name] for name in ("engine", "model", "temperature", "top_p", "seed")}

    @cached_property
    def _fit(self) -> RecordFit | None:
        return None if self.config.reader is None else open_fit(self.config.reader)

    def _said(self, group: Group, drawn: Drawn) -> str | None:
        """As the model that is trained says it; None where it cannot, or where no word is left."""
        if not drawn.text.strip():
            self.tally.drop("blank_completions", group.source)
            return None
        if self._fit is None:
            return drawn.text
        try:
            opening = self._fit.open(group.prompt, group.columns)
            return self._fit.said(opening, drawn.text, group.source, finished=drawn.finished)
        except Defect as defect:
            self.tally.drop(defect.reason, group.source, defect.detail)
            return None

    def metrics(self) -> dict[str, float]:
        names = ("logged", "duplicate")
        return {
            **{f"completions/{name}": float(self.counts[name]) for name in names},
            **{f"dropped/{reason}": float(count) for reason, count in sorted(self.tally.dropped.items())},
        }

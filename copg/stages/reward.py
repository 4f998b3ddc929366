"""Stage ``reward``: a reward model trained on preferences or thumbs, for those who have nothing else."""

import json
import math
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from copg.artifacts import MANIFEST, begin, is_sealed, read_manifest, seal, warnings_of
from copg.config import AtLeastOne, Natural, NotNegative, configuration
from copg.data.group_files import read_groups
from copg.data.holding import hold_folder
from copg.errors import RewardError
from copg.evaluation.trust import Learnt
from copg.records import CLUSTER
from copg.rewards.ensemble import member_folder
from copg.stores.promised import weights_as_promised
from copg.training.config import REWARD_RATE, LoraConfig, OptimizerConfig

if TYPE_CHECKING:
    from copg.training.lessons import Lesson

HELD_OUT = ("select", "gate")


@configuration
class RewardConfig:
    """From which model, on what, and how."""

    model: str
    """Where it starts: a language model, which gets a new head, or a reward model. Directory or hub name."""
    revision: str | None = None
    """Of the hub."""
    model_digest: str = ""
    """Of the model's files, when it is known; empty: whatever lies there."""
    form: Literal["chat", "pair", "text"] | None = None
    """What it reads (see the reward ``reward_model``); None: as its tokeniser suggests."""
    learns: Literal["auto", "pairs", "thumbs"] = "auto"
    """How the completions of a prompt rank (Bradley-Terry), or each one's thumb, a reward of 1 or 0, by
    itself (logistic). ``auto``: thumbs where all rewards are 1 or 0 and most prompts hold no pair."""
    seed: Natural = 0
    """Of the new head and of the order of groups."""
    members: AtLeastOne = 1
    """Models to train, from this seed and the next ones; several count as one ensemble, standardised: see
    ``rewards.N.ensemble``."""
    epochs: AtLeastOne = 1
    """How often every prompt of the train split is seen."""
    groups_per_step: AtLeastOne = 32
    """The loss is averaged over these; every prompt weighs the same."""
    pairs_per_group: AtLeastOne = 8
    """Most pairs of one prompt; of more, a sample."""
    min_gap: NotNegative = 0.0
    """Reward units by which a pair must differ; ties are never a pair."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lora: LoraConfig | None = None
    """None trains all weights; an adapter is merged into them at the end."""
    tokens_per_batch: AtLeastOne = 8192
    """Tokens in one forward, padding included; at least one group goes in whatever its length."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products; weights and optimiser stay float32."""


def train_reward(config: RewardConfig, groups: Path, reward_model: Path) -> dict[str, float]:
    """Fit scores to the ranking of each prompt's completions, or to thumbs; test them on held-out prompts.

    Args:
        groups: artifact of schema ``groups`` whose records came with rewards; preferences and thumbs count
            as 1 and 0.
        reward_model: where the artifact of schema ``reward_model`` goes: a model directory.

    Returns:
        Of held-out pairs: accuracy with its 95 % interval over prompts, those of one cluster as one; of
        held-out thumbs: AUC with its interval. Log loss (nats), calibration error, how far length alone
        comes, and what the model gets beyond that, with its interval: a gate refuses what a reward model
        judged that gets nothing for sure.
        Of several members the first's, and under ``/1``, ``/2`` the others', which lie below its directory.

    Raises:
        RewardError: nothing to learn from or to test on, a record without reward, or a loss not finite.
        ModelError: the model cannot be loaded, or is not the one promised.
    """
    from copg.training.reward_model import load_with_head
    from copg.training.thumbs import hold_thumbs

    manifest = read_manifest(groups, schema="groups")
    begin(reward_model)
    others = _train_others(config, groups, reward_model)
    learns = config.learns
    if learns == "auto":
        learns = "thumbs" if hold_thumbs(read_groups(groups, "train")) else "pairs"
    with weights_as_promised(config.model, config.model_digest):
        model, tokenizer, max_tokens = load_with_head(
            config.model, revision=config.revision, lora=config.lora, seed=config.seed
        )
    dropped: Counter[str] = Counter()
    train, held_out = _lessons(config, learns, groups, tokenizer, max_tokens, dropped)
    steps = _fit(config, model, tokenizer, train, reward_model)
    metrics, table = _test(config, learns, reward_model, train, held_out)
    metrics |= {"steps/done": float(len(steps)), "loss/train": steps[-1]["loss/mean"]}
    metrics |= {f"dropped/{reason}": float(count) for reason, count in sorted(dropped.items())}
    metrics |= others
    told, doubtful = _told(learns, metrics), doubts(learns, metrics, dropped)
    warned = [f"warning: {doubt}" for doubt in doubtful]
    for line in warned if any(told in doubt for doubt in doubtful) else [told, *warned]:
        print(line, file=sys.stderr, flush=True)
    seal(
        reward_model,
        schema="reward_model",
        stage="reward",
        rows=len(train),
        config=asdict(config),
        parents={"groups": manifest.digest},
        facts={
            "metrics": metrics,
            "learns": learns,
            "reliability": table,
            "warnings": [*warnings_of(manifest), *(f"reward: {doubt}" for doubt in doubtful)],
        },
        # members are artifacts of their own, whose manifests hold their digests
        volatile=("metrics.jsonl", *(str(member_folder(Path(), m)) for m in range(1, config.members))),
    )
    return metrics


def _train_others(config: RewardConfig, groups: Path, reward_model: Path) -> dict[str, float]:
    """Train all members but the first; what each warns of stands with its own model."""
    metrics: dict[str, float] = {}
    for member in range(1, config.members):
        print(f"member {member} of the reward models, from seed {config.seed + member}:", file=sys.stderr)
        alone = replace(config, members=1, seed=config.seed + member)
        found = train_reward(alone, groups, member_folder(reward_model, member))
        metrics |= {f"{name}/{member}": value for name, value in found.items()}
    return metrics


def doubts(learns: str, metrics: Mapping[str, float], dropped: Counter[str]) -> list[str]:
    """What makes this reward model doubtful, in a line each."""
    rival = Learnt("", learns, metrics).rival
    told = f"{_told(learns, metrics)}: it cannot be told from {rival}, what is trained on it may be noise"
    found = [told] if rival else []
    return found + [f"{count} left out: {why.replace('_', ' ')}" for why, count in sorted(dropped.items())]


def train_reward_once(config: RewardConfig, groups: Path, reward_model: Path) -> dict[str, float]:
    """``train_reward``, unless the finished model lies there already; others see it whole or not at all.

    Whoever comes while another trains it waits, and takes what that made.

    Args:
        reward_model: a path that stands for these settings and groups, and for no others.
    """
    with hold_folder(reward_model, math.inf):
        if not (reward_model / MANIFEST).is_file():
            part = reward_model.with_name(f".{reward_model.name}.part")
            try:
                if not is_sealed(part):  # by an attempt that was killed before it gave it its name
                    train_reward(config, groups, part)
                part.rename(reward_model)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    found = read_manifest(reward_model, schema="reward_model").facts["metrics"]
    return {name: float(value) for name, value in found.items()}


def _lessons(
    config: RewardConfig, learns: str, groups: Path, tokenizer: Any, max_tokens: int, dropped: Counter[str]
) -> "tuple[list[Lesson], list[Lesson]]":
    """What there is to learn from, and what to test on.

    Raises:
        RewardError: too little of either.
    """
    from copg.lm.text import TextCodec
    from copg.rewards.reward_model import pick_form
    from copg.training.comparisons import read_comparisons
    from copg.training.lessons import Reader
    from copg.training.thumbs import check_thumbs, read_thumbs

    reader = Reader(TextCodec(tokenizer), config.form or pick_form(tokenizer), max_tokens)
    columns = read_manifest(groups, schema="groups", verify=False).config.get("columns", {})
    reading: dict[str, Any] = {"dropped": dropped, "cluster": columns.get("cluster", CLUSTER)}
    found: list[list[Lesson]] = []
    for name, splits in (("train", ("train",)), ("select and gate", HELD_OUT)):
        every = chain.from_iterable(read_groups(groups, split) for split in splits)
        if learns == "thumbs":
            thumbs = list(read_thumbs(every, reader, **reading))
            check_thumbs(thumbs, f"{groups}: {name}")
            found.append([*thumbs])
            continue
        gap, limit = config.min_gap, config.pairs_per_group
        pairs = list(read_comparisons(every, reader, min_gap=gap, limit=limit, **reading))
        if len(pairs) < 2:
            told = f"{groups}: {len(pairs)} prompts of {name} hold a pair; at least 2 are needed"
            raise RewardError(f"{told}; a completion alone in its prompt teaches by a thumb, 1 or 0, alone")
        found.append([*pairs])
    return found[0], found[1]


def _fit(
    config: RewardConfig, model: Any, tokenizer: Any, train: "Sequence[Lesson]", reward_model: Path
) -> list[dict[str, float]]:
    """Train, and write model, tokeniser and the metrics of each step."""
    import torch

    from copg.training.reward_model import fit

    model.train()
    names = ("epochs", "groups_per_step", "tokens_per_batch", "seed")
    settings = {name: getattr(config, name) for name in names}
    dtype = getattr(torch, config.compute_dtype)
    peak = config.optimizer.peak(config.lora, all_weights=REWARD_RATE)
    steps = list(fit(model, train, config.optimizer, peak=peak, **settings, compute_dtype=dtype))
    if config.lora is not None:
        model = model.merge_and_unload()
    model.eval().save_pretrained(reward_model)
    tokenizer.save_pretrained(reward_model)
    lines = [json.dumps({"step": number, **step}) + "\n" for number, step in enumerate(steps, 1)]
    (reward_model / "metrics.jsonl").write_text("".join(lines))
    return steps


def _test(
    config: RewardConfig,
    learns: str,
    reward_model: Path,
    train: "Sequence[Any]",
    held_out: "Sequence[Any]",
) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Metrics on held-out prompts, by the model as it was written and as ``score`` will load it."""
    import torch

    from copg.evaluation.learnt_reward import measure_pairs, measure_thumbs
    from copg.rewards.classifier import Classifier

    classifier = Classifier(str(reward_model), revision=None, dtype=torch.float32)
    encodings = [e for group in held_out for e in group.encodings]
    flat = iter(classifier.logits(encodings, tokens_per_batch=config.tokens_per_batch))
    scores = [[next(flat)[0] for _ in group.encodings] for group in held_out]
    if learns == "thumbs":
        return measure_thumbs(held_out, scores, train)
    return measure_pairs(held_out, scores, train)


def _told(learns: str, metrics: Mapping[str, float]) -> str:
    """In words, how well it does."""
    return (
        f"the reward learnt from {learns}: {Learnt('', learns, metrics).told()}, calibration error "
        f"{metrics['calibration/error']:.2f} ({metrics['prompts/count']:.0f} prompts)"
    )

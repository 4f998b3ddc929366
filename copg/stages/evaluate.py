"""Stage ``evaluate``: what a policy earns on held-out prompts, and how far it went from the reference."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from copg.artifacts import (
    BASELINES,
    MANIFEST,
    Manifest,
    begin,
    json_value,
    read_manifest,
    seal,
    warnings_of,
    write_json,
)
from copg.config import AtLeastOne, Natural, configuration
from copg.errors import ModelError, RecordError
from copg.evaluation.trust import find_learnt
from copg.lm.config import GenerationConfig, RowConfig, TextConfig
from copg.records import CLUSTER
from copg.rewards.bounds import bounds_of_parts
from copg.rewards.contract import RewardSpec, Scale
from copg.rewards.mixture import Mixture, build_mixture
from copg.stores.promised import weights_as_promised

if TYPE_CHECKING:
    from copg.evaluation.held_out import HeldOut, PolicySampler
    from copg.evaluation.mixes import Mix

HELD_OUT = ("select", "gate")


@configuration
class SplitCounts:
    """A number of prompts for each held-out split."""

    select: int = 128
    """On which the best trial is chosen."""
    gate: int = 128
    """On which promotion is decided."""


@configuration
class EvaluateConfig:
    """Whom to evaluate, on what, and by which rewards."""

    model: str
    """Model directory or hub name of the reference."""
    revision: str | None = None
    """Of the hub."""
    model_digest: str = ""
    """Of the reference's weights that are meant, when it is known; empty: whatever lies there."""
    rewards: list[RewardSpec] = field(default_factory=list)
    """As in ``score``."""
    name: str = ""
    """``reference``, ``champion`` or a trial's; empty: as the policy says, ``reference`` without a policy."""
    method: str | None = None
    """Of the trial; empty: as the policy says, none for ``champion``."""
    beta: float | None = None
    """Of the trial, in reward units per nat; empty: as for ``method``."""
    num_prompts: int | SplitCounts = 128
    """Of each split, or ``{select: .., gate: ..}``: the first by id, so that every policy meets the same."""
    samples_per_prompt: AtLeastOne = 4
    """Completions drawn for each prompt."""
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    """Leave the temperature at 1: at any other, the KL is none of what was drawn."""
    rows: RowConfig = field(default_factory=RowConfig)
    """Budget and precision of the passes that measure the KL."""
    text: TextConfig = field(default_factory=TextConfig)
    """How prompts and completions become tokens; the recipe's, the same for every stage."""
    mixes: list[float] = field(default_factory=list)
    """Points between reference and trial, and beyond it, that cost no training, by the weight of the trial
    such as ``[0.25, 0.5, 0.75, 1.5]``: its adapter counts so much, which can be promoted, or the logits of
    both are mixed, which cannot. Each costs what the evaluation of a trial costs."""
    threads: Natural = 0
    """CPU threads; 0: torch's own choice."""
    cluster: str = CLUSTER
    """Column whose equal values make prompts count as one in an interval; ``validate``'s own."""

    def __post_init__(self) -> None:
        for split in HELD_OUT:
            if self.count(split) < 2:
                raise ValueError(
                    f"num_prompts={self.count(split)} of '{split}' must be >= 2: one has no interval"
                )
        if len({f"{weight:g}" for weight in self.mixes if weight > 0} - {"1"}) < len(self.mixes):
            raise ValueError(
                f"mixes={self.mixes} must be different weights > 0: 0 is the reference and 1 the trial, both "
                "of which are evaluated anyway"
            )

    def count(self, split: str) -> int:
        """Prompts wanted of a split."""
        return (
            self.num_prompts if isinstance(self.num_prompts, int) else int(getattr(self.num_prompts, split))
        )


def evaluate_policy(
    config: EvaluateConfig, groups: Path, evaluation: Path, *, policy: Path | None, policy_uri: str = ""
) -> dict[str, float]:
    """Draw completions for held-out prompts, score them, and measure the KL from the reference.

    Every policy meets the same prompts with the same noise. Policy and reference are in memory one after
    the other, and together where their logits are mixed. A policy whose logits are not finite has diverged:
    its estimates are null.

    Args:
        groups: artifact of schema ``groups``, or ``scored`` where rewards are standardised: it has the scale.
        evaluation: where the artifact of schema ``evaluation`` goes.
        policy: artifact of schema ``policy``; None evaluates the reference itself.
        policy_uri: where the policy lies for good: what promotion registers; empty: where it is now.

    Returns:
        Means on both splits: rewards in reward units, length in tokens, KL in nats a completion: ``kl`` over
        the whole vocabulary at each position, ``kl_k1`` of the log-ratios alone; ``objective``, J at the
        trial's own beta, where that is in reward units. Of a mix the same, under ``/WEIGHT`` beside.

    Raises:
        ConfigError: the engine cannot draw from mixed logits.
        RecordError: a split has fewer than two prompts that fit the model's context.
        RewardError: a reward failed.
        ModelError: a model cannot be loaded, or is not finite, or has another vocabulary than the reference.
    """
    import torch

    from copg.evaluation.doubts import shortfalls
    from copg.evaluation.held_out import PolicySampler, generations
    from copg.evaluation.measuring import measure
    from copg.evaluation.mixes import check_engine
    from copg.evaluation.summaries import means

    if config.threads:
        torch.set_num_threads(config.threads)
    source = _open_groups(groups)
    given = None if policy is None else read_manifest(policy, schema="policy")
    uri = policy_uri or (str(policy.resolve()) if policy else "")
    facts = _facts(config, source, given, uri)
    scales = {part: Scale(**scale) for part, scale in facts["scales"].items()}
    mixture = build_mixture(config.rewards, scales=scales)
    facts["bounds"] = bounds_of_parts(config.rewards, mixture.rewards, scales)
    names = [each.name for each in fields(PolicySampler) if each.init]
    sampler = PolicySampler(**{name: getattr(config, name) for name in names})
    # a champion is measured as it is, and what was warned of its making, the run that made it told
    trained = [] if given is None or facts["name"] in BASELINES else [given]
    mixed = policy if trained and config.mixes else None
    if mixed:
        check_engine(mixed, config.generation)
    with weights_as_promised(config.model, config.model_digest):
        prompts, metrics = _read_prompts(config, sampler, groups, compare=policy is None)
        begin(evaluation)
        try:
            sampler.draw(prompts, policy)
        except FloatingPointError as error:
            if policy is None:
                raise ModelError(f"{config.model}: {error}") from None
            facts |= {"diverged": True, "reason": str(error)}
            prompts = []
    summaries, tails = measure(mixture, facts, prompts, splits=HELD_OUT, cluster=config.cluster)
    metrics |= means(summaries)
    found: dict[str, Any] = {**summaries}
    asked = {split: config.count(split) for split in HELD_OUT}
    missing = shortfalls(facts, metrics, asked, config.generation.max_new_tokens)
    form = dict(sampler.form)
    if mixed and not facts["diverged"]:
        mixes, more = _mix(config, sampler, mixed, prompts, mixture, facts, evaluation)
        facts["mixes"] = [each.about() for each in mixes]
        found["mixes"] = [{**each.about(), **each.found} for each in mixes]
        metrics |= {f"{key}/{each.weight:g}": x for each in mixes for key, x in means(each.found).items()}
        tails += more
    for line in tails:
        print(f"warning: {line}", file=sys.stderr, flush=True)
    write_json(evaluation / "evaluation.json", found)
    pq.write_table(generations(prompts), evaluation / "generations.parquet", compression="zstd")
    told = {"rows": form, "text": sampler.codec.about(), "metrics": metrics}
    seal(
        evaluation,
        schema="evaluation",
        stage="evaluate",
        rows=sum(len(prompt.drawn) for prompt in prompts),
        config=asdict(config),
        parents=_parents(source, given),
        facts={**facts, **told, "warnings": [*warnings_of(source, *trained), *missing, *tails]},
    )
    return metrics


def _mix(
    config: EvaluateConfig,
    sampler: "PolicySampler",
    policy: Path,
    prompts: "list[HeldOut]",
    mixture: Mixture,
    facts: dict[str, Any],
    evaluation: Path,
) -> "tuple[list[Mix], list[str]]":
    """The points between the reference and a policy; see ``evaluate_mixes``."""
    from copg.evaluation.mixes import Mixer, evaluate_mixes

    with weights_as_promised(config.model, config.model_digest):
        mixer = Mixer(sampler, policy)
        measuring: dict[str, Any] = {"splits": HELD_OUT, "cluster": config.cluster}
        return evaluate_mixes(mixer, config.mixes, prompts, mixture, facts, to=evaluation, **measuring)


def _open_groups(groups: Path) -> Manifest:
    found = None
    with suppress(OSError, ValueError):
        found = json_value((groups / MANIFEST).read_text())
    scored = isinstance(found, dict) and found.get("schema") == "scored"
    return read_manifest(groups, schema="scored" if scored else "groups")


def _parents(source: Manifest, policy: Manifest | None) -> dict[str, str]:
    """Digests of the inputs; scored groups also name the groups they were made of: the same prompts."""
    parents = {"groups": source.parents.get("groups", source.digest)}
    if source.schema == "scored":
        parents["scored"] = source.digest
    return {**parents, **({"policy": policy.digest} if policy else {})}


def _facts(
    config: EvaluateConfig, source: Manifest, policy: Manifest | None, policy_uri: str
) -> dict[str, Any]:
    """Whose evaluation this is, as the settings say, else as the policy does; and its rewards' scales."""
    trial = {} if policy is None else policy.facts
    name = config.name or trial.get("trial") or ("reference" if policy is None else "policy")
    known = {} if name in BASELINES else trial
    # for the report, which does not read ``scored``
    logged = {"logged": source.facts.get("splits", {}), "ladder": source.facts.get("ladder")}
    learnt = {"learnt": [asdict(each) for each in find_learnt(config.rewards)]}
    return {
        "name": name,
        "method": config.method or known.get("method"),
        "beta": known.get("beta") if config.beta is None else config.beta,
        "diverged": bool(trial.get("diverged", False)),
        "reason": trial.get("reason"),
        "policy_uri": policy_uri,
        "policy_digest": None if policy is None else policy.digest,
        "temperature": config.generation.temperature,
        "scales": source.facts.get("scales", {}),
        **({**logged, **learnt} if policy is None else {"ladder": known.get("ladder")}),
    }


def _read_prompts(
    config: EvaluateConfig, sampler: "PolicySampler", groups: Path, *, compare: bool
) -> "tuple[list[HeldOut], dict[str, float]]":
    """Of both splits; and how many were left out because the model's context has no room for them.

    Args:
        compare: also the lengths of what was logged with what may be drawn, which once a run is enough.
    """
    prompts, too_long = [], 0
    for split in HELD_OUT:
        fitting, dropped, room = sampler.read(groups, split, config.count(split))
        if len(fitting) < 2:
            raise RecordError(
                f"{groups}: split '{split}' has {len(fitting)} prompts of at most {room} tokens; an interval "
                "needs 2: hold out more in validate, or lower evaluate.generation.max_new_tokens"
            )
        prompts += fitting
        too_long += dropped
    logged = _compare_lengths(config, sampler, prompts) if compare else {}
    return prompts, {"prompts/too_long": float(too_long), **logged}


def _compare_lengths(
    config: EvaluateConfig, sampler: "PolicySampler", prompts: "Sequence[HeldOut]"
) -> dict[str, float]:
    """Hold the lengths of the logs against what may be drawn; says so where they are longer."""
    from copg.evaluation.held_out import longer_than

    most = config.generation.max_new_tokens
    longer, logged = longer_than(prompts, sampler.codec, most)
    if longer:
        print(
            f"{longer} of {logged} logged completions of the prompts held out have more tokens than "
            f"evaluate.generation.max_new_tokens={most}: a policy that writes as long is cut off",
            file=sys.stderr,
        )
    return {"logged/longer_fraction": longer / max(1, logged)}

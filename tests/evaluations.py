"""Evaluations, trainings and policies made up from a seed, for the stages that only read them."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from copg.artifacts import MANIFEST, Manifest, begin, seal, write_json
from copg.data.group_files import GroupWriter
from copg.digests import json_digest
from copg.evaluation.draws import mix_folder
from copg.evaluation.estimates import estimate
from copg.records import Completion, Evaluation, Group, prompt_id
from copg.rewards.distribution import Distribution

NUM_SAMPLES = 2
HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    "</script></style></title>]]><!-- <script>fetch('https://example.org')</script>",
    '"><a href="javascript:alert(1)">x</a>{{7*7}}%{x}${x}\\u003cb\\u003e',
    "$\\alpha$ <b>bold</b> &lt;i&gt; &amp; | pipe | `tick`\n\n# no heading\n---",
    "\u202etxet desrever\u202c \x00\x07\x1b[31m \u2028\u2029 😀",
    "שלום עולם, 你好，世界 " + "w" * 300,
]


@dataclass
class Made:
    """What a policy is like."""

    name: str
    gain: float = 0.0
    """Reward units over the reference."""
    kl: float = 0.0
    """Nats a completion."""
    method: str | None = None
    beta: float | None = None
    diverged: bool = False
    length: float = 24.0
    hostile: bool = False


SWEEP = [
    Made("copg_0.02", 0.31, 9.5, "copg", 0.02, length=31),
    Made("copg_0.05", 0.27, 5.1, "copg", 0.05, length=29),
    Made("copg_0.2", 0.13, 1.6, "copg", 0.2, length=26),
    Made("ipo_0.05", 0.12, 4.0, "ipo", 0.05, length=27),
    Made("dpo_0.05", 0.04, 6.2, "dpo", 0.05, length=36),
    Made("pg_0.01", -0.35, 41.0, "pg", 0.01, diverged=True, length=60),
]


def make_groups(directory: Path, num_prompts: int = 40, *, documents: int = 0, **facts: Any) -> Manifest:
    """Two held-out splits of as many prompts, of so many documents if of any, and a training split of one."""
    begin(directory)
    with GroupWriter(directory) as writer:
        for split in ("train", "select", "gate"):
            for i in range(1 if split == "train" else num_prompts):
                text = f"{split} prompt {i}"
                columns = {"cluster": i % documents} if documents else {}
                writer.write(split, Group(prompt_id(text), text, [Completion("a"), Completion("b")], columns))
    return seal(
        directory,
        schema="groups",
        stage="validate",
        rows=2 * num_prompts + 1,
        config={"max_rejected_fraction": 0.05},
        parents={},
        facts={"valid": True, "metrics": {"groups/train": 1.0, "records/rejected": 3.0}, **facts},
    )


def reseal(directory: Path, **changes: Any) -> None:
    """Write a manifest anew that says something else, as if its stage had."""
    told = {**json.loads((directory / MANIFEST).read_text()), **changes}
    content = {"schema": told["schema"], "version": told["version"], "files": told["files"]}
    manifest = Manifest(**{**told, "digest": json_digest(content), "seal": ""})
    write_json(directory / MANIFEST, asdict(replace(manifest, seal=manifest.true_seal)))


def make_evaluation(
    directory: Path,
    made: Made,
    groups: Manifest,
    num_prompts: int = 40,
    policy: Manifest | None = None,
    mixes: Sequence[tuple[float, Made, str]] = (),
    **facts: Any,
) -> Path:
    """An evaluation whose estimates are those of its generations.

    Args:
        directory: where it goes.
        made: what the policy is like.
        groups: that it was evaluated on.
        num_prompts: of each split.
        policy: for its digest.
        mixes: weight, what it is like, and digest of its scaled form, empty for a mix of logits.
        facts: beside those of every evaluation.
    """
    begin(directory)
    rows = _write(directory, made, num_prompts)
    told = []
    for weight, mixed, digest in mixes:
        folder, mixed = mix_folder(directory, weight), replace(mixed, name=f"{made.name}@{weight:g}")
        folder.mkdir(parents=True)
        _write(folder, mixed, num_prompts)
        told.append({"name": mixed.name, "weight": weight, "policy_digest": digest, "reason": None})
    facts = {**facts, **({"mixes": told} if told else {})}
    found = {"name": made.name, "method": made.method, "beta": made.beta, "diverged": made.diverged}
    baseline = made.name == "reference"
    found["policy_uri"] = "" if baseline else f"/nowhere/{made.name}"
    found["policy_digest"] = policy.digest if policy else f"digest of {made.name}"
    rewards = [
        {"name": "facts", "weight": 1.0, "params": {}},
        {"name": "brevity", "weight": 0.2, "params": {}},
    ]
    seal(
        directory,
        schema="evaluation",
        stage="evaluate",
        rows=len(rows),
        config={"model": "models/tiny", "rewards": rewards, "generation": {"seed": 7, "max_new_tokens": 64}},
        parents={"groups": groups.digest},
        facts={**found, **facts},
    )
    return directory


def _write(folder: Path, made: Made, num_prompts: int) -> list[dict[str, Any]]:
    """Generations and their estimates; the rows of the first."""
    rows = [row for split in ("select", "gate") for row in _rows(made, split, num_prompts)]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), folder / "generations.parquet")
    splits = {split: _evaluation(made, split, rows, num_prompts) for split in ("select", "gate")}
    write_json(folder / "evaluation.json", {split: _plain(asdict(e)) for split, e in splits.items()})
    return rows


def make_logged() -> dict[str, Any]:
    """What ``score`` found of two splits; a part is called by a text that attacks a page."""
    parts = ["facts", HOSTILE[0]]
    found = {}
    for split, size in (("train", 9), ("select", 3), ("gate", 0)):
        distribution = Distribution(parts)
        for i in range(size):
            texts = ["a" * (1 + k * (i + 1)) for k in range(3)]
            distribution.add(
                [
                    Completion(text, reward=0.1 * k * i, parts=dict(zip(parts, (k * i / 2, k), strict=True)))
                    for k, text in enumerate(texts)
                ]
            )
        found[split] = distribution.facts()
    return found


SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("id", pa.string()),
        ("prompt", pa.string()),
        ("sample", pa.int32()),
        ("completion", pa.string()),
        ("num_tokens", pa.int32()),
        ("finished", pa.bool_()),
        ("reward", pa.float64()),
        ("parts", pa.map_(pa.string(), pa.float64())),
        ("log_ratio", pa.float64()),
    ]
)


def _rows(made: Made, split: str, num_prompts: int) -> list[dict[str, Any]]:
    shared = np.random.default_rng([1, split == "gate"])  # what is hard is hard for everybody
    hardness = shared.normal(0.45, 0.12, num_prompts)
    own = np.random.default_rng([2, sum(map(ord, made.name)), split == "gate"])
    rows = []
    for i in range(num_prompts):
        for sample in range(NUM_SAMPLES):
            facts = hardness[i] + made.gain + own.normal(0, 0.06)
            brevity = 1 - made.length / 64 + own.normal(0, 0.05)
            text = f"{made.name} says {'very ' * int(own.integers(0, 12))}much about prompt {i}"
            hostile = made.hostile and i < len(HOSTILE)
            rows.append(
                {
                    "split": split,
                    "id": prompt_id(f"{split} prompt {i}"),
                    "prompt": HOSTILE[i] if made.hostile and i < len(HOSTILE) else f"{split} prompt {i}",
                    "sample": sample,
                    "completion": HOSTILE[-1 - i] if hostile else text,
                    "num_tokens": max(1, int(own.normal(made.length, 4))),
                    "finished": bool(own.random() > 0.05),
                    # the first prompts show the widest gaps, so that their texts are shown
                    "reward": facts + 0.2 * brevity + (1.0 if hostile and made.name != "reference" else 0.0),
                    "parts": {"facts": facts, "brevity": brevity},
                    "log_ratio": made.kl + own.normal(0, 0.3 * math.sqrt(made.kl + 1e-9)),
                }
            )
    return rows


def _evaluation(made: Made, split: str, rows: list[dict[str, Any]], num_prompts: int) -> Evaluation:
    mine = [row for row in rows if row["split"] == split]

    def over(value: Any) -> Any:
        return estimate(
            [
                [float(value(row)) for row in mine[i : i + NUM_SAMPLES]]
                for i in range(0, len(mine), NUM_SAMPLES)
            ]
        )

    return Evaluation(
        name=made.name,
        split=split,
        num_prompts=num_prompts,
        reward=over(lambda row: row["reward"]),
        kl=over(lambda row: row["log_ratio"]),
        length=over(lambda row: row["num_tokens"]),
        finished_fraction=sum(row["finished"] for row in mine) / len(mine),
        parts={part: over(lambda row, part=part: row["parts"][part]) for part in ("facts", "brevity")},
        method=made.method,
        beta=made.beta,
        diverged=made.diverged,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def make_training(directory: Path, made: Made, steps: int = 60) -> Path:
    """Noisy curves that end where the policy is."""
    begin(directory)
    noise = np.random.default_rng([3, sum(map(ord, made.name))])
    lines = []
    for step in range(1, steps + 1):
        way = 1 - math.exp(-3 * step / steps)
        line: dict[str, Any] = {
            "step": step,
            "time_s": 1.7e9 + step,
            "loss/mean": 1.2 - 0.7 * way + noise.normal(0, 0.05),
            "residual/fraction": 1 - 0.6 * way + noise.normal(0, 0.03),
            "log_ratio/best": made.kl * way * 0.6 + noise.normal(0, 0.1),
            "log_ratio/worst": -made.kl * way + noise.normal(0, 0.1),
            "gradient/norm": 0.5 + noise.random() / 4,
            "learning_rate/value": 1e-4 * min(1.0, step / 6) * (1 - step / steps),
        }
        if step % 10 == 0:
            line |= {
                "reward/mean": 0.45 + made.gain * way + noise.normal(0, 0.01),
                "kl/mean": made.kl * way,
                "length/mean": 24 + (made.length - 24) * way,
                "finished/fraction": 0.95,
            }
        if made.diverged and step == steps:
            line["loss/mean"] = None
        lines.append(json.dumps(line) + "\n")
    (directory / "metrics.jsonl").write_text("".join(lines))
    facts = {"trial": made.name, "method": made.method, "beta": made.beta, "seed": 11, "steps": steps}
    facts |= {
        "diverged": made.diverged,
        "reason": "reward fell by 5 spreads" if made.diverged else None,
        "metrics": {},
    }
    config = {"model": "models/tiny", "optimizer": {"learning_rate": 1e-4}}
    seal(
        directory,
        schema="training",
        stage="train",
        rows=1,
        config=config,
        parents={"referenced": "r" * 64},
        facts=facts,
        volatile=("metrics.jsonl",),
    )
    return directory


def make_policy(directory: Path, content: str) -> Manifest:
    """A policy of two weight files; two of equal content have equal digests."""
    begin(directory)
    (directory / "config.json").write_text("{}")
    for i in (1, 2):
        (directory / f"model-0000{i}-of-00002.safetensors").write_text(f"{content} {i}")
    return seal(directory, schema="policy", stage="train", rows=1, config={}, parents={})

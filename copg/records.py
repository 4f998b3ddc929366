"""The records of the project: what a prompt, its completions and an evaluation are."""

import hashlib
import json
import unicodedata
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

MOST_MARKS = 1000
"""Combining marks in a row, of which a language has a handful: with more a text stays as it is."""
SPLITS = ("train", "select", "gate")
"""``train`` trains, ``select`` chooses the best trial, ``gate`` decides whether it is promoted."""

Prompt = str | list[dict[str, str]]
"""Plain text, or chat messages ``{"role": ..., "content": ...}``."""

CLUSTER = "cluster"
"""Column that says which prompts belong together, unless the user's own is called otherwise."""

TOOLS, SETTINGS = "tools", "chat_template_kwargs"
"""Columns of a record that its chat template is given beside the messages."""
MESSAGES, TURNS = "_prompt_messages", "_completion_messages"
"""Columns in which messages stand whole that hold more than words (calls of tools, their results, thinking):
those of the prompt, and of a completion that is several turns or more than words."""


@dataclass(slots=True)
class Completion:
    """One answer to a prompt."""

    text: str
    finished: bool = True
    """False when it was cut off: it then gets no end-of-sequence token."""
    reward: float | None = None
    """In reward units; filled by ``score``."""
    parts: dict[str, float] = field(default_factory=dict)
    """Each named reward before weighting; filled by ``score``."""
    token_ids: list[int] | None = None
    """With the end-of-sequence token when finished; filled by ``reference``. A token that is read and not
    scored, as of a tool's result, stands as its complement ``~id``, which is negative."""
    ref_logps: float | None = None
    """log pi_ref(y|x), summed over completion tokens, in nats; filled by ``reference``."""
    columns: dict[str, Any] = field(default_factory=dict)
    """What its own record held that the group's columns do not, or otherwise; null where it lacked one."""


@dataclass(slots=True)
class Group:
    """All completions of one prompt."""

    id: str
    """Digest of the normalised prompt: equal prompts have equal ids, in every run. Of prompts that differ in
    white space or Unicode form alone, the first has it, and the others' ids begin with its first half."""
    prompt: Prompt
    completions: list[Completion]
    columns: dict[str, Any] = field(default_factory=dict)
    """Whatever else the record held (tests, reference answers): rewards read it, nothing else does."""
    prompt_ids: list[int] | None = None
    """Filled by ``reference``."""
    source: str = ""
    """``file:line`` of the record, or of the first of those that were merged."""

    def columns_of(self, completion: Completion) -> dict[str, Any]:
        """The columns of one of its completions: a copy, which a reward may change."""
        return self.columns | completion.columns


def cluster_of(group: Group, column: str) -> str | None:
    """What a prompt shares with those that belong with it: a column, or ``a.b`` inside ``a``; or None."""
    value: Any = group.columns
    for key in [column] if column in group.columns else column.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return None if value is None else cluster_text(value)


def cluster_text(value: Any) -> str:
    """What stands for a document, conversation or template: 7, 7.0 and "7" are one, as tables write them."""
    if type(value) in (int, float) and value == value // 1:
        value = str(int(value))
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over prompts with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a policy earned on the prompts of one split, and how far it went from the reference."""

    name: str
    """Of the trial, or ``reference`` or ``champion``."""
    split: str
    num_prompts: int
    reward: Estimate
    """Reward units."""
    kl: Estimate
    """Nats a completion, from completions the policy itself drew: over the whole vocabulary at each position,
    summed over positions."""
    length: Estimate
    """Tokens a completion, the end-of-sequence token included."""
    finished_fraction: float
    parts: dict[str, Estimate] = field(default_factory=dict)
    """Each named reward before weighting."""
    method: str | None = None
    """Loss of the trial; None for ``reference`` and ``champion``."""
    beta: float | None = None
    """Reward units per nat."""
    diverged: bool = False
    """True when training met a non-finite loss or a collapsed reward: it cannot be promoted."""
    kl_k1: Estimate | None = None
    """The same KL from the log-ratios of the tokens drawn alone; None where it was not measured."""
    objective: Estimate | None = None
    """J = E[R] - beta KL at the trial's own beta; None where that is not in reward units."""


_COMPLETION = pa.struct(
    [
        pa.field("text", pa.string(), nullable=False),
        pa.field("finished", pa.bool_(), nullable=False),
        pa.field("reward", pa.float64()),
        pa.field("parts", pa.map_(pa.string(), pa.float64())),
        pa.field("token_ids", pa.list_(pa.int32())),
        pa.field("ref_logps", pa.float64()),
        pa.field("columns", pa.string()),
    ]
)

GROUP_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("prompt", pa.string()),
        pa.field("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        pa.field("completions", pa.list_(_COMPLETION), nullable=False),
        pa.field("columns", pa.string(), nullable=False),
        pa.field("prompt_ids", pa.list_(pa.int32())),
        pa.field("source", pa.string(), nullable=False),
    ]
)
"""One row a group: ``prompt`` or ``messages`` is set, never both; ``columns`` is JSON, a completion's null
where they are its group's."""


def groups_to_table(groups: list[Group]) -> pa.Table:
    """Rows of ``GROUP_SCHEMA``, in the order given."""
    rows = [
        {
            "id": g.id,
            "prompt": g.prompt if isinstance(g.prompt, str) else None,
            "messages": None if isinstance(g.prompt, str) else g.prompt,
            "completions": [
                {
                    "text": c.text,
                    "finished": c.finished,
                    "reward": c.reward,
                    "parts": sorted(c.parts.items()),
                    "token_ids": c.token_ids,
                    "ref_logps": c.ref_logps,
                    "columns": _to_json(c.columns) if c.columns else None,
                }
                for c in g.completions
            ],
            "columns": _to_json(g.columns),
            "prompt_ids": g.prompt_ids,
            "source": g.source,
        }
        for g in groups
    ]
    return pa.Table.from_pylist(rows, schema=GROUP_SCHEMA)


def _to_json(columns: dict[str, Any]) -> str:
    return json.dumps(dict(sorted(columns.items())), ensure_ascii=False)  # inside, the order is meaning


def _to_completion(held: dict[str, Any]) -> Completion:
    parts, columns = dict(held["parts"] or ()), json.loads(held.get("columns") or "{}")
    return Completion(**{**held, "parts": parts, "columns": columns})


def table_to_groups(table: pa.Table | pa.RecordBatch) -> list[Group]:
    """The groups that ``groups_to_table`` wrote."""
    return [
        Group(
            id=row["id"],
            prompt=row["messages"] if row["prompt"] is None else row["prompt"],
            completions=[_to_completion(c) for c in row["completions"]],
            columns=json.loads(row["columns"]),
            prompt_ids=row["prompt_ids"],
            source=row["source"],
        )
        for row in table.to_pylist()
    ]


def as_chat(prompt: Prompt) -> list[dict[str, Any]]:
    """The messages of a prompt; a text is what a user says."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def prompt_text(prompt: Prompt) -> str:
    """The prompt as a person would read it: text as it is, chat as ``role: content`` lines."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def prompt_id(prompt: Prompt, asked: str = "") -> str:
    """128-bit digest of the prompt after NFC and folding of white space, as 32 hexadecimal digits.

    Args:
        prompt: text or messages.
        asked: what else the chat template is given, as JSON: it is part of what the model reads.
    """
    folded = " ".join(normal_form("NFC", prompt_text(prompt)).split())
    kind = ("text" if isinstance(prompt, str) else "chat") + asked
    return hashlib.sha256(f"{kind}\n{folded}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def normal_form(form: Literal["NFC", "NFKC"], text: str) -> str:
    """A text in a form of Unicode; as it is where marks without end stand on one letter.

    Sorting these takes their square: a mebibyte of them would take days.
    """
    if len(text) > MOST_MARKS and not text.isascii():
        marks = bytes(map(unicodedata.combining, text))  # 0 ends a run
        if max(map(len, marks.split(b"\0"))) > MOST_MARKS:
            return text
    return unicodedata.normalize(form, text)


def assign_split(group_id: str, *, select_fraction: float, gate_fraction: float) -> str:
    """The split of a prompt, from its id alone: no later run and no other record can move it.

    Args:
        group_id: from ``prompt_id``.
        select_fraction: expected share of prompts in ``select``.
        gate_fraction: expected share of prompts in ``gate``; it comes first, so that changing
            ``select_fraction`` never moves a prompt into or out of ``gate``.
    """
    u = int(group_id[:13], 16) / 16**13
    if u < gate_fraction:
        return "gate"
    return "select" if u >= 1 - select_fraction else "train"


def in_shard(group_id: str, shard: int, num_shards: int) -> bool:
    """Whether shard ``shard`` (from 0) of ``num_shards`` has this group: a function of its id alone."""
    digest = hashlib.blake2b(f"shard:{group_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % num_shards == shard

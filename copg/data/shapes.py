"""What rows mean: the plain shapes first, then those of public logs; what fits none or several is refused.

A row is taken by the fields it holds, after the user's mapping of names; null counts as absent:

- ``prompt``, ``completions``, and ``rewards`` or ``ranks`` and ``finished`` if given, one each a completion;
- ``prompt``, ``chosen``, ``rejected``: rewards 1 and 0, unless ``chosen_reward`` and ``rejected_reward``
  are given; ``finished`` if given, of the chosen and of the rejected;
- ``prompt``, ``completion``, and ``reward`` or a thumb and ``finished`` if given: one row a completion;
- those of ``public_shapes``; and a prompt alone, which is read, to say what it lacks.

A prompt is text or chat messages. A completion is text, or a chat that ends in one assistant message and
holds nothing before it but the prompt's own messages.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from copg.data.answers import are_answers
from copg.data.found import Found, Reading, Shape, Wish
from copg.data.json_lines import MAX_NAME_CHARS, MAX_NAMES, Defect, kind_of, listed, write_columns
from copg.data.marks import find_thumb, unused_rewards, unused_system
from copg.data.misfits import misfit
from copg.data.plain_shapes import (
    FIELDS,
    MARKS,
    SAYS,
    SHAPES,
    TEXT_FIELDS,
    as_numbers,
    mapped_rewards,
    pick_path,
    read_cell,
    read_chats,
    read_flags,
    read_plain,
    read_prompt,
    read_reward,
    shape_of,
)
from copg.data.public_shapes import SHAPES as PUBLIC
from copg.data.sides import cluster_digest
from copg.data.turns import put_aside, tools_of
from copg.data.unfolding import CHATS, unfold, unfold_chat
from copg.records import Prompt, prompt_id

PROMPTS = Shape(
    "prompts",
    "prompts alone",
    ("prompt",),
    lambda row: type(row.get("prompt")) in (str, list),
    lambda row, _: [Found(row["prompt"], [])],
)
READ_AS = (*SHAPES, *(shape.name for shape in PUBLIC), PROMPTS.name)
"""Every shape, by the name with which it can be asked for."""


@dataclass(slots=True)
class Record:
    """A row, or a part of it, once its shape is known; what it says may still be refused."""

    prompt: Prompt
    texts: list[str]
    rewards: list[float | None] | None
    """As many as were given, which need not be as many as there are completions."""
    finished: list[bool]
    columns: str
    """Everything else the row held, as JSON."""
    overlays: list[str | None] | None = None
    """Columns of each completion alone, as JSON; None where there are none."""
    side: bytes | None = None
    """Digest of what it is on one side of the split with; None for its prompt alone."""
    unranked: int = 0
    """Completions left out for want of a rank."""
    unsaid_ends: int = 0
    """Completions of which nobody said whether they were cut off."""
    read_as: str = ""
    """The shape, in words."""
    unused: str = ""
    """What is said of columns that look like rewards and were not used, and of nulls that were left out."""
    dropped: str = ""
    """Keys of its messages that nothing reads, a line each."""


class RecordReader:
    """Tells what rows mean."""

    def __init__(self, reading: Reading) -> None:
        self._names = {field: reading.columns.get(field, field) for field in FIELDS}
        self._has_paths = any("." in name for name in self._names.values())
        self._left_out = {field for field, name in self._names.items() if not name}
        self._read_as = reading.read_as
        feedback = self._names["reward"] if self._names["reward"] not in ("reward", "") else None
        self._wish = Wish(reading.all_turns, feedback, settled=reading.read_as is not None)
        self._used = {
            shape: frozenset(self._names[field] for field in ("prompt", *fields))
            for shape, fields in SHAPES.items()
        }

    def read(self, row: Any, *, cells: bool = False) -> list[Record]:
        """What a row means: one record, or one for each group that it holds.

        Args:
            cells: every value is text, as in CSV: lists are JSON, an empty cell is absent.

        Raises:
            Defect: what keeps the row from being a record.
        """
        if type(row) is not dict:
            raise Defect("not_an_object", f"a record is an object, not {kind_of(row)}")
        pick = pick_path if self._has_paths else dict.get
        fields = {f: value for f, name in self._names.items() if (value := pick(row, name)) is not None}
        if cells:
            fields = {f: read_cell(f, v) for f, v in fields.items() if v != "" or f in TEXT_FIELDS}
        fields = {f: unfold_chat(self._names[f], v) if f in TEXT_FIELDS else v for f, v in fields.items()}
        fields |= as_numbers(fields, named=self._names["rewards"] != "rewards")
        if self._read_as in SHAPES:
            fields = {f: v for f, v in fields.items() if f in ("prompt", *SHAPES[self._read_as], *MARKS)}
        shape = shape_of(tuple(fields))
        self._wish.dropped.clear()
        asked = self._read_as
        if shape in SHAPES and asked in (None, shape) and not _are_objects(shape, fields):
            found = read_plain(shape, fields)
            self._count_steps(found, row)
            return [self._to_record(found, fields, row, self._used[shape], SAYS[shape])]
        unclear = shape not in SHAPES and shape not in ("no prompt", "no shape")
        if (asked in SHAPES and shape != asked) or (asked is None and unclear):
            raise misfit(shape, self._names, fields, row)
        view = self._view(fields, row, cells=cells)
        public = self._public_shape(shape, fields, view, row)
        records = []
        for found in _read(public, view, self._wish):
            taken = self._taken(found.took or public.takes)
            records.append(self._to_record(found, fields, row, taken, public.says))
        return records

    def _count_steps(self, found: Found, row: Mapping[str, Any]) -> None:
        """Refuse TRL's steps of one completion, which look like completions with thumbs."""
        labels = row.get("labels")
        if found.rewards is not None or type(labels) is not list or set(map(type, labels)) != {bool}:
            return
        if len(labels) != len(found.completions):
            return
        if self._read_as is None:
            readings = "thumbs of completions, or of the steps of one completion, which are not trained"
            hint = "for the first: read_as: completions"
            raise Defect("ambiguous_shape", f"'labels' can be read as {readings}; {hint}")
        found.rewards, found.marks = [float(label) for label in labels], ("labels",)

    def _view(self, fields: Mapping[str, Any], row: Mapping[str, Any], *, cells: bool) -> dict[str, Any]:
        """The row under the names of fields, without what is null or left out."""
        view = {n: value for n, value in row.items() if value is not None and n not in self._left_out}
        if cells:
            view = {name: unfold(name, value) for name, value in view.items() if value != ""}
        view |= {name: unfold_chat(name, view[name]) for name in CHATS if name in view}
        return view | {name: unfold(name, value) if cells else value for name, value in fields.items()}

    def _public_shape(
        self, problem: str, fields: Mapping[str, Any], view: Mapping[str, Any], row: Mapping[str, Any]
    ) -> Shape:
        if self._read_as is not None:
            name = "answers" if self._read_as == "completions" else self._read_as
            (shape,) = (each for each in (*PUBLIC, PROMPTS) if each.name == name)
            alone = {name: value for name, value in view.items() if name in shape.takes}
            if not shape.fits(alone or view):
                raise Defect("missing_field", f"no {self._read_as}, as read_as says, but {listed(row)}")
            return shape
        fitting = [shape for shape in PUBLIC if shape.fits(view)]
        if len(fitting) > 1:
            readings = " or ".join(f"{shape.says} (read_as: {shape.name})" for shape in fitting)
            raise Defect("ambiguous_shape", f"can be read as {readings}; say which, found {listed(row)}")
        if fitting:
            return fitting[0]
        others = [value for name, value in view.items() if name not in FIELDS]
        told = any(type(value) in (str, list, dict) for value in others)
        if problem == "no shape" and PROMPTS.fits(view) and not told:
            return PROMPTS
        raise misfit(problem, self._names, fields, row)

    def _taken(self, columns: tuple[str, ...]) -> frozenset[str]:
        """What the user calls the columns of a shape, and the fields that rewards come from."""
        fields = (*columns, "reward", "rewards", "chosen_reward", "rejected_reward", "finished")
        return frozenset(self._names.get(name, name) for name in fields)

    def _to_record(
        self,
        found: Found,
        fields: Mapping[str, Any],
        row: Mapping[str, Any],
        taken: frozenset[str],
        says: str,
    ) -> Record:
        prompt = read_prompt(found.prompt, self._wish.dropped)
        others = {name: value for name, value in row.items() if name not in taken}
        others = {**(found.more or {}), **others}
        others |= tools_of(others) or {}
        texts = found.completions
        own = found.own
        if set(map(type, texts)) - {str}:
            prompt, texts = read_chats(prompt, texts, self._wish.dropped)
        if type(prompt) is list or set(map(type, texts)) - {str}:
            prompt, texts, own = put_aside(prompt, texts, others, own)
        rewards = mapped_rewards(found, fields)
        if len(texts) == 1 and rewards is None and (mark := find_thumb(others)):
            rewards, found.marks, found.note = [mark[1]], (mark[0],), f"{mark[0]!r} as a reward of 1 or 0"
        if rewards is not None and set(map(type, rewards)) != {float}:
            rewards = [read_reward(reward) for reward in rewards]
        flags = [True] * len(texts) if found.finished is None else read_flags(found.finished, len(texts))
        used = {self._names.get(mark, mark) for mark in found.marks}
        cluster = None if fields.get("cluster") == "" else fields.get("cluster")
        unused = found.unused, unused_rewards(others, used, says), unused_system(others, prompt)
        side = None if found.root is None else bytes.fromhex(prompt_id(found.root))
        return Record(
            prompt,
            texts,
            rewards,
            flags,
            write_columns(others),
            overlays=None if own is None else [write_columns(each) for each in own],
            side=side if cluster is None else cluster_digest(cluster),
            unranked=found.unranked,
            unsaid_ends=len(texts) if found.finished is None else 0,
            read_as=f"{says}, {found.note}" if found.note else says,
            unused="; ".join(filter(None, unused)),
            dropped="\n".join(sorted(name[:MAX_NAME_CHARS] for name in self._wish.dropped)[:MAX_NAMES]),
        )


def _read(shape: Shape, view: Mapping[str, Any], wish: Wish) -> list[Found]:
    """What a row of a public shape holds.

    Raises:
        Defect: ``wrong_type`` as well, where something inside is otherwise than its publishers have it.
    """
    try:
        return shape.read(view, wish)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        why = f"{type(error).__name__}: {error}"
        raise Defect("wrong_type", f"of {shape.says} it is none inside: {why}") from error


def _are_objects(shape: str, fields: Mapping[str, Any]) -> bool:
    return shape == "completions" and are_answers(fields["completions"])

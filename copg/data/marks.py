"""Rewards out of what people leave: thumbs, labels, ranks."""

import re
from collections.abc import Container, Mapping, Sequence
from functools import lru_cache
from typing import Any

from copg.data.json_lines import MAX_NAME_CHARS, MAX_NAMES, Defect, kind_of

THUMBS = ("label", "thumb", "thumbs", "thumbs_up", "liked", "kto_tag")
"""Columns that are a reward of 1 or 0 for one completion, where what they hold says so."""
MAX_CACHED = 200
"""Columns of a row; of a wider one nothing is remembered."""
_UP = frozenset({"up", "thumbs_up", "thumbs up", "thumbsup", "like", "+1", "\N{THUMBS UP SIGN}"})
_DOWN = frozenset(
    {"down", "thumbs_down", "thumbs down", "thumbsdown", "dislike", "-1", "\N{THUMBS DOWN SIGN}"}
)
_LIKE = re.compile(
    r"(?:^|[_.\- ])(rewards?|scores?|ratings?|ranks?|labels?|thumbs?|thumbs_up|liked|kto_tag|feedback|votes?"
    r"|upvotes?|grades?|preferences?|helpfulness|margin)(?:$|[_.\- ])",
    re.IGNORECASE,
)


def read_thumb(value: Any, *, numbers: bool = True) -> float | None:
    """1 or 0 for what means yes or no; None for what means neither.

    Args:
        numbers: 1, and 0 or -1, mean it as well.
    """
    if type(value) is bool:
        return float(value)
    if type(value) is str:
        word = value.strip().lower()
        return 1.0 if word in _UP else 0.0 if word in _DOWN else None
    if numbers and type(value) in (int, float) and value in (1, 0, -1):
        return float(value == 1)
    return None


def find_thumb(row: Mapping[str, Any], *, cells: bool) -> tuple[str, float] | None:
    """The column that is a thumb, and its reward; of ``label``, which names many things, only true or false.

    Args:
        cells: every value is text, as in CSV.

    Raises:
        Defect: ``ambiguous_shape``, where two columns disagree.
    """
    found = {}
    for name in THUMBS:
        value = row.get(name)
        if cells and type(value) is str:
            value = {"true": True, "false": False, "1": 1, "0": 0}.get(value.strip().lower(), value)
        if name == "label" and type(value) is not bool:
            continue
        if (thumb := read_thumb(value)) is not None:
            found[name] = thumb
    if len(set(found.values())) > 1:
        readings = " or ".join(f"{name!r} as the reward" for name in found)
        hint = f"name one, as in columns: {{reward: {next(iter(found))}}}"
        raise Defect("ambiguous_shape", f"can be read with {readings}, which disagree; {hint}")
    return next(iter(found.items()), None)


def read_ranks(ranks: Sequence[Any]) -> list[float | None]:
    """Rewards from 1, for the smallest rank, to 0 for the largest, evenly spaced; None where there is none.

    Raises:
        Defect: ``wrong_type``, for a rank that is no number.
    """
    for rank in ranks:
        if rank is not None and (type(rank) not in (int, float) or rank != rank):
            raise Defect("wrong_type", f"a rank is {kind_of(rank)}, not a number")
    steps = sorted({rank for rank in ranks if rank is not None})
    reward = {rank: 1 - step / max(len(steps) - 1, 1) for step, rank in enumerate(steps)}
    return [None if rank is None else reward[rank] for rank in ranks]


def unused_rewards(others: Mapping[str, Any], used: Container[str], shape: str) -> str:
    """What is said of columns that look like rewards and are none here; "" where there are none.

    Args:
        others: the columns that the shape does not take.
        used: those of them that are rewards all the same.
        shape: how the record was read.
    """
    alike = _look_like_rewards if len(others) < MAX_CACHED else _look_like_rewards.__wrapped__
    names = tuple(n for n in alike(tuple(others)) if n not in used and _is_mark(others[n]))[:MAX_CACHED]
    return _unused_line(names, shape) if names else ""


@lru_cache(4096)
def _look_like_rewards(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if _LIKE.search(name))


def _is_mark(value: Any) -> bool:
    if type(value) is list:
        return bool(value) and all(item is None or type(item) in (int, float, bool) for item in value)
    if type(value) is str:
        return _is_number(value) or read_thumb(value) is not None
    return type(value) in (int, float, bool)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@lru_cache(4096)
def _unused_line(names: tuple[str, ...], shape: str) -> str:
    better = [name for name in names if re.search("chosen|prefer|better|win", name)]
    worse = [name for name in names if re.search("reject|worse|los", name)]
    line = f"{{reward: {names[0]}}}"
    if "pair" in shape:
        line = f"{{chosen_reward: {better[0]}, rejected_reward: {worse[0]}}}" if better and worse else ""
    elif "group" in shape:
        line = f"{{rewards: {names[0]}}}"
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    listed = ", ".join(f"{name[:MAX_NAME_CHARS]!r}" for name in names[:MAX_NAMES]) + more
    verb = "looks like a reward and is" if len(names) == 1 else "look like rewards and are"
    return f"{listed} {verb} not used" + (f"; to use it: columns: {line}" if line else "")

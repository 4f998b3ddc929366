"""Rewards out of what people leave: thumbs, labels, ranks."""

import re
from collections.abc import Container, Mapping, Sequence
from functools import lru_cache
from typing import Any

from copg.data.json_lines import MAX_NAME_CHARS, MAX_NAMES, Defect, kind_of
from copg.records import Prompt

THUMBS = ("label", "thumb", "thumbs", "thumbs_up", "liked", "kto_tag")
"""Columns that are a reward of 1 or 0 for one completion, where what they hold says so."""
MAX_CACHED = 200
"""Columns of a row; of a wider one nothing is remembered."""
_HANDS = ("\N{THUMBS UP SIGN}", "\N{THUMBS DOWN SIGN}")
_UP = frozenset({"up", "thumbs_up", "thumbs-up", "thumbs up", "thumbsup", "like", "liked", _HANDS[0]})
_UP |= {"true", "yes", "good", "positive", "+1", "1"}
_DOWN = frozenset({"down", "thumbs_down", "thumbs-down", "thumbs down", "thumbsdown", "dislike", _HANDS[1]})
_DOWN |= {"disliked", "false", "no", "bad", "negative", "-1", "0"}
_SKINS = "".join(map(chr, range(0x1F3FB, 0x1F400)))
"""What an emoji of a hand may be followed by, for its colour."""
MAX_WORD_CHARS = 40
"""Of a text that may stand for a thumb; a longer one is a comment."""
_LIKE = re.compile(
    r"(?:^|[_.\- ])(rewards?|scores?|ratings?|ranks?|labels?|thumbs?|thumbs_up|liked|kto_tag|feedback|votes?"
    r"|upvotes?|likes?|stars?|grades?|preferences?|helpfulness|correct|correctness|quality|accuracy|margin"
    r"|winner|is_safe|passed|verified)(?:$|[_.\- ])",
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
        word = value.strip().rstrip(_SKINS).lower()
        return 1.0 if word in _UP else 0.0 if word in _DOWN else None
    if numbers and type(value) in (int, float) and value in (1, 0, -1):
        return float(value == 1)
    return None


def as_number(text: str) -> float | str:
    """The number that a text spells; the text itself where it spells none."""
    try:
        return float(text.replace("_", "?"))
    except ValueError:
        return text


def spelled_number(value: Any) -> Any:
    """The number that a text spells; any other value, and a text that spells none, as it is."""
    return as_number(value) if type(value) is str else value


def find_thumb(row: Mapping[str, Any]) -> tuple[str, float] | None:
    """The column that is a thumb, and its reward; of ``label``, which names many things, only true or false,
    which may be spelled as text.

    Raises:
        Defect: ``ambiguous_shape``, where two columns disagree.
    """
    found = {}
    for name in THUMBS:
        value = row.get(name)
        if name == "label" and type(value) is str:
            value = {"true": True, "false": False}.get(value.strip().lower())
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
    found = (n for n in alike(tuple(others)) if n not in used and _is_mark(others[n], thumb=n in THUMBS[1:]))
    names = tuple(found)[:MAX_CACHED]
    if not names:
        return ""
    several = type(others[names[0]]) is list
    return _unused_line(names, shape, usable=_is_mark(others[names[0]], thumb=False), several=several)


def unused_system(others: Mapping[str, Any], prompt: Prompt) -> str:
    """What is said of words of the system that stand beside a prompt; "" where there are none.

    Args:
        others: the columns that the shape does not take.
        prompt: which may begin with words of the system itself.
    """
    if isinstance(prompt, list) and prompt[0]["role"] in ("system", "developer"):
        return ""
    name = next(
        (n for n in ("system", "system_prompt") if type(others.get(n)) is str and others[n].strip()), ""
    )
    where = "make the prompt messages, of which it is the first"
    return f"{name!r} is no part of the prompt; to use it: {where}" if name else ""


@lru_cache(4096)
def _look_like_rewards(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if _LIKE.search(name))


def may_mark(value: Any) -> bool:
    """Whether it is a word that could be a mark, and no comment."""
    return type(value) is str and 0 < len(value.strip()) <= MAX_WORD_CHARS


def _is_mark(value: Any, *, thumb: bool) -> bool:
    """Whether a value could be a reward; that of a thumb also where it is a word that means none."""
    if type(value) is list:
        return bool(value) and all(item is None or type(item) in (int, float, bool) for item in value)
    if type(value) is str:
        return (thumb and may_mark(value)) or type(as_number(value)) is float or read_thumb(value) is not None
    return type(value) in (int, float, bool)


@lru_cache(4096)
def _unused_line(names: tuple[str, ...], shape: str, *, usable: bool, several: bool) -> str:
    better = [name for name in names if re.search("chosen|prefer|better|win", name)]
    worse = [name for name in names if re.search("reject|worse|los", name)]
    line = f"{{reward: {names[0]}}}"
    if "pair" in shape:
        line = f"{{chosen_reward: {better[0]}, rejected_reward: {worse[0]}}}" if better and worse else ""
    elif several != ("group" in shape):
        line = ""  # one for each of several completions, or one for all
    elif several:
        line = f"{{{'ranks' if 'rank' in names[0].lower() else 'rewards'}: {names[0]}}}"
    elif "rank" in names[0].lower():
        line = ""  # the smallest is the best, and one alone says nothing
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    listed = ", ".join(f"{name[:MAX_NAME_CHARS]!r}" for name in names[:MAX_NAMES]) + more
    verb = "looks like a reward and is" if len(names) == 1 else "look like rewards and are"
    if not usable:
        return f"{listed} {verb} not used: neither yes, no nor a number"
    return f"{listed} {verb} not used" + (f"; to use it: columns: {line}" if line else "")

"""The token that ends an assistant's turn, found by what a chat template writes."""

import re

from copg.errors import ModelError, RecordError
from copg.lm.template import SENTINEL, Frame, Template, spoken

ASKED = "Qzaskedzq"
"""Stands for words of the user, as ``SENTINEL`` does for those of the assistant."""
MARKER = re.compile(r"<\|[^<>|\s]+\|>|<\uff5c[^<>\uff5c\s]+\uff5c>|<[a-z]+(?:_[a-z]+)+>")
"""What looks like a token of its own: ``<|im_end|>``, ``<end_of_turn>``."""


def find_end_of_turn(template: Template, added: dict[str, int], eos: int, named: frozenset[int]) -> int:
    """The token that ends an assistant's turn: the first after its words.

    It is told by what follows them at the end of a conversation, and before another question. Where these
    differ, it is the one that tokeniser or model name as an end. A template that writes nothing at all
    between two turns leaves it to the end of text.

    Args:
        template: of the tokeniser.
        added: ids of the tokens that are found in text before it is cut into words.
        eos: the tokeniser's end of text.
        named: ids that the model's configuration names as ends.

    Raises:
        ModelError: it cannot be told: names both candidates, or the marker that is no token.
    """
    asked = {"role": "user", "content": ASKED}
    frame = template.frame([asked])
    _check_markers(frame, added)
    try:
        whole = template.render([asked, spoken(SENTINEL), asked])
        between = whole.rpartition(ASKED)[0].rpartition(SENTINEL)[2]
    except RecordError:  # it allows one question alone
        between = frame.after
    first = [_first_token(text, added) for text in (frame.after, between)]
    name = {index: token for token, index in added.items()}
    ends = {index for _, index in first if index is not None}
    preferred = ends & {eos, *named} if len(ends) > 1 else ends
    said = next((text for text, index in first if index is None and text), None)
    if len(preferred) == 1:
        return preferred.pop()
    if len(ends) > 1:
        either = " or ".join(repr(name[index]) for index in sorted(ends))
        raise ModelError(f"a turn ends with {either}: neither alone is named as an end by the model")
    if said is None:
        return eos
    raise ModelError(
        f"the chat template ends a turn with {said!r}, which is no token of the tokeniser, whose text "
        f"ends with {name.get(eos, eos)!r}: the template is another model's, or has no end of turn"
    )


def _check_markers(frame: Frame, added: dict[str, int]) -> None:
    """A template of another model: some of its markers are tokens here, and others are not.

    One without any is a template in plain words, such as Zephyr's.
    """
    markers = MARKER.findall(frame.opened + frame.before + frame.after)
    missing = [marker for marker in dict.fromkeys(markers) if marker not in added]
    if missing and len(missing) < len(set(markers)):
        raise ModelError(f"the chat template writes {missing[0]!r}, which is no token of the tokeniser")


def _first_token(text: str, added: dict[str, int]) -> tuple[str, int | None]:
    """The words before the first token of ``added``, and its id; none where words come first."""
    places = sorted((place, -len(token)) for token in added if (place := text.find(token)) >= 0)
    if places:
        place, length = places[0]
        if not text[:place].strip():
            return "", added[text[place : place - length]]
        text = text[:place]
    word = next(iter(text.split()), "")
    marker = MARKER.match(word)
    return marker.group() if marker else word, None

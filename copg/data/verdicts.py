"""Two completions side by side and a column that says which is better, as in data sets of comparisons."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from copg.data.found import Found, Shape, Wish
from copg.data.json_lines import Defect
from copg.data.marks import as_number, spelled_number
from copg.data.messages import is_chat, read_messages, split_pair
from copg.data.unfolding import as_object, unfold_chat

Row = Mapping[str, Any]
TIE = 0.5
"""The reward of both completions where neither is better."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The columns of a data set of comparisons."""

    prompt: str
    """Its column; "" where both completions are whole chats."""
    completions: tuple[str, str]
    verdicts: tuple[str, ...]
    """Columns of which each says which completion is better."""
    says: Callable[[Any], float | None]
    """The reward of the first completion, from a verdict: 1, 0 or ``TIE``; None for what is no verdict."""


def _by_place(value: Any) -> float | None:
    """0 where the first is better, 1 where the second is."""
    return {0.0: 1.0, 1.0: 0.0}.get(value)


def _by_label(value: Any) -> float | None:
    """1 where the first is better, 0 where the second is."""
    return {1.0: 1.0, 0.0: 0.0}.get(value)


def _by_sign(value: Any) -> float | None:
    """Below 0 where the first is better, above where the second is."""
    if type(value) is not float or value != value:
        return None
    return TIE if value == 0 else float(value < 0)


def _by_name(value: Any) -> float | None:
    """The model that won, or that none did."""
    ties = dict.fromkeys(("tie", "tie (bothbad)", "both_bad"), TIE)
    return ({"model_a": 1.0, "model_b": 0.0} | ties).get(value) if type(value) is str else None


COMPARISONS = (
    # PKU-SafeRLHF
    Comparison(
        "prompt", ("response_0", "response_1"), ("better_response_id", "safer_response_id"), _by_place
    ),
    # HelpSteer2 and HelpSteer3, preferences
    Comparison("prompt", ("response_1", "response_2"), ("preference_strength",), _by_sign),
    Comparison("context", ("response1", "response2"), ("overall_preference",), _by_sign),
    # SHP
    Comparison("history", ("human_ref_A", "human_ref_B"), ("labels",), _by_label),
    # Chatbot Arena
    Comparison("", ("conversation_a", "conversation_b"), ("winner",), _by_name),
)
WEBGPT = ("question", ("answer_0", "answer_1"), ("score_0", "score_1"))
"""A score each, which are the rewards."""


def comparison_of(row: Row) -> Comparison | None:
    """The known columns that a row has, a verdict among them; None where there are none."""
    for known in COMPARISONS:
        asked = not known.prompt or known.prompt in row
        if asked and all(name in row for name in known.completions) and any(v in row for v in known.verdicts):
            return known
    return None


def _fits(row: Row) -> bool:
    return comparison_of(row) is not None or _is_webgpt(row)


def _is_webgpt(row: Row) -> bool:
    prompt, completions, scores = WEBGPT
    return {prompt, *completions, *scores} <= row.keys()


def _read(row: Row, wish: Wish) -> list[Found]:
    """A row as a pair.

    Raises:
        Defect: ``ambiguous_shape``, where two verdicts stand side by side and none was chosen;
            ``wrong_type``, for a verdict that is none, and chats that part before their last turns.
    """
    known = comparison_of(row)
    if known is None:
        return [_read_scores(row)]
    there = [name for name in known.verdicts if name in row]
    if wish.feedback in there:
        there = [wish.feedback]
    if len(there) > 1:
        readings = " or ".join(f"{name!r} as the verdict" for name in there)
        hint = f"name one, as in columns: {{reward: {there[0]}}}"
        raise Defect("ambiguous_shape", f"the pair can be read with {readings}; {hint}")
    (verdict,) = there
    first = known.says(_plain(row[verdict]))
    if first is None:
        raise Defect(
            "wrong_type", f"{verdict!r} is {row[verdict]!r:.40}: it says of neither that it is better"
        )
    took = (*filter(None, [known.prompt]), *known.completions, verdict)
    rewards, note = [first, 1 - first], f"by {verdict!r}"
    if not known.prompt:
        return [replace(_chats(row, known.completions, wish.dropped), rewards=rewards, took=took, note=note)]
    prompt, *texts = (unfold_chat(name, row[name]) for name in (known.prompt, *known.completions))
    return [Found(prompt, texts, rewards, took=took, note=note)]


def _chats(row: Row, names: tuple[str, str], dropped: set[str]) -> Found:
    chats = [unfold_chat(name, row[name]) for name in names]
    for name, chat in zip(names, chats, strict=True):
        if not is_chat(chat):
            raise Defect("wrong_type", f"{name!r} is no chat of messages")
    return split_pair(*(read_messages(chat, name, dropped) for name, chat in zip(names, chats, strict=True)))


def _read_scores(row: Row) -> Found:
    asked, completions, scores = WEBGPT
    question = as_object(row[asked])
    prompt = question.get("full_text") if type(question) is dict else question
    rewards = [spelled_number(row[name]) for name in scores]
    note = f"{scores[0]!r} and {scores[1]!r} as rewards"
    texts = [row[name] for name in completions]
    return Found(prompt, texts, rewards, took=(asked, *completions, *scores), note=note)


def _plain(value: Any) -> Any:
    """A number as a float, also where a cell spells it, or a text; None for anything else."""
    if type(value) is str:
        return as_number(value)
    return float(value) if type(value) in (int, float) and abs(value) < 2**53 else None


SHAPE = Shape(
    "verdicts",
    "pairs with a verdict",
    tuple(
        dict.fromkeys(
            name
            for asked, completions, marks in (
                WEBGPT,
                *((c.prompt, c.completions, c.verdicts) for c in COMPARISONS),
            )
            for name in (asked, *completions, *marks)
            if name
        )
    ),
    _fits,
    _read,
)

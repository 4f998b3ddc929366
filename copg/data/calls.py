"""Calls of a model that a gateway or LangSmith logged: columns of what went in and of what came out."""

from collections.abc import Iterator, Mapping
from typing import Any

from copg.data.exchanges import Mark, plain, read_exchange
from copg.data.found import Found, Wish
from copg.data.json_lines import Defect
from copg.data.misfits import mapped
from copg.data.turns import tools_of

_COLUMNS = (("inputs", "outputs"), ("request", "response"), ("input", "output"))
_OTHERWISE = {
    *("prompt", "messages", "conversations", "instruction", "chosen", "rejected", "run_type", "trace"),
    *("attributes", "data", "preferred_output", "non_preferred_output"),
}
"""Columns that are what was asked or answered elsewhere, or tell another shape."""
_CALLS = ("llm", "chat_model", "chain")


def call_columns(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """The columns of inputs, which are an object or a chat, and of outputs; None where there are none."""
    if _OTHERWISE & row.keys():
        return None
    for asked, answered in _COLUMNS:
        if asked in row and answered in row and type(plain(row[asked])) in (dict, list):
            return (asked, answered) if type(plain(row[answered])) in (dict, list, str) else None
    return None


def read_call(row: Mapping[str, Any], wish: Wish) -> Found:
    """A row with one column of inputs and one of outputs.

    Raises:
        Defect: they hold no text that was asked or answered.
    """
    columns = call_columns(row)
    if columns is None:
        raise Defect("missing_field", f"no inputs that are an object or a chat beside outputs: {_COLUMNS}")
    asked, answered = (plain(row[name]) for name in columns)
    with mapped(**dict(zip(columns, (asked, answered), strict=True))):
        found = read_exchange(asked, answered, iter(()), wish)
    found.took = columns
    return found


def is_run(row: Mapping[str, Any]) -> bool:
    """Whether the row is a run of LangSmith."""
    return type(row.get("run_type")) is str and "inputs" in row


def read_run(row: Mapping[str, Any], wish: Wish) -> Found:
    """A run of LangSmith, with its feedback by name: a call of a model, or the root of a chain.

    Raises:
        Defect: it is of another kind, failed, or holds no text that was asked or answered.
    """
    kind = row["run_type"]
    if kind not in _CALLS or (kind == "chain" and row.get("parent_run_id")):
        what = f"a part of another, of run_type={kind!r:.40}"
        raise Defect("wrong_type", f"the run is {what}; use calls of a model ('llm') and the roots of chains")
    if "outputs" not in row:
        raise Defect("missing_field", f"the run has no outputs: error={str(row.get('error'))!r:.200}")
    asked, answered = plain(row["inputs"]), plain(row["outputs"])
    with mapped(inputs=asked, outputs=answered):
        found = read_exchange(asked, answered, _marks(plain(row.get("feedback_stats"))), wish)
    extra = plain(row.get("extra"))
    if found.more is None and type(extra) is dict:
        found.more = tools_of(extra.get("invocation_params"))
    return found


def _marks(stats: Any) -> Iterator[Mark]:
    """The mean score of each feedback, or the one word that all gave; people's where it came from the app."""
    for name, held in stats.items() if type(stats) is dict else ():
        held = held if type(held) is dict else {"avg": held}
        words = held.get("values")
        words = list(words) if type(words) is dict else []
        value = held.get("avg")
        value = words[0] if value is None and len(words) == 1 else value
        if value is not None:
            yield name, held.get("sources") == ["app"], value

"""Trees of messages whose messages stand a row each, as OpenAssistant publishes them, made whole."""

from collections.abc import Iterable, Iterator
from typing import Any

from copg.data.found import Reading
from copg.data.json_lines import Defect
from copg.data.marks import spelled_number
from copg.data.rows import Row
from copg.errors import RecordError

FIELDS = {"message_id", "parent_id", "role", "text"}
MAX_ROWS = 10**5
"""Of one tree, which is in memory while it is gathered."""


def may_gather(reading: Reading) -> bool:
    """Whether rows are not told to be something else."""
    return reading.read_as in (None, "trees") and "prompt" not in reading.columns


def message_of(row: Row) -> dict[str, Any] | None:
    """The message that a row is; None where it is something else, or cannot be parsed."""
    try:
        value = row.parse()
    except Defect:
        return None
    if type(value) is not dict or not value.keys() >= FIELDS or "replies" in value:
        return None
    ids = (
        type(value["message_id"]) is str
        and value["message_id"] != ""
        and type(value["parent_id"]) in (str, type(None))
    )
    return value if ids else None


def whole_trees(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows, those of files of messages as one row a tree, on the line of its root.

    The first row of a file tells whether its rows are messages. Those of a tree have to stand together: each
    has the ``message_tree_id`` of the one before, or, where there are none, a parent other than null.

    Raises:
        RecordError: a tree of more than ``MAX_ROWS``.
    """
    file: str | None = None
    tree: Any = None
    are_messages = False
    gathered: list[tuple[Row, dict[str, Any]]] = []
    for row in rows:
        if row.file != file:
            yield from _tree(gathered)
            file, gathered, are_messages = row.file, [], message_of(row) is not None
        message = message_of(row) if are_messages else None
        if message is None:
            yield row
            continue
        message = {name: None if held == "" and name != "text" else held for name, held in message.items()}
        begins = message["parent_id"] is None
        if "message_tree_id" in message:
            begins, tree = message["message_tree_id"] != tree, message["message_tree_id"]
        if begins:
            yield from _tree(gathered)
            gathered = []
        gathered.append((row, message))
        if len(gathered) > MAX_ROWS:
            raise RecordError(f"{row.file}:{row.line}: a tree of more than {MAX_ROWS:,} messages")
    yield from _tree(gathered)


def _tree(gathered: list[tuple[Row, dict[str, Any]]]) -> Iterator[Row]:
    """One row for the messages of a tree, and one with a defect for each that does not hang on its root, or
    has the ``message_id`` of an earlier one.
    """
    nodes: dict[str, dict[str, Any]] = {}
    first: dict[str, int] = {}
    for row, message in gathered:
        first.setdefault(message["message_id"], row.line)
        nodes.setdefault(
            message["message_id"], {**message, "rank": spelled_number(message.get("rank")), "replies": []}
        )
    for node in nodes.values():
        if (parent := nodes.get(node["parent_id"])) is not None:
            parent["replies"].append(node)
    root = next((node for node in nodes.values() if node["parent_id"] is None), None)
    reached, waiting = set(), [] if root is None else [root]
    while waiting:
        node = waiting.pop()
        reached.add(node["message_id"])
        waiting += node["replies"]
    for row, message in gathered:
        if row.line != (earlier := first[message["message_id"]]):
            told = f"message_id={message['message_id']!r:.100} is that of line {earlier}, which counts"
            yield Row(row.file, row.line, value=message, defect=Defect("duplicate_key", told))
        elif root is not None and message["message_id"] == root["message_id"]:
            columns = {name: root[name] for name in ("message_tree_id", "lang") if name in root}
            yield Row(row.file, row.line, value={**columns, "prompt": root})
            root = None
        elif message["message_id"] not in reached:
            hangs = f"parent_id={message['parent_id']!r:.100}"
            why = f"no row of the tree on which it hangs, {hangs}, stands beside it"
            hint = "sort them by message_tree_id, each tree with its root"
            yield Row(row.file, row.line, value=message, defect=Defect("missing_field", f"{why}; {hint}"))

"""Keys that a record lacks stand as nulls in a column of structs, as of Parquet: of tools and calls they go.

All rows of such a column have the keys of all. A chat template would write the nulls of a tool's definition
and of what a call is given.
"""

from typing import Any

import pyarrow as pa

ASKED = ("tools", "functions", "tool_calls", "function_call")
"""Fields in which every null goes; beside them, what messages hold that is more than a text."""
SPEAKS = {"role", "from"}
"""What tells a message."""
DOUBTFUL = ("arguments", "default", "const")
"""Where a null can also be meant."""
REMARK = (
    "nulls in structs of calls or tools are read as keys that are absent, which they cannot be told from; "
    "JSON text keeps those that are meant"
)


class StructNulls:
    """Takes them out of rows of one schema."""

    def __init__(self, schema: pa.Schema) -> None:
        """Find the columns that may hold some.

        Args:
            schema: of the rows.
        """
        self._columns = [field for field in schema if _touches(field.type, field.name)]

    def take_out(self, row: dict[str, Any]) -> str:
        """Change a row in place; what is to be said of it, "" where nothing can be meant otherwise."""
        doubts: list[str] = []
        for field in self._columns:
            row[field.name] = _without(row[field.name], field, doubts)
        return REMARK if doubts else ""


def _touches(kind: pa.DataType, name: str, *, inside: bool = False) -> bool:
    inside = inside or name in ASKED
    if pa.types.is_struct(kind):
        inner = inside or _is_message(kind)
        return inside or any(_touches(field.type, field.name, inside=inner) for field in kind)
    if pa.types.is_map(kind):
        return _touches(kind.item_type, name, inside=inside)
    return bool(pa.types.is_nested(kind)) and _touches(kind.value_type, name, inside=inside)


def _is_message(kind: pa.StructType) -> bool:
    return bool(SPEAKS & {field.name for field in kind})


def _without(
    value: Any, field: pa.Field, doubts: list[str], *, inside: bool = False, doubtful: bool = False
) -> Any:
    """A value without the nulls in its structs; names of fields that may be meant to be null are noted."""
    kind, name = field.type, field.name
    inside, doubtful = inside or name in ASKED, doubtful or name in DOUBTFUL
    if value is None or not pa.types.is_nested(kind):
        return value
    if not pa.types.is_struct(kind):
        several = pa.types.is_map(kind)
        item = pa.field(name, kind.item_type if several else kind.value_type)
        if several:
            return {
                key: _without(each, item, doubts, inside=inside, doubtful=doubtful)
                for key, each in value.items()
            }
        return [_without(each, item, doubts, inside=inside, doubtful=doubtful) for each in value]
    found, inner = {}, inside or _is_message(kind)
    for part in kind:
        held = value[part.name]
        if held is None and inside:
            doubts += [part.name] if doubtful or part.name in DOUBTFUL else []
        else:
            found[part.name] = _without(held, part, doubts, inside=inner, doubtful=doubtful)
    return found

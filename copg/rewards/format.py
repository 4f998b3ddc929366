"""Whether a completion has the form asked for: a regular expression, or JSON that obeys a schema."""

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

from copg.config import configuration
from copg.rewards.contract import Columns, Prompts


@configuration
class Format:
    """1 when the completion matches, else 0; with both a pattern and a schema it must pass both.

    Unit: 0 or 1.
    """

    pattern: str | None = None
    """Regular expression of Python's ``re``; flags inside, as ``(?s)``."""
    match: Literal["whole", "anywhere"] = "whole"
    """Whether the pattern must cover the whole completion or may be found anywhere in it."""
    json_schema: dict[str, Any] | bool | None = None
    """JSON Schema, draft by its ``$schema``, else 2020-12; ``true`` takes any valid JSON. Only references
    inside the schema are followed."""

    reads: ClassVar[tuple[str, ...]] = ()
    reads_prompt: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.pattern is None and self.json_schema is None:
            raise ValueError("format needs 'pattern' or 'json_schema' or both")
        try:
            re.compile(self.pattern or "")
        except re.error as error:
            raise ValueError(f"format: pattern={self.pattern!r} is no regular expression: {error}") from None
        _ = self._validator

    @cached_property
    def _validator(self) -> Any:
        if not isinstance(self.json_schema, dict):
            return None
        from jsonschema import Draft202012Validator, SchemaError
        from jsonschema.validators import validator_for
        from referencing import Registry

        kind = validator_for(self.json_schema, Draft202012Validator)
        try:
            kind.check_schema(self.json_schema)
        except SchemaError as error:
            raise ValueError(f"format: json_schema is no JSON Schema: {error.message}") from None
        # an empty registry: a reference to another address is an error, never a request
        return kind(self.json_schema, registry=Registry())

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] 0 or 1."""
        return [float(self._matches(text) and self._obeys(text)) for text in completions]

    def _matches(self, text: str) -> bool:
        find = re.fullmatch if self.match == "whole" else re.search
        return self.pattern is None or find(self.pattern, text) is not None

    def _obeys(self, text: str) -> bool:
        if self.json_schema is None:
            return True
        try:
            value = json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return False
        if isinstance(self.json_schema, bool):
            return self.json_schema
        try:
            return bool(self._validator.is_valid(value))
        except RecursionError:
            return False  # nested deeper than any checker follows


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")

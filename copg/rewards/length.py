"""A cost of length: brevity, or a length to aim at."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial
from math import inf
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from copg.config import Positive, configuration
from copg.digests import file_digest
from copg.errors import RewardError
from copg.rewards.contract import Columns, Prompts
from copg.stores.promised import as_promised


@configuration
class Length:
    """Minus ``slope`` for each word (token, character) outside the wanted lengths.

    Unit: reward units, from ``floor`` to 0 (0 = as long as wanted).
    """

    unit: Literal["words", "tokens", "characters"] = "words"
    """``words`` are separated by white space; ``characters`` are Unicode code points."""
    target: int | None = None
    """The one wanted length; or give ``min``, ``max`` or both."""
    min: int | None = None
    """Shortest length without cost."""
    max: int | None = None
    """Longest length without cost."""
    slope: Positive = 0.01
    """Reward units lost per word (token, character) outside; > 0."""
    floor: Annotated[float, Field(lt=0)] = -1.0
    """The lowest value, in reward units; < 0."""
    tokenizer: str | None = None
    """For ``tokens``: a directory with ``tokenizer.json``, or a model's name on the hub."""

    reads: ClassVar[tuple[str, ...]] = ()
    reads_prompt: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if (self.target is None) == (self.min is None and self.max is None):
            raise ValueError("length needs either 'target', or 'min' or 'max' or both")
        if self.low < 0 or self.low > self.high:
            raise ValueError(f"length: min={self.min}, max={self.max}, target={self.target} is no range")
        if (self.unit == "tokens") != (self.tokenizer is not None):
            raise ValueError(f"length: unit='{self.unit}' and 'tokenizer' do not fit: tokens need one")

    @property
    def low(self) -> int:
        """Shortest length without cost."""
        return self.target if self.target is not None else self.min or 0

    @property
    def high(self) -> float:
        """Longest length without cost."""
        if self.target is not None:
            return self.target
        return inf if self.max is None else self.max

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        name = self.tokenizer or ""
        path = Path(name) / "tokenizer.json"
        with self._held(path):
            try:
                return Tokenizer.from_file(str(path)) if path.is_file() else Tokenizer.from_pretrained(name)
            except Exception as error:  # the library raises bare Exception
                raise RewardError(f"length: tokenizer={name!r} cannot be loaded: {error}") from None

    def content(self) -> dict[str, str]:
        """Digest of the tokeniser."""
        return {"tokenizer": self._digest} if self._digest else {}

    @cached_property
    def _digest(self) -> str:
        """Of the tokeniser's file when this was first asked; empty where there is none."""
        path = Path(self.tokenizer or "") / "tokenizer.json"
        return file_digest(path) if self.tokenizer and path.is_file() else ""

    def _held(self, path: Path) -> AbstractContextManager[None]:
        """Around the loading: the file is, and stays, the one whose digest ``content`` tells."""
        digest = partial(file_digest, path)
        return as_promised(str(path), self._digest, files=lambda: [path], digest=digest, error=RewardError)

    def __call__(self, prompts: Prompts, completions: Sequence[str], columns: Columns) -> list[float]:
        """[N] reward units from ``floor`` to 0."""
        outside = [max(self.low - n, n - self.high, 0) for n in self._lengths(completions)]
        return [max(-self.slope * n, self.floor) if n else 0.0 for n in outside]

    def _lengths(self, completions: Sequence[str]) -> list[int]:
        if self.unit == "words":
            return [len(text.split()) for text in completions]
        if self.unit == "characters":
            return [len(text) for text in completions]
        encoded = self._tokenizer.encode_batch(list(completions), add_special_tokens=False)
        return [len(tokens.ids) for tokens in encoded]

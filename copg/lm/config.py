"""Settings that several stages share; plain values, so that a recipe is checked without loading torch."""

from dataclasses import field, replace
from datetime import date as Date
from pathlib import Path
from pkgutil import iter_modules
from typing import Annotated, Any, Literal

from pydantic import Field

from copg.config import AtLeastOne, Fraction, Natural, NotNegative, Positive, configuration

ENGINES = Path(__file__).with_name("engines")
"""Each file is an engine; see ``copg.lm.generation``."""
DAY = "2024-07-26"
"""What prompts say where a template writes the day and nobody gives one."""


@configuration
class RowConfig:
    """How groups become rows, and rows batches."""

    tokens_per_row: Annotated[int, Field(ge=0, description="0 means the largest group")] = 0
    """Token budget of a row, and so of a group; 0: the largest group met. A mask makes long rows slow."""
    split_groups: bool = False
    """Train on a group larger than ``tokens_per_row`` in parts, for one more forward of it, instead of
    refusing it."""
    tokens_per_batch: AtLeastOne = 8192
    """Tokens in one forward, padding included; at least one row goes in whatever its length."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products; sums, exponentials and trained weights stay float32."""
    parameter_dtype: Literal["float32", "bfloat16"] = "float32"
    """Of weights that are not trained: the reference's, and an adapter's base."""
    tile_tokens: AtLeastOne = 4096
    """Completion tokens projected onto the vocabulary at once."""
    attention: Literal["auto", "mask", "split", "varlen", "flex"] = "auto"
    """How a completion sees its prompt and itself alone in ``packed`` rows. ``split``: dense pieces without a
    mask, CPU; ``mask``: SDPA with a dense mask, anywhere; ``varlen``: one FlashAttention call, CUDA in
    bfloat16; ``flex``: FlexAttention. ``auto``: ``split`` on a CPU; on a GPU the first of ``varlen``,
    ``flex``, ``mask`` that is installed, and that a check on load finds exact."""

    form: Literal["auto", "packed", "shared", "alone", "plain"] = "auto"
    """``packed``: a prompt once, its completions after it, several groups in a row; ``shared``: one group a
    row, by the model's own attention; ``alone``: a row for each completion and its prompt; ``plain``: those
    one by one, through the model's own head. ``auto``: the first that a check on load finds exact."""

    @property
    def unlimited(self) -> "RowConfig":
        """The same without a limit to a group: nobody chose the lengths of completions that a policy drew."""
        return replace(self, tokens_per_row=0, split_groups=False)

    def __post_init__(self) -> None:
        if self.split_groups and not self.tokens_per_row:
            raise ValueError("split_groups=True needs tokens_per_row > 0: groups larger than that are split")
        if self.parameter_dtype == "bfloat16" and self.compute_dtype == "float32":
            raise ValueError(
                "parameter_dtype='bfloat16' needs compute_dtype='bfloat16': such weights are multiplied in it"
            )
        if self.attention == "varlen" and self.compute_dtype != "bfloat16":
            raise ValueError(
                "attention='varlen' needs compute_dtype='bfloat16': FlashAttention has no float32"
            )


@configuration
class TextConfig:
    """How text becomes what the model reads, and back: of logs and of what is drawn alike."""

    lead: Literal["prompt", "drawn"] = "prompt"
    """What a chat template writes between the generation prompt and an assistant's words (an empty think
    block, the header of a channel): part of the prompt, or drawn by the model."""
    thinking: Literal["refuse", "strip", "keep"] = "refuse"
    """Of thinking in logged completions, where the template knows of it: leave the completion out, take the
    answer alone, or train on both; each is counted."""
    special_tokens: Literal["text", "tokens"] = "text"
    """What logged text that spells a special token is; ``tokens``: rewards, too, see those that are drawn."""
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    """Given to the chat template, such as ``{enable_thinking: false}``."""
    date: str | None = None
    """Day of every prompt, such as ``"2026-11-30"``, where the chat template writes one: the clock is never
    asked, or the same records would be other tokens tomorrow. None: ``2024-07-26``, and the run says so."""

    def __post_init__(self) -> None:
        if self.thinking == "keep" and self.lead != "drawn":
            raise ValueError(
                "thinking='keep' needs lead='drawn': after a prompt that ends the thinking nobody thinks"
            )
        try:
            self.day()
        except ValueError:
            raise ValueError(f"date={self.date!r} is no day: write it as 2026-11-30") from None

    def day(self) -> Date:
        """That of every prompt."""
        return Date.fromisoformat(DAY if self.date is None else self.date)


@configuration
class ReaderConfig:
    """The model that will read the records, by its tokeniser, chat template and configuration alone."""

    model: str
    """Model directory or hub name of the reference."""
    revision: str | None = None
    """Of the hub."""
    text_digest: str = ""
    """Of its tokeniser, template and configuration, when it is known; empty: whatever lies there."""
    text: TextConfig = field(default_factory=TextConfig)
    """How prompts and completions become tokens; the recipe's."""
    max_tokens: Natural = 0
    """Longest prompt and completion together; the recipe's of ``reference``; 0: the model's context."""
    max_dropped_fraction: Fraction = 0.05
    """Share of completions that may be left out since the model could not say them."""


@configuration
class EndpointConfig:
    """An OpenAI-compatible endpoint that draws completions, and how much may be asked of it."""

    url: str
    """Of the API, such as ``https://host/v1``; ``/chat/completions`` is added."""
    model: str
    """As the endpoint calls it."""
    body: dict[str, Any] = field(default_factory=dict)
    """Further fields of each request; null leaves one of ours out, such as ``{seed: null}``."""
    key_file: str | None = None
    """File with the API key (a mounted secret); None sends none."""
    max_requests: int | None = None
    """Most requests this process may send, retries included."""
    requests_per_minute: NotNegative = 0.0
    """0: no limit of ours. The wait that the endpoint asks for (Retry-After) is always kept; over an hour it
    is an error."""
    num_parallel: AtLeastOne = 8
    """Requests under way at once."""
    timeout_s: Positive = 120.0
    """Seconds to wait for one answer."""
    attempts: AtLeastOne = 6
    """How often a request is sent that meets a time-out, a busy endpoint, or an answer without text."""
    max_failed_fraction: Fraction = 0.01
    """Share of the completions asked for that may fail in all attempts, or be refused."""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"endpoint: url={self.url!r} must start with http:// or https://")


@configuration
class GenerationConfig:
    """How completions are drawn."""

    max_new_tokens: AtLeastOne = 128
    """A completion that reaches it is cut off and counts as not finished."""
    temperature: Annotated[float, Field(ge=0, description="0 takes the likeliest token")] = 1.0
    """1 samples the policy itself, so that log-ratios estimate its KL; 0 takes the likeliest token."""
    seed: int = 0
    """Of the noise, together with each sequence's key; never of the batch."""
    tokens_per_batch: AtLeastOne = 16384
    """Tokens of prompts and completions decoded together."""
    engine: str = ""
    """A file of ``copg.lm.engines``; empty: ``vllm`` where ``vllm_python`` is set, else ``own``, by torch."""
    vllm_python: str = ""
    """Python of an environment with vLLM, whose engine draws, of policies on disk."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    """Draw from the fewest likeliest tokens that hold this much probability; None: from all. Leave it out
    where a KL is measured, as with the temperature."""

    @property
    def engine_name(self) -> str:
        """Of the engine that draws."""
        return self.engine or ("vllm" if self.vllm_python else "own")

    @property
    def modules(self) -> tuple[str, ...]:
        """What it names of our source, which a stage with such settings depends on."""
        return (f"copg.lm.engines.{self.engine_name}",)

    def __post_init__(self) -> None:
        known = sorted(module.name for module in iter_modules([str(ENGINES)]))
        if self.engine_name not in known:
            raise ValueError(f"engine={self.engine!r} is unknown; use one of {known}")
        if bool(self.vllm_python) != (self.engine_name == "vllm"):
            raise ValueError(
                f"engine={self.engine!r} does not go with vllm_python={self.vllm_python!r}: engine 'vllm' "
                "needs it, no other engine reads it"
            )

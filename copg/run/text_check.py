"""Model, chat template, context and lengths held against one another, before anything is read or loaded."""

from typing import Any

from copg.errors import ConfigError, ModelError, RecordError
from copg.lm.kinds import check_kind
from copg.lm.template import SENTINEL
from copg.lm.text import TextCodec
from copg.lm.tokenizer import Limits, read_codec, read_limits
from copg.lm.weights import QUANTISED, stored_as


def check_text(configs: dict[str, Any]) -> tuple[str, list[str]]:
    """What ends a completion, in words, and what may not be meant.

    Args:
        configs: of every stage; the model is the one that ``reference`` reads.

    Raises:
        ConfigError: settings that no prompt could meet, or that the template does not read.
        ModelError: it is no language model, there is no tokeniser, or the token that ends a completion has no
            embedding.
    """
    reference = configs["reference"]
    check_kind(reference.model, reference.revision)
    codec = read_codec(reference.model, revision=reference.revision, text=reference.text)
    limits = read_limits(reference.model, revision=reference.revision)
    mistakes = [*_of_weights(configs), *_of_lengths(configs, limits.context)]
    mistakes += codec.template.unread("text.template_kwargs")
    if mistakes:
        raise ConfigError("; ".join(mistakes))
    return codec.ending, [
        *_doubts(configs, limits),
        *_of_template(codec, reference.model),
        *_of_vocabulary(codec, limits),
    ]


def _of_weights(configs: dict[str, Any]) -> list[str]:
    """Weights of few bits, which take no gradient: all that could be trained is what lies between them."""
    reference = configs["reference"]
    method, _ = stored_as(reference.model, reference.revision)
    if not method or method in QUANTISED or configs["train"].lora is not None:
        return []
    return [
        f"{reference.model}: its weights are stored as {method!r}, in which none is trained: set train.lora, "
        "or take the model that they were made of"
    ]


def _of_lengths(configs: dict[str, Any], context: int | None) -> list[str]:
    """Drawings that leave no room for a prompt."""
    samples = configs["train"].samples
    drawn = {"evaluate": configs["evaluate"].generation}
    if "sample" in configs and configs["sample"].model == configs["reference"].model:
        drawn["sample"] = configs["sample"].generation
    if samples.num_prompts:
        drawn["train.samples"] = samples.generation
    return [
        f"{section}.generation.max_new_tokens={generation.max_new_tokens} leaves no room for a prompt: the "
        f"model's context is {context} tokens"
        for section, generation in drawn.items()
        if context is not None and generation.max_new_tokens >= context
    ]


def _doubts(configs: dict[str, Any], limits: Limits) -> list[str]:
    longest = configs["reference"].max_tokens
    if limits.context is None or longest <= limits.context:
        return []
    return [f"reference.max_tokens={longest} is beyond the model's context of {limits.context}, which counts"]


def _of_template(codec: TextCodec, model: str) -> list[str]:
    """Why no chat can be a prompt, though there is a template for them; which day a prompt says; that words
    of the system are left out.
    """
    if codec.tokenizer.chat_template is None:
        return []
    try:
        codec.template.frame([{"role": "user", "content": "?"}])
        _ = codec.end_of_turn
        says = codec.config.date is None and codec.template.writes_the_day()
    except (ModelError, RecordError) as error:
        return [f"chats will be refused: {error}"]
    day = (
        f"the chat template writes the day: every prompt says {codec.config.day()}; another one is text.date"
    )
    silent = (
        f"the chat template of {model} writes nothing of a system message: the model reads no word of those "
        "in the records"
    )
    return [*([day] if says else []), *([silent] if _drops_system(codec) else [])]


def _drops_system(codec: TextCodec) -> bool:
    """Whether the template leaves out what the system says; one that refuses it has the records rejected."""
    asked = [{"role": "system", "content": SENTINEL}, {"role": "user", "content": "?"}]
    try:
        return SENTINEL not in codec.template.render(asked, generation_prompt=True)
    except RecordError:
        return False


def _of_vocabulary(codec: TextCodec, limits: Limits) -> list[str]:
    num_tokens, num_embeddings = len(codec.tokenizer), limits.num_embeddings
    if num_embeddings is None or num_tokens <= num_embeddings:
        return []
    for index in codec.stops:
        if index >= num_embeddings:
            token = codec.tokenizer.convert_ids_to_tokens(index)
            raise ModelError(
                f"{token!r} ends a completion and has the id {index}, the model {num_embeddings} embeddings: "
                "the tokeniser is another model's"
            )
    return [
        f"the tokeniser knows {num_tokens} tokens, the model {num_embeddings}: records that hold one of the "
        "others are rejected"
    ]

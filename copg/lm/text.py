"""From prompts and completions to token ids and back: the one place that decides what the model reads."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from copg.errors import ModelError
from copg.records import Prompt


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Token ids of a prompt, up to where the completion starts.

    Text gets the special tokens that the tokeniser puts in front, chat messages go through its chat
    template with the generation prompt. An end-of-sequence token some tokenisers append is taken off.

    Raises:
        ModelError: chat messages without a chat template, or a prompt of no tokens at all (the first
            completion token would have nothing to be predicted from).
    """
    if isinstance(prompt, str):
        ids = list(tokenizer(prompt, verbose=False).input_ids)
    elif tokenizer.chat_template is None:
        raise ModelError("the prompt is a chat, but the tokeniser has no chat template; give plain text")
    else:
        ids = list(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))
    while ids and ids[-1] == tokenizer.eos_token_id and tokenizer.eos_token_id != tokenizer.bos_token_id:
        ids.pop()
    if not ids:
        raise ModelError(f"prompt {prompt!r:.60} has no tokens, and the tokeniser adds no start token")
    return ids


def encode_completion(tokenizer: PreTrainedTokenizerBase, text: str, *, finished: bool) -> list[int]:
    """Token ids of a completion, apart from its prompt, so that the boundary between them never moves.

    Args:
        text: as it was logged; text that spells a special token stays text.
        finished: append the end-of-sequence token; False for a completion that was cut off.

    Raises:
        ModelError: the tokeniser has no end-of-sequence token.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokeniser has no end-of-sequence token, so a completion could never end")
    ids = list(tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False).input_ids)
    return [*ids, tokenizer.eos_token_id] if finished else ids


def decode_completion(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> str:
    """Text of a completion, without special tokens."""
    text = tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return str(text)

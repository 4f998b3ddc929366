"""Conversations as a model reads them that judges: rendered whole by its own template."""

from collections.abc import Mapping, Sequence
from typing import Any

from copg.errors import RecordError
from copg.lm.template import spoken, words_begun
from copg.lm.text import TextCodec
from copg.records import MESSAGES


def judged_ids(
    codec: TextCodec, prompt: Sequence[dict[str, Any]], text: str | None, columns: Mapping[str, Any]
) -> list[int]:
    """Ids of a conversation rendered whole, the assistant's last message closed; without it if None.

    What spells a special token in ``text`` is text unless ``special_tokens`` says else: nobody can write
    turns of his own into a conversation that is judged.

    Args:
        codec: of the model that judges.
        prompt: messages of a record, which were made for the model that is judged.
        text: of a completion.
        columns: whatever else the record holds, as for ``TextCodec.open``; settings that the template does
            not read concern the other model alone.

    Raises:
        RecordError: the template refuses them, or writes nothing of the tools or the calls.
    """
    messages = list(columns.get(MESSAGES) or prompt)
    template = codec.template.asked(messages, columns, own=False)
    if text is None:
        return codec.ids_of(template.render(messages))
    begun = words_begun(messages.pop()) if messages[-1]["role"] == "assistant" else ""
    rendered = template.render([*messages, spoken(begun + text)])
    if codec.config.special_tokens == "tokens" or not codec.added.special.search(text):
        return codec.ids_of(rendered)
    frame = template.frame(messages, begun)
    if not (rendered.startswith(frame.before) and rendered.endswith(frame.after)):
        raise RecordError("the chat template writes these words of an assistant differently from others")
    before = frame.before.rstrip(" ")  # a space is part of the word that follows it
    words = rendered[len(before) : len(rendered) - len(frame.after)]
    ids = codec.ids_of(before)
    ids += codec.pieces.ids(words, after_token=bool(ids) and ids[-1] in codec.added.ids)
    return ids + (codec.rendered(frame.after, ids[-1]) if frame.after else [])

"""What a model draws to say a text in a chat: with what the template writes around it, thinking included."""

import re
from contextlib import suppress

from copg.errors import RecordError
from copg.lm.config import TextConfig
from copg.lm.template import CLOSES_THINKING, Opening, spoken


class Speech:
    """Logged words as an assistant's turn."""

    def __init__(self, config: TextConfig, special: re.Pattern[str]) -> None:
        """Keep how to speak.

        Args:
            config: how thinking and special tokens are read.
            special: finds the special tokens of the tokeniser.
        """
        self._config = config
        self._special = special

    def drawn(self, opening: Opening, text: str, notes: list[str]) -> str:
        """What a model draws to say ``text``: the template's own words around it included."""
        close = opening.template.closes_thinking
        if close is not None and close in text:
            if self._config.thinking == "refuse":
                raise RecordError(f"thinking up to {close!r}: set text.thinking to strip or keep")
            if self._config.thinking == "keep":
                return self._thought(opening, text, close, notes)
            text = text.rpartition(close)[2].lstrip("\n")
            notes.append("thinking_stripped")
        if opening.lead is None:
            raise RecordError("no thinking in a completion, with which the template lets every turn begin")
        messages = [*(opening.messages or ()), spoken(opening.begun + text)]
        whole = opening.template.render(messages)
        start = opening.before + opening.lead
        room = len(whole) - len(start) - len(opening.after)  # less than none where white space is trimmed
        if not (room >= 0 and whole.startswith(start) and whole.endswith(opening.after)):
            raise RecordError("the chat template writes these words of an assistant differently from others")
        said = whole[len(start) :][:room]
        if said != text:
            notes.append("changed_by_template")
        return opening.lead + said

    def _thought(self, opening: Opening, text: str, close: str, notes: list[str]) -> str:
        """Thinking and answer as they were logged, after what of the thinking the prompt begins itself."""
        if self._config.special_tokens == "text" and self._special.search(close):
            raise RecordError(f"thinking ends with {close!r}: to keep it, set text.special_tokens to tokens")
        begin = CLOSES_THINKING[close]
        if opening.before.rstrip().endswith(begin):
            text = text.removeprefix(begin).lstrip("\n")
        with suppress(RecordError):
            whole = opening.template.render([*(opening.messages or ()), spoken(opening.begun + text)])
            if whole == opening.before + text + opening.after:
                return text
        notes.append("not_as_rendered")
        return text

"""Samples side by side, in HTML."""

from collections.abc import Sequence

from copg.report.fragments import escape, folded, number
from copg.report.samples import Answer, Picked, Sample


def sample_cards(name: str, picked: Picked, *, max_characters: int) -> str:
    """Where a policy gained most, the middle, and least: each prompt with both completions.

    Args:
        name: of the policy.
        picked: its samples.
        max_characters: a longer text is cut, and says so.
    """
    kinds = (
        ("Gained most", picked.most),
        ("In the middle", picked.middle),
        ("Gained least, or lost", picked.least),
    )
    return "".join(_kind(title, samples, name, max_characters) for title, samples in kinds if samples)


def _kind(title: str, samples: Sequence[Sample], name: str, max_characters: int) -> str:
    cards = "".join(_card(sample, name, max_characters) for sample in samples)
    return f'<h4 class="kind">{title}</h4>{cards}'


def _card(sample: Sample, name: str, max_characters: int) -> str:
    gap = sample.policy.reward - sample.reference.reward
    sign = "+" if gap > 0 else ""
    return (
        f'<article class="sample"><header><div class="text" dir="auto">'
        f"{_text(sample.prompt, max_characters)}</div>"
        f'<p><span class="gap">{sign}{number(gap)}</span> reward</p></header><div class="sides">'
        f"{_side(name, sample.policy, max_characters)}{_side('reference', sample.reference, max_characters)}"
        "</div></article>"
    )


def _side(name: str, answer: Answer, max_characters: int) -> str:
    parts = "".join(f", {escape(part)} {number(value)}" for part, value in sorted(answer.parts.items()))
    cut = "" if answer.finished else ", cut off"
    under = f"reward {number(answer.reward)}{parts}; {answer.num_tokens} tokens{cut}"
    text = _text(answer.text, max_characters)
    return (
        f'<section><h5>{escape(name)}</h5><div class="text" dir="auto">{text}</div>'
        f'<p class="under">{under}</p></section>'
    )


def _text(text: str, max_characters: int) -> str:
    if not text.strip():
        return '<span class="under">(blank)</span>'
    left = len(text) - max_characters
    if left <= 0:
        return escape(text)
    return f'{escape(text[:max_characters])} <span class="under">… {left} more characters</span>'


def all_cards(picked: Sequence[tuple[str, Picked]], shown: str | None, *, max_characters: int) -> str:
    """The cards of every policy, those of the one to be shown first unfolded."""
    order = sorted(picked, key=lambda pair: pair[0] != shown)
    return "".join(
        folded(name, sample_cards(name, samples, max_characters=max_characters), opened=place == 0)
        for place, (name, samples) in enumerate(order)
    )

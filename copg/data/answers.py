"""Answers that stand as objects with a score or a rank each, and trees of messages with ranked replies."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from copg.data.found import Found, Wish
from copg.data.json_lines import Defect, kind_of
from copg.data.marks import read_ranks, unused_rewards
from copg.data.messages import is_transcript, read_transcript
from copg.records import Prompt

LISTS = ("completions", "answers", "responses")
PROMPTS = ("prompt", "instruction", "question")
_TEXTS = ("text", "response", "answer", "content", "completion", "output")
_SCORES = ("reward", "overall_score", "score", "rating")
BY_RANK = "ranks as rewards from 1 to 0, evenly spaced"


def are_answers(value: Any) -> bool:
    """Whether a value is a list of objects with a text each."""
    return (
        type(value) is list
        and bool(value)
        and all(type(item) is dict and any(name in item for name in _TEXTS) for item in value)
    )


def read_answers(row: Mapping[str, Any], wish: Wish) -> Found:
    """A prompt and a list of objects, of which each has one text and, it may be, a score or a rank.

    Args:
        wish: its feedback is the score where there are several.

    Raises:
        Defect: ``ambiguous_shape``, where there are two texts or two scores.
    """
    asked = next(name for name in PROMPTS if name in row)
    answered = next(name for name in LISTS if are_answers(row.get(name)))
    prompt, items = row[asked], row[answered]
    held = {name for item in items for name, value in item.items() if value is not None}
    texts, scores = ([name for name in names if name in held] for names in (_TEXTS, (*_SCORES, "rank")))
    scores = [wish.feedback] if wish.feedback is not None and wish.feedback in held else scores
    score = _one(scores, "reward", f"columns: {{reward: {'/'.join(scores[:1])}}}")
    whole = {"prompt": asked, "completions": f"{answered}.{'/'.join(texts[:1])}"}
    whole |= {"rewards": f"{answered}.{score}"} if score and score != "rank" else {}
    line = f"columns: {{{', '.join(f'{field}: {name}' for field, name in whole.items())}}}"
    text = _one(texts, "completion", line)
    own = [{name: value for name, value in item.items() if name != text} for item in items]
    found = Found(
        read_transcript(prompt)[:-1] if _ends_open(prompt) else prompt,
        [item.get(text) for item in items],
        rewards=[item.get(score) for item in items] if score else None,
        own=own,
        took=(asked, answered),
        note=f"{score!r} as the reward" if score else "",
    )
    if not score:
        numbers = {n: v for item in items for n, v in item.items() if type(v) in (int, float)}
        found.unused = unused_rewards(numbers, (), "answers")
    return by_rank(found, found.rewards or []) if score == "rank" else found


def _ends_open(prompt: Any) -> bool:
    """Whether a text is a transcript in which it is the assistant's turn."""
    return is_transcript(prompt) and not read_transcript(prompt)[-1]["content"]


def _one(names: list[str], what: str, line: str) -> str:
    if len(names) > 1:
        readings = " or ".join(f"{name!r} as the {what}" for name in names)
        raise Defect("ambiguous_shape", f"an answer can be read with {readings}; name one, as in {line}")
    return names[0] if names else ""


def by_rank(found: Found, ranks: list[Any]) -> Found:
    """With ranks as rewards; answers without one are left out where others have one.

    Raises:
        Defect: ``wrong_type``, for a rank that is no number, or where there are more or fewer than answers.
    """
    if len(ranks) != len(found.completions):
        raise Defect("wrong_type", f"{len(ranks)} ranks for {len(found.completions)} completions")
    rewards = read_ranks(ranks)
    kept = [n for n, reward in enumerate(rewards) if reward is not None]
    if not kept:
        return replace(found, rewards=None, note="")
    return replace(
        found,
        completions=[found.completions[n] for n in kept],
        rewards=[rewards[n] for n in kept],
        own=found.own and [found.own[n] for n in kept],
        unranked=len(ranks) - len(kept),
        note=BY_RANK,
    )


def is_tree(value: Any) -> bool:
    """Whether a value is a message with replies, as OpenAssistant exports them."""
    return type(value) is dict and "text" in value and type(value.get("replies")) is list


def read_tree(row: Mapping[str, Any]) -> list[Found]:
    """Each message of a person's in a tree, with the replies to it as completions.

    Raises:
        Defect: ``wrong_type``, for a message that is none.
    """
    found = []
    root: Prompt = [_said(row["prompt"])]
    waiting: list[tuple[dict[str, Any], list[dict[str, str]]]] = [(row["prompt"], [])]
    while waiting:
        message, before = waiting.pop(0)
        here = [*before, _said(message)]
        replies = message.get("replies") or []
        waiting += [(reply, here) for reply in replies]
        if here[-1]["role"] == "user" and replies:
            completions = [_said(reply)["content"] for reply in replies]
            own = [{"message_id": reply.get("message_id"), "rank": reply.get("rank")} for reply in replies]
            group = Found(here, completions, own=own, root=root)
            found.append(by_rank(group, [reply.get("rank") for reply in replies]))
    return found or [Found(root, [])]


def _said(message: Any) -> dict[str, str]:
    if type(message) is not dict or type(message.get("text")) is not str:
        raise Defect("wrong_type", f"a message of the tree is {kind_of(message)}, or without a 'text'")
    sides = {"prompter": "user", "assistant": "assistant"}
    if message.get("role") not in sides:
        raise Defect("wrong_type", f"role={message.get('role')!r} of a message: use one of {sorted(sides)}")
    return {"role": sides[message["role"]], "content": message["text"]}

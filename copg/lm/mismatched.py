"""One completion of another prompt for each: its token ids after this prompt, and its log-probability."""

from collections.abc import Sequence
from dataclasses import replace

from copg.data.mismatched import MISMATCHED
from copg.errors import RecordError
from copg.lm.reference import ReferencePass, encode_completion
from copg.lm.text import TextCodec
from copg.records import Completion, Group


def add_mismatched(
    group: Group,
    own: Sequence[Completion],
    others: Sequence[Completion],
    codec: TextCodec,
    *,
    max_tokens: int,
) -> bool:
    """Put the ids of the first of ``others`` that fits, and is none of the prompt's own, in its column.

    Args:
        group: encoded, of the train split.
        own: completions that it was logged with, those included that were left out.
        others: of other prompts, the preferred first.
        codec: of the reference.
        max_tokens: of a prompt and one completion together.

    Returns:
        Whether there is one.
    """
    group.columns.pop(MISMATCHED, None)
    opening = codec.open(group.prompt, group.columns)
    said, said_ids = {_folded(each.text) for each in own}, [each.token_ids for each in own]
    for other in others:
        if _folded(other.text) in said:
            continue
        try:
            ids = encode_completion(codec, opening, other).ids
        except RecordError:  # of another prompt's tools, say: the next may do
            continue
        if ids and ids not in said_ids and len(opening.ids) + len(ids) <= max_tokens:
            group.columns[MISMATCHED] = {"token_ids": ids}
            return True
    return False


def _folded(text: str) -> str:
    return " ".join(text.split())


def fill_mismatched(engine: ReferencePass, groups: Sequence[Group]) -> None:
    """Add the log-probability of mismatched completions after the prompts that they stand beside, in nats.

    Raises:
        MismatchError: stored values are not those the reference gives now.
        StoreError: the reference gives a value that is not finite.
    """
    held = [(group, column) for group in groups if (column := group.columns.get(MISMATCHED))]
    others = [Completion("", token_ids=column["token_ids"]) for _, column in held]
    engine.fill([replace(group, completions=[other]) for (group, _), other in zip(held, others, strict=True)])
    for (_, column), other in zip(held, others, strict=True):
        column["ref_logps"] = other.ref_logps

"""What a recipe needs of its records and the first of them lack: told before anything is drawn or learnt."""

from collections.abc import Iterable, Iterator

from copg.errors import CopgError
from copg.rewards.contract import RewardSpec
from copg.rewards.registry import build_reward
from copg.run.first_records import Sample
from copg.run.recipe import Recipe

MOST_CHARS = 1000
"""Of the names of columns, in one line."""


def unmet(recipe: Recipe, found: Sample, rewards: Iterable[RewardSpec]) -> Iterator[str]:
    """What no run with such records can do, in a line each.

    Args:
        recipe: whose sections say where rewards come from.
        found: the first records, of which at least one could be read.
        rewards: that are called on them. What one of the user's own can do without is not known.
    """
    if (recipe.stages.get("score") or {}).get("source") == "given" and not found.rewarded:
        yield "score.source=given: none of the first records came with a reward"
    if found.whole and (line := lacks_lessons(recipe, found)):
        yield line
    for spec in rewards:
        if ":" not in spec.name and (line := lacks_columns(spec, found)):
            yield line


def lacks_lessons(recipe: Recipe, found: Sample) -> str:
    """That no record holds what a reward could be learnt from, in one line; empty where one does."""
    if not recipe.trains_reward or found.rewarded:
        return ""
    return (
        f"reward: none of the {'' if found.whole else 'first '}records came with preferences, thumbs or "
        "rewards to learn from; name rewards that judge the text itself, such as rewards: [{name: length, "
        "params: {max: 100}}]"
    )


def lacks_columns(spec: RewardSpec, found: Sample) -> str:
    """Which columns a reward reads that none of the records holds, in one line; empty where there is none."""
    try:
        reward = build_reward(spec)
    except (CopgError, TypeError, ValueError):  # told with the settings
        return ""
    may_lack = getattr(reward, "may_lack", ())
    read = [column for column in getattr(reward, "reads", None) or () if column not in may_lack]
    lacking = [column for column in read if column.partition(".")[0] not in found.columns]
    if not lacking:
        return ""
    held = str(sorted(found.columns) or "no other column")
    return (
        f"rewards: {spec.name} reads column{'s' if len(lacking) > 1 else ''} "
        f"{', '.join(f'{column!r:.100}' for column in lacking)}; the first records hold "
        f"{held if len(held) <= MOST_CHARS else held[:MOST_CHARS] + ' ...'}"
    )

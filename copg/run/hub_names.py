"""Names of the hub that stand for nothing there, told before anything is run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from copg.errors import ADDRESS
from copg.run.hub import cached
from copg.run.recipe import Recipe
from copg.run.shared import value_at
from copg.run.sources import looks_like_path
from copg.run.spelling import MODELS

REVISIONS = {"model": "revision", "train.start_from": "train.start_revision"}
"""Keys of their branch, tag or commit, where it is not called ``revision`` beside them."""
RECORDS = "records"
MIRROR = "HF_ENDPOINT"
"""Variable by which the tasks of a placement ask another hub than this machine does."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the hub says of a name."""

    told: str = ""
    """What is said of a name that it answers with 404; empty where it knows it, or cannot be asked."""
    commit: str | None = None
    """That the name stands for today; None where it cannot be asked."""


Answers = Mapping[str, Answer]
"""By the keys of the recipe that hold the names."""


def ask_names(recipe: Recipe, *, endpoint: str | None = None) -> Answers:
    """What the hub says of each name of a recipe that may be one of its own, each of which is asked once.

    Args:
        recipe: with absolute paths.
        endpoint: of the hub; None: the one that the environment names.
    """
    if MIRROR in str(recipe.placement):
        return {}
    values = recipe.by_key
    asked = [(key, value_at(values, key), value_at(values, _revision_of(key)), "model") for key in MODELS]
    asked.append((RECORDS, recipe.records, value_at(values, "validate.revision"), "dataset"))
    ask = cache(partial(ask_hub, endpoint=endpoint))
    return {
        key: ask(name, revision, kind)
        for key, name, revision, kind in asked
        if isinstance(name, str) and _may_be_on_hub(name)
    }


def absent_names(recipe: Recipe, answers: Answers) -> Iterator[tuple[str, bool]]:
    """A line for each name of a recipe that the hub answers with 404, and whether it is surely a mistake.

    What cannot be asked, since there is no network or none is wanted, is not told; nor is a name that the
    hub's cache on this machine still holds, for which that answers. Without a token of its own this machine
    does not see what is private, and the tasks of a placement may have one.

    Args:
        recipe: with absolute paths.
        answers: of ``ask_names``.
    """
    from huggingface_hub import get_token

    sure = not recipe.placement or bool(get_token())
    for key, answer in answers.items():
        if answer.told:
            yield f"{key}={value_at(recipe.by_key, key)!r:.300}: {answer.told}", sure


def ask_hub(
    name: str, revision: str | None, kind: str, *, endpoint: str | None = None, timeout_s: float = 5.0
) -> Answer:
    """What the hub says of a name.

    Args:
        name: ``name`` or ``owner/name``.
        revision: branch, tag or commit; None: the latest of the main one.
        kind: ``model`` or ``dataset``.
        endpoint: of the hub; None: the one that the environment names.
        timeout_s: for one answer.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    what = "data set" if kind == "dataset" else kind
    hub = HfApi(endpoint=endpoint)
    try:
        return Answer(commit=hub.repo_info(name, revision=revision, repo_type=kind, timeout=timeout_s).sha)
    except HFValidationError as error:
        reason = " ".join(str(error).split())[:200]  # which repeats the name as it is
        return Answer(f"neither a folder here nor a name that the hub allows: {reason}")
    except RevisionNotFoundError:
        told = f"the hub has this {what}, and no revision {revision!r} of it"
    except RepositoryNotFoundError:
        told = (
            f"no such folder here, and the hub has no {what} of that name, or hides it: correct it, or give "
            "HF_TOKEN of somebody who may see it"
        )
    except Exception:  # whatever the network does: nobody was asked
        return Answer()
    return Answer() if cached(name, revision, kind) else Answer(told)


def _may_be_on_hub(name: str) -> bool:
    try:
        return not (not name or ADDRESS.match(name) or looks_like_path(name) or Path(name).exists())
    except OSError:  # too long for a path, and for a name
        return False


def _revision_of(key: str) -> str:
    return REVISIONS.get(key) or f"{key.rpartition('.')[0]}.revision"

"""What can be said of a recipe in seconds, without a GPU: settings, the first records, the model's files."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from copg.data.record_pass import told_keys
from copg.errors import CopgError
from copg.losses import WITHOUT_CONTRAST
from copg.rewards.registry import build_reward
from copg.run.check import mistakes_of, readable_rewards, settings_of
from copg.run.few_prompts import few_asked, few_there
from copg.run.first_folders import of_files, of_no_effect, of_other_base, of_others, of_root, of_stores
from copg.run.first_needs import lacks_columns, lacks_lessons, unmet
from copg.run.first_records import Sample, first_of
from copg.run.hub import Source, cached, look_up
from copg.run.hub_names import Answers, absent_names, ask_names
from copg.run.model_look import ERROR, NOTE, OK, Look, look_at_model
from copg.run.recipe import Recipe, parse_stages
from copg.run.sources import looks_like_path
from copg.run.spelling import is_address
from copg.run.stage_settings import stage_settings
from copg.run.task_names import subject_name, trial_method
from copg.stages.validate import WAYS_OUT


def look_at(
    recipe: Recipe,
    run_dir: Path,
    sections: Mapping[str, Callable[[Mapping[str, Any]], Any]],
    gone: Collection[str] = (),
    wrong: str = "",
) -> Iterator[Look]:
    """Look at everything, all mistakes and not just the first.

    Args:
        recipe: with absolute paths.
        run_dir: directory of the runs, which need not be there.
        sections: those that other packages read.
        gone: keys of the recipe that say nothing that could be looked at, see ``mended``.
        wrong: what is wrong with the recipe that this one stands for, in one line.
    """
    mistakes: list[Look] = []
    for look in _of_settings(recipe, run_dir, sections, wrong):
        mistakes += [look] if look.kind == ERROR else []
        yield look
    if "records" not in gone and not is_address(recipe.records):
        yield from _of_records(recipe, run_dir, whole=not mistakes)
    answers = ask_names(recipe)
    absent = [each for each in absent_names(recipe, answers) if each[0].partition("=")[0] not in gone]
    yield from (Look(ERROR if sure else NOTE, told) for told, sure in absent)
    yield from _of_rewards(recipe)
    yield from (Look(ERROR, told) for told in [*of_others(recipe), *of_root(run_dir)])
    yield from (Look(NOTE, told) for told in of_no_effect(recipe))
    with suppress(CopgError):  # an adapter that names no base, which a run tells
        yield from (Look(NOTE, told) for told in of_other_base(recipe))
    if not recipe.placement:  # whose pods see other folders
        yield from (Look(ERROR, told) for told in of_stores(recipe))
    if "model" in gone or is_address(recipe.model) or any(told.startswith("model=") for told, _ in absent):
        return  # told by now
    if mistakes:
        yield from (Look(ERROR, told) for told in of_files("model", recipe.model))
    else:
        yield from _of_model(recipe, run_dir, answers)


def _of_settings(recipe: Recipe, run_dir: Path, sections: Mapping[str, Any], wrong: str) -> Iterator[Look]:
    told = [*filter(None, [wrong]), *mistakes_of(recipe, run_dir)]
    for name, parse in sections.items():
        try:
            parse(getattr(recipe, name, None) or {})
        except CopgError as error:
            told.append(str(error))
    yield from (Look(ERROR, f"settings: {line}") for line in told)
    if not told:
        names = ", ".join(subject_name(trial) for trial in recipe.trials)
        yield Look(OK, f"settings: of {len(recipe.planned)} stages; trials {names}")
        if few := few_asked(configs := settings_of(recipe, run_dir)):
            yield Look(_hopeless(configs), f"settings: {few}")


def _hopeless(configs: Mapping[str, Any]) -> str:
    """How it is told that nobody can be promoted: a run of the recipe stops, or goes on all the same."""
    return ERROR if configs["promote"].error.refuse_hopeless else NOTE


def _of_records(recipe: Recipe, run_dir: Path, *, whole: bool) -> Iterator[Look]:
    """The first records; where they are right and the settings are ``whole``, also how many there are."""
    try:
        known = {"validate": stage_settings(recipe, "validate", run_dir=run_dir)}
        validate = parse_stages(recipe, known)["validate"]
    except CopgError:  # told with the settings
        yield Look(NOTE, "records: how they are read is not clear before the settings of validate are")
        return
    try:
        found = first_of(recipe.records, validate)
    except CopgError as error:
        yield Look(ERROR, f"records: {error}")
        return
    if not found.read and Path(recipe.records).exists():
        yield Look(ERROR, f"records: {recipe.records} holds no record")
        return
    if not found.read:
        yield Look(NOTE, f"records: {recipe.records} is a data set on the hub: not looked at")
        return
    shapes = ", ".join(f"{count} as {words}" for words, count in found.shapes.most_common())
    limit = validate.max_rejected_fraction
    refused = (
        f"{len(found.refused)} of the first {found.read} refused, such as {found.refused[0]}"
        if found.refused
        else ""
    )
    refused += "".join(f"; {WAYS_OUT[each]}" for each, _ in found.reasons.most_common(1) if each in WAYS_OUT)
    if found.refused and len(found.refused) > limit * found.read:
        yield Look(ERROR, f"records: {refused}; validate.max_rejected_fraction={limit} allows fewer")
        return
    yield Look(OK, f"records: of the first {found.read} {shapes}{f'; {refused}' if refused else ''}")
    for words, count in found.unused.items():
        yield Look(NOTE, f"records: {words} ({count} of them)")
    for line in [*found.told, *told_keys(found.dropped)]:
        yield Look(NOTE, f"records: {line}")
    lacking, prompts = found.lacking, len(found.texts)
    if lacking > limit * prompts and not recipe.samples and validate.min_completions in (None, 2):
        yield Look(
            NOTE,
            f"records: {lacking} of their {prompts} prompts have fewer than two distinct completions, and "
            "are refused unless others follow; sample: {completions: 4} draws those that are missing",
        )
    if whole and not few_asked(configs := settings_of(recipe, run_dir)):
        yield from (Look(_hopeless(configs), told) for told in [few_there(configs, recipe.records)] if told)
    yield from _of_columns(recipe, found)


def _of_columns(recipe: Recipe, found: Sample) -> Iterator[Look]:
    """What rewards and settings need of records and these do not hold."""
    yield from (Look(ERROR, line) for line in unmet(recipe, found, readable_rewards(recipe)))
    if not found.whole and (line := lacks_lessons(recipe, found)):
        yield Look(NOTE, line)
    given = (recipe.stages.get("score") or {}).get("source") == "given"
    if given and found.tied and not any(trial_method(each) in WITHOUT_CONTRAST for each in recipe.trials):
        yield Look(
            NOTE,
            "score.source=given: the rewards of the first records differ within no prompt; where none does, "
            "nothing can be learnt, and the run stops after score",
        )
    for spec in readable_rewards(recipe):
        if ":" in spec.name and (line := lacks_columns(spec, found)):
            yield Look(NOTE, f"{line}: right where it can do without")


def _of_rewards(recipe: Recipe) -> Iterator[Look]:
    """Those of the user's own, whose code is here; the others were told with the settings."""
    for spec in readable_rewards(recipe):
        try:
            _ = build_reward(spec) if ":" in spec.name else None
        except CopgError as error:
            yield Look(ERROR, f"rewards: {error}")


def _of_model(recipe: Recipe, run_dir: Path, answers: Answers) -> Iterator[Look]:
    name, found = recipe.model, Source("", Path(recipe.model))
    if not Path(name).is_dir():
        if looks_like_path(name):
            yield Look(ERROR, f"model={name!r}: no such directory")
            return
        answer = answers.get("model")
        if answer and not answer.commit and cached(name, recipe.revision, "model") is None:
            yield Look(
                NOTE,
                "model: a name of the hub, not looked at: it cannot be asked, and is not on this machine",
            )
            return
        try:
            found = look_up(name, answer.commit if answer and answer.commit else recipe.revision)
        except CopgError as error:
            yield Look(NOTE, f"model: a name of the hub, not looked at: {error}")
            return
    yield from look_at_model(recipe, run_dir, found)

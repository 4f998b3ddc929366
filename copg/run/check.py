"""What is wrong with a recipe, told without its data and models: before a DAG is made of it, and in it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from copg.config import parse_config
from copg.errors import ConfigError, CopgError
from copg.rewards.bounds import check_ranges
from copg.rewards.contract import RewardSpec
from copg.rewards.registry import build_reward, check_parts
from copg.run.first_folders import of_stores
from copg.run.recipe import Recipe, parse_each, parse_stages
from copg.run.spelling import of_trackers, read_nowhere
from copg.run.stage_settings import stage_settings
from copg.run.task_names import subject_name
from copg.run.trained_reward import means_trained
from copg.stages.table import OPTIONAL
from copg.stores.files import check_scheme

STORING = ("sample", "score", "reference")
HELD_OUT = ("select", "gate")
NO_REWARDS = "rewards is empty"
LEARNT = "rewards: [{name: reward_model}] and reward: {}"


def check_recipe(recipe: Recipe, run_dir: Path, *, library: bool = False) -> None:
    """Refuse what no run of a recipe could do anything with; loads no model and no numerical library.

    Rewards of the user's own are not looked at: their code may lie in the image alone.

    Args:
        recipe: what to align.
        run_dir: stable directory of the runs, as the tasks see it; not looked at.
        library: whether the tasks run here: the libraries of its stores must be installed, and their folders
            be such as can be written; else the image may have them.

    Raises:
        ConfigError: all mistakes, not just the first.
    """
    if mistakes := mistakes_of(recipe, run_dir, library=library):
        raise ConfigError("; ".join(mistakes))


def mistakes_of(recipe: Recipe, run_dir: Path, *, library: bool = False) -> list[str]:
    """What ``check_recipe`` refuses, each told once; a section with a mistake hides none of another."""
    known = partial(stage_settings, recipe, run_dir=run_dir)
    waiting = [stage for stage in OPTIONAL if stage in recipe.stages and stage not in recipe.planned]
    configs, told = parse_each(recipe, {stage: known(stage) for stage in recipe.planned})
    _, apart = parse_each(recipe, {stage: known(stage) for stage in waiting})
    found = [*read_nowhere(recipe.by_key)]
    of_sections = [*_of_sections(recipe)]
    if any(line.startswith(NO_REWARDS) for line in of_sections):
        told = [line for line in told if NO_REWARDS not in line]  # score has no other words for it
    found += [*of_sections, *told, *apart]
    found += [
        *_of_splits(configs),
        *_of_weights(recipe, configs),
        *of_trackers(recipe.by_key),
        *_of_rewards(recipe, configs),
        *_of_mixes(configs),
    ]
    found += [*_of_guards(configs), *_of_kept(recipe, configs), *_of_stores(configs, library=library)]
    found += of_stores(recipe) if library else ()
    return [*dict.fromkeys(found)]


def settings_of(recipe: Recipe, run_dir: Path, *, revision: str | None = None, digest: str = "") -> Any:
    """The configuration of every stage that a run takes, by its name.

    Args:
        recipe: what to align.
        run_dir: stable directory of the runs.
        revision: commit of the model on the hub, where it is known by now.
        digest: of the model, where it is known by now.

    Raises:
        ConfigError: all mistakes, not just the first.
    """
    known = partial(stage_settings, recipe, run_dir=run_dir, revision=revision, model_digest=digest)
    return parse_stages(recipe, {stage: known(stage) for stage in recipe.planned})


def called_rewards(configs: Mapping[str, Any]) -> dict[str, list[RewardSpec]]:
    """The rewards that each stage calls: one list of the recipe's, unless a section has its own.

    Args:
        configs: of the stages, of which those may be missing that are wrong.
    """
    calls: dict[str, Callable[[Any], list[RewardSpec]]] = {
        "score": lambda score: score.rewards if score.source == "computed" else [],
        "train": lambda train: train.samples.rewards,
        "evaluate": lambda evaluate: evaluate.rewards,
    }
    return {stage: rewards(configs[stage]) for stage, rewards in calls.items() if stage in configs}


def stores_of(configs: Mapping[str, Any]) -> dict[str, str]:
    """Where stages keep what they make, by the settings that say so.

    Args:
        configs: of the stages, of which those may be missing that are wrong.
    """
    stores = {f"{stage}.store": getattr(configs.get(stage), "store", None) for stage in STORING}
    if "train" in configs:
        stores["train.checkpoint.folder"] = configs["train"].checkpoint.folder
    return {key: location for key, location in stores.items() if location}


def _of_stores(configs: Mapping[str, Any], *, library: bool) -> Iterator[str]:
    for key, location in stores_of(configs).items():
        try:
            check_scheme(location, library=library)
        except CopgError as error:
            yield f"{key}={error}"


def _of_sections(recipe: Recipe) -> Iterator[str]:
    evaluated = bool((recipe.stages.get("evaluate") or {}).get("rewards"))
    if not recipe.rewards and not evaluated:
        yield (
            f"{NO_REWARDS}: rewards that came with the records cannot score what a policy will write; "
            f"name those that evaluate it, or have one learnt from preferences or thumbs: {LEARNT}"
        )
    score = recipe.stages.get("score") or {}
    if recipe.samples and score.get("source") == "given":
        yield (
            "score.source='given' leaves what sample draws without a reward: set score.source: computed and "
            f"name rewards that judge any text, or have one learnt from preferences or thumbs: {LEARNT}; or "
            "leave sample out, where the records hold several completions a prompt"
        )
    elif recipe.samples and evaluated and not (recipe.rewards or score.get("rewards")):
        yield (
            f"{NO_REWARDS}: nobody rated what sample draws; name those that score it, or have one learnt "
            f"from preferences or thumbs: {LEARNT}"
        )


def _of_splits(configs: Mapping[str, Any]) -> Iterator[str]:
    for split in HELD_OUT if "validate" in configs else ():
        if not getattr(configs["validate"], f"{split}_fraction"):
            purpose = "promotion is decided" if split == "gate" else "the best trial is chosen"
            yield f"validate.{split}_fraction=0 must be > 0: these are the prompts on which {purpose}"


def _of_weights(recipe: Recipe, configs: Mapping[str, Any]) -> Iterator[str]:
    """Rewards that are all merely watched, so that every completion is worth the same."""
    called = called_rewards(configs)
    for stage in ("score", "evaluate"):
        specs = called.get(stage)
        if specs and not any(spec.weight for spec in specs):
            key = f"{stage}.rewards" if "rewards" in (recipe.stages.get(stage) or {}) else "rewards"
            yield f"{key}: each has weight 0, which merely watches it; give one that is to be raised another"


def _of_rewards(recipe: Recipe, configs: Mapping[str, Any]) -> Iterator[str]:
    called = [*called_rewards(configs).values()]
    for specs in called or [readable_rewards(recipe)]:
        built: dict[str, Any] = {}
        looks: list[Callable[[], Any]] = [partial(check_parts, specs)]
        looks += [partial(_build, spec, built) for spec in specs]
        looks.append(partial(check_ranges, specs, built))
        for look in looks:
            try:
                look()
            except CopgError as error:
                yield str(error)


def _build(spec: RewardSpec, built: dict[str, Any]) -> None:
    if ":" not in spec.name and not means_trained(vars(spec)):
        built[spec.part] = build_reward(spec)


def readable_rewards(recipe: Recipe) -> list[RewardSpec]:
    """The entries of its list that are right in themselves, where others in it made every stage wrong."""
    found = []
    for values in recipe.rewards:
        with suppress(CopgError):
            found.append(parse_config(RewardSpec, values, where="rewards"))
    return found


def _of_guards(configs: Mapping[str, Any]) -> Iterator[str]:
    """One that is not measured fails in the very last task; one that is trained on guards nothing."""
    if not {"score", "evaluate", "promote"} <= configs.keys():
        return
    called = called_rewards(configs)
    weights = {spec.part: spec.weight for spec in called["score"]}
    measured = sorted(spec.part for spec in called["evaluate"])
    for part in configs["promote"].guards.rewards:
        if part not in measured:
            yield (
                f"promote.guards.rewards: '{part}' is none of the rewards that are measured, {measured}: "
                "name it among rewards with weight 0"
            )
        elif weights.get(part):
            yield (
                f"promote.guards.rewards: '{part}' is trained on with weight {weights[part]:g}: a guard has "
                "weight 0, and sees what no training sees"
            )


def _of_mixes(configs: Mapping[str, Any]) -> Iterator[str]:
    """Trials of all weights are mixed by their logits, for which both models are in our own process."""
    if not {"evaluate", "train"} <= configs.keys():
        return
    evaluate, train = configs["evaluate"], configs["train"]
    engine = evaluate.generation.engine_name
    if evaluate.mixes and train.lora is None and train.start_from is None and engine != "own":
        yield (
            f"evaluate.mixes={evaluate.mixes}: trials without train.lora are mixed by their logits, which "
            f"engine {engine!r} does not do: set train.lora, or evaluate.generation.engine to own"
        )


def _of_kept(recipe: Recipe, configs: Mapping[str, Any]) -> Iterator[str]:
    """Trials whose weights are to stay that are none: the last task would find it out, after all training."""
    keep = configs["promote"].keep if "promote" in configs else []
    names = [subject_name(trial) for trial in recipe.trials]
    if unknown := sorted(set(keep) - set(names)) if isinstance(keep, list) else []:
        yield f"promote.keep={unknown} are no trials; use names of {names}, or 'all' or 'winner'"

"""A recipe to begin with: what must be said, and beside it what is turned most, commented out."""

import os
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from copg.run.first_records import Sample
from copg.run.keys import Key, keys_of_stage
from copg.run.yaml_file import as_yaml
from copg.stages.table import ROWS

TURNED = {
    "validate": ("max_rejected_fraction", "select_fraction", "gate_fraction", "max_prompt_chars"),
    "score": ("source",),
    "reference": ("max_tokens",),
    "train": (
        "epochs",
        "groups_per_step",
        "gradient_checkpointing",
        "optimizer.learning_rate",
        "optimizer.warmup_fraction",
        "rows.tokens_per_batch",
        "rows.compute_dtype",
        "samples.every_steps",
        "samples.num_prompts",
    ),
    "evaluate": ("num_prompts", "samples_per_prompt", "generation.max_new_tokens"),
    "promote": ("max_kl", "min_gain", "keep"),
}
"""Keys that people turn, by section; ``copg settings`` shows all."""
WIDTH = 100
BETAS = (0.2, 0.05)


def write_recipe(name: str, records: str, model: str, found: Sample) -> str:
    """The text of a recipe.

    Args:
        name: of the registered model.
        records: as the recipe names them.
        model: directory, or name of the hub.
        found: the first records, by which rewards are suggested.
    """
    lines = [
        f"# What to align, on which records, for which rewards. Check it:  copg check {name}.yaml",
        f"# Run it here:  copg run align --recipe {name}.yaml        Every key:  copg settings",
        f"name: {as_yaml(name)}",
        *_comment(_about(found)),
        f"records: {as_yaml(records)}",
        *_comment("The reference: a directory, or a name of the hub. Every trial starts from it."),
        f"model: {as_yaml(model)}",
        "",
        *_rewards(found),
        *_sample(found),
        "",
        *_comment(
            "One training each. beta is the strength of the pull to the reference, in reward units per nat: "
            "it means something only beside the spread of rewards within a prompt, which score prints "
            "together with a suggestion."
        ),
        "trials:",
        *(f"  - {{method: copg, beta: {beta}}}" for beta in BETAS),
        "  # ... or a distance from the reference, in nats: a short pilot finds the beta that goes so far",
        "  #- {method: copg, beta: {kl: 1}}",
        "",
        *_comment(
            "Below are defaults of keys that are turned most: uncomment a section with the keys you set."
        ),
    ]
    for stage, names in TURNED.items():
        lines += ["", *_section(stage, names)]
    return "\n".join(lines) + "\n"


def as_seen_from(path: Path, folder: Path) -> str:
    """A path as a recipe in a folder names it; one that is not there stays as it is."""
    return os.path.relpath(path.resolve(), folder.resolve()) if path.exists() else str(path)


def _about(found: Sample) -> str:
    if not found.shapes:
        return "A file or folder of records, or the name of a data set."
    shapes = ", ".join(f"{count} as {words}" for words, count in found.shapes.most_common())
    return f"The first {found.read} of these records are read: {shapes}."


def _rewards(found: Sample) -> Iterator[str]:
    if found.rewarded:
        yield from _comment(
            "The records came with rewards or preferences. These cannot score what a policy will write: a "
            "reward model is trained on them first (section reward). Or name some that can: docs/rewards.md."
        )
        yield from ("rewards:", "  - {name: reward_model}", "reward: {}")
        return
    yield from _comment(
        "What is maximised: the weighted sum of these, for a whole completion. Replace this one by yours: "
        "docs/rewards.md lists what there is; your own function is {name: my_rewards.py:score}."
    )
    yield from ("rewards:", "  - {name: length, params: {max: 100}}")


def _sample(found: Sample) -> Iterator[str]:
    if found.lacking > len(found.texts) / 2:
        yield ""
        yield from _comment(
            "Most of the first prompts have fewer than two distinct completions, of which nothing can be "
            "learnt: the reference draws those that are missing. Leave it out where others follow."
        )
        yield "sample: {completions: 4}"


def _section(stage: str, names: Sequence[str]) -> Iterator[str]:
    keys = {key.name: key for key in keys_of_stage(stage)}
    yield f"# {ROWS[stage].title}: every key by  copg settings {stage}"
    yield f"#{stage}:"
    above: list[str] = []
    for name in names:
        *parents, last = name.split(".")
        for depth, parent in enumerate(parents, 1):
            if above[:depth] != parents[:depth]:
                yield f"#{'  ' * depth}{parent}:"
        above = parents
        yield from _key(last, keys[f"{stage}.{name}"], "  " * (len(parents) + 1))


def _key(name: str, key: Key, indent: str) -> Iterator[str]:
    told = f"{key.allowed}. {key.meaning}".replace("``", "").replace("None", "null")
    for line in textwrap.wrap(told, WIDTH - len(indent)):
        yield f"#{indent}# {line}"
    yield f"#{indent}{name}: {key.default}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")

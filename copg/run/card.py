"""What an artifact is, in a few words for people: metadata of a pipeline's artifact.

Few words, since KFP hands them to each task that takes the artifact, in every node of that task.
"""

from pathlib import Path
from typing import Any

from copg.artifacts import MANIFEST
from copg.run.task_record import read_json
from copg.stores.model_files import ADAPTER

SHOWN = 12
"""Characters of a digest, by which people tell one from another."""
FACTS = ("trial", "method", "beta", "seed", "steps", "diverged", "name")
"""Facts of manifests that tell one artifact from another; ``name`` is whose evaluation."""


def warnings_in(artifact: Path) -> list[str]:
    """What the stage that left an artifact warned of, and those before it; nothing of what is none."""
    manifest = read_json(artifact / MANIFEST) if artifact.is_dir() else {}
    return list(manifest.get("facts", {}).get("warnings", []))


def card_of(artifact: Path) -> dict[str, Any]:
    """What lies in a directory: ``schema``, ``rows``, how its ``digest`` begins, and facts.

    Weights also say what they are: ``form`` is ``adapter``, which needs ``base_model``, or ``merged``: all
    weights, in which whatever was trained is. Nothing for what is no finished artifact.
    """
    manifest = read_json(artifact / MANIFEST) if artifact.is_dir() else {}
    if not manifest:
        return {}
    card = {name: manifest[name] for name in ("schema", "rows")} | {"digest": manifest["digest"][:SHOWN]}
    card |= {name: manifest["facts"][name] for name in FACTS if manifest["facts"].get(name) is not None}
    if manifest["schema"] in ("policy", "reward_model"):
        model, revision = manifest["config"].get("model"), manifest["config"].get("revision")
        if model:
            card["base_model"] = f"{model}@{revision}" if revision else model
        card["form"] = "adapter" if (artifact / ADAPTER).is_file() else "merged"
    return card

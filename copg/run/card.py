"""What an artifact is, in a few words for people: metadata of a pipeline's artifact."""

from pathlib import Path
from typing import Any

from copg.artifacts import MANIFEST
from copg.digests import ADAPTER
from copg.run.task_record import read_json

FACTS = ("trial", "method", "beta", "seed", "steps", "diverged", "name", "policy", "policy_digest")
"""Facts of manifests that tell one artifact from another; ``name`` is whose evaluation."""


def card_of(artifact: Path) -> dict[str, Any]:
    """What lies in a directory: ``schema``, ``stage``, ``rows``, ``digest``, ``base_model`` and facts.

    Weights also say what they are: ``form`` is ``adapter``, which needs ``base_model``, or ``merged``: all
    weights, in which whatever was trained is. Nothing for what is no finished artifact.
    """
    manifest = read_json(artifact / MANIFEST) if artifact.is_dir() else {}
    if not manifest:
        return {}
    card = {name: manifest[name] for name in ("schema", "stage", "rows", "digest")}
    if model := manifest["config"].get("model"):
        revision = manifest["config"].get("revision")
        card["base_model"] = f"{model}@{revision}" if revision else model
    card |= {name: manifest["facts"][name] for name in FACTS if manifest["facts"].get(name) is not None}
    if manifest["schema"] in ("policy", "reward_model"):
        card["form"] = "adapter" if (artifact / ADAPTER).is_file() else "merged"
    return card

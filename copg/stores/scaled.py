"""An adapter that counts more or less: the same files, with another factor of what it adds to a layer.

With weight w every layer computes ``W x + w * (alpha / rank) * B A x``: at 0 the model below the adapter, at
1 the adapter as it was trained. The factor is a setting of the adapter, so no weight is rounded, and whatever
loads such adapters (peft, vLLM) loads this one.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copg.artifacts import Manifest, begin, read_manifest, seal, write_json
from copg.errors import ModelError
from copg.stores.model_files import ADAPTER

PLAIN_STARTS = (True, False, "gaussian", "orthogonal")
"""Values of ``init_lora_weights`` that leave the model below as it is."""


def why_not_scaled(policy: Path) -> str:
    """Why a policy has no exact scaled form, as in "it has no adapter"; empty where it has one."""
    if not (policy / ADAPTER).is_file():
        return "it has no adapter"
    settings = _settings(policy)
    if settings.get("peft_type") != "LORA":
        return f"its adapter is no LoRA but {settings.get('peft_type')}"
    changed = {
        "use_dora": bool(settings.get("use_dora")),
        "bias": settings.get("bias", "none") != "none",
        "modules_to_save": bool(settings.get("modules_to_save")),
        "trainable_token_indices": bool(settings.get("trainable_token_indices")),
        "layer_replication": bool(settings.get("layer_replication")),
        "init_lora_weights": settings.get("init_lora_weights", True) not in PLAIN_STARTS,
    }
    found = next((name for name, moves_more in changed.items() if moves_more), None)
    return f"its adapter moves more than two matrices a layer ({found})" if found else ""


def scale_adapter(policy: Path, weight: float, to: Path) -> Manifest:
    """Write the scaled form of a policy as an artifact of its own; equal inputs give equal digests.

    Args:
        policy: artifact of schema ``policy``, an adapter.
        weight: of the adapter as it was trained; 1 leaves it as it is.
        to: where the artifact goes.

    Raises:
        ArtifactError: there is no such policy, or something lies at ``to``.
        ModelError: it has no exact scaled form.
    """
    parent = read_manifest(policy, schema="policy")
    if reason := why_not_scaled(policy):
        raise ModelError(f"{policy}: cannot be scaled: {reason}")
    begin(to)
    for name in parent.files:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(policy / name, to / name)
    write_json(to / ADAPTER, _scaled(_settings(policy), weight))
    return seal(
        to,
        schema="policy",
        stage="evaluate",
        rows=parent.rows,
        config={"weight": weight},
        parents={"policy": parent.digest},
        facts={**parent.facts, "weight": weight},
    )


def _scaled(settings: Mapping[str, Any], weight: float) -> dict[str, Any]:
    patterns = {name: weight * alpha for name, alpha in (settings.get("alpha_pattern") or {}).items()}
    alpha = weight * settings.get("lora_alpha", 8)  # peft's own default
    return {**settings, "lora_alpha": alpha, "alpha_pattern": patterns}


def _settings(policy: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((policy / ADAPTER).read_text())
    return found

"""vLLM as an engine, in a process and an environment of its own, for policies that lie on disk."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import Any

import torch

from copg.errors import ModelError
from copg.lm import vllm_worker
from copg.lm.anatomy import text_config
from copg.lm.config import GenerationConfig
from copg.lm.generation import Generated, Policy, generated, noise_digest
from copg.lm.load import load_config
from copg.stores.model_files import ADAPTER, adapter_base

HEADS = (
    *("num_attention_heads", "linear_num_key_heads", "linear_num_value_heads", "linear_num_heads"),
    *("mamba_n_heads", "mamba_num_heads", "n_mamba_heads", "num_heads"),
)
"""Names under which a configuration has the heads of some of its layers: of attention, and of states."""


def draw(
    policy: Policy,
    prompts: Sequence[Sequence[int]],
    noise_keys: Sequence[str],
    config: GenerationConfig,
    *,
    description: str | None = None,
) -> list[Generated]:
    """As ``Engine`` says, by the vLLM of ``config.vllm_python``, which shows its own progress.

    vLLM's kernels are not the same for every batch, so unlike those of our engine completions are not
    reproduced to the token, and two policies do not share their noise: intervals of differences are wider.
    The KL is measured afterwards by our own passes either way.

    Raises:
        ModelError: no such Python, or vLLM failed: the end of what it said is named.
    """
    where = _where(policy.location, policy.revision)
    request = {**where, "gpus": _gpus(where), **asked(policy, prompts, noise_keys, config)}
    drawn = _ask(config.vllm_python, request)
    if len(drawn) != len(prompts) or not all(drawn):
        raise ModelError(f"vLLM left {sum(map(bool, drawn))} completions of {len(prompts)} prompts")
    return generated(drawn, prompts, policy.codec)


def asked(
    policy: Policy, prompts: Sequence[Sequence[int]], noise_keys: Sequence[str], config: GenerationConfig
) -> dict[str, Any]:
    """What the engine is asked for, beside the model: a function of what is to be drawn alone."""
    return {
        "dtype": policy.rows.compute_dtype,
        "max_model_len": max(map(len, prompts), default=0) + config.max_new_tokens,
        "temperature": config.temperature,
        "top_p": 1.0 if config.top_p is None else config.top_p,
        "max_new_tokens": config.max_new_tokens,
        "seeds": [int.from_bytes(noise_digest(config.seed, key)[:7], "little") for key in noise_keys],
        "stop_tokens": sorted(policy.codec.stops),
        "prompts": [list(prompt) for prompt in prompts],
    }


def _ask(python: str, request: dict[str, Any]) -> list[list[int]]:
    with tempfile.TemporaryDirectory(prefix="copg-vllm-") as folder:
        question, answer = Path(folder, "request.json"), Path(folder, "answer.json")
        question.write_text(json.dumps(request))
        command = [python, str(vllm_worker.__file__), str(question), str(answer)]
        last = "it said nothing"
        try:
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as engine:
                for line in engine.stderr or ():
                    print(line, end="", file=sys.stderr, flush=True)
                    last = line.strip() or last
        except OSError as error:
            raise ModelError(f"vllm_python={python!r} cannot be run: {error.strerror}") from None
        if engine.returncode or not answer.is_file():
            raise ModelError(f"vLLM ended with exit code {engine.returncode}: {last}")
        drawn: list[list[int]] = json.loads(answer.read_text())
        return drawn


def _where(model: str | Path, revision: str | None) -> dict[str, Any]:
    """What the engine loads: of an adapter, its base and itself."""
    adapter = Path(model) / ADAPTER
    if not adapter.is_file():
        return {"model": str(model), "revision": revision, "adapter": "", "lora_rank": 0}
    settings = json.loads(adapter.read_text())
    return {
        "model": adapter_base(Path(model)),
        "revision": settings.get("revision"),
        "adapter": str(model),
        "lora_rank": settings["r"],
    }


def _gpus(where: Mapping[str, Any]) -> int:
    """As many of this machine's GPUs as the heads of each of the model's layers can be shared out over."""
    config = load_config(where["model"], revision=where["revision"])
    return share_out(text_config(config), torch.cuda.device_count())


def share_out(text: Any, num_gpus: int) -> int:
    """Over how many GPUs, of ``num_gpus``, vLLM can share out a model: one where no heads are told.

    Args:
        text: configuration of the language model: Mamba has no heads, layers of a hybrid each their own.
        num_gpus: of this machine; at least one is assumed.
    """
    told = [getattr(text, name, None) for name in HEADS]
    each = [
        n for value in told for n in (value if isinstance(value, list) else [value]) if isinstance(n, int)
    ]
    heads = gcd(*each)  # 0 of none
    return max(n for n in range(1, max(1, num_gpus) + 1) if n == 1 or (heads and heads % n == 0))

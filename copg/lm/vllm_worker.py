"""Draws completions with vLLM: a script for the Python that has it, which is never ours.

vLLM pins versions of torch and transformers that are not this library's, so this file imports nothing of it.
Reads a request (JSON) from the file given first, writes the completions to the file given second.
"""

import ctypes
import json
import signal
import sys
from pathlib import Path
from typing import Any


def main(request_file: str, answer_file: str) -> None:
    """One engine, all prompts; killed with the process that asked."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    request: dict[str, Any] = json.loads(Path(request_file).read_text())
    lora = {"enable_lora": True, "max_lora_rank": request["lora_rank"]} if request["adapter"] else {}
    engine = LLM(
        request["model"],
        revision=request["revision"],
        dtype=request["dtype"],
        tensor_parallel_size=request["gpus"],
        max_model_len=request["max_model_len"],
        skip_tokenizer_init=True,
        trust_remote_code=False,
        enable_prefix_caching=True,
        **lora,
    )
    settings = [SamplingParams(**each) for each in sampling(request)]
    outputs = engine.generate(
        [{"prompt_token_ids": prompt} for prompt in request["prompts"]],
        settings,
        lora_request=LoRARequest("policy", 1, request["adapter"]) if request["adapter"] else None,
    )
    drawn = [list(output.outputs[0].token_ids) for output in outputs]
    Path(answer_file).write_text(json.dumps(drawn))


def sampling(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Arguments of vLLM's ``SamplingParams`` for each prompt.

    Its own ends, of the tokeniser and of ``generation_config.json``, are off with ``ignore_eos``, and no text
    is made in which a string could stop: a completion ends with one of the tokens given, or is cut off.
    """
    return [
        {
            "temperature": request["temperature"],
            "top_p": request["top_p"],
            "max_tokens": request["max_new_tokens"],
            "seed": seed,
            "stop_token_ids": request["stop_tokens"],
            "ignore_eos": True,
            "detokenize": False,
        }
        for seed in request["seeds"]
    ]


if __name__ == "__main__":
    main(*sys.argv[1:])

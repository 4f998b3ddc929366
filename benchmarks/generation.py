"""Completions drawn, ours against transformers' own ``generate``: the same model, prompts and settings.

Both draw at temperature 1 from the whole vocabulary, with keys and values cached and prompts of like length
in one batch. The model ends a completion with the same probability at every token, so that batches run thin
as they do in life. Every measurement is a process of its own.
"""

import argparse
import json
import math
import random
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Stopwatch, interleave, medians, peak_memory_gib, tell, write_report
from benchmarks.made import HEAD_HEAVY, ONE_BILLION, TINY, Size, save_model

DEMO = Size(2_000, 4, 128, 344, 4, 4)
"""1.3 M parameters: the size of the demo's reference."""
GREEDY_PROMPTS, GREEDY_TOKENS = 8, 16
"""Drawn without noise by both, to see that they read the model alike."""


@dataclass(frozen=True)
class Case:
    """One line of the comparison; lengths in tokens."""

    size: Size
    prompts: int
    shortest: int
    """Prompts have between this and ``longest`` tokens, evenly."""
    longest: int
    samples: int = 1
    """Completions of each prompt."""
    mean: int = 40
    """Length of a completion, as the end-of-sequence token has it."""
    max_new_tokens: int = 128
    tokens_per_batch: int = 16384
    """Of ours; transformers gets batches of as many rows as fit in it, and of ``rows``."""
    rows: int = 32


CASES = {
    "demo": Case(DEMO, 128, 20, 120),
    "samples": Case(DEMO, 32, 256, 384, samples=4, tokens_per_batch=32768),
    "long": Case(DEMO, 64, 20, 120, mean=200, max_new_tokens=512, tokens_per_batch=32768),
    "head_heavy": Case(HEAD_HEAVY, 32, 64, 128, max_new_tokens=64),
}
CUDA_CASES = {
    "one_billion": Case(
        ONE_BILLION, 256, 256, 512, mean=100, max_new_tokens=256, tokens_per_batch=131072, rows=64
    )
}
SMOKE = {"smoke": Case(TINY, 12, 4, 12, samples=2, mean=6, max_new_tokens=12, tokens_per_batch=160, rows=4)}
SIDES = ("copg", "transformers_rows", "transformers_budget")


def load(case: Case, task: dict[str, Any]) -> tuple[Any, Any]:
    """Model and tokeniser; the head gets a bias that ends completions after ``mean`` tokens."""
    import torch

    from copg.lm.load import load_codec, load_model

    dtype = torch.bfloat16 if task["device"] == "cuda" else torch.float32
    model = load_model(task["model"], dtype=dtype)
    bias = torch.zeros(case.size.vocab, dtype=dtype)
    bias[model.config.eos_token_id] = math.log(case.size.vocab / case.mean)
    model.lm_head.bias = torch.nn.Parameter(bias)
    return model.to(task["device"]), load_codec(task["model"])


@contextmanager
def no_bias(model: Any) -> Iterator[None]:
    """Without the bias, which alone would decide what is likeliest."""
    bias = model.lm_head.bias.data.clone()
    model.lm_head.bias.data.zero_()
    yield
    model.lm_head.bias.data.copy_(bias)


def make_prompts(case: Case) -> list[list[int]]:
    """Token ids, ``samples`` times each."""
    rng = random.Random(0)
    made = [
        [rng.randrange(3, case.size.vocab) for _ in range(rng.randint(case.shortest, case.longest))]
        for _ in range(case.prompts)
    ]
    return [prompt for prompt in made for _ in range(case.samples)]


def run_copg(case: Case, model: Any, codec: Any, prompts: list[list[int]], **how: Any) -> list[list[int]]:
    """Through ``copg.lm.engines.own``, as stages ``train`` and ``evaluate`` draw."""
    from copg.lm.config import GenerationConfig
    from copg.lm.engines.own import draw
    from copg.lm.generation import Policy

    config = GenerationConfig(
        max_new_tokens=how["max_new_tokens"],
        temperature=how["temperature"],
        tokens_per_batch=case.tokens_per_batch,
    )
    policy, keys = Policy(codec=codec, loaded=model), [str(i) for i in range(len(prompts))]
    return [drawn.token_ids for drawn in draw(policy, prompts, keys, config)]


def run_transformers(
    case: Case, model: Any, codec: Any, prompts: list[list[int]], **how: Any
) -> list[list[int]]:
    """Through ``model.generate``, sorted by length; equal prompts by ``num_return_sequences``."""
    import torch

    samples = case.samples if how["temperature"] else 1
    unique = prompts[::samples]
    order = sorted(range(len(unique)), key=lambda i: -len(unique[i]))
    settings = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    if not how["temperature"]:
        settings = {"do_sample": False}
    torch.manual_seed(0)
    drawn: list[list[int]] = [[] for _ in prompts]
    rows = max(1, how["rows"] // samples)
    for start in range(0, len(order), rows):
        batch = order[start : start + rows]
        inputs = codec.tokenizer.pad({"input_ids": [unique[i] for i in batch]}, padding_side="left")
        inputs = {name: torch.tensor(value, device=model.device) for name, value in inputs.items()}
        out = model.generate(
            **inputs,
            **settings,
            max_new_tokens=how["max_new_tokens"],
            num_return_sequences=samples,
            pad_token_id=codec.tokenizer.pad_token_id,
        )
        width = inputs["input_ids"].shape[1]
        for at, row in enumerate(out[:, width:].tolist()):
            end = row.index(codec.end_of_text) + 1 if codec.end_of_text in row else len(row)
            drawn[batch[at // samples] * samples + at % samples] = row[:end]
    return drawn


def child(task: dict[str, Any]) -> None:
    """One measurement, after a small one that is not counted."""
    case = {**CASES, **CUDA_CASES, **SMOKE}[task["case"]]
    model, codec = load(case, task)
    prompts = make_prompts(case)
    draw = run_copg if task["side"] == "copg" else run_transformers
    budget = case.tokens_per_batch // (case.longest + case.max_new_tokens)
    how = {"rows": case.rows if task["side"] == "transformers_rows" else budget}
    some = prompts[:: case.samples][:GREEDY_PROMPTS]
    with no_bias(model):
        greedy = draw(case, model, codec, some, temperature=0.0, max_new_tokens=GREEDY_TOKENS, **how)
    assert len({token for drawn in greedy for token in drawn}) > GREEDY_TOKENS, "every prompt says the same"
    whole = Stopwatch(task["device"])
    with whole:
        drawn = draw(case, model, codec, prompts, temperature=1.0, max_new_tokens=case.max_new_tokens, **how)
    num_tokens = sum(map(len, drawn))
    tell(
        {
            "cpu_s": whole.cpu_s,
            "wall_s": whole.wall_s,
            "tokens": num_tokens,
            "tokens_per_cpu_s": num_tokens / whole.cpu_s,
            "tokens_per_s": num_tokens / whole.wall_s,
            "peak_gib": peak_memory_gib(task["device"]),
            "greedy": json.dumps(greedy),
        }
    )


def summarise(case: Case, name: str, runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One line a side; ratios are medians of the ratios of interleaved runs, ours over theirs."""
    lines = []
    for side, of_side in runs.items():
        m = medians(of_side)
        ratio = {
            key: statistics.median(o[key] / t[key] for t, o in zip(of_side, runs["copg"], strict=True))
            for key in ("tokens_per_cpu_s", "tokens_per_s", "peak_gib")
        }
        lines.append(
            {
                "case": name,
                "side": side,
                "completions": case.prompts * case.samples,
                "tokens": int(m["tokens"]),
                "tokens/CPU-s": m["tokens_per_cpu_s"],
                "tokens/s": m["tokens_per_s"],
                "peak GiB": m["peak_gib"],
                "ours faster (CPU)": ratio["tokens_per_cpu_s"],
                "ours faster (wall)": ratio["tokens_per_s"],
                "ours, memory": ratio["peak_gib"],
                "same greedy tokens": of_side[0]["greedy"] == runs["copg"][0]["greedy"],
            }
        )
    return lines


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/generation.json"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--cases", nargs="*", help="of those the device has; all by default")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true", help="a tiny case, to see that everything runs")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(json.loads(args.child))
    cases = SMOKE if args.smoke else CUDA_CASES if args.device == "cuda" else CASES
    if unknown := set(args.cases or ()) - set(cases):
        parser.error(f"--cases {sorted(unknown)} are unknown; use some of {list(cases)}")
    lines, details = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.cases or cases:
            case = cases[name]
            model = save_model(case.size, Path(folder) / name)
            common = {"case": name, "model": str(model), "device": args.device}
            tasks = {side: {**common, "side": side} for side in SIDES}
            runs = interleave("benchmarks.generation", tasks, repeats=args.repeats, threads=args.threads)
            lines += summarise(case, name, runs)
            details[name] = {"settings": asdict(case), "runs": runs}
    write_report(args.out, lines, device=args.device, details={"threads": args.threads, "cases": details})


if __name__ == "__main__":
    main()

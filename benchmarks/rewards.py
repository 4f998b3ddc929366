"""How many completions a second each reward scores, alone, on completions of stated length.

Every measurement is a process of its own: one batch to load and warm up, then whole batches. Models are of
stated size with random weights, the judge is a server on this machine that answers at once. Helper processes
are counted in CPU seconds; rates by the clock are those of the cores given.
"""

import argparse
import json
import os
import random
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.harness import interleave, medians, peak_memory_gib, tell, write_report

WORDS = [f"w{i}" for i in range(3, 2000)]
PROMPT_WORDS, COMPLETION_WORDS = 200, 60
CODE = "def f(x):\n    return x + 1\n"
TESTS = ["assert f(1) == 2", "assert f(-1) == 0", "assert f(0.5) == 1.5"]
BATCH = {
    "judge": 256,
    "unit_tests": 100,
    "answer": 256,
    "reward_model": 128,
    "entailment": 64,
    "similarity": 128,
}
"""Completions a batch; 1024 elsewhere, as ``score`` takes."""
MODELS = ("reward_model", "entailment", "similarity")


def settings(name: str, model: Path, url: str) -> dict[str, Any]:
    """Of each reward that has none by default."""
    return {
        "length": {"max": 50},
        "format": {"pattern": r"(?s).*\bw7\b.*", "match": "whole"},
        "judge": {"url": url, "model": "m", "rubric": "Count.", "num_parallel": 8},
        **{name: {"model": str(model)} for name in MODELS},
    }.get(name, {})


def batch(name: str, size: int, rng: random.Random) -> tuple[list[str], list[str], list[dict[str, Any]]]:
    """Prompts, completions and columns as ``name`` reads them, no completion twice."""
    prompts = [" ".join(rng.choices(WORDS, k=PROMPT_WORDS)) for _ in range(size)]
    if name == "unit_tests":
        return prompts, [f"{CODE}# {rng.random()}" for _ in range(size)], [{"tests": TESTS}] * size
    if name == "answer":
        numbers = [rng.randint(1, 10**6) for _ in range(size)]
        rows = [{"answer": f"{n}/7"} for n in numbers]
        return prompts, [f"So the result is \\boxed{{\\frac{{{n}}}{{7}}}}." for n in numbers], rows
    texts = [" ".join(rng.choices(WORDS, k=COMPLETION_WORDS)) for _ in range(size)]
    return prompts, texts, [{"references": " ".join(rng.choices(WORDS, k=50))} for _ in range(size)]


def save_models(root: Path) -> dict[str, Path]:
    """A classifier of one label, one of three, and an embedder: 4 layers of 256, 512 positions."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        BertModel,
        PreTrainedTokenizerFast,
    )

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*marks, *WORDS])}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, model_input_names=inputs, **names)
    torch.manual_seed(0)
    found = {}
    for name, labels in (
        ("reward_model", ["score"]),
        ("entailment", ["no", "entailment", "neutral"]),
        ("base", []),
    ):
        size = {
            "hidden_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 1024,
        }
        config = BertConfig(vocab_size=len(WORDS) + 4, id2label=dict(enumerate(labels or ["x"])), **size)
        model = BertForSequenceClassification(config) if labels else BertModel(config)
        found[name] = root / name
        model.save_pretrained(found[name])
        tokenizer.save_pretrained(found[name])
    transformer = modules.Transformer(str(found["base"]), max_seq_length=512)
    pooling = modules.Pooling(transformer.get_embedding_dimension())
    found["similarity"] = root / "similarity"
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(found["similarity"]))
    return found


class Judge(BaseHTTPRequestHandler):
    """Answers at once."""

    def do_POST(self) -> None:
        """Five points."""
        self.rfile.read(int(self.headers["Content-Length"]))
        content = json.dumps({"choices": [{"message": {"content": '{"score": 5}'}}]}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Nothing."""


def measure(task: dict[str, Any]) -> None:
    """One reward, batches until ``seconds`` are over."""
    import torch

    from copg.rewards.contract import RewardSpec
    from copg.rewards.mixture import build_mixture

    torch.set_num_threads(task["threads"])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    name, rng = task["reward"], random.Random(task["seed"])
    size = BATCH.get(name, 1024)
    params = settings(name, Path(task["model"]), f"http://127.0.0.1:{server.server_port}")
    mixture = build_mixture([RewardSpec(name, params=params)])
    mixture(*batch(name, size // 4, rng))
    waiting = [batch(name, size, rng) for _ in range(task["batches"])]
    started, cpu_started, count = time.monotonic(), time.process_time(), 0
    for prepared in waiting:
        mixture(*prepared)
        count += size
        if time.monotonic() - started > task["seconds"]:
            break
    wall_s, cpu_s = time.monotonic() - started, time.process_time() - cpu_started
    per_helper = close_helpers(mixture) / (count + size // 4)
    tell(
        {
            "per_s": count / wall_s,
            "cpu_ms_each": 1000 * (cpu_s / count + per_helper),
            "peak_gib": peak_memory_gib(),
        }
    )


def close_helpers(mixture: Any) -> float:
    """End the helper processes; their CPU seconds, start-up included."""
    mixture.rewards.clear()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def look_up(task: dict[str, Any]) -> None:
    """Values that the store holds, a quarter of a million of them."""
    from copg.stores.reward_store import open_rewards, reward_key

    count = 250_000
    with tempfile.TemporaryDirectory() as root:
        keys = [reward_key("p", f"completion {i}", {}) for i in range(count)]
        store = open_rewards(root, "d" * 64)
        store.append(keys, [float(i) for i in range(count)])
        store.flush()
        started, cpu_started = time.monotonic(), time.process_time()
        opened = open_rewards(root, "d" * 64)
        for start in range(0, count, 1024):
            asked = [reward_key("p", f"completion {i}", {}) for i in range(start, min(count, start + 1024))]
            assert None not in opened.get(asked)
        wall_s, cpu_s = time.monotonic() - started, time.process_time() - cpu_started
    tell({"per_s": count / wall_s, "cpu_ms_each": 1000 * cpu_s / count, "peak_gib": peak_memory_gib()})


def main() -> None:
    """Measure, print a table, write JSON."""
    from copg.rewards import REWARDS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rewards.json"))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rewards", nargs="*", default=[*REWARDS, "store"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    run: Callable[[dict[str, Any]], None]
    if args.child:
        task = json.loads(args.child)
        run = look_up if task["reward"] == "store" else measure
        run(task)
        return
    with tempfile.TemporaryDirectory() as root:
        models = save_models(Path(root)) if set(MODELS) & set(args.rewards) else {}
        tasks = {
            name: {
                "reward": name,
                "model": str(models.get(name, "")),
                "threads": args.threads,
                "seconds": args.seconds,
                "batches": 40,
                "seed": 0,
            }
            for name in args.rewards
        }
        if args.device == "cpu":
            os.environ["CUDA_VISIBLE_DEVICES"] = ""  # rewards take a GPU where they see one
        runs = interleave("benchmarks.rewards", tasks, repeats=args.repeats, threads=args.threads)
    rows = [{"reward": name, **medians(found)} for name, found in runs.items()]
    write_report(args.out, rows, device=args.device, details={"threads": args.threads, "runs": runs})


if __name__ == "__main__":
    main()

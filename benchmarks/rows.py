"""Forms of rows: tokens computed over the fewest possible, and a pass, of the same groups in every form.

Shapes are of prompts and completions of uneven lengths. With ``--before``, a training step of another
checkout of this repository beside that of this one, in turn.
"""

import argparse
import json
import random
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Stopwatch, interleave, medians, run_child, tell, write_report
from benchmarks.made import HEAD_HEAVY, TINY, Size, save_model
from benchmarks.train_sides import CASES

FORMS = ("packed", "masked", "shared", "alone", "plain")
"""``masked``: packed rows by the dense mask that runs anywhere."""


@dataclass(frozen=True)
class Shape:
    """Groups of one prompt each; lengths in tokens, drawn evenly from half to once and a half."""

    size: Size
    prompt: int
    completion: int
    completions: int
    groups: int = 6

    @property
    def drawn(self) -> list[tuple[list[int], list[list[int]]]]:
        """Prompt and completions of each group."""
        rng = random.Random(0)

        def ids(length: int) -> list[int]:
            count = rng.randint(length // 2, length + length // 2)
            return [rng.randrange(3, self.size.vocab) for _ in range(count)]

        return [
            (ids(self.prompt), [ids(self.completion) for _ in range(self.completions)])
            for _ in range(self.groups)
        ]


SHAPES = {
    "long prompts, K 4": Shape(HEAD_HEAVY, 384, 64, 4),
    "long prompts, K 2": Shape(HEAD_HEAVY, 384, 64, 2),
    "short prompts, K 4": Shape(HEAD_HEAVY, 64, 128, 4),
}
SMOKE = {"smoke": Shape(TINY, 24, 8, 4)}


def child(task: dict[str, Any]) -> None:
    """Forward and backward of all groups in one form, once for warmth and once measured."""
    from copg.lm.config import RowConfig
    from copg.lm.load import load_model
    from copg.lm.row_batch import build_batch, num_computed
    from copg.lm.rows import TokenGroup, plan_batches
    from copg.lm.scorer import SequenceScorer

    shape = {**SHAPES, **SMOKE}[task["shape"]]
    groups = [TokenGroup(prompt, completions) for prompt, completions in shape.drawn]
    form = task["form"]
    packed: Any = {"form": "packed", "attention": "mask" if form == "masked" else "auto"}
    rows = RowConfig(tokens_per_batch=2048, **(packed if form in ("packed", "masked") else {"form": form}))
    model: Any = load_model(task["model"])
    scorer, clock = SequenceScorer(model, rows), Stopwatch()
    for _ in range(2):
        clock = Stopwatch()
        with clock:
            for plan in plan_batches(groups, rows):
                scorer(build_batch(groups, plan, rows)).sum().backward()
        model.zero_grad()
    fewest = sum(group.num_tokens for group in groups)
    computed = num_computed(groups, rows)
    tell({"tokens": computed, "fewest": fewest, "cpu_s": clock.cpu_s, "wall_s": clock.wall_s})


def compare_forms(name: str, shape: Shape, *, repeats: int, threads: int) -> list[dict[str, Any]]:
    """One line a form; ratios of time are medians of ratios of runs in turn."""
    with tempfile.TemporaryDirectory() as folder:
        model = str(save_model(shape.size, Path(folder)))
        tasks = {form: {"shape": name, "form": form, "model": model} for form in FORMS}
        runs = interleave("benchmarks.rows", tasks, repeats=repeats, threads=threads)
    lines = []
    for form, of_form in runs.items():
        m = medians(of_form)
        pairs = zip(of_form, runs["packed"], strict=True)
        lines.append(
            {
                "shape": name,
                "form": form,
                "tokens over the fewest": m["tokens"] / m["fewest"],
                "CPU-s": m["cpu_s"],
                "over packed (CPU)": statistics.median(mine["cpu_s"] / best["cpu_s"] for mine, best in pairs),
            }
        )
    return lines


def compare_checkouts(name: str, before: Path, *, repeats: int, threads: int) -> dict[str, Any]:
    """A training step here over that of another checkout, measured in turn, each by its own benchmark."""
    case, module = CASES[name], "benchmarks.train_step"
    runs: dict[str, list[dict[str, Any]]] = {"before": [], "now": []}
    with tempfile.TemporaryDirectory() as folder:
        model = str(save_model(case.size, Path(folder)))
        task = {"case": name, "device": "cpu", "side": "copg", "model": model}
        task |= {"pairs_per_batch": 0, "tokens_per_batch": 0}
        for _ in range(repeats):
            runs["before"].append(run_child(module, task, threads=threads, checkout=before))
            runs["now"].append(run_child(module, task, threads=threads))
    ratios = {
        key: statistics.median(n[key] / b[key] for n, b in zip(runs["now"], runs["before"], strict=True))
        for key in ("pass_cpu_s", "step_cpu_s", "peak_gib", "gradient_norm")
    }
    return {"case": name, "now over before": ratios, "runs": runs}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list({**SHAPES, **SMOKE}))
    parser.add_argument("--before", type=Path, help="another checkout of this repository")
    parser.add_argument("--cases", nargs="*", default=["head_heavy_k2"], choices=list(CASES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/rows.json"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(json.loads(args.child))
        return
    settings = {"repeats": args.repeats, "threads": args.threads}
    shapes = {name: {**SHAPES, **SMOKE}[name] for name in args.shapes}
    lines = [line for name, shape in shapes.items() for line in compare_forms(name, shape, **settings)]
    details: dict[str, Any] = {**settings, "shapes": {name: asdict(shape) for name, shape in shapes.items()}}
    if args.before:
        details["checkouts"] = [compare_checkouts(case, args.before, **settings) for case in args.cases]
        print(json.dumps([each["now over before"] for each in details["checkouts"]]))
    write_report(args.out, lines, device="cpu", details=details)


if __name__ == "__main__":
    main()

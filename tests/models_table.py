"""docs/models.md: in which form each causal kind is exact. ``python -m tests.models_table`` writes it."""

import argparse
import json
import random
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMultimodalLM
from transformers import __version__ as VERSION
from transformers.utils import logging

from copg.errors import ModelError
from copg.lm.config import RowConfig
from copg.lm.forms import FORMS, fit_rows
from copg.lm.load import load_model
from copg.lm.row_batch import build_batch, num_computed
from copg.lm.rows import TokenGroup, plan_batches
from copg.lm.scorer import SequenceScorer, group_logps
from copg.losses.copg import copg_loss
from copg.losses.groups import Completions
from copg.training.config import LoraConfig
from copg.training.optim import add_adapter, disable_dropout, freeze_towers
from tests import kinds

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "models.md"
FOUND = ROOT / "build" / f"models-{VERSION}.jsonl"
"""A line a kind, so that an examination that ended goes on; without it, all begins anew."""
LONGEST = 3 * kinds.WINDOW
TOLERANCE = 2e-5
"""Nats a token."""


@dataclass
class Finding:
    """What became of one kind."""

    kind: str
    form: str = ""
    """Empty: refused."""
    difference: float = 0.0
    """Largest of a completion from eager attention one by one, nats a token."""
    cost: float = 0.0
    """Tokens computed over the fewest possible."""
    reason: str = ""
    """Why it is refused, or why its form is none of the faster ones."""


def make_groups() -> list[TokenGroup]:
    """Beyond every window, of completions of several lengths."""
    rng = random.Random(0)

    def ids(count: int) -> list[int]:
        return [rng.randrange(4, kinds.VOCABULARY - 4) for _ in range(count)]

    lengths = [(LONGEST, [20, 9, 20]), (5, [LONGEST, 3]), (1, [2, 30])]
    return [TokenGroup(ids(prompt), [ids(n) for n in each], f"g{prompt}") for prompt, each in lengths]


def examine(kind: str, folder: Path, *, train: bool = True) -> Finding:
    """Save the kind, load it through our loader, compare it, and train it by one step in two ways."""
    groups = make_groups()
    if kind in kinds.UNBUILT:
        return Finding(kind, reason=kinds.UNBUILT[kind])
    try:
        kinds.save_kind(kind, folder)
        model = load_model(folder)
        fit = fit_rows(model, groups, RowConfig())
        found = group_logps(model, groups, rows=fit.rows)
        expected = eager_logps(folder, groups)
        apart = max(
            abs(a - b) / len(ids)
            for group, x, y in zip(groups, found, expected, strict=True)
            for ids, a, b in zip(group.completion_ids, x, y, strict=True)
        )
        for lora in (None, LoraConfig(rank=2)) if train else ():
            train_step(load_model(folder), groups, fit.rows, lora)
    except ModelError as error:
        return Finding(kind, reason=str(error).replace(str(folder), "the model"))
    fewest = sum(group.num_tokens for group in groups)
    why = "; ".join(fit.refused.values())
    return Finding(kind, fit.rows.form, apart, num_computed(groups, fit.rows) / fewest, why)


def eager_logps(folder: Path, groups: list[TokenGroup]) -> list[list[float]]:
    """By plain transformers, one sequence at a time, attention written out where the kind has that."""
    beyond = AutoConfig.from_pretrained(folder).model_type in kinds.BEYOND
    auto = AutoModelForMultimodalLM if beyond else AutoModelForCausalLM
    try:
        model: Any = auto.from_pretrained(folder, attn_implementation="eager").eval()
    except ValueError:
        model = auto.from_pretrained(folder).eval()
    model.config.use_cache = False  # of Blt no cache can be made
    sums = []
    for group in groups:
        start = len(group.prompt_ids)
        rows = [torch.tensor([[*group.prompt_ids, *ids]]) for ids in group.completion_ids]
        with torch.no_grad():
            logps = [model(input_ids=row).logits[0, start - 1 : -1].float().log_softmax(-1) for row in rows]
        sums.append(
            [float(p.gather(1, row[0, start:, None]).sum()) for p, row in zip(logps, rows, strict=True)]
        )
    return sums


def train_step(model: Any, groups: list[TokenGroup], rows: RowConfig, lora: LoraConfig | None) -> None:
    """One step of all weights, or of an adapter.

    Raises:
        ModelError: nothing moves, or something takes a gradient that is no number.
    """
    disable_dropout(model)
    freeze_towers(model)
    model = model if lora is None else add_adapter(model, lora, seed=0)
    model.train()
    scorer = SequenceScorer(model, rows)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-3)
    loss = torch.zeros(())
    for plan in plan_batches(groups, rows):
        batch = build_batch(groups, plan, rows)
        logps = scorer(batch)
        sizes = torch.tensor([len(groups[i].completion_ids) for i in batch.groups])
        index = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        rewards, lengths = torch.linspace(0, 1, len(index)), torch.ones_like(index)
        loss = loss + copg_loss(Completions(logps, logps.detach(), rewards, lengths, index), beta=0.1).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    grads = [p.grad for p in trained if p.grad is not None]
    if not grads or not all(bool(grad.isfinite().all()) for grad in grads):
        raise ModelError(f"{len(grads)} of {len(trained)} weights have a gradient, or one is no number")
    before = [p.detach().clone() for p in trained]
    optimizer.step()
    if all(torch.equal(p, old) for p, old in zip(trained, before, strict=True)):
        raise ModelError("a step moves nothing")


def render(findings: list[Finding]) -> str:
    """The document."""
    exact = [each for each in findings if each.form]
    refused = [each for each in findings if not each.form]
    counts = ", ".join(f"{sum(each.form == form for each in exact)} `{form}`" for form in FORMS)
    lines = [
        "# Which models",
        "",
        f"Made by `python -m tests.models_table`: every causal kind of transformers {VERSION}, tiny,",
        "from its own configuration class, saved, loaded by our loader, compared with eager attention of",
        "plain transformers, one sequence at a time, beyond every window, and trained by one step of all",
        "weights and one of LoRA.",
        f"Of {len(findings)} kinds {len(exact)} are exact: {counts}; the largest difference is",
        f"{max(each.difference for each in exact):.1e} nats a token. {len(refused)} are refused.",
        "",
        "A model is run in the fastest form that a check on load finds exact, on the longest groups of the",
        "data; it stands in the facts of `referenced`, `training` and `evaluation`, with its cost.",
        "",
        "| form | what shares a row | cost |",
        "| --- | --- | --- |",
        "| `packed` | a prompt once and its completions after it, several groups a row | 1 |",
        "| `shared` | the same of one group, by the model's own attention | padding |",
        "| `alone` | each completion with its prompt | the prompt once a completion, and padding |",
        "| `plain` | the same one by one, through the model's own head | the prompt once a completion |",
        "",
        "On a GPU `packed` rows take `varlen` (bfloat16), `flex` or a dense mask, the first that is there",
        "and that the check finds exact; what was taken stands beside the form. It is unmeasured: no GPU",
        "was at hand for this table.",
        "",
        "Cost below: tokens computed over the fewest possible, of the same three groups for every kind.",
        "",
        "| kind | form | largest difference, nats a token | cost |",
        "| --- | --- | --- | --- |",
        *(f"| {f.kind} | {f.form} | {f.difference:.0e} | {f.cost:.2f} |" for f in exact),
        "",
        "## Refused",
        "",
        "| kind | why |",
        "| --- | --- |",
        *(f"| {f.kind} | {' '.join(f.reason.replace('|', '/').split())[:200]} |" for f in refused),
    ]
    return "\n".join(lines) + "\n"


def read_forms() -> dict[str, str]:
    """Of each kind in the document its form; empty where it is refused."""
    rows = [line.split("|")[1:-1] for line in DOCUMENT.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in row] for row in rows]
    return {row[0]: row[1] if len(row) == 4 else "" for row in cells if row[0] in kinds.KINDS}


def read_found() -> dict[str, Finding]:
    """What was found of each kind so far, by this version of transformers; the latest of several."""
    if not FOUND.is_file():
        return {}
    lines = [json.loads(line) for line in FOUND.read_text().splitlines()]
    return {line["kind"]: Finding(**line) for line in lines}


def main() -> None:
    """Examine some kinds, or those that are missing; write the document once every kind is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help="to examine, again if need be; none: all that are missing")
    named = parser.parse_args().kinds
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    FOUND.parent.mkdir(parents=True, exist_ok=True)
    for kind in named or [kind for kind in kinds.KINDS if kind not in read_found()]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                finding = examine(kind, Path(folder))
            except Exception as error:  # of a tiny configuration that its kind does not take
                finding = Finding(kind, reason=f"not examined: {type(error).__name__}: {error}")
        print(finding, flush=True)
        with FOUND.open("a") as file:
            file.write(json.dumps(asdict(finding)) + "\n")
    found = read_found()
    if all(kind in found for kind in kinds.KINDS):
        DOCUMENT.write_text(render([found[kind] for kind in kinds.KINDS]))


if __name__ == "__main__":
    main()

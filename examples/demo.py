"""``python -m examples.demo --out DIR``: the demo's records, and a reference model trained on the spot."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from examples.records import NUM_REPORTS, draw_drafts, draw_reports, write_records

VOCAB_SIZE = 1024
REPORTS_PER_STEP = 8
DRAFTS_PER_REPORT = 5
STEPS = 600
LEARNING_RATE = 2e-3


def train_reference(folder: Path, *, steps: int = STEPS, seed: int = 1) -> float:
    """Train a model of about a million parameters to write like the average writer, and save it.

    Its reports are drawn with a seed of their own: by chance apart from those of the records, of which
    there are more than 10^12.

    Args:
        folder: where the model directory goes.
        steps: of ``REPORTS_PER_STEP`` new reports each.
        seed: of reports, drafts and weights.

    Returns:
        Cross-entropy at the end, nats a completion token.
    """
    from transformers.utils import logging

    from copg.lm.rows import TokenGroup
    from copg.lm.text import TextCodec
    from examples.fitting import Budget, fit
    from examples.tiny_llama import build_model, build_tokenizer

    rng = random.Random(seed)
    sample = [(report, draw_drafts(report, 5, rng)) for report in draw_reports(1500, rng)]
    texts = [text for report, drafts in sample for text in (report.prompt, *(d.text for d in drafts))]
    tokenizer = build_tokenizer(texts, vocab_size=VOCAB_SIZE)
    codec = TextCodec(tokenizer)
    model = build_model(tokenizer, width=128, layers=4, context=512, seed=seed)

    def batches() -> Iterator[list[TokenGroup]]:
        groups = []
        for report in draw_reports(10**9, rng):
            drafts = draw_drafts(report, DRAFTS_PER_REPORT, rng)
            opening = codec.open(report.prompt)
            ids = [codec.encode(opening, d.text, finished=d.finished).ids for d in drafts]
            groups.append(TokenGroup(opening.ids, ids))
            if len(groups) == REPORTS_PER_STEP:
                yield groups
                groups = []

    loss = fit(
        model, batches(), budget=Budget(steps=steps), learning_rate=LEARNING_RATE, description="reference"
    )
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return loss


def main(
    out: Annotated[Path, typer.Option(help="Directory for records.jsonl and the reference model.")],
    records: Annotated[
        int, typer.Option(min=20, help="How many reports; at least 2,000 for the recipe.")
    ] = NUM_REPORTS,
    steps: Annotated[int, typer.Option(min=1, help="Of training the reference.")] = STEPS,
) -> None:
    """Make records of incident reports with summaries by five writers, and a tiny reference model."""
    out.mkdir(parents=True, exist_ok=True)
    num_lines = write_records(out / "records.jsonl", records)
    print(f"{out / 'records.jsonl'}: {num_lines} records")
    loss = train_reference(out / "reference", steps=steps)
    print(f"{out / 'reference'}: a reference model, cross-entropy {loss:.3f} nats a token")


if __name__ == "__main__":
    typer.run(main)

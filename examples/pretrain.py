"""``python -m examples.pretrain``: a small Llama from scratch, on prose and then on summaries."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

END_OF_TEXT = "<|endoftext|>"
"""What separates the documents of a corpus."""
CHUNK_TOKENS = 256
TOKENS_PER_STEP = 2048
PRETRAINING_SHARE = 0.6
"""Of the minutes or steps; the rest is spent on summaries."""
CONTEXT = 1024


def read_summaries(files: list[Path]) -> list[tuple[str, list[str]]]:
    """Prompts of the train split with the summaries in ``meta.references``.

    Prompts that ``validate`` puts in the held-out splits are left out: the reference never sees them.
    """
    from copg.records import assign_split, prompt_id
    from copg.stages.validate import ValidateConfig

    shares = ValidateConfig()
    found = []
    for file in files:
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            split = assign_split(
                prompt_id(record["prompt"]),
                select_fraction=shares.select_fraction,
                gate_fraction=shares.gate_fraction,
            )
            if split == "train":
                found.append((record["prompt"], record["meta"]["references"]))
    return found


def prose_batches(tokenizer: Any, prose: str, rng: random.Random) -> Iterator[list[Any]]:
    """Windows of the prose at random places, each after a start token."""
    from copg.lm.rows import TokenGroup

    ids = tokenizer(prose, add_special_tokens=False, verbose=False).input_ids
    while True:
        starts = [rng.randrange(len(ids) - CHUNK_TOKENS) for _ in range(TOKENS_PER_STEP // CHUNK_TOKENS)]
        yield [TokenGroup([tokenizer.bos_token_id], [ids[i : i + CHUNK_TOKENS]]) for i in starts]


def summary_batches(
    tokenizer: Any, summaries: list[tuple[str, list[str]]], rng: random.Random
) -> Iterator[list[Any]]:
    """Prompts with their summaries, in another order each time through; what does not fit is left out."""
    from copg.lm.rows import TokenGroup
    from copg.lm.text import TextCodec

    codec = TextCodec(tokenizer)
    opened = [(codec.open(prompt), texts) for prompt, texts in summaries]
    groups = [
        TokenGroup(
            opening.ids,
            [codec.encode(opening, text, finished=True).ids for text in texts],
        )
        for opening, texts in opened
    ]
    groups = [group for group in groups if group.num_tokens <= CONTEXT]
    step: list[TokenGroup] = []
    while True:
        for group in rng.sample(groups, len(groups)):
            if step and sum(g.num_tokens for g in step) + group.num_tokens > TOKENS_PER_STEP:
                yield step
                step = []
            step.append(group)


def main(
    corpus: Annotated[
        list[Path], typer.Option(help="Plain text to learn the language from; may be repeated.")
    ],
    records: Annotated[
        list[Path], typer.Option(help="JSONL with 'prompt' and 'meta.references'; may be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Where the model directory goes.")],
    minutes: Annotated[float, typer.Option(min=0.01, help="Of training, in all.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Of training, in all, instead of minutes; 0: minutes.")] = 0,
    width: Annotated[int, typer.Option(min=32, help="Units of the model; a multiple of 32.")] = 128,
    layers: Annotated[int, typer.Option(min=1, help="Blocks of the model.")] = 4,
    vocab_size: Annotated[int, typer.Option(min=300, help="Tokens of its own tokeniser, at most.")] = 4096,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
) -> None:
    """Train a small Llama from scratch on prose, then on the summaries of the train split's prompts."""
    from transformers.utils import logging

    from examples.fitting import Budget, fit
    from examples.tiny_llama import EOS, build_model, build_tokenizer

    if width % 32:
        raise typer.BadParameter(f"--width {width} must be a multiple of 32")
    rng = random.Random(seed)
    prose = "\n".join(file.read_text(encoding="utf-8") for file in corpus).replace(END_OF_TEXT, EOS)
    summaries = read_summaries(records)
    texts = [text for prompt, references in summaries for text in (prompt, *references)]
    tokenizer = build_tokenizer([*prose.splitlines(), *texts], vocab_size=vocab_size)
    model = build_model(tokenizer, width=width, layers=layers, context=CONTEXT, seed=seed)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters, {len(summaries)} summaries")
    phases = {
        "prose": (prose_batches(tokenizer, prose, rng), PRETRAINING_SHARE),
        "summaries": (summary_batches(tokenizer, summaries, rng), 1 - PRETRAINING_SHARE),
    }
    for name, (batches, share) in phases.items():
        budget = Budget(steps=round(steps * share), minutes=minutes * share)
        loss = fit(model, batches, budget=budget, learning_rate=2e-3, description=name)
        print(f"{name}: cross-entropy {loss:.3f} nats a token")
    logging.disable_progress_bar()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    print(out)


if __name__ == "__main__":
    typer.run(main)

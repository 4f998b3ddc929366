"""``python -m examples.tldr --out DIR``: ``openai/summarize_from_feedback`` as records and as preferences.

Every summary that anyone compared becomes a completion of its post, so K is large and ragged; the
preferences train a reward model, which then scores them all.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

SOURCE = "hf://datasets/openai/summarize_from_feedback@refs%2Fconvert%2Fparquet/comparisons/train/*.parquet"
PROMPT = "SUBREDDIT: r/{subreddit}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:"
"""What the Pythia models fine-tuned on TL;DR were given."""


def read_comparisons(rows: Iterable[Mapping[str, Any]]) -> tuple[dict[str, list[str]], list[dict[str, str]]]:
    """All distinct summaries of each prompt, and who was preferred to whom.

    Args:
        rows: ``info`` (post, title, subreddit), two ``summaries`` and the ``choice`` between them.

    Returns:
        Completions by prompt, in the order met, and records of ``prompt``, ``chosen`` and ``rejected``.
        Summaries start with the space that stands before them in running text.
    """
    summaries: dict[str, dict[str, None]] = {}
    preferences = []
    for row in rows:
        info = row["info"]
        if info.get("post") is None:  # a news article: those have another prompt
            continue
        prompt = PROMPT.format(**{key: info[key] or "" for key in ("subreddit", "title", "post")})
        texts = [f" {summary['text'].strip()}" for summary in row["summaries"]]
        summaries.setdefault(prompt, {}).update(dict.fromkeys(texts))
        if texts[0] != texts[1]:
            chosen = row["choice"]
            preferences.append({"prompt": prompt, "chosen": texts[chosen], "rejected": texts[1 - chosen]})
    return {prompt: list(texts) for prompt, texts in summaries.items()}, preferences


def main(
    out: Annotated[Path, typer.Option(help="Directory for records.jsonl and preferences.jsonl.")],
    source: Annotated[str, typer.Option(help="Parquet files of the 'comparisons', or a pattern.")] = SOURCE,
) -> None:
    """Write the comparisons as records of many completions, and as preferences for a reward model."""
    from datasets import load_dataset

    rows = load_dataset("parquet", data_files={"train": source}, split="train")
    summaries, preferences = read_comparisons(rows)
    out.mkdir(parents=True, exist_ok=True)
    records = [{"prompt": prompt, "completions": texts} for prompt, texts in summaries.items()]
    for name, lines in (("records", records), ("preferences", preferences)):
        path = out / f"{name}.jsonl"
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
        print(f"{path}: {len(lines)} lines")
    sizes = Counter(len(texts) for texts in summaries.values())
    print("prompts by number of completions:", dict(sorted(sizes.items())))


if __name__ == "__main__":
    typer.run(main)

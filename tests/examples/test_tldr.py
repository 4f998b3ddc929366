"""``openai/summarize_from_feedback`` as records: its columns, in a small file made here."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from copg.data.group_files import read_groups
from copg.records import Group
from copg.stages.validate import ValidateConfig, validate_records
from examples.tldr import main, read_comparisons

POST = {"post": "My cat sleeps.", "title": "Cat", "subreddit": "pets", "site": None, "article": None}
ARTICLE = {"post": None, "title": "News", "subreddit": None, "site": "cnn", "article": "Long."}
PROMPT = "SUBREDDIT: r/pets\n\nTITLE: Cat\n\nPOST: My cat sleeps.\n\nTL;DR:"


def row(info: dict[str, str | None], first: str, second: str, choice: int) -> dict[str, object]:
    summaries = [{"text": text, "policy": "sup", "note": None} for text in (first, second)]
    return {"info": info, "summaries": summaries, "choice": choice}


ROWS = [
    row(POST, " Cat sleeps.", "A cat.", 0),
    row(POST, "A cat.", "It sleeps a lot.", 1),
    row(POST, "A cat.", " A cat. ", 0),  # the same text twice: a completion, but no preference
    row(ARTICLE, "x", "y", 1),
]


def test_every_summary_of_a_post_is_one_of_its_completions_once() -> None:
    summaries, preferences = read_comparisons(ROWS)
    assert summaries == {PROMPT: [" Cat sleeps.", " A cat.", " It sleeps a lot."]}
    assert [(p["chosen"], p["rejected"]) for p in preferences] == [
        (" Cat sleeps.", " A cat."),
        (" It sleeps a lot.", " A cat."),
    ]


def validated(folder: Path, name: str) -> list[Group]:
    """What the validate stage makes of a written file."""
    config = ValidateConfig(select_fraction=0.0, gate_fraction=0.0)
    validate_records(config, str(folder / f"out/{name}.jsonl"), folder / name)
    return list(read_groups(folder / name, "train"))


@pytest.mark.nightly
def test_the_files_hold_the_accepted_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet")
    main(tmp_path / "out", source=str(tmp_path / "rows.parquet"))
    assert "records.jsonl: 1 lines" in capsys.readouterr().out
    [group] = validated(tmp_path, "records")
    assert [c.text for c in group.completions] == [" Cat sleeps.", " A cat.", " It sleeps a lot."]
    # two preferences over one post become one group: " A cat." was rejected twice
    [group] = validated(tmp_path, "preferences")
    assert {c.text: c.reward for c in group.completions} == {
        " Cat sleeps.": 1.0,
        " A cat.": 0.0,
        " It sleeps a lot.": 1.0,
    }

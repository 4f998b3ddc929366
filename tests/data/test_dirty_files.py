"""Real dirty files: each gives records or rejects with file, line and reason, or one clear error."""

import json
from pathlib import Path
from typing import Any

import pytest

from copg.data.group_files import read_groups
from copg.errors import CopgError, RecordError
from copg.records import SPLITS
from copg.stages.validate import ValidateConfig, validate_records

DIRTY = Path(__file__).parents[3] / "shared/data/dirty"
JSON_SUITE = sorted((DIRTY / "json_test_suite").glob("*.json"))
TABLES = sorted((DIRTY / "csv_spectrum/csvs").glob("*.csv"))
KEEP_GOING = ValidateConfig(max_rejected_fraction=1.0)
pytestmark = pytest.mark.skipif(not DIRTY.is_dir(), reason=f"the dirty files are not at {DIRTY}")


def rejected_in(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "rejected.jsonl").read_text().split("\n")[:-1]]


def run(records: Path, out: Path, config: ValidateConfig = KEEP_GOING) -> dict[str, float]:
    """Metrics of the stage, once they account for every record and every completion that was kept."""
    metrics = validate_records(config, str(records), out)
    rejected = rejected_in(out)
    assert metrics["records/read"] == (
        metrics["groups/count"] + metrics["records/merged"] + metrics["records/rejected"]
    )
    assert metrics["records/rejected"] == len(rejected)
    for entry in rejected:
        assert entry["file"]
        assert entry["line"] >= 1
        assert metrics[f"rejected/{entry['reason']}"] >= 1
        assert entry["detail"]
    groups = [group for split in SPLITS for group in read_groups(out, split)]
    assert len(groups) == metrics["groups/count"]
    assert sum(len(group.completions) for group in groups) == metrics["completions/count"]
    return metrics


def refusal(records: Path, out: Path, config: ValidateConfig = KEEP_GOING) -> str:
    """The one line of the error."""
    with pytest.raises(CopgError) as caught:
        run(records, out, config)
    assert "\n" not in str(caught.value)
    assert str(records) in str(caught.value)
    return str(caught.value)


GOOD = b'{"prompt": "p", "completions": ["a", "b"]}\n'


def test_each_file_of_the_json_suite_as_a_line_is_a_reject_with_its_line(tmp_path: Path) -> None:
    # those that hold line ends become several lines, of which each must be accounted for
    bodies = {file.name: file.read_bytes().replace(b"\r", b" ").strip(b"\n") for file in JSON_SUITE}
    lines, owner = [GOOD], [""]
    for name, body in bodies.items():
        for line in body.split(b"\n"):
            lines.append(line + b"\n")
            owner.append(name)
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines))
    run(tmp_path / "a.jsonl", tmp_path / "groups")
    reasons = {entry["line"]: entry["reason"] for entry in rejected_in(tmp_path / "groups")}
    blank = [number for number, line in enumerate(lines, 1) if not line.strip()]
    assert sorted([*reasons, *blank, 1]) == list(range(1, len(lines) + 1))
    for number, name in enumerate(owner, 1):
        whole = owner.count(name) == 1 and number in reasons
        if whole and name.startswith("y_"):
            # it is JSON: what it lacks is a prompt
            assert reasons[number] in ("not_an_object", "missing_field", "duplicate_key"), name
        if whole and name.startswith("n_"):
            assert reasons[number] in ("invalid_json", "invalid_utf8"), name


@pytest.mark.nightly
def test_each_file_of_the_json_suite_as_it_is_ends_in_one_clear_error(tmp_path: Path) -> None:
    assert len(JSON_SUITE) == 318
    # one stage for all that are objects or cannot be read: a folder of them beside one good record
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "good.jsonl").write_bytes(GOOD)
    names = []
    for file in JSON_SUITE:
        body = file.read_bytes()
        if body.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[") or body.startswith(
            (b"\xff\xfe", b"\xfe\xff")
        ):
            names.append(file.name)
        else:
            (folder / file.name).write_bytes(body)
    run(folder, tmp_path / "groups")
    mentioned = {entry["file"] for entry in rejected_in(tmp_path / "groups")}
    silent = {file.name for file in folder.iterdir()} - mentioned - {"good.jsonl"}
    assert all(not (folder / name).read_bytes().removeprefix(b"\xef\xbb\xbf").strip() for name in silent)
    # lists are refused as files, or item by item as none holds a record
    for number, name in enumerate(names):
        file = DIRTY / "json_test_suite" / name
        message = refusal(file, tmp_path / f"out{number}").removeprefix(str(file))
        if message == ": holds no records":
            assert json.loads(file.read_bytes()) == []
            continue
        assert "list" in message or "is UTF-16" in message or "nothing is left" in message
        if name.startswith("y_") and "nothing is left" in message:
            reasons = {entry["reason"] for entry in rejected_in(tmp_path / f"out{number}")}
            assert reasons <= {"not_an_object", "missing_field"}, name


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_each_awkward_csv_is_read_as_it_is_meant(tmp_path: Path, path: Path) -> None:
    # one of them says CRLF of a cell whose file has come to hold LF
    text = (DIRTY / "csv_spectrum/json" / f"{path.stem}.json").read_text().replace("\\r\\n", "\\n")
    meant = json.loads(text)
    first, second = list(meant[0])[:2]
    # as completions of one another: every record needs a text in both cells
    config = ValidateConfig(columns={"prompt": first, "completion": second}, max_rejected_fraction=1.0)
    message = refusal(path, tmp_path / "groups", config)
    assert "nothing is left" in message
    found = [json.loads(entry["record"]) for entry in rejected_in(tmp_path / "groups")]
    assert [(record["prompt"], record["completions"]) for record in found] == [
        (row[first], [row[second]]) for row in meant
    ]


def test_a_git_lfs_pointer_is_called_that(tmp_path: Path) -> None:
    for path in sorted((DIRTY / "lfs_pointers").iterdir()):
        with pytest.raises(
            RecordError, match="is a git-lfs pointer, not the data; fetch it with 'git lfs pull'"
        ):
            run(path, tmp_path / path.name)


def test_strings_that_break_software_go_through_unharmed_or_are_blank(tmp_path: Path) -> None:
    strings = json.loads((DIRTY / "naughty_strings/blns.json").read_text())
    assert len(strings) == 515
    rows = [{"prompt": f"{n} {text}", "completions": [text, "b" * 3]} for n, text in enumerate(strings)]
    rows += [{"prompt": text, "completions": [f"a{text}", "b"], "extra": {text: text}} for text in strings]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics = run(tmp_path / "a.jsonl", tmp_path / "groups")
    groups = [group for split in SPLITS for group in read_groups(tmp_path / "groups", split)]
    kept = {int(group.source.partition(":")[2]) for group in groups}
    for group in groups:
        row = rows[int(group.source.partition(":")[2]) - 1]
        assert group.prompt == row["prompt"]
        assert [c.text for c in group.completions][:2] == row["completions"]
        assert group.columns == ({"extra": row["extra"]} if "extra" in row else {})
    rejected = rejected_in(tmp_path / "groups")
    assert {entry["reason"] for entry in rejected} <= {"blank_prompt", "blank_completion"}
    for entry in rejected:
        text = strings[(entry["line"] - 1) % len(strings)]
        assert not any(c.isprintable() and not c.isspace() for c in text), text
    assert len(kept) + len(rejected) + metrics["records/merged"] == 2 * len(strings)


def test_real_records_with_a_reward_too_few_or_too_many_are_rejected_by_line(tmp_path: Path) -> None:
    num_rows = 0
    for path in sorted((DIRTY / "scitldr_length_mismatch").glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
        num_rows += len(rows)
        assert "nothing is left" in refusal(path, tmp_path / path.stem)
        entries = rejected_in(tmp_path / path.stem)
        assert [entry["line"] for entry in entries] == list(range(1, len(rows) + 1))
        for row, entry in zip(rows, entries, strict=True):
            assert entry["reason"] == "reward_count"
            given = f"{len(row['rewards'])} rewards for {len(row['completions'])} completions"
            assert entry["detail"].startswith(given)
    assert num_rows == 82


def test_a_completion_that_is_a_boolean_is_rejected_never_made_a_text(tmp_path: Path) -> None:
    path = DIRTY / "pandalm_nonstring/rows.jsonl"
    assert "6 missing_field" in refusal(path, tmp_path / "unmapped")
    columns = {"prompt": "input", "chosen": "response1", "rejected": "response2"}
    message = refusal(path, tmp_path / "mapped", ValidateConfig(columns=columns, max_rejected_fraction=1.0))
    assert "6 of 6 records are rejected" in message
    for entry in rejected_in(tmp_path / "mapped"):
        assert entry["reason"] == "wrong_type"
        assert "is a boolean, not text" in entry["detail"]

"""The demo's records: the same every time, written by several writers, and with some dirt in them."""

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from copg.rewards.contract import RewardSpec
from copg.rewards.mixture import build_mixture
from examples.records import NUM_REPORTS, make_lines, write_records
from examples.reports import Facts, Report
from examples.writers import SHARES, WRITERS

ROOT = Path(__file__).parent.parent.parent
REWARDS = [
    RewardSpec("reference_overlap", label="facts", params={"column": "facts", "mode": "facts"}),
    RewardSpec("length", label="brevity", params={"max": 10, "slope": 0.02}),
]


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    """The demo's file, without the lines that are there to be refused."""
    found = []
    for line in make_lines(NUM_REPORTS, seed=0):
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [record for record in found if record["id"].startswith(("report-", "filed-twice"))]


def test_the_same_seed_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    write_records(tmp_path / "here.jsonl", 50, seed=3)
    script = (
        "import sys; from pathlib import Path; from examples.records import write_records;"
        "write_records(Path(sys.argv[1]), 50, seed=3)"
    )
    there = tmp_path / "there.jsonl"
    command = [sys.executable, "-c", script, str(there)]
    subprocess.run(command, check=True, cwd=ROOT, env={"PYTHONHASHSEED": "7"})
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (there, tmp_path / "here.jsonl")}
    assert len(digests) == 1
    write_records(there, 50, seed=4)
    assert there.read_bytes() != (tmp_path / "here.jsonl").read_bytes()


def test_there_are_at_least_two_thousand_prompts_of_four_to_six_distinct_completions(
    records: list[dict[str, Any]],
) -> None:
    assert len({record["prompt"] for record in records}) == NUM_REPORTS >= 2000
    for record in records:
        completions = record["completions"]
        assert 4 <= len(set(completions)) == len(completions) <= 6
        assert len(record["finished"]) == len(record["writers"]) == len(completions)
        assert 30 <= len(record["prompt"].split()) + 15 <= 80


def test_the_completions_come_from_several_writers_and_the_good_one_is_rare(
    records: list[dict[str, Any]],
) -> None:
    counts = Counter(writer for record in records for writer in record["writers"])
    total = sum(counts.values())
    assert set(counts) == set(WRITERS)
    for writer, share in SHARES.items():
        # distinct completions favour writers who vary: within 4 points of the share
        assert abs(counts[writer] / total - share) < 0.04
    assert counts["editor"] == min(counts.values())
    with_several = [record for record in records if len(set(record["writers"])) >= 2]
    assert len(with_several) > 0.95 * len(records)


def test_only_a_copier_is_cut_off(records: list[dict[str, Any]]) -> None:
    cut = Counter(
        writer
        for record in records
        for writer, finished in zip(record["writers"], record["finished"], strict=True)
        if not finished
    )
    assert set(cut) == {"copier"}


def test_each_writer_earns_what_its_habits_are_worth() -> None:
    report = Report(
        text="...",
        lead="On Monday night police from Upton went to the farm on Mill Street in Corley.",
        facts=Facts(event="fire", venue="farm", town="Corley", day="Monday", number="three", harm="injured"),
        other_town="Upton",
    )
    columns = {"facts": ["fire", "farm", "Corley", "Monday", "three", "injured"]}
    texts = {
        "editor": "Fire at Corley farm on Monday: three injured.",
        "terse": "Fire in Corley.",
        "rambler": "There was a fire in Corley. In all, three people were injured. "
        "On Monday three people were injured at the farm in Corley in the fire.",
        "guesser": "Fire at Upton farm on Friday: six injured.",
        "copier": report.lead,
    }
    rewards = build_mixture(REWARDS)([report.prompt] * 5, list(texts.values()), [columns] * 5).total
    # editor 6/6, 8 words; terse 2/6; rambler 6/6 - 0.02 * (26 - 10); guesser 3/6, 8 words;
    # copier 3/6 (farm, Corley, Monday) - 0.02 * (15 - 10)
    expected = [1.0, 2 / 6, 1 - 0.32, 3 / 6, 3 / 6 - 0.10]
    assert rewards == pytest.approx(expected)


def test_the_file_holds_nine_lines_to_refuse_and_three_reports_filed_twice(tmp_path: Path) -> None:
    from copg.artifacts import read_manifest
    from copg.stages.validate import ValidateConfig, validate_records

    num_lines = write_records(tmp_path / "records.jsonl", 60, seed=0)
    assert num_lines == 60 + 9 + 3
    config = ValidateConfig(max_rejected_fraction=0.2)
    validate_records(config, str(tmp_path / "records.jsonl"), tmp_path / "groups")
    rejected = (tmp_path / "groups" / "rejected.jsonl").read_text().splitlines()
    assert len(rejected) == 9
    assert read_manifest(tmp_path / "groups", schema="groups").rows == 60

"""The page on the rewards and its checks; what the stage itself does is in tests/stages/test_score."""

import json
from pathlib import Path

import pytest

from copg.artifacts import read_manifest
from copg.errors import RewardError
from copg.rewards.contract import RewardSpec
from copg.rewards.tables import HEAD, agreement_rows, distribution_rows, parts_of
from copg.stages.score import ScoreConfig, score_groups
from tests.stages.test_score import group, write

COUNT = RewardSpec("length", 1.0, {"unit": "characters", "max": 0, "slope": 1, "floor": -99}, "chars")
HALF = RewardSpec("length", 1.0, {"unit": "characters", "max": 0, "slope": 0.5, "floor": -99}, "half")
HAS_X = RewardSpec("format", 0.0, {"pattern": "x.*"}, "<b>x</b>")


@pytest.fixture(scope="module")
def scored(tmp_path_factory) -> Path:
    """Train: characters 1 and 3, a tie at 2, and 4 alone; select: 40 times 1 and once 99."""
    folder = tmp_path_factory.mktemp("docs")
    odd = group(50, ["a" * 99, "a"])
    groups = write(
        folder / "groups",
        [group(1, ["a", "abc"]), group(2, ["ab", "cd"]), group(3, ["abcd"])],
        [*(group(n, ["a", "b"]) for n in range(10, 110)), odd],
    )
    score_groups(ScoreConfig(rewards=[COUNT, HALF, HAS_X]), groups, folder / "scored")
    return folder / "scored"


def test_what_is_odd_about_the_rewards_is_counted_and_rejects_nothing(scored) -> None:
    checks = {check["reason"]: check for check in read_manifest(scored, schema="scored").facts["checks"]}
    assert not any(check["rejects"] for check in checks.values())
    counts = {reason: (check["rows"], check["unexpected"]) for reason, check in checks.items()}
    assert counts == {
        # 5 completions of train; 202 of select, where one lies sqrt(201) = 14 deviations below the mean
        "far_out": (207, 1),
        "single": (104, 1),
        # a prompt with one completion counts as a row, and is neither
        "tied": (104, 101),
        # chars and half fall with the length alone and agree entirely; x never differs
        "constant_part": (3, 1),
        "length_alone": (3, 2),
        "same_as_another": (3, 2),
    }


def test_the_page_shows_distribution_ties_agreement_and_betas_and_needs_no_network(scored) -> None:
    page = (scored / "docs/index.html").read_text()
    for trace in ("http:", "https:", "//", "<script", '<link rel="stylesheet', "@import", "url(", "<b>x"):
        assert trace not in page, trace
    for shown in (
        "What <code>score</code> expected of the rewards",
        "Reward spread within a prompt",
        "betas to try",
        "Distribution, train",
        "Distribution, select",
        "Agreement of the parts",
        "&lt;b&gt;x&lt;/b&gt;",
        "correlation with length",
        "Decided by Great Expectations",
    ):
        assert shown in page, shown
    assert "Distribution, gate" not in page
    assert list(read_manifest(scored, schema="scored").files) == [
        "gate.parquet",
        "select.parquet",
        "train.parquet",
    ]


def test_the_tables_are_those_of_the_facts(scored) -> None:
    facts = read_manifest(scored, schema="scored").facts["splits"]["train"]
    rows = {row[0]: dict(zip(HEAD, row, strict=True)) for row in distribution_rows(facts)}
    # characters 1, 3, 2, 2, 4, each counted -1: deviation sqrt(1.04); spread (sqrt(2) + 0) / 2
    assert rows["chars"] == {
        "reward": "chars", "least": "−4", "5 %": "−4", "25 %": "−3", "median": "−2", "75 %": "−2",
        "95 %": "−1", "most": "−1", "mean": "−2.4", "deviation": "1.02", "spread within a prompt": "0.707",
        "correlation with length": "−1",
    }  # fmt: skip
    assert rows["sum, as trained on"]["mean"] == "−3.6"
    parts = parts_of(facts)
    assert parts == ["chars", "half", "<b>x</b>"]
    assert agreement_rows(facts, parts)[0] == ["chars", "1", "1", "–"]
    assert agreement_rows(facts, parts[:1]) == []
    json.dumps(facts, allow_nan=False)


def test_given_rewards_have_a_page_as_well_and_no_groups_are_an_error(tmp_path) -> None:
    groups = write(tmp_path / "groups", [group(1, ["a", "b"], [0.5, -2.0])])
    score_groups(ScoreConfig(source="given"), groups, tmp_path / "scored")
    assert "betas to try" in (tmp_path / "scored/docs/index.html").read_text()
    with pytest.raises(RewardError, match="no group is left to train on: validate left none"):
        score_groups(ScoreConfig(source="given"), write(tmp_path / "none", []), tmp_path / "empty")


def test_prompts_without_completions_are_rows_and_no_deviations(tmp_path) -> None:
    alone = write(tmp_path / "groups", [group(1, ["a", "abc"])], [group(2, [])])
    # a mean of nothing is a warning, and warnings are errors here
    score_groups(ScoreConfig(rewards=[COUNT]), alone, tmp_path / "scored")
    facts = read_manifest(tmp_path / "scored", schema="scored").facts
    checks = {check["reason"]: check for check in facts["checks"]}
    assert (checks["far_out"]["rows"], checks["tied"]["rows"]) == (2, 2)

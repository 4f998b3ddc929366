"""Mixes in the report: beside their trial in table and plot, with the draws that they rest on."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from copg.artifacts import read_manifest
from copg.config import parse_config
from copg.evaluation.results import read_draws, read_measured
from copg.stages.report import ReportConfig, report_trials
from tests.evaluations import NUM_SAMPLES, Made, make_evaluation, make_groups, make_training

FAR = Made("copg_0.01", 0.5, 30.0, "copg", 0.01)
NEAR = Made("copg_0.2", 0.02, 0.5, "copg", 0.2)
MIXES = [
    (0.5, Made("", 0.3, 6.0, "copg", 0.01), "digest of a half"),
    (0.25, Made("", 0.2, 3.0, "copg", 0.01), "digest of a quarter"),
    (1.5, Made("", 0.6, 45.0, "copg", 0.01, diverged=True), ""),
]


def reported(folder: Path, mixes: Any) -> tuple[Path, dict[str, float]]:
    groups = make_groups(folder / "groups")
    reference = make_evaluation(folder / "reference", Made("reference"), groups)
    trials = [
        make_evaluation(folder / "far", FAR, groups, mixes=mixes),
        make_evaluation(folder / "near", NEAR, groups),
    ]
    metrics = report_trials(
        parse_config(ReportConfig, {"max_kl": 10.0, "num_samples": 1}, where="report"),
        groups=folder / "groups",
        reference=reference,
        champion=None,
        evaluations=trials,
        trainings=[make_training(folder / "training", FAR)],
        report=folder / "report",
    )
    return folder, metrics


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    return reported(tmp_path_factory.mktemp("scaled"), MIXES)


@pytest.fixture(scope="module")
def traces(scaled: tuple[Path, dict[str, float]]) -> dict[str, Any]:
    text = (scaled[0] / "report/report.html").read_text()
    figures = json.loads(re.search(r'<script type="application/json" id="figures">(.*?)</script>', text)[1])
    assert not any("@" in str(figure) for name, figure in figures.items() if name.startswith("chart-curve"))
    return {trace["name"]: trace for trace in figures["chart-frontier"]["data"]}


def test_a_thin_line_goes_from_the_reference_through_mixes_and_trial_by_weight(
    scaled: tuple[Path, dict[str, float]], traces: dict[str, Any]
) -> None:
    line = traces[f"mixes of copg_0.01, {40 * NUM_SAMPLES} draws each"]
    assert line["text"] == ["", "x 0.25", "x 0.5", "", "x 1.5"]
    trial = read_measured(scaled[0] / "far")
    reference = read_measured(scaled[0] / "reference").splits["gate"].reward.mean
    expected = [*(trial.mixes[i].splits["gate"] for i in (1, 0)), trial.splits["gate"]]
    assert line["x"][:4] == pytest.approx([0, *(e.kl.mean for e in expected)], rel=1e-4)
    assert line["y"][:4] == pytest.approx([reference, *(e.reward.mean for e in expected)], rel=1e-4)
    assert line["marker"]["size"] == [0, 8, 8, 0, 8]
    assert len(line["error_y"]["array"]) == len(line["customdata"]) == 5
    assert [each[0] for each in line["customdata"]][1:3] == ["copg_0.01@0.25", "copg_0.01@0.5"]
    assert len(traces["copg"]["x"]) == 2  # trials alone
    assert line["marker"]["color"] == traces["copg"]["marker"]["color"]


def test_mixes_stand_after_their_trial_and_the_best_of_all_may_be_one(
    scaled: tuple[Path, dict[str, float]],
) -> None:
    folder, metrics = scaled
    found = json.loads((folder / "report/report.json").read_text())
    told = {each["name"]: each for each in found["policies"]}
    assert [*told] == ["reference", "copg_0.01", *(f"copg_0.01@{w}" for w in (0.5, 0.25, 1.5)), "copg_0.2"]
    assert {name: each["status"] for name, each in told.items()} == {
        "reference": "reference",
        "copg_0.01": "over the KL budget",
        "copg_0.01@0.5": "promoted",
        "copg_0.01@0.25": "not chosen",
        "copg_0.01@1.5": "diverged",
        "copg_0.2": "not chosen",
    }
    assert found["decision"]["best"] == "copg_0.01@0.5"
    best = told["copg_0.01@0.5"]
    assert (best["role"], best["weight"], best["of"], best["num_drawn"]) == ("mix", 0.5, "copg_0.01", 80)
    assert best["gain"]["mean"] == pytest.approx(0.3, abs=0.05)
    assert metrics["trials/evaluated"] == 2
    assert metrics["reward/best"] == best["gate"]["reward"]["mean"]
    on_frontier = [point["name"] for point in found["frontier"]]
    assert on_frontier == ["reference", "copg_0.2", "copg_0.01@0.25", "copg_0.01@0.5", "copg_0.01"]
    page, brief = ((folder / "report" / name).read_text() for name in ("report.html", "report.md"))
    assert "no training: 0.5 of copg_0.01, 80 completions drawn" in page
    assert "A thin line goes from the reference through a trial" in page
    assert "80 completions each" in brief
    assert r"**copg\_0.01@0.5** is promoted" in brief


def test_a_mix_of_logits_is_shown_and_never_best(tmp_path: Path) -> None:
    folder, _ = reported(tmp_path, [(weight, made, "") for weight, made, _ in MIXES])
    found = json.loads((folder / "report/report.json").read_text())
    told = {each["name"]: each for each in found["policies"]}
    assert told["copg_0.01@0.5"]["status"] == "mix of logits, never registered"
    assert found["decision"]["best"] == "copg_0.2"
    assert "no weights hold" in found["decision"]["excluded"]["copg_0.01@0.5"]
    assert read_draws(read_measured(folder / "far").mixes[0], "gate").rewards
    assert read_manifest(folder / "report", schema="report").rows == 2

"""Runs that were, from the summaries that stay; the page of them asks for nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from copg.errors import ConfigError
from copg.records import Estimate
from copg.report.history.page import Champion, champions, render_runs
from copg.run.history import read_runs
from copg.run.summary import HISTORY, SUMMARY, write_summary
from copg.run.task_record import RUN, TaskRecord, write_record
from copg.stores.sealed import write_sealed
from tests.browser import Browser, find_chromium

HOSTILE = "<script>document.title='run'</script>"


def summary(run: str, day: int, *, promoted: bool, champion: str | None, **changes: Any) -> dict[str, Any]:
    trial = {
        "name": "copg_0.1",
        "promoted": promoted,
        "objective": {"gain": {"mean": 0.2, "low": 0.1, "high": 0.3}},
    }
    trial |= {
        f"{what}{end}": value
        for what in ("reward", "kl")
        for end, value in (("", 0.5), ("_low", 0.4), ("_high", 0.6))
    }
    return {
        "run": run,
        "name": "demo",
        "started": f"2026-01-{day:02d}T03:00:00+00:00",
        "failure": None,
        "trials": [trial, {"name": "other", "promoted": False, "reward": None}],
        "best": "copg_0.1",
        "promoted": promoted,
        "version": run.removeprefix("r"),
        "champion": {"version": champion} if champion else None,
        "reference": {"reward": 0.3},
        "seconds": {"resolve": 2.0, "train-copg_0.1": 60.0, "report": 4.0},
        "executed": ["resolve", "train-copg_0.1"],
        "cached": ["report"],
        **changes,
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    home = tmp_path / "roots/demo"
    runs = [
        summary("r1", 1, promoted=True, champion="1"),
        summary("r2", 2, promoted=False, champion="1"),
        summary("r3", 3, promoted=True, champion="3"),
        summary(
            "r4", 4, promoted=False, champion=None, best=None, failure={"stage": "train", "cause": HOSTILE}
        ),
    ]
    (home / HISTORY).mkdir(parents=True)
    for each in runs:
        (home / HISTORY / f"{each['run']}.json").write_text(json.dumps(each))
    (home / SUMMARY).write_text(json.dumps(runs[-1]))  # the latest stands in both places
    return home


def test_the_summary_of_every_run_stays(tmp_path: Path) -> None:
    task = {"task": "score", "stage": "score", "subject": None, "key": "k" * 64, "loop": None}
    for number in (1, 2):
        (tmp_path / RUN).write_text(
            json.dumps({"run": f"r{number}", "name": "x", "started": f"2026-01-0{number}", "tasks": [task]})
        )
        write_record(
            tmp_path,
            TaskRecord(stage="score", task="score", key="k" * 64, run="r1", state="succeeded", seconds=5),
        )
        write_summary(tmp_path, succeeded=True)
    first, second = read_runs([tmp_path])
    # the second found the work of the first
    assert [(r.run, r.seconds, r.reused) for r in (first, second)] == [("r1", 5.0, 0), ("r2", 0.0, 1)]


def test_runs_are_read_in_the_order_of_time_each_once(root: Path) -> None:
    runs = read_runs([root])
    assert [run.run for run in runs] == ["r1", "r2", "r3", "r4"]
    first, last = runs[0], runs[-1]
    assert (first.reward.mean, first.kl.high, first.gain.low, first.reference) == (0.5, 0.6, 0.1, 0.3)
    assert (first.seconds, first.cost, first.reused, first.trials) == (62.0, "1 min 02 s", 1, 2)
    assert (last.failed, last.best, last.reward) == (f"train: {HOSTILE}", "", None)
    assert read_runs([root.parent]) == runs  # a folder of roots


def test_the_best_of_a_run_may_be_a_mix_of_a_trial(tmp_path: Path) -> None:
    told = summary("r1", 1, promoted=True, champion="1", best="copg_0.1@0.5")
    mix = {"name": "copg_0.1@0.5", "reward": 0.7, "reward_low": 0.6, "reward_high": 0.8}
    told["trials"][0] |= {"promoted": False, "mixes": [mix]}
    write_sealed(tmp_path / SUMMARY, told)
    (run,) = read_runs([tmp_path])
    assert (run.best, run.trials, run.reward) == ("copg_0.1@0.5", 2, Estimate(0.7, 0.6, 0.8))


def test_who_was_champion_when_is_told_from_one_change_to_the_next(root: Path) -> None:
    runs = read_runs([root])
    assert champions(runs) == [
        Champion(str(root), "demo", "1", "2026-01-01 03:00", "2026-01-03 03:00", runs[0]),
        Champion(str(root), "demo", "3", "2026-01-03 03:00", "", runs[2]),
    ]


def test_a_summary_that_is_damaged_is_named_and_left_out(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / HISTORY / "r2.json").write_text("{")
    assert [run.run for run in read_runs([root])] == ["r1", "r3", "r4"]
    assert "r2.json: is damaged" in capsys.readouterr().err


def test_a_summary_of_0_1_0_is_read(tmp_path: Path) -> None:
    old = summary("r1", 1, promoted=True, champion="7")
    for key in ("best", "version"):
        old.pop(key)
    old["trials"][0].pop("objective")
    (tmp_path / SUMMARY).write_text(json.dumps(old))
    (run,) = read_runs([tmp_path])
    assert (run.best, run.version, run.gain) == ("copg_0.1", "7", None)


def test_where_no_run_was_there_is_nothing_to_show(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no run has ended there"):
        read_runs([tmp_path])


def test_the_page_says_it_all_and_runs_nothing_that_stands_in_it(root: Path) -> None:
    page = render_runs(read_runs([root]))
    assert HOSTILE not in page
    assert "4 runs" in page
    assert "demo: version 3 is champion since 2026-01-03 03:00." in page
    assert all(
        text in page for text in ("● promoted, version 3", "○ not promoted", "✕ failed", "1 tasks reused")
    )
    figures = json.loads(page.partition('id="figures">')[2].partition("</script>")[0])
    assert set(figures) == {"chart-reward", "chart-kl", "chart-gain", "chart-cost"}
    (trace,) = figures["chart-reward"]["data"]
    assert trace["marker"]["symbol"] == ["circle", "circle-open", "circle"]  # filled: promoted
    assert figures["chart-cost"]["data"][0]["y"] == [1.03333] * 4


@pytest.mark.nightly
@pytest.mark.skipif(find_chromium() is None, reason="needs chromium")
def test_a_browser_draws_every_chart_and_asks_for_nothing(root: Path) -> None:
    path = root / "runs.html"
    path.write_text(render_runs(read_runs([root])))
    with Browser() as browser:
        browser.open(path)
        browser.wait_for("document.documentElement.classList.contains('drawn')")
        assert browser.evaluate("document.querySelectorAll('.chart svg.main-svg').length") >= 4
        assert browser.errors == []
        assert browser.requests == [path.as_uri()]

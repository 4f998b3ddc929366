import json
import re
from pathlib import Path

import pytest

from copg.report.charts import curve_chart
from copg.report.curves import KNOWN, Curve, order_keys, read_curves, thin, title_of
from copg.report.styles import Style


def write(folder, *lines) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_each_metric_is_a_curve_over_the_steps_that_have_it(tmp_path) -> None:
    write(
        tmp_path,
        {"step": 1, "time_s": 9.0, "loss/mean": 2.0},
        {"step": 2, "time_s": 9.5, "loss/mean": 1.0, "reward/mean": 0.5},
        {"step": 3, "time_s": 9.9, "loss/mean": None, "reward/mean": 0.75, "once/only": 1},
    )
    assert read_curves(tmp_path) == {
        "loss/mean": Curve([1, 2, 3], [2.0, 1.0, None]),  # null: a loss that was not finite leaves a gap
        "reward/mean": Curve([2, 3], [0.5, 0.75]),
    }


def test_a_training_without_metrics_or_with_half_a_line_is_no_error(tmp_path) -> None:
    assert read_curves(tmp_path) == {}
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "a/b": 1}\n{"step": 2, "a/b": 2}\n{"step": 3, "a')
    assert read_curves(tmp_path) == {"a/b": Curve([1, 2], [1.0, 2.0])}


def test_a_long_curve_is_drawn_by_means_of_neighbouring_steps() -> None:
    # five points in at most two: runs of three, (1 + 2 + 3) / 3 = 2 and (4 + 5) / 2 = 4.5
    thinned = thin(Curve([1, 2, 3, 4, 5], [10.0, 20.0, 60.0, None, 8.0]), max_points=2)
    assert thinned == Curve([2.0, 4.5], [30.0, 8.0])
    assert thin(Curve([1, 2, 3, 4], [1.0, None, None, None]), max_points=2).values == [1.0, None]


@pytest.mark.parametrize("length", [1, 499, 500, 501, 999, 10_000])
def test_a_curve_never_has_more_points_than_are_drawn(length) -> None:
    assert len(thin(Curve(list(range(length)), [0.0] * length)).steps) <= 500


def test_known_metrics_come_first_in_the_order_of_the_page_and_others_follow_by_name() -> None:
    trials = [{"z/z": Curve(), "loss/mean": Curve()}, {"a/a": Curve(), "reward/mean": Curve()}]
    assert order_keys(trials) == ["reward/mean", "loss/mean", "a/a", "z/z"]


def test_the_parts_of_the_reward_stand_beside_it_by_their_names() -> None:
    keys = ["loss/mean", "reward_spread/mean", "reward_<b>/mean", "reward/mean"]
    assert order_keys([dict.fromkeys(keys, Curve())]) == [
        "reward/mean",
        "reward_<b>/mean",
        "loss/mean",
        "reward_spread/mean",  # no part of the reward
    ]
    assert title_of("reward_<b>/mean") == ("<em>&lt;b&gt;</em> of generations", "before weighting")
    assert title_of("reward_spread/mean") == KNOWN["reward_spread/mean"]
    assert title_of("a/<b>") == ("a/&lt;b&gt;", "")


def test_a_fraction_that_was_never_finite_is_an_empty_chart() -> None:
    styles = {"pg": Style("palette:c0", "circle", "solid")}
    chart = curve_chart("c", "title", "fraction", [("pg", Curve([1, 2], [None, None]))], styles)
    assert chart.figure["data"][0]["y"] == [None, None]
    assert "range" not in chart.figure["layout"]["yaxis"]


def test_every_metric_of_a_step_has_a_title() -> None:
    page = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
    table = page[page.index("| `loss/mean`") :].partition("\n\n")[0]
    named = re.findall(r"^\| `([a-z_]+/[a-z_]+)`", table, re.MULTILINE)
    assert "log_ratio/weighted" in named
    assert set(named) <= set(KNOWN)

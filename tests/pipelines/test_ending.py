"""The last lines of a run: who was promoted, and Python that loads the policy."""

from pathlib import Path
from typing import Any

import pytest
from copg_pipelines.ending import ending

from tests.tiny import save_model

SUMMARY: dict[str, Any] = {
    "best": "copg_0.05",
    "promoted": True,
    "version": "4",
    "model": "demo",
    "champion": {"version": "4"},
    "policy": "/runs/demo/champions/demo/8cd7",
    "report": "/runs/demo/report.html",
    "tracking": "sqlite:////runs/demo/mlflow.db",
}


def told(**changes: Any) -> list[str]:
    return [*ending({**SUMMARY, **changes})]


def test_a_promotion_is_told_with_version_policy_and_report() -> None:
    lines = told()
    assert lines[0] == "promoted: copg_0.05, version 4 of demo, is champion now"
    assert lines[1] == "policy: /runs/demo/champions/demo/8cd7"
    assert lines[-2:] == [
        "report: /runs/demo/report.html",
        "metrics: mlflow ui --backend-store-uri sqlite:////runs/demo/mlflow.db",
    ]


def test_the_three_lines_load_the_policy(tmp_path: Path) -> None:
    save_model(tmp_path)
    lines = [line.strip() for line in told(policy=str(tmp_path)) if line.startswith("  ")]
    assert len(lines) == 3
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    assert names["model"](**names["tokenizer"]("a", return_tensors="pt")).logits.ndim == 3


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"promoted": False, "champion": {"version": "3"}},
            "promoted: nobody; copg_0.05, version 4 of demo, is best, and version 3 stays champion",
        ),
        (
            {"promoted": False, "champion": None},
            "promoted: nobody; copg_0.05, version 4 of demo, is best, and there is no champion yet",
        ),
        ({"promoted": False, "best": None, "policy": None}, "promoted: nobody; no trial can be"),
    ],
)
def test_who_was_not_promoted_is_told_too(changes: dict[str, Any], line: str) -> None:
    assert told(**changes)[0] == line


def test_a_policy_in_an_object_store_is_not_said_to_load_from_there() -> None:
    lines = told(policy="s3://bucket/champions/demo/8cd7", tracking="http://mlflow:5000")
    assert "policy: s3://bucket/champions/demo/8cd7" in lines
    assert not any("from_pretrained" in line for line in lines)
    assert lines[-1] == "metrics: http://mlflow:5000"

"""The last lines of a run: who was promoted, and Python that loads the policy."""

import json
from pathlib import Path
from typing import Any

import pytest

from copg.run.ending import _estimate, ending, found_in_log, log_summary, show_failure
from copg.run.summary import write_summary
from copg.run.task_record import RUN, TaskRecord, write_record
from copg.stores.sealed import write_sealed
from tests.tiny import save_model

MISTRAL_3 = "Mistral3ForConditionalGeneration"
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


@pytest.mark.parametrize(
    ("values", "row"),
    [
        ((0.511, 0.484, 0.539), "   0.511      0.484 to 0.539"),
        ((0.0, 0.0, 0.0), "   0.000      0.000 to 0.000"),
        ((2e-6, 1.5e-6, 2.6e-6), "  2.0e-06  1.5e-06 to 2.6e-06"),
        ((1000.12, 1000.115, 1000.124), "1000.120 1000.115 to 1000.124"),
        ((3.1e12, 2e12, 4.4e12), "3.1e+12  2.0e+12 to 4.4e+12"),
    ],
)
def test_the_table_tells_an_intervals_ends_apart_whatever_unit_rewards_have(values, row) -> None:
    mean, low, high = values
    found = _estimate({"reward": mean, "reward_low": low, "reward_high": high}, "reward")
    assert found.split() == row.split()


def test_the_three_lines_load_the_policy(tmp_path: Path) -> None:
    save_model(tmp_path)
    lines = [line.strip() for line in told(policy=str(tmp_path)) if line.startswith("  ")]
    assert len(lines) == 3
    names: dict[str, Any] = {}
    exec("\n".join(lines), names)
    assert names["model"](**names["tokenizer"]("a", return_tensors="pt")).logits.ndim == 3


@pytest.mark.parametrize(
    ("config", "loads"),
    [
        ({"model_type": "mistral3", "architectures": [MISTRAL_3]}, "AutoModelForMultimodalLM"),
        ({"model_type": "gemma3", "architectures": [MISTRAL_3]}, "AutoModelForCausalLM"),
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, "AutoModelForCausalLM"),
    ],
)
@pytest.mark.parametrize("adapter", [False, True])
def test_a_policy_is_loaded_by_the_class_that_knows_its_kind(
    config: Any, loads: str, adapter: bool, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    policy = tmp_path / "adapter" if adapter else tmp_path
    policy.mkdir(exist_ok=True)
    if adapter:
        (policy / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path)}))
    assert f'  model = {loads}.from_pretrained("{policy}")' in told(policy=str(policy))


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


def test_of_a_run_that_failed_the_warnings_of_finished_stages_are_written_and_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"validate": "v" * 64, "score": "s" * 64}
    tasks = [{"task": t, "stage": t, "subject": None, "key": k, "loop": None} for t, k in keys.items()]
    write_sealed(tmp_path / RUN, {"run": "now", "tasks": tasks, "warnings": ["little memory"]})
    ended = TaskRecord("validate", "validate", keys["validate"], run="now", state="succeeded")
    ended.warnings = ["validate: 9 of 10 records are rejected"]
    write_record(tmp_path, ended)
    write_record(
        tmp_path, TaskRecord("score", "score", keys["score"], run="now", state="failed", message="no rewards")
    )
    summary = write_summary(tmp_path, succeeded=False)
    assert summary["warnings"] == ["little memory", "validate: 9 of 10 records are rejected"]
    show_failure({**summary, "log": "/log"})
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "warning: little memory",
        "warning: validate: 9 of 10 records are rejected",
        "error: stage score: no rewards (log: /log)",
    ]


def test_what_a_run_came_to_is_found_in_the_log_of_its_last_task(capsys: pytest.CaptureFixture[str]) -> None:
    ends = {f"{quantity}{end}": 0.5 for quantity in ("reward", "kl") for end in ("", "_low", "_high")}
    trial = {**ends, "name": "copg_0.05", "promoted": True, "diverged": False, "hints": ["moved nothing"]}
    whole = {"failure": None, "reference": ends, "trials": [trial], "reasons": [], "cached": [], **SUMMARY}
    log_summary({**whole, "warnings": ["3 records are cut"]})
    printed = capsys.readouterr().out
    found = found_in_log(f"I1129 1 main.go:67] begins\n{printed}told the webhook\nI1129 1 main.go:90] ends\n")
    lines = found.splitlines()
    assert lines[-9:] == ["hint: copg_0.05: moved nothing", "warning: 3 records are cut", *told()]
    assert [line.split()[0] for line in lines[2:4]] == ["reference", "copg_0.05"]
    log_summary({"failure": {"cause": "no rewards"}, "warnings": ["3 records are cut"]})
    assert found_in_log(capsys.readouterr().out) == "warning: 3 records are cut"
    for log in ("", "step 1\n", printed.partition(lines[-1])[0]):  # of 0.1.0, of another task, cut off
        assert found_in_log(log) == ""

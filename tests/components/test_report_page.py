"""What KFP shows of a report stays small, however large the report is: the whole page lies behind a link."""

from pathlib import Path
from types import SimpleNamespace

from copg_components.report import report
from kfp import dsl

from copg.report.texts import few
from tests.evaluations import Made, make_evaluation, make_groups, make_training

NUM_TRIALS, NUM_WARNINGS = 8, 400
KB = 1000


def artifact(path: Path) -> SimpleNamespace:
    """One that a task finds on its machine, and KFP at an address in its object store."""
    uri = f"minio://mlpipeline/v2/artifacts/align/{path.name}"
    return SimpleNamespace(uri=uri, path=str(path), metadata={})


def test_the_pages_of_a_large_report_are_of_kilobytes_and_lead_to_the_whole(tmp_path: Path) -> None:
    said = [
        f"validate: line {n}: " + "is no record of a kind that we know, " * 40 for n in range(NUM_WARNINGS)
    ]
    manifest = make_groups(tmp_path / "groups", 3, warnings=said)
    made = [
        Made(f"copg_{n / 100:g}", 0.3 - n / 200, 9 - n / 9, "copg", n / 100) for n in range(1, NUM_TRIALS + 1)
    ]
    reference = make_evaluation(tmp_path / "reference", Made("reference"), manifest, 3)
    evaluations = [
        make_evaluation(tmp_path / f"evaluation-{n}", each, manifest, 3) for n, each in enumerate(made)
    ]
    trainings = [make_training(tmp_path / f"training-{n}", each, 3) for n, each in enumerate(made)]
    left = {name: artifact(tmp_path / name) for name in ("report", "page", "brief")}
    report.python_func(
        plan={"key": "k" * 64, "config": {"max_kl": 12.0}},
        run_dir=str(tmp_path / "runs"),
        groups=artifact(tmp_path / "groups"),
        baselines=[artifact(reference)],
        evaluations=[artifact(each) for each in evaluations],
        trainings=[artifact(each) for each in trainings],
        metrics=dsl.Metrics(uri=str(tmp_path / "metrics")),
        **left,
    )
    page, brief = Path(left["page"].path), Path(left["brief"].path)
    whole = (tmp_path / "report/report.html").read_text()
    assert len(whole) > 4_500 * KB
    # 8 of style and head, one a policy, 7 of warnings
    assert page.stat().st_size < (17 + NUM_TRIALS) * KB
    assert brief.stat().st_size < (10 + NUM_TRIALS) * KB
    text = page.read_text()
    key = "v2%2Fartifacts%2Falign%2Freport%2Freport.html"
    assert f'href="artifacts/get?source=minio&amp;bucket=mlpipeline&amp;key={key}"' in text
    for shown in (text, brief.read_text().replace("\\", "")):
        assert [each.name for each in made if each.name not in shown] == []
        assert "validate: line 19:" in shown
        assert "validate: line 20:" not in shown
        assert "and 380 more: the whole report has them" in shown
    assert all(line.strip() in whole for line in (said[0], said[-1]))


def test_lines_are_cut_and_counted() -> None:
    assert few(["a", "b"], 2) == ["a", "b"]
    assert few(["a", "b", "c"], 1) == ["a", "and 2 more: the whole report has them"]
    assert few(["abc", "abcd"], characters=3) == ["abc", "abc …"]
    assert few([]) == []

"""Component ``report``."""

from kfp import dsl

from copg_components._component import component


@component
def report(
    plan: dict,
    run_dir: str,
    groups: dsl.Input[dsl.Dataset],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    brief: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
    baselines: dsl.Input[list[dsl.Artifact]] = None,
    evaluations: dsl.Input[list[dsl.Artifact]] = None,
    trainings: dsl.Input[list[dsl.Artifact]] = None,
    addresses: dict = {},  # noqa: B006 - the default of a component's input
) -> None:
    """Write one page that shows every trial beside reference and champion.

    Args:
        plan: Settings and digest of the stage, from resolve.
        run_dir: Stable directory of the runs.
        groups: Groups from validate.
        baselines: Evaluations of the reference, and of the champion where there is one.
        evaluations: Evaluation of each trial.
        trainings: Training record of each trial.
        addresses: Of artifacts that no task of the DAG leaves, a list by input.

    Returns:
        report: The page and its numbers.
        page: Its verdict and results, with a link to the whole.
        brief: The same in a few lines.
        metrics: Best reward, its KL, and the gain over the reference.
    """
    import json
    import shutil
    from pathlib import Path

    from copg.artifacts import find_baselines
    from copg.config import parse_config
    from copg_components._handed_in import handed_in
    from copg_components._process import recorded

    loops = {"baselines": baselines, "evaluations": evaluations, "trainings": trainings}
    left = {"report": report, "page": page, "brief": brief}
    with (
        handed_in(loops, addresses) as each,
        recorded(
            "report", plan, run_dir, inputs={"groups": groups, **each}, outputs=left, metrics=metrics
        ) as record,
    ):
        if record.answers:
            return
        from copg.stages.report import ReportConfig, report_trials

        reference, champion = find_baselines(Path(baseline.path) for baseline in each["baselines"])
        found = report_trials(
            parse_config(ReportConfig, plan["config"], where="report"),
            groups=Path(groups.path),
            reference=reference,
            champion=champion,
            evaluations=[Path(evaluation.path) for evaluation in each["evaluations"]],
            trainings=[Path(training.path) for training in each["trainings"]],
            report=Path(report.path),
            address=report.uri,
        )
        shutil.copyfile(Path(report.path) / "brief.html", page.path)
        shutil.copyfile(Path(report.path) / "report.md", brief.path)
        record.measured(found, metrics)
        told = json.loads((Path(report.path) / "report.json").read_text())["policies"]
        record.facts["policies"] = {
            each["name"]: {n: each[n] for n in ("objective", "hints")} for each in told
        }

"""Component ``report``."""

from kfp import dsl

from copg_components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(
    plan: dict,
    run_dir: str,
    groups: dsl.Input[dsl.Dataset],
    baselines: dsl.Input[list[dsl.Artifact]],
    evaluations: dsl.Input[list[dsl.Artifact]],
    trainings: dsl.Input[list[dsl.Artifact]],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    brief: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Write one page that shows every trial beside reference and champion.

    Args:
        plan: Settings and digest of the stage, from resolve.
        run_dir: Stable directory of the runs.
        groups: Groups from validate.
        baselines: Evaluations of the reference, and of the champion where there is one.
        evaluations: Evaluation of each trial.
        trainings: Training record of each trial.

    Returns:
        report: The page and its numbers.
        page: The page alone.
        brief: The same in a few lines.
        metrics: Best reward, its KL, and the gain over the reference.
    """
    import shutil
    from pathlib import Path

    from copg.artifacts import find_baselines
    from copg.config import parse_config
    from copg_components._process import recorded

    taken = {"groups": groups, "baselines": baselines, "evaluations": evaluations, "trainings": trainings}
    left = {"report": report, "page": page, "brief": brief}
    with recorded("report", plan, run_dir, inputs=taken, outputs=left, metrics=metrics) as record:
        if record.answers:
            return
        from copg.stages.report import ReportConfig, report_trials

        reference, champion = find_baselines(Path(baseline.path) for baseline in baselines)
        found = report_trials(
            parse_config(ReportConfig, plan["config"], where="report"),
            groups=Path(groups.path),
            reference=reference,
            champion=champion,
            evaluations=[Path(evaluation.path) for evaluation in evaluations],
            trainings=[Path(training.path) for training in trainings],
            report=Path(report.path),
        )
        shutil.copyfile(Path(report.path) / "report.html", page.path)
        shutil.copyfile(Path(report.path) / "report.md", brief.path)
        record.measured(found, metrics)

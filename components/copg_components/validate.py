"""Component ``validate``."""

from kfp import dsl

from copg_components._component import component


@component
def validate(
    plan: dict,
    records: str,
    run_dir: str,
    groups: dsl.Output[dsl.Dataset],
    docs: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Check the records, keep what is rejected with its reason, and split prompts into train, select, gate.

    Args:
        plan: Settings and digest of the stage, from resolve.
        records: File, folder or data set of records.
        run_dir: Stable directory of the runs.

    Returns:
        groups: Groups of each split, rejected records and data docs.
        docs: What was checked and found, as a page.
        metrics: Counts of records, groups and rejects.
    """
    import shutil
    from pathlib import Path

    from copg.config import parse_config
    from copg_components._process import recorded

    left = {"groups": groups, "docs": docs}
    with recorded("validate", plan, run_dir, inputs={}, outputs=left, metrics=metrics) as record:
        if record.answers:
            return
        from copg.run.outlook import GATE, count_gate, tell_first_outlook
        from copg.run.task_record import TOLD
        from copg.stages.validate import ValidateConfig, validate_records

        config = parse_config(ValidateConfig, plan["config"], where="validate")
        record.measured(validate_records(config, records, Path(groups.path)), metrics)
        record.facts[GATE] = count_gate(plan.get(GATE), Path(groups.path))
        record.facts[TOLD] = tell_first_outlook(plan.get(GATE), record.facts[GATE])
        shutil.copyfile(Path(groups.path) / "docs" / "index.html", docs.path)

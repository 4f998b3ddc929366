"""Component ``promote``."""

from kfp import dsl

from copg_components._component import component


@component
def promote(
    plan: dict,
    run_dir: str,
    groups: dsl.Input[dsl.Dataset],
    registration: dsl.Output[dsl.Artifact],
    card: dsl.Output[dsl.Markdown],
    metrics: dsl.Output[dsl.Metrics],
    baselines: dsl.Input[list[dsl.Artifact]] = None,
    evaluations: dsl.Input[list[dsl.Artifact]] = None,
    addresses: dict = {},  # noqa: B006 - the default of a component's input
) -> None:
    """Register the best trial when it passes the gate; say why when it does not.

    Args:
        plan: Settings and digest of the stage, from resolve.
        run_dir: Stable directory of the runs.
        groups: Groups from validate.
        baselines: Evaluations of the reference, and of the champion where there is one.
        evaluations: Evaluation of each trial.
        addresses: Of artifacts that no task of the DAG leaves, a list by input.

    Returns:
        registration: The decision, its reasons, and the version.
        card: The model card of the best trial; the reasons alone when there is none.
        metrics: Gain over reference and champion.
    """
    import json
    from pathlib import Path

    from copg.artifacts import find_baselines
    from copg.config import parse_config
    from copg_components._handed_in import handed_in
    from copg_components._process import recorded

    loops = {"baselines": baselines, "evaluations": evaluations}
    left = {"registration": registration, "card": card}
    with (
        handed_in(loops, addresses) as each,
        recorded(
            "promote", plan, run_dir, inputs={"groups": groups, **each}, outputs=left, metrics=metrics
        ) as record,
    ):
        if record.answers:
            return
        from copg.stages.promote import PromoteConfig, promote_best

        reference, champion = find_baselines(Path(baseline.path) for baseline in each["baselines"])
        found = promote_best(
            parse_config(PromoteConfig, {**plan["config"], "run_id": record.run}, where="promote"),
            groups=Path(groups.path),
            reference=reference,
            champion=champion,
            evaluations=[Path(evaluation.path) for evaluation in each["evaluations"]],
            registration=Path(registration.path),
        )
        record.measured(found, metrics)
        decision = json.loads((Path(registration.path) / "registration.json").read_text())
        written = Path(registration.path) / "model_card.md"
        text = written.read_text() if written.is_file() else "\n".join(decision["reasons"])
        Path(card.path).write_text(text)
        record.facts.update(decision)

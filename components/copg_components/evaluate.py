"""Component ``evaluate``."""

from kfp import dsl

from copg_components._component import component


@component
def evaluate(
    plan: dict,
    subject: dict,
    run_dir: str,
    scored: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    policy: dsl.Input[dsl.Model] = None,
) -> None:
    """Measure reward, KL and length of a policy on held-out prompts, with intervals.

    Args:
        plan: Settings and digest of the stage, from resolve.
        subject: The trial, the reference, or the champion with its address.
        run_dir: Stable directory of the runs.
        scored: Groups from score: held-out prompts, and the scale of rewards that are standardised.
        policy: Policy of the trial; absent for reference and champion.

    Returns:
        evaluation: Estimates on the select and gate splits, and the completions drawn.
        metrics: The same estimates as numbers.
    """
    import json
    import tempfile
    from pathlib import Path

    from copg.config import parse_config
    from copg.run.task_names import subject_name
    from copg_components._process import recorded

    taken = {"scored": scored, **({"policy": policy} if policy else {})}
    left = {"evaluation": evaluation}
    with (
        recorded("evaluate", plan, run_dir, subject, inputs=taken, outputs=left, metrics=metrics) as record,
        tempfile.TemporaryDirectory() as away,
    ):
        if record.answers:
            return
        from copg.run.sources import fetch
        from copg.stages.evaluate import EvaluateConfig, evaluate_policy

        uri = policy.uri if policy else subject.get("uri", "")
        weights = Path(policy.path) if policy else fetch(uri, Path(away)) if uri else None
        settings = {**plan["config"], "name": subject_name(subject)}
        config = parse_config(EvaluateConfig, settings, where="evaluate")
        folder = Path(evaluation.path)
        found = evaluate_policy(config, Path(scored.path), folder, policy=weights, policy_uri=uri)
        record.measured(found, metrics)
        record.facts.update(json.loads((folder / "evaluation.json").read_text()))
        if policy and policy.uri != policy.path:  # it came from where the training's outputs are stored
            from copg_components.cluster.leftovers import forget

            forget(Path(policy.path), Path(run_dir))

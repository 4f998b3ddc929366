"""Component ``train``."""

from kfp import dsl

from copg_components._component import component


@component
def train(
    plan: dict,
    trial: dict,
    run_dir: str,
    referenced: dsl.Input[dsl.Dataset],
    policy: dsl.Output[dsl.Model],
    training: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    train_job: dict = {},  # noqa: B006 - the default of a component's input
) -> None:
    """Train one trial on whole groups; a killed task goes on from its latest checkpoint.

    Args:
        plan: Settings and digest of the stage, from resolve.
        trial: Method, beta and what else sets this trial apart.
        run_dir: Stable directory of the runs.
        referenced: Groups from reference.
        train_job: A TrainJob to train in, on several nodes; empty trains here, on all GPUs there are.

    Returns:
        policy: The trained policy: a model directory, or an adapter's.
        training: Metrics of every step, and whether the trial diverged; without weights.
        metrics: Of the last completions drawn while training.
    """
    from pathlib import Path

    from copg.config import parse_config
    from copg.run.task_names import as_written
    from copg_components._process import key_of, recorded

    taken, left = {"referenced": referenced}, {"policy": policy, "training": training}
    with recorded("train", plan, run_dir, trial, inputs=taken, outputs=left, metrics=metrics) as record:
        if record.answers:
            return
        from copg.stages.train import TrainConfig, train_policy

        settings = {**plan["config"], "trial": as_written(trial)}
        if policy.uri != policy.path:  # stored only after this program ended: a failed upload may not cost it
            settings["checkpoint"] = {**settings.get("checkpoint", {}), "when_done": "keep"}
        config = parse_config(TrainConfig, settings, where="train")
        groups, weights, log = Path(referenced.path), Path(policy.path), Path(training.path)
        if train_job:
            from copg_components.cluster.train_job import train_on_nodes

            found = train_on_nodes(
                train_job,
                settings,
                key_of(plan, record, record.inputs),
                Path(run_dir),
                run=record.run,
                referenced=groups,
                policy=weights,
                training=log,
            )
        else:
            found = train_policy(config, referenced=groups, policy=weights, training=log)
        record.measured(found, metrics)

"""The DAG ``align``: records in, a better policy, a report and a registered version out."""

from typing import Any

from copg_components.evaluate import evaluate
from copg_components.promote import promote
from copg_components.reference import reference, reference_shard
from copg_components.report import report
from copg_components.resolve import resolve
from copg_components.reward import reward
from copg_components.score import score, score_shard
from copg_components.summary import summary
from copg_components.train import train
from copg_components.validate import validate
from kfp import dsl

from copg_pipelines.dags import Shape


def build(shape: Shape) -> Any:
    """The DAG in a shape that recipe and placement give it."""
    place = shape.place
    several_nodes = {"train_job": shape.train_job} if shape.train_job else {}

    def filled(stage: str, shard_of: Any, *after: dsl.PipelineTask, **inputs: Any) -> dict[str, Any]:
        """Tasks that compute a stage's values into its store; the stage itself then finds them all there."""
        if shape.num_shards == 1:
            return {}
        with dsl.ParallelFor(list(range(shape.num_shards)), name=f"{stage} shards") as shard:
            part = place(shard_of(shard=shard, num_shards=shape.num_shards, **inputs)).after(*after)
        return {"shards": dsl.Collected(part.output)}

    # A DAG of its own: in a local run, a loop gives its item to every parameter that comes straight from a
    # task, so ``resolve`` must stand outside of the DAG that loops.
    @dsl.pipeline(name="stages")
    def stages(
        records: str,
        run_dir: str,
        baselines: list,
        trials: list,
        validation: dict,
        rewarding: dict,
        scoring: dict,
        referencing: dict,
        training: dict,
        measuring: dict,
        evaluating: dict,
        reporting: dict,
        promoting: dict,
    ) -> None:
        validated = place(validate(plan=validation, records=records, run_dir=run_dir))
        groups = validated.outputs["groups"]
        rewarded = (
            [place(reward(plan=rewarding, run_dir=run_dir, groups=groups))] if shape.trains_reward else []
        )
        shards = filled("score", score_shard, *rewarded, plan=scoring, run_dir=run_dir, groups=groups)
        scoring_task = place(score(plan=scoring, run_dir=run_dir, groups=groups, **shards)).after(*rewarded)
        scored = scoring_task.outputs["scored"]
        shards = filled("reference", reference_shard, plan=referencing, run_dir=run_dir, scored=scored)
        referenced = place(reference(plan=referencing, run_dir=run_dir, scored=scored, **shards)).outputs[
            "referenced"
        ]
        with dsl.ParallelFor(baselines, name="baselines", parallelism=shape.loops_at_once) as baseline:
            measured = place(evaluate(plan=measuring, subject=baseline, run_dir=run_dir, scored=scored))
        with dsl.ParallelFor(trials, name="trials", parallelism=shape.loops_at_once) as trial:
            trained = place(
                train(plan=training, trial=trial, run_dir=run_dir, referenced=referenced, **several_nodes)
            )
            evaluated = place(
                evaluate(
                    plan=evaluating,
                    subject=trial,
                    run_dir=run_dir,
                    scored=scored,
                    policy=trained.outputs["policy"],
                )
            )
        # a Collected serves one consumer: the compiler changes it
        reported = place(
            report(
                plan=reporting,
                run_dir=run_dir,
                groups=groups,
                baselines=dsl.Collected(measured.outputs["evaluation"]),
                evaluations=dsl.Collected(evaluated.outputs["evaluation"]),
                trainings=dsl.Collected(trained.outputs["training"]),
            )
        )
        promoted = place(
            promote(
                plan=promoting,
                run_dir=run_dir,
                groups=groups,
                baselines=dsl.Collected(measured.outputs["evaluation"]),
                evaluations=dsl.Collected(evaluated.outputs["evaluation"]),
            )
        )
        promoted.after(reported)

    @dsl.pipeline(
        name="align",
        description="Align a language model on a score of whole completions.",
        pipeline_config=shape.pipeline_config,
    )
    def align(
        name: str,
        records: str,
        model: str,
        trials: list,
        rewards: list,
        run_dir: str,
        settings: dict = {},  # noqa: B006 - the default of a pipeline parameter
        revision: str = "",
        tracking: str = "",
        tasks_at_once: int = 0,
    ) -> None:
        """Resolve, validate, score, reference, train and evaluate each trial, report, promote.

        Args:
            name: Of the registered model and the experiment.
            records: File, folder or data set of records.
            model: Reference model: directory or hub name.
            trials: One training each, with method and beta.
            rewards: Rewards with weights and settings.
            run_dir: Stable directory of the runs; the same for every run of a recipe.
            settings: Settings of the stages, by stage.
            revision: Of the model on the hub; empty for its main branch.
            tracking: MLflow server or database; empty for a file under run_dir.
            tasks_at_once: Trials that share one machine; 0 when each task has its own.
        """
        summed = place(summary(run_dir=run_dir)).set_caching_options(enable_caching=False)
        with dsl.ExitHandler(summed, name="whatever happens"):
            resolved = place(
                resolve(
                    name=name,
                    records=records,
                    model=model,
                    revision=revision,
                    rewards=rewards,
                    trials=trials,
                    settings=settings,
                    tracking=tracking,
                    run_dir=run_dir,
                    tasks_at_once=tasks_at_once,
                )
            ).set_caching_options(enable_caching=False)
            plan = resolved.outputs
            stages(
                records=records,
                run_dir=run_dir,
                baselines=plan["baselines"],
                trials=plan["trials"],
                validation=plan["validate"],
                rewarding=plan["reward"],
                scoring=plan["score"],
                referencing=plan["reference"],
                training=plan["train"],
                measuring=plan["baseline"],
                evaluating=plan["evaluate"],
                reporting=plan["report"],
                promoting=plan["promote"],
            )

    return align

"""The DAG ``align``: records in, a better policy, a report and a registered version out."""

from collections.abc import Mapping
from typing import Any

from copg_components.evaluate import evaluate
from copg_components.promote import promote
from copg_components.reference import reference, reference_shard
from copg_components.report import report
from copg_components.reward import reward
from copg_components.score import score, score_shard
from copg_components.summary import summary
from copg_components.train import train
from copg_components.validate import validate
from kfp import dsl

from copg_pipelines.dags import Shape
from copg_pipelines.dags.resolved import build_resolved


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

    def follow(plan: Mapping[str, Any], records: Any, run_dir: Any) -> None:
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

    def summed(run_dir: Any) -> dsl.ExitHandler:
        last = place(summary(run_dir=run_dir)).set_caching_options(enable_caching=False)
        return dsl.ExitHandler(last, name="whatever happens")

    return build_resolved(
        place,
        follow,
        name="align",
        description="Align a language model on a score of whole completions.",
        pipeline_config=shape.pipeline_config,
        around=summed,
    )

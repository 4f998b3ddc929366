"""The DAG ``align``: records in, a better policy, a report and a registered version out."""

from collections.abc import Mapping
from inspect import Parameter
from typing import Any

from copg_components.evaluate import evaluate
from copg_components.promote import promote
from copg_components.reference import reference, reference_shard
from copg_components.report import report
from copg_components.reward import reward
from copg_components.sample import sample, sample_shard
from copg_components.score import score, score_shard
from copg_components.summary import summary
from copg_components.train import train
from copg_components.validate import validate
from kfp import dsl

from copg.stages.table import ROWS, TABLE
from copg_pipelines.dags import Shape
from copg_pipelines.dags.compiling import takes
from copg_pipelines.dags.resolved import build_resolved

SUBJECTS = list[dict]
"""What a loop over trials or baselines goes over: items of a plain ``list`` are text on a server."""


def build(shape: Shape) -> Any:
    """The DAG in a shape that recipe and placement give it."""
    place = shape.place
    kinds = {"records": str, "run_dir": str, "baselines": SUBJECTS, "trials": SUBJECTS}
    plans = [row.name for row in TABLE if shape.samples or row.name != "sample"]
    kinds |= dict.fromkeys(plans, dict)
    several_nodes = {"train_job": shape.train_job} if shape.train_job else {}

    # A DAG of its own: in a local run, a loop gives its item to every parameter that comes straight from a
    # task, so ``resolve`` must stand outside of the DAG that loops.
    @dsl.pipeline(name="stages")
    @takes(Parameter(n, Parameter.POSITIONAL_OR_KEYWORD, annotation=kind) for n, kind in kinds.items())
    def stages(given: dict[str, Any]) -> None:
        def task(component: Any, plan: str, **inputs: Any) -> dsl.PipelineTask:
            title = ROWS[plan].title + (", a share" if "shard" in inputs else "")
            made = component(plan=given[plan], run_dir=given["run_dir"], **inputs)
            return place(made).set_display_name(title)

        def filled(stage: str, shard_of: Any, *after: dsl.PipelineTask, **inputs: Any) -> dict[str, Any]:
            """Tasks that compute a stage's values into its store, where the stage itself then finds them."""
            num = shape.num_shards
            if num == 1:
                return {}
            with dsl.ParallelFor(list(range(num)), name=f"{stage} shards") as shard:
                part = task(shard_of, stage, shard=shard, num_shards=num, **inputs).after(*after)
            return {"shards": dsl.Collected(part.output)}

        groups = task(validate, "validate", records=given["records"]).outputs["groups"]
        rewarded = [task(reward, "reward", groups=groups)] if shape.trains_reward else []
        if shape.samples:
            # a reward may turn out not to be learnable, and drawing is dear: it waits, though nothing of it
            # depends on the reward, for which the table of stages, from which keys derive, has no edge here
            shards = filled("sample", sample_shard, *rewarded, groups=groups)
            groups = task(sample, "sample", groups=groups, **shards).after(*rewarded).outputs["sampled"]
        shards = filled("score", score_shard, *rewarded, groups=groups)
        scored = task(score, "score", groups=groups, **shards).after(*rewarded).outputs["scored"]
        shards = filled("reference", reference_shard, scored=scored)
        referenced = task(reference, "reference", scored=scored, **shards).outputs["referenced"]
        with dsl.ParallelFor(given["baselines"], name="baselines", parallelism=shape.loops_at_once) as each:
            measured = task(evaluate, "baseline", subject=each, scored=scored)
        with dsl.ParallelFor(given["trials"], name="trials", parallelism=shape.loops_at_once) as each:
            trained = task(train, "train", trial=each, referenced=referenced, **several_nodes)
            policy = trained.outputs["policy"]
            evaluated = task(evaluate, "evaluate", subject=each, scored=scored, policy=policy)

        def collected() -> dict[str, Any]:
            """Of its own for each task that takes it: the compiler changes a Collected."""
            loops = {"baselines": measured, "evaluations": evaluated}
            return {name: dsl.Collected(loop.outputs["evaluation"]) for name, loop in loops.items()}

        trainings = dsl.Collected(trained.outputs["training"])
        reported = task(report, "report", groups=groups, trainings=trainings, **collected())
        task(promote, "promote", groups=groups, **collected()).after(reported)

    def follow(plan: Mapping[str, Any], records: Any, run_dir: Any) -> None:
        stages(
            records=records,
            run_dir=run_dir,
            baselines=plan["baselines"],
            trials=plan["trials"],
            **{name: plan[name] for name in plans},
        )

    def summed(run_dir: Any) -> dsl.ExitHandler:
        last = place(summary(run_dir=run_dir)).set_caching_options(enable_caching=False)
        return dsl.ExitHandler(last.set_display_name("Sum up, whatever happened"), name="whatever happens")

    return build_resolved(
        place,
        follow,
        name="align",
        title="Align a language model",
        description="Align a language model on a score of whole completions.",
        pipeline_config=shape.pipeline_config,
        around=summed,
    )

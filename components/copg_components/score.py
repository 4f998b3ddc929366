"""Component ``score``."""

from kfp import dsl

from copg_components._component import component


@component
def score(
    plan: dict,
    run_dir: str,
    groups: dsl.Input[dsl.Dataset],
    scored: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    shards: list = [],  # noqa: B006 - the default of a component's input
) -> None:
    """Fill the reward of every completion, and the parts it is made of.

    Args:
        plan: Settings and digest of the stage, from resolve.
        run_dir: Stable directory of the runs.
        groups: Groups from validate.
        shards: Groups of each shard that was computed into the store before; empty without shards.

    Returns:
        scored: The same groups with rewards.
        metrics: Distribution of rewards, ties, spread.
    """
    from pathlib import Path

    from copg.config import parse_config
    from copg_components._process import recorded

    taken, left = {"groups": groups}, {"scored": scored}
    with recorded("score", plan, run_dir, inputs=taken, outputs=left, metrics=metrics) as record:
        if record.answers:
            return
        from copg.run.outlook import GATE, measure_gate, tell_outlook
        from copg.run.task_record import TOLD
        from copg.stages.score import ScoreConfig, score_groups

        config = parse_config(ScoreConfig, plan["config"], where="score")
        record.measured(score_groups(config, Path(groups.path), Path(scored.path)), metrics)
        record.facts[GATE] = measure_gate(plan.get(GATE), Path(scored.path))
        record.facts[TOLD] = tell_outlook(plan.get(GATE), record.facts[GATE])


@component
def score_shard(plan: dict, run_dir: str, shard: int, num_shards: int, groups: dsl.Input[dsl.Dataset]) -> int:
    """Fill the store with the rewards of one share of the groups.

    Args:
        plan: Settings and digest of the stage, from resolve.
        run_dir: Stable directory of the runs.
        shard: Which share, from 0.
        num_shards: How many there are.
        groups: Groups from validate.

    Returns:
        Output: Groups in the share.
    """
    from pathlib import Path

    from copg.config import parse_config
    from copg_components._process import recorded

    subject = {"name": f"shard-{shard + 1}-of-{num_shards}", "shard": shard}
    with recorded("score", plan, run_dir, subject, inputs={"groups": groups}) as record:
        if record.answers:
            return int(record.metrics["groups/count"])
        from copg.stages.score import ScoreConfig, score_shard

        config = parse_config(ScoreConfig, plan["config"], where="score")
        count = score_shard(config, Path(groups.path), shard, num_shards)
        record.metrics["groups/count"] = float(count)
    return count

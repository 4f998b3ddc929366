"""Component ``reference``."""

from kfp import dsl

from copg_components._component import component


@component
def reference(
    plan: dict,
    run_dir: str,
    scored: dsl.Input[dsl.Dataset],
    referenced: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    shards: list = [],  # noqa: B006 - the default of a component's input
) -> None:
    """Tokenise once, and add the log-probability of every completion under the reference.

    Args:
        plan: Settings and digest of the stage, from resolve.
        run_dir: Stable directory of the runs.
        scored: Groups from score.
        shards: Groups of each shard that was computed into the store before; empty without shards.

    Returns:
        referenced: The same groups with token ids and reference log-probabilities.
        metrics: Completions computed, reused and checked.
    """
    from pathlib import Path

    from copg.config import parse_config
    from copg_components._process import recorded

    taken, left = {"scored": scored}, {"referenced": referenced}
    with recorded("reference", plan, run_dir, inputs=taken, outputs=left, metrics=metrics) as record:
        if record.answers:
            return
        from copg.stages.reference import ReferenceConfig, reference_groups

        config = parse_config(ReferenceConfig, plan["config"], where="reference")
        record.measured(reference_groups(config, Path(scored.path), Path(referenced.path)), metrics)


@component
def reference_shard(
    plan: dict, run_dir: str, shard: int, num_shards: int, scored: dsl.Input[dsl.Dataset]
) -> int:
    """Fill the store with the reference log-probabilities of one share of the groups.

    Args:
        plan: Settings and digest of the stage, from resolve.
        run_dir: Stable directory of the runs.
        shard: Which share, from 0.
        num_shards: How many there are.
        scored: Groups from score.

    Returns:
        Output: Groups in the share.
    """
    from pathlib import Path

    from copg.config import parse_config
    from copg_components._process import recorded

    subject = {"name": f"shard-{shard + 1}-of-{num_shards}", "shard": shard}
    with recorded("reference", plan, run_dir, subject, inputs={"scored": scored}) as record:
        if record.answers:
            return int(record.metrics["groups/count"])
        from copg.stages.reference import ReferenceConfig, reference_shard

        config = parse_config(ReferenceConfig, plan["config"], where="reference")
        count = reference_shard(config, Path(scored.path), shard, num_shards)
        record.metrics["groups/count"] = float(count)
    return count

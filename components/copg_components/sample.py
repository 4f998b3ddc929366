"""Component ``sample``."""

from kfp import dsl

from copg_components._component import component


@component
def sample(
    plan: dict,
    run_dir: str,
    groups: dsl.Input[dsl.Dataset],
    sampled: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    shards: list = [],  # noqa: B006 - the default of a component's input
) -> None:
    """Draw the completions that training prompts lack, each once in its life.

    Args:
        plan: Settings and digest of the stage, from resolve.
        run_dir: Stable directory of the runs.
        groups: Groups from validate, of any number of completions.
        shards: Groups of each shard that was drawn into the store before; empty without shards.

    Returns:
        sampled: The same groups with what was drawn.
        metrics: Completions drawn, reused, failed and left out.
    """
    from dataclasses import replace
    from pathlib import Path

    from copg.config import parse_config
    from copg_components._process import recorded

    taken, left = {"groups": groups}, {"sampled": sampled}
    with recorded("sample", plan, run_dir, inputs=taken, outputs=left, metrics=metrics) as record:
        if record.answers:
            return
        from copg.stages.sample import SampleConfig, sample_groups
        from copg_components._handed_in import at_hand

        config = parse_config(SampleConfig, plan["config"], where="sample")
        with at_hand(config.model) as model:
            here = replace(config, model=model)
            record.measured(sample_groups(here, Path(groups.path), Path(sampled.path)), metrics)


@component
def sample_shard(
    plan: dict, run_dir: str, shard: int, num_shards: int, groups: dsl.Input[dsl.Dataset]
) -> int:
    """Fill the store with the completions that one share of the groups lacks.

    Args:
        plan: Settings and digest of the stage, from resolve.
        run_dir: Stable directory of the runs.
        shard: Which share, from 0.
        num_shards: How many there are.
        groups: Groups from validate, of any number of completions.

    Returns:
        Output: Groups in the share.
    """
    from dataclasses import replace
    from pathlib import Path

    from copg.config import parse_config
    from copg_components._process import recorded

    subject = {"name": f"shard-{shard + 1}-of-{num_shards}", "shard": shard}
    with recorded("sample", plan, run_dir, subject, inputs={"groups": groups}) as record:
        if record.answers:
            return int(record.metrics["groups/count"])
        from copg.stages.sample import SampleConfig, sample_shard
        from copg_components._handed_in import at_hand

        config = parse_config(SampleConfig, plan["config"], where="sample")
        with at_hand(config.model) as model:
            count = sample_shard(replace(config, model=model), Path(groups.path), shard, num_shards)
        record.metrics["groups/count"] = float(count)
    return count

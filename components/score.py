"""Component ``score``."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def score(
    plan: dict,
    run_dir: str,
    groups: dsl.Input[dsl.Dataset],
    scored: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Fill the reward of every completion, and the parts it is made of.

    Args:
        plan: Settings and digest of the stage, from resolve.
        run_dir: Stable directory of the runs.
        groups: Groups from validate.

    Returns:
        scored: The same groups with rewards.
        metrics: Distribution of rewards, ties, spread.
    """
    from pathlib import Path

    from copg.config import parse_config
    from copg.run_record import recorded

    with recorded("score", plan, run_dir) as record:
        from copg.stages.score import ScoreConfig, score_groups

        config = parse_config(ScoreConfig, plan["config"], where="score")
        record.measured(score_groups(config, Path(groups.path), Path(scored.path)), metrics)
        record.left(scored=scored.uri)

"""Component ``reward``."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def reward(
    plan: dict,
    run_dir: str,
    groups: dsl.Input[dsl.Dataset],
    reward_model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Train a reward model on the ranking of each prompt's completions, and test it on held-out pairs.

    Args:
        plan: Settings and digest of the stage.
        run_dir: Stable directory of the runs.
        groups: Groups from validate, whose records came with rewards or preferences.

    Returns:
        reward_model: A model directory for the reward ``reward_model``.
        metrics: Accuracy, log loss and calibration on held-out pairs.
    """
    from pathlib import Path

    from copg.config import parse_config
    from copg.run_record import recorded

    with recorded("reward", plan, run_dir) as record:
        from copg.stages.reward import RewardConfig, train_reward

        config = parse_config(RewardConfig, plan["config"], where="reward")
        record.measured(train_reward(config, Path(groups.path), Path(reward_model.path)), metrics)
        record.left(reward_model=reward_model.uri)

"""Component ``reward``."""

from kfp import dsl

from copg_components._component import component


@component
def reward(
    plan: dict,
    run_dir: str,
    groups: dsl.Input[dsl.Dataset],
    reward_model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Train a reward model on the ranking of each prompt's completions, and test it on held-out pairs.

    The model lies under the directory of the runs, where score, train and evaluate read it, so that no task
    has to fetch its weights; the artifact is its manifest, with the address.

    Args:
        plan: Settings and digest of the stage, from resolve.
        run_dir: Stable directory of the runs.
        groups: Groups from validate, whose records came with rewards or preferences.

    Returns:
        reward_model: Manifest of the reward model, with the address of its weights.
        metrics: Accuracy, log loss and calibration on held-out pairs.
    """
    import shutil
    from pathlib import Path

    from copg.artifacts import read_manifest
    from copg.config import parse_config
    from copg.run.card import warnings_in
    from copg.run.trained_reward import model_folder
    from copg_components._process import key_of, recorded

    with recorded("reward", plan, run_dir) as record:
        from copg.stages.reward import RewardConfig, train_reward_once

        config = parse_config(RewardConfig, plan["config"], where="reward")
        learnt_from = read_manifest(Path(groups.path), schema="groups", verify=False).digest
        folder = model_folder(Path(run_dir), key_of(plan, record, learnt_from))
        record.measured(train_reward_once(config, Path(groups.path), folder), metrics)
        Path(reward_model.path).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "manifest.json", Path(reward_model.path) / "trained.json")
        reward_model.metadata["weights"] = str(folder)
        record.outputs["reward_model"] = str(folder)
        record.warnings = warnings_in(folder)

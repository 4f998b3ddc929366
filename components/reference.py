"""Component ``reference``."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def reference(
    plan: dict,
    run_dir: str,
    scored: dsl.Input[dsl.Dataset],
    referenced: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Tokenise once, and add the log-probability of every completion under the reference.

    Args:
        plan: Settings and digest of the stage, from resolve.
        run_dir: Stable directory of the runs.
        scored: Groups from score.

    Returns:
        referenced: The same groups with token ids and reference log-probabilities.
        metrics: Completions computed, reused and checked.
    """
    from pathlib import Path

    from copg.config import parse_config
    from copg.run_record import recorded

    with recorded("reference", plan, run_dir) as record:
        from copg.stages.reference import ReferenceConfig, reference_groups

        config = parse_config(ReferenceConfig, plan["config"], where="reference")
        record.measured(reference_groups(config, Path(scored.path), Path(referenced.path)), metrics)
        record.left(referenced=referenced.uri)

"""Component ``summary``: the exit handler."""

from kfp import dsl

from components import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def summary(run_dir: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Write summary.json from the records of the tasks, whatever happened to them.

    Args:
        run_dir: Stable directory of the runs.
        status: How the pipeline ended.
    """
    from pathlib import Path

    from copg.summary import write_summary

    write_summary(Path(run_dir), succeeded=status.state == "SUCCEEDED")

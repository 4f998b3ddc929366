"""Component ``summary``: the exit handler."""

from kfp import dsl

from copg_components._component import component


@component
def summary(run_dir: str, status: dsl.PipelineTaskFinalStatus) -> None:
    """Write summary.json from the records of the tasks, and tell a webhook of a run that failed.

    Its address, COPG_WEBHOOK_URL, comes from a secret; also one that was not promoted is told. On a server
    this task fails with the run: of a run that is resumed, the server repeats what failed alone.

    Args:
        run_dir: Stable directory of the runs.
        status: How the pipeline ended.
    """
    import os
    from pathlib import Path

    from copg.errors import CopgError
    from copg.run.ending import log_summary
    from copg.run.summary import write_summary
    from copg.run.webhook import notify

    # Servers say COMPLETE, CACHED or even RUNNING of what ended well; the records know what is missing.
    ended_well = status.state not in ("FAILED", "CANCELED", "CANCELLED")
    on_a_server = "KFP_POD_NAME" in os.environ  # elsewhere every run has one name, and none is resumed
    job = status.pipeline_job_resource_name if on_a_server else ""
    found = write_summary(Path(run_dir), succeeded=ended_well, job=job)
    log_summary(found)
    if said := notify(os.environ.get("COPG_WEBHOOK_URL", ""), found):
        print(said, flush=True)
    if found["failure"] and on_a_server:
        cause = found["failure"]["cause"]
        raise CopgError(f"{cause} (so this task fails too, and sums up anew once the run is resumed)")

"""Whether a run that a server calls running is still there: it says so for ever of one that was deleted."""

from datetime import UTC, datetime
from typing import Any

from copg_pipelines.server.client import Client
from copg_pipelines.server.logs import pod_names, read_log
from copg_pipelines.server.outline import Outline
from copg_pipelines.server.runs import CANCELING, ended
from copg_pipelines.server.tasks import BEHIND, Told


def is_lost(
    client: Client, run: Any, told: Told, outline: Outline, now: datetime | None = None
) -> bool | None:
    """Whether the pods of all tasks that are said to run are gone.

    The logs of pods tell: by its name a pod that is there has one, and one that is over has one in the
    archive, once its node was told as over. Names are tried on a task that is over first, so that one that
    was not guessed is no sign of anything. A server of one user has no log of a pod that runs: there a kube
    context tells.

    Args:
        client: of the server.
        run: as the server tells it.
        told: of its tasks.
        outline: what its DAG tells of names of pods.
        now: this moment.

    Returns:
        None where nothing has changed for a while, and nobody can know.
    """
    since = (now or datetime.now(UTC)) - BEHIND
    if ended(run) or told.stopped is not None:
        return False
    if run.state == CANCELING and run.state in [each.state for each in run.state_history or []]:
        return False  # who reports of the workflow has seen it
    if not client.many_users:
        changed = [each for task in (*told.tasks, *told.drivers) for each in (task.start, task.end) if each]
        return None if max(changed, default=run.created_at) < since else False
    going = [t for t in told.tasks if t.state == "RUNNING" and t.pods and t.start and t.start < since]
    over = [task.pods[-1] for task in told.tasks if task.state == "SUCCEEDED" and task.pods]
    if not going or not over:
        return False
    names = list(pod_names(over[-1], outline))
    right = [at for at, name in enumerate(names) if read_log(client, run.run_id, name) is not None]
    if not right:
        return False
    tried = [list(pod_names(task.pods[-1], outline)) for task in going]
    return all(read_log(client, run.run_id, name) is None for each in tried for name in each)

"""How a run on a server stands, in words: a line a task, and one for why it did not succeed."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from copg.run.ending import found_in_log
from copg_pipelines.server.at_hand import AtHand, RunPods
from copg_pipelines.server.client import Client
from copg_pipelines.server.connection import ClientError
from copg_pipelines.server.logs import cause_in, log_of
from copg_pipelines.server.lost import is_lost
from copg_pipelines.server.outline import Outline, outline_of
from copg_pipelines.server.runs import CANCELING, LOST, ended, outcome
from copg_pipelines.server.tasks import CANCELED, UNKNOWN, Task, Told, tasks_of

REPORT, PAGE = "report", "page"
FOR_PEOPLE = re.compile(r"^(?:gate: |a (?:turn|completion) ends with ).+$", re.MULTILINE)
TELLING = ("resolve", "validate", "score")
"""The tasks that tell, before anything trains, what ends a completion and which gains the gate will see."""
LAST = "summary"
"""The exit handler, which fails with its run."""
UNTOLD = (
    "not known from here: its workflow tells, where --kube-context names its cluster, until a day after its "
    "end, and summary.json in the directory of its runs"
)
UNSEEN = (
    "note: whether the run is still there is not known from here: its server goes on saying so of one whose "
    "workflow was deleted; copg status with --kube-context NAME asks its cluster"
)
DRIVES = "the driver before it waits: "


class Shown:
    """A run as the server tells it at one moment, and what is known of it besides."""

    def __init__(
        self,
        client: Client,
        run: Any,
        at_hand: AtHand,
        outline: Outline | None = None,
        *,
        lost: bool = False,
    ) -> None:
        self.client, self.run, self.at_hand = client, run, at_hand
        self.waiting: Mapping[str, str] = {}
        """Why a pod does not start, by the id of its node, as far as somebody looked."""
        self.unseen = False
        """Whether somebody looked in vain for whether it is still there."""
        self.outline = outline if outline is not None else outline_of(client, run)
        self.outcome = LOST if lost else outcome(run)
        """State of the run; CANCELED or LOST where the server has no word for it."""
        self._causes: dict[str, str] = {}

    @cached_property
    def told(self) -> Told:
        """What the server tells of its tasks; once it stopped, what the workflow tells."""
        return tasks_of(self.run, self.outline.items, self.at_hand.nodes_of)

    @cached_property
    def failed(self) -> list[Task]:
        """The tasks that failed, in the order in which they ended; the last of all where no other did."""
        last = datetime.max.replace(tzinfo=UTC)
        found = sorted((t for t in self.told.tasks if t.state == "FAILED"), key=lambda t: t.end or last)
        return [each for each in found if each.stage != LAST] or found

    def choose(self, name: str = "") -> list[Task]:
        """The tasks of a name or a stage; without one those that failed, else those that run.

        Raises:
            ClientError: there is none.
        """
        tasks = list(self.told.tasks)
        if name:
            found = [each for each in tasks if each.name == name] or [
                each for each in tasks if each.stage == name
            ]
        else:
            found = self.failed or [each for each in tasks if each.state in ("RUNNING", UNKNOWN)]
        if not found:
            known = ", ".join(dict.fromkeys(each.name for each in tasks)) or "none"
            what = f"task={name!r} is unknown" if name else "no task failed or runs: name one"
            raise ClientError(f"{what}; there are: {known}", 404)
        return found

    def cause(self, task: Task) -> str:
        """Why a task failed: as the server says, else from its log, which is read once."""
        if task.message:
            return task.message
        if task.node not in self._causes:
            self._causes[task.node] = cause_in(self.log(task) or "", task.name)
        return self._causes[task.node]

    def log(self, task: Task, attempt: int = 0) -> str | None:
        """What one attempt at a task wrote, the latest unless told otherwise; None where there is no log.

        Of a pod that runs, a server of one user has none, and neither of one of whose end it did not tell:
        then the cluster is asked.
        """
        if not (task.pods and 0 <= attempt <= len(task.pods)):
            return None
        pod = task.pods[attempt - 1]
        found = log_of(self.client, self.run.run_id, pod, self.outline)
        return self.at_hand.log_of(pod) if found is None else found

    def waits_for(self, task: Task) -> str:
        """Why a task's pod does not start, as far as a cluster at hand tells."""
        why = self.waiting.get(task.pods[-1], "") if task.pods and task.state == "PENDING" else ""
        return DRIVES + why if why and task.before else why

    def begun(self) -> list[Task]:
        """The tasks, and those that a driver holds up whose pod does not start."""
        return [*self.told.tasks, *filter(self.waits_for, self.told.drivers)]

    def line(self, task: Task) -> str:
        """How a task stands; see ``Task.line``."""
        why = self.cause(task) if task.state == "FAILED" else self.waits_for(task)
        return task.line(datetime.now(UTC), why)

    def note(self) -> str:
        """What to know about states that stopped; empty where the server tells of all."""
        if self.told.stopped is None:
            return ""
        rest = f"the run itself {f'is {self.outcome}' if ended(self.run) else 'goes on'}; what followed is "
        rest += "told by its workflow" if self.told.followed else UNTOLD
        return (
            f"note: the server stopped telling of tasks at {self.told.stopped:%H:%M:%S} UTC, as it does "
            f"of a workflow too large for its controller: {rest}"
        )

    def came_to(self) -> str:
        """What a run that is over came to and was warned of, from the log of its last task; empty without."""
        last = next((each for each in self.told.tasks if each.stage == LAST and each.pods), None)
        log = self.log(last) if last is not None and ended(self.run) else None
        return found_in_log(log) if log is not None else ""

    def for_people(self, task: Task) -> list[str]:
        """Lines that a task has told for who waits, as the terminal of a run on this machine shows them."""
        if task.stage not in TELLING or task.state != "SUCCEEDED":
            return []
        return FOR_PEOPLE.findall(self.log(task) or "")

    def why(self) -> str:
        """In one line, why a run ended as it did."""
        run_id = self.run.run_id
        if self.outcome == LOST:
            said = self.run.state
            how = "" if said == CANCELING else f"; copg cancel {run_id} marks it there"
            return (
                f"run {run_id} is LOST: its workflow was deleted, and the server goes on saying {said}{how}"
            )
        if self.outcome == CANCELED:
            stopped = [each.name for each in self.told.tasks if each.state == CANCELED]
            return f"run {run_id} is CANCELED" + (f" while {', '.join(stopped)} ran" if stopped else "")
        which = f" in {', '.join(dict.fromkeys(each.name for each in self.failed))}" if self.failed else ""
        said = self.run.error.message if self.run.error and self.run.error.message else ""
        # a task that was killed said nothing itself: its run's last one knows
        last = [each for each in self.told.tasks if each.stage == LAST and each.state == "FAILED"]
        causes = filter(None, map(self.cause, [*self.failed, *last]))
        cause = next(causes, "") or " ".join(said.split())
        return f"run {run_id} is {self.outcome}{which}" + (f": {cause}" if cause else self._where_to_look())

    def _where_to_look(self) -> str:
        """What to say of a run that failed where no log gives a cause."""
        if self.outcome != "FAILED":
            return ""
        doubtful = self.failed or [each for each in self.told.tasks if each.state == UNKNOWN]
        names = list(dict.fromkeys(each.name for each in doubtful))
        task = names[0] if names else "TASK"
        which = f", of {', '.join(names)}" if len(names) > 1 else ""
        return f"; no log gives a cause: copg logs {self.run.run_id} {task} prints what there is{which}"

    def message(self) -> dict[str, Any]:
        """What a webhook is told."""
        first = self.failed[0] if self.failed else None
        why = self.why()
        trial = first.name.removeprefix(first.stage).lstrip("-") or None if first else None
        cause = (self.cause(first) if first else "") or why
        return {
            "event": self.outcome.lower(),
            "text": f"copg: {why}",
            "name": self.run.display_name,
            "run": self.run.run_id,
            "started": self.run.created_at.isoformat() if self.run.created_at else None,
            "failure": {"stage": first.stage if first else None, "trial": trial, "cause": cause},
            "tasks": [self._told_of(each) for each in self.told.tasks],
            "page": self.client.connection.page("runs/details", self.run.run_id),
        }

    def _told_of(self, task: Task) -> Mapping[str, Any]:
        told = {"task": task.name, "state": task.state, "attempts": task.attempts, "seconds": task.seconds()}
        return told | ({"cause": self.cause(task)} if task.state == "FAILED" else {})


def look(
    client: Client,
    run: Any,
    at_hand: AtHand,
    outline: Outline | None = None,
) -> Shown:
    """A run as it stands.

    Args:
        client: of the server.
        run: as the server tells it.
        at_hand: the cluster; where there is none, the logs of its pods tell whether the run is lost.
        outline: of its DAG, where it is known already.
    """
    shown = Shown(client, run, at_hand, outline)
    if ended(run):
        return shown
    found = (at_hand.look(shown.told.workflow) if shown.told.workflow else None) or RunPods()
    shown.waiting = found.waiting
    lost = is_lost(client, run, shown.told, shown.outline) if found.gone is None else found.gone
    shown.unseen = lost is None
    if lost:
        shown.outcome = LOST
    return shown


def show_run(shown: Shown, say: Callable[[str], None]) -> None:
    """Say how a run stands, task by task, and where to see it."""
    run = shown.run
    say(f"run {run.run_id}  {run.display_name}  {shown.outcome}")
    for task in shown.begun():
        say(shown.line(task))
    if shown.unseen:
        say(UNSEEN)
    say_rest(shown, say)


def say_rest(shown: Shown, say: Callable[[str], None]) -> None:
    """Say what never began, what is not known, and where the pages of a run and of its report are."""
    if ended(shown.run) and shown.told.never:
        say(f"never began: {', '.join(shown.told.never)}")
    if note := shown.note():
        say(note)
    if came_to := shown.came_to():
        say(came_to)
    client, run = shown.client, shown.run
    address = client.connection.page("runs/details", run.run_id)
    say(f"run: {address}")
    report = next((task for task in shown.told.tasks if task.name == REPORT), None)
    if report is None or report.state not in ("SUCCEEDED", "CACHED"):
        return
    artifacts = (report.outputs or {}).get(PAGE)
    if artifacts is not None and artifacts.artifact_ids:
        say(f"report: {client.connection.page('artifacts', artifacts.artifact_ids[0])}")
    else:  # no KFP server tells the outputs of a task yet
        say(f"report: {address} (task {REPORT}, output {PAGE})")

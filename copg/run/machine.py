"""The machine that runs several tasks at once: how they share its cores, said in a file beside the runs."""

import platform
from pathlib import Path
from typing import Any

from copg.data.parents import describe_process
from copg.stores.sealed import read_sealed, write_sealed

MACHINE = "machine.json"
"""In the directory of the runs, which may be copied to where another machine runs the tasks."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def write_machine(run_dir: Path, *, cores: int, tasks_at_once: int, ended: bool = False) -> None:
    """Say how many tasks run at once on this machine, and for which process: this one, until it ended."""
    driver = {} if ended else describe_process()
    values = {"machine": _name(), "cores": cores, "tasks_at_once": tasks_at_once, "driver": driver}
    write_sealed(run_dir / MACHINE, values)


def read_machine(run_dir: Path) -> dict[str, Any]:
    """Cores, tasks at once, driver; nothing where no file says it, or one that another machine wrote."""
    found = read_sealed(run_dir / MACHINE, remedy="remove it and run again")
    return found if found.get("machine") == _name() else {}


def _name() -> str:
    """The same in every container of a machine until it is started again."""
    return BOOT_ID.read_text().strip() if BOOT_ID.is_file() else platform.node()

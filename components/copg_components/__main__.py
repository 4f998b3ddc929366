"""The program of a task, for KFP's launcher and ``kfp.local``: ``python3 -m copg_components NAME INPUT``."""

import importlib
import json
import os
import sys
from typing import Any

os.environ["_KFP_RUNTIME"] = "true"  # kfp without its compiler, whose libraries an image lacks

from kfp.dsl.executor import Executor

from copg.errors import CopgError, hide_secrets
from copg.run.plan_files import read_plan
from copg_components._object_store import register
from copg_components.cluster.secrets import export_secrets


def main() -> None:
    """Call the component NAME, of the module of its stage, with what the ExecutorInput INPUT gives it."""
    hide_secrets()
    name, given = sys.argv[1:3]
    # podman answers who asks for a log with its first line; kfp.local loses a container that ended before
    print(f"{name} begins", flush=True)
    export_secrets()
    register()  # before the first address is read: stages take some as parameters
    module = importlib.import_module(f"copg_components.{name.removesuffix('_shard')}")
    try:
        told = _with_plan(json.loads(given))
        Executor(executor_input=told, function_to_execute=getattr(module, name)).execute()
    except CopgError as error:
        print(f"error: {name}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def _with_plan(given: dict[str, Any]) -> dict[str, Any]:
    """What the task is given, with its plan in place of the file's name that travels through a DAG."""
    values = given.get("inputs", {}).get("parameterValues", {})
    if "plan" in values:
        values["plan"] = read_plan(values["plan"], values["run_dir"])
    return given


if __name__ == "__main__":
    main()

"""The program of a task, for KFP's launcher and ``kfp.local``: ``python3 -m copg_components NAME INPUT``."""

import importlib
import json
import os
import sys

os.environ["_KFP_RUNTIME"] = "true"  # kfp without its compiler, whose libraries an image lacks

from kfp.dsl.executor import Executor

from copg.errors import CopgError
from copg_components._object_store import register
from copg_components.cluster.secrets import export_secrets


def main() -> None:
    """Call the component NAME, of the module of its stage, with what the ExecutorInput INPUT gives it."""
    name, given = sys.argv[1:3]
    # podman answers who asks for a log with its first line; kfp.local loses a container that ended before
    print(f"{name} begins", flush=True)
    export_secrets()
    register()  # before the first address is read: stages take some as parameters
    module = importlib.import_module(f"copg_components.{name.removesuffix('_shard')}")
    try:
        Executor(executor_input=json.loads(given), function_to_execute=getattr(module, name)).execute()
    except CopgError as error:
        print(f"error: {name}: {error}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()

"""What outlives a training until KFP has stored its outputs, which it does after the task's program ended.

Should that fail, another attempt finds the last checkpoint, or what the nodes of a TrainJob left.
"""

import shutil
from pathlib import Path

from copg.artifacts import MANIFEST, read_manifest
from copg.config import parse_config
from copg.errors import CopgError
from copg.run.task_record import read_json
from copg.training.checkpoint_store import checkpoint_store
from copg.training.config import TrainConfig

EXCHANGE = "nodes"
"""Folder under the directory of the runs, through which the nodes of a TrainJob get and leave artifacts."""


def forget(policy: Path, run_dir: Path) -> None:
    """Delete what could make a policy again, now that another task has got it from where it is stored.

    What cannot be deleted stays, with a warning: nothing that follows depends on it.

    Args:
        policy: of one trial, as it was trained.
        run_dir: directory of the runs.
    """
    try:
        manifest = read_manifest(policy, schema="policy", verify=False)
        config = parse_config(TrainConfig, manifest.config, where="train")
        checkpoint_store(config, manifest.parents["referenced"]).remove()
        for left in (run_dir / EXCHANGE).glob(f"*/policy/{MANIFEST}"):
            if read_json(left).get("digest") == manifest.digest:
                shutil.rmtree(left.parents[1])
    except (OSError, KeyError, CopgError) as error:
        print(f"warning: the checkpoints of {policy.name} stay: {error}", flush=True)

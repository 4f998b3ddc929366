"""One of the processes of a training: ``torchrun -m copg.stages.train_worker FOLDER``."""

import os
import sys
from pathlib import Path

from copg.artifacts import MANIFEST
from copg.stages.train import TrainConfig, train_policy
from copg.training.launch import end_when_abandoned, note_failure, read_request


def main(folder: Path) -> None:
    """Take part in the training that the request in ``folder`` describes."""
    try:
        config, paths = read_request(folder, TrainConfig, where="train")
        if (paths["training"] / MANIFEST).exists():  # sealed last: all pods were started again after the end
            return
        if os.environ.get("RANK", "0") == "0":  # torchrun's; all processes stop as soon as one wants to
            end_when_abandoned(folder, config.launch.abandoned_s)
        train_policy(config, **paths)
    except Exception as error:
        note_failure(folder, error)
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""One of the processes of a training: ``torchrun -m copg.train_worker FOLDER``."""

import sys
from pathlib import Path

from copg.launch import note_failure, read_request
from copg.stages.train import TrainConfig, train_policy


def main(folder: Path) -> None:
    """Take part in the training that the request in ``folder`` describes."""
    try:
        config, paths = read_request(folder, TrainConfig, where="train")
        train_policy(config, **paths)
    except Exception as error:
        note_failure(folder, error)
        raise


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Where the checkpoints of one training lie."""

from copg.digests import json_digest
from copg.training.checkpoint_home import CheckpointHome
from copg.training.config import TrainConfig


def checkpoint_home(config: TrainConfig, referenced: str) -> CheckpointHome:
    """Named after all that decides the result, so that every attempt at it finds the same place.

    Args:
        config: settings.
        referenced: digest of the groups it trains on.
    """
    return CheckpointHome(config.checkpoint.folder, json_digest([config.identity(), referenced])[:20])

"""Secrets of a pod, mounted as files: as environment each key would stand in the pod's description."""

import os
from pathlib import Path

MOUNTED = Path("/secrets")
"""Folder of the Secrets, each a folder of one file a key."""
KEYS = (
    "HF_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "COPG_WEBHOOK_URL",
)
"""What libraries and stages read from their environment."""


def export_secrets(mounted: Path = MOUNTED) -> None:
    """Give this process the keys that its pod mounts; what its environment has already stays."""
    for key in KEYS:
        for file in mounted.glob(f"*/{key}"):
            os.environ.setdefault(key, file.read_text())

"""What 0.1.0 left on a disk, kept under ``tests/data/0.1.0``, for tests that go on from there."""

import shutil
from pathlib import Path

LEFT = Path(__file__).parent / "data/0.1.0"
MADE_AT = "/runs/tiny"
"""Where it was made: the beginning of every path in its files."""
COMPUTED = 116
"""Log-probabilities in its reference store: one a completion of the train split."""


def copy_left(home: Path) -> Path:
    """Copy data and run to a folder that does not exist yet, which its files then name as their own."""
    shutil.copytree(LEFT, home)
    for path in [*(home / "runs").glob("*.json"), *(home / "runs/stages").glob("*.json")]:
        path.write_text(path.read_text().replace(MADE_AT, str(home)))
    return home

"""Files that change under whoever reads them."""

from pathlib import Path
from typing import Any

import pytest


def change(path: Path) -> None:
    """One bit of a file, its last."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def change_while_loaded(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, path: Path) -> None:
    """Let a module's loader by this name change a file just before it returns."""
    load = getattr(module, name)

    def load_and_change(*args: Any, **more: Any) -> Any:
        loaded = load(*args, **more)
        change(path)
        return loaded

    monkeypatch.setattr(module, name, load_and_change)

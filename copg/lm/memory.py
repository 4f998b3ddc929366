"""Memory that is full, told as the mistake that it is: peak, limit, and the settings to lower."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from copg.errors import MemoryLimitError

GIB = 2**30
FULL = ("out of memory", "can't allocate memory", "cannot allocate memory", "unable to allocate")
"""Of the errors of torch, CUDA, NCCL and numpy."""
LOWERED = "tokens_per_batch"
CGROUP = Path("/sys/fs/cgroup")


def memory_mistake(error: BaseException, settings: Mapping[str, Any]) -> MemoryLimitError | None:
    """What to say of an error for want of memory; None of any other.

    Args:
        settings: that were in force, as plain values, by the name under which a recipe has them.
    """
    full = any(words in str(error).lower() for words in FULL)
    if not (isinstance(error, MemoryError) or (isinstance(error, RuntimeError | OSError) and full)):
        return None
    on_card = "cuda" in str(error).lower() or type(error).__name__ == "OutOfMemoryError"
    peak, limit = _card() if on_card else (in_use(), container_limit())
    used = f": {gib(peak)} of {gib(limit)} in use at the peak" if limit else ""
    lower = ", ".join(to_lower(settings)) or f"a stage's {LOWERED}"
    where = "card" if on_card else "machine"
    return MemoryLimitError(f"the memory of the {where} is full{used}; lower {lower}, or take a larger one")


def to_lower(settings: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Each setting by which a stage takes less memory: ``train.rows.tokens_per_batch=8192``."""
    for name, value in settings.items():
        where = f"{path}.{name}" if path else name
        if isinstance(value, Mapping):
            yield from to_lower(value, where)
        elif name == LOWERED:
            yield f"{where}={value:g}"


def container_limit() -> int | None:
    """Bytes that this container may take; None outside of one, or without a limit."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _read(CGROUP / name)
        if text.isdigit() and int(text) < 2**60:  # the first kind of cgroup says none by a huge number
            return int(text)
    return None


def in_use() -> int:
    """Bytes of this container that the kernel cannot take back, by which it kills; 0 outside of one."""
    for current, stat, idle in (
        ("memory.current", "memory.stat", "inactive_file"),
        ("memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
    ):
        if text := _read(CGROUP / current):
            found = dict(line.split(maxsplit=1) for line in _read(CGROUP / stat).splitlines())
            return max(0, int(text) - int(found.get(idle, 0)))
    return 0


def gib(num_bytes: int) -> str:
    """``2.5 GiB``."""
    return f"{num_bytes / GIB:.1f} GiB"


def _card() -> tuple[int, int]:
    """Peak and size of the memory of the card in use; nothing where there is none."""
    import torch

    if not torch.cuda.is_available():
        return 0, 0
    return torch.cuda.max_memory_reserved(), int(torch.cuda.mem_get_info()[1])


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

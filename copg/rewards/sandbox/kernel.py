"""System calls that Python's standard library lacks, by ctypes."""

import ctypes
import os
import platform
import signal
import struct

_libc = ctypes.CDLL(None, use_errno=True)
MACHINE = platform.machine()
_NUMBERS = {
    "x86_64": {"pivot_root": 155, "capset": 126},
    "aarch64": {"pivot_root": 41, "capset": 91},
}
_MOUNT_SETATTR, _LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 442, 444, 445, 446

NEW_NS, NEW_IPC, NEW_USER, NEW_PID, NEW_NET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
READ_ONLY, NO_SUID, NO_DEV, NO_EXEC, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
_AT_FDCWD, _AT_RECURSIVE, _DETACH = -100, 0x8000, 2
_SET_PARENT_DEATH_SIGNAL, _SET_DUMPABLE, _SET_SECCOMP, _SET_NO_NEW_PRIVS = 1, 4, 22, 38
_CAPABILITY_VERSION = 0x20080522

ACCESS_READ = (1 << 2) | (1 << 3)
"""Landlock: read a file, list a directory."""
_ACCESS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_ACCESS_NET = 3


def _check(result: int, what: str) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces that ``flags`` name for fresh ones."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mount, or change a mount."""
    arguments = [None if text is None else text.encode() for text in (source, target, kind)]
    data = None if options is None else options.encode()
    _check(_libc.mount(*arguments, ctypes.c_ulong(flags), data), f"mount {target}")


def make_read_only(target: str, *, devices: bool) -> None:
    """A mount and all below it: nothing changed, no set-user-id program, and no device unless it is one."""
    flags = READ_ONLY | NO_SUID | (0 if devices else NO_DEV)
    attributes = ctypes.create_string_buffer(struct.pack("QQQQ", flags, 0, 0, 0))
    _check(
        _libc.syscall(
            ctypes.c_long(_MOUNT_SETATTR),
            ctypes.c_int(_AT_FDCWD),
            target.encode(),
            ctypes.c_uint(_AT_RECURSIVE),
            attributes,
            ctypes.c_size_t(32),
        ),
        f"mount_setattr {target}",
    )


def pivot_root(new_root: str) -> None:
    """Make ``new_root``, a mount, the root; the old one is gone."""
    os.chdir(new_root)
    number = ctypes.c_long(_NUMBERS[MACHINE]["pivot_root"])
    _check(_libc.syscall(number, b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", _DETACH), "umount the old root")
    os.chdir("/")


def drop_capabilities() -> None:
    """All of them, of the calling thread."""
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION, 0))
    none = ctypes.create_string_buffer(bytes(24))
    number = ctypes.c_long(_NUMBERS[MACHINE]["capset"])
    _check(_libc.syscall(number, header, none), "capset")


def _prctl(option: int, value: int = 1, argument: object = 0, what: str = "prctl") -> None:
    last = argument if argument else ctypes.c_ulong(0)
    _check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), last, ctypes.c_ulong(0), 0), what)


def forbid_new_privileges() -> None:
    """For good: no program this process starts can gain any; asked for by seccomp and Landlock."""
    _prctl(_SET_NO_NEW_PRIVS, what="no_new_privs")


def hide_memory() -> None:
    """No core dump, and no other process of the user may read this one's memory."""
    _prctl(_SET_DUMPABLE, 0, what="dumpable")


def die_with_parent() -> None:
    """Be killed when the parent ends; a change of user undoes it."""
    _prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, what="parent death signal")


def filter_system_calls(program: bytes) -> None:
    """Install a seccomp filter, in the kernel's byte code, for good."""
    code = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    wrapped = Program(len(program) // 8, ctypes.addressof(code))
    _prctl(_SET_SECCOMP, 2, ctypes.byref(wrapped), what="seccomp")


def landlock_abi() -> int:
    """Version of Landlock the kernel offers; 0 where there is none."""
    found = _libc.syscall(ctypes.c_long(_LANDLOCK_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint(1))
    return max(0, int(found))


def confine_to(readable: list[str]) -> None:
    """By Landlock, for good: no file but those under ``readable``, which can only be read; no TCP."""
    abi = landlock_abi()
    handled = max(mask for version, mask in _ACCESS_BY_ABI.items() if version <= abi)
    network = _ACCESS_NET if abi >= 4 else 0
    attributes = struct.pack("QQ", handled, network) if abi >= 4 else struct.pack("Q", handled)
    ruleset = _check(
        _libc.syscall(
            ctypes.c_long(_LANDLOCK_CREATE), attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint(0)
        ),
        "landlock",
    )
    for path in readable:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        access = ACCESS_READ if os.path.isdir(path) else 1 << 2  # noqa: PTH112
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, opened))
        added = _libc.syscall(
            ctypes.c_long(_LANDLOCK_ADD), ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint(0)
        )
        _check(added, f"landlock {path}")
        os.close(opened)
    restricted = _libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT), ctypes.c_int(ruleset), ctypes.c_uint(0))
    _check(restricted, "landlock")
    os.close(ruleset)

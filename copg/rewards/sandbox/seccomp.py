"""The system calls that jailed code may make: reading, computing, threads; everything else fails.

A list of what is allowed, so that a call added to the kernel tomorrow is forbidden today. No process, no
socket, no program, no shared memory, no signal to others, no other namespace.
"""

import errno
import struct
from functools import cache

from copg.rewards.sandbox.kernel import MACHINE

_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

ALLOWED: dict[str, tuple[int | None, int | None]] = {
    # name: (x86_64, aarch64); None where a machine has no such call
    "read": (0, 63), "write": (1, 64), "open": (2, None), "close": (3, 57), "stat": (4, None),
    "fstat": (5, 80), "lstat": (6, None), "poll": (7, None), "lseek": (8, 62), "mmap": (9, 222),
    "mprotect": (10, 226), "munmap": (11, 215), "brk": (12, 214), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "pread64": (17, 67), "pwrite64": (18, 68),
    "readv": (19, 65), "writev": (20, 66), "access": (21, None), "pipe": (22, None), "select": (23, None),
    "sched_yield": (24, 124), "mremap": (25, 216), "madvise": (28, 233), "dup": (32, 23), "dup2": (33, None),
    "nanosleep": (35, 101), "getitimer": (36, 102), "alarm": (37, None), "setitimer": (38, 103),
    "getpid": (39, 172), "exit": (60, 93), "uname": (63, 160), "flock": (73, 32),
    "fsync": (74, 82), "truncate": (76, 45), "ftruncate": (77, 46), "getdents": (78, None),
    "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "rename": (82, None), "mkdir": (83, None),
    "rmdir": (84, None), "creat": (85, None), "link": (86, None), "unlink": (87, None),
    "symlink": (88, None), "readlink": (89, None), "chmod": (90, None), "fchmod": (91, 52),
    "umask": (95, 166), "gettimeofday": (96, 169), "getrlimit": (97, 163), "getrusage": (98, 165),
    "sysinfo": (99, 179), "times": (100, 153), "getuid": (102, 174), "getgid": (104, 176),
    "geteuid": (107, 175), "getegid": (108, 177), "getppid": (110, 173), "getpgrp": (111, None),
    "getgroups": (115, 158), "getresuid": (118, 148), "getresgid": (120, 150), "getpgid": (121, 155),
    "getsid": (124, 156), "rt_sigpending": (127, 136), "rt_sigsuspend": (130, 133),
    "sigaltstack": (131, 132), "statfs": (137, 43), "fstatfs": (138, 44), "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120), "arch_prctl": (158, None), "gettid": (186, 178), "time": (201, None),
    "futex": (202, 98), "sched_getaffinity": (204, 123), "getdents64": (217, 61),
    "set_tid_address": (218, 96), "restart_syscall": (219, 128), "fadvise64": (221, 223),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115),
    "exit_group": (231, 94), "epoll_wait": (232, None), "epoll_ctl": (233, 21), "utimes": (235, None),
    "openat": (257, 56), "mkdirat": (258, 34), "newfstatat": (262, 79), "unlinkat": (263, 35),
    "renameat": (264, 38), "linkat": (265, 37), "symlinkat": (266, 36), "readlinkat": (267, 78),
    "fchmodat": (268, 53), "faccessat": (269, 48), "pselect6": (270, 72), "ppoll": (271, 73),
    "set_robust_list": (273, 99), "utimensat": (280, 88), "epoll_pwait": (281, 22), "fallocate": (285, 47),
    "eventfd2": (290, 19), "epoll_create1": (291, 20), "dup3": (292, 24), "pipe2": (293, 59),
    "preadv": (295, 69), "pwritev": (296, 70), "getcpu": (309, 168), "renameat2": (316, 276),
    "getrandom": (318, 278), "copy_file_range": (326, 285), "statx": (332, 291), "rseq": (334, 293),
    "close_range": (436, 436), "faccessat2": (439, 439),
}  # fmt: skip
WRITES = {
    "truncate", "ftruncate", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "creat", "link",
    "linkat", "unlink", "unlinkat", "symlink", "symlinkat", "chmod", "fchmod", "fchmodat", "utimes",
    "utimensat", "fallocate", "copy_file_range",
}  # fmt: skip
"""Those that change files or what is known about them, which Landlock does not all see."""
OPENS = {"open": 1, "openat": 2}
"""Those that open, and which argument says how."""
_OPEN_TO_WRITE = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000
"""Write, read and write, create, truncate, temporary file."""
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_TGKILL = {"x86_64": 234, "aarch64": 131}
_PRLIMIT = {"x86_64": 302, "aarch64": 261}
_IOCTL = {"x86_64": 16, "aarch64": 29}
_FCNTL = {"x86_64": 72, "aarch64": 25}
_FCNTL_COMMANDS = (*range(8), 1030)
"""Duplicate, flags, locks. None that names a receiver of signals: the kernel sends those, to any process of
the user (F_SETOWN, F_SETSIG, F_SETOWN_EX), nor one that has them sent (F_SETLEASE, F_NOTIFY)."""
_CLONE_THREAD = 0x10000
_NEW_NAMESPACE = 0x7E020000 | 0x80

_LOAD, _JUMP_EQUAL, _JUMP_SET, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_KILL, _ALLOW, _ERROR = 0x80000000, 0x7FFF0000, 0x50000
_X32 = 0x40000000
_NUMBER, _ARCH_FIELD, _ARGUMENTS = 0, 4, 16


@cache
def build_filter(pid: int, *, writes: bool) -> bytes:
    """The filter for a process that may signal ``pid`` alone, itself.

    Args:
        pid: as the process sees it.
        writes: whether it may change files; where no mount is read-only, the filter must see to it.

    Raises:
        OSError: on a machine whose call numbers are not listed.
    """
    if MACHINE not in _ARCH:
        raise OSError(errno.ENOSYS, f"seccomp: no filter for machine {MACHINE}")
    column = list(_ARCH).index(MACHINE)
    excluded = set() if writes else WRITES | OPENS.keys()
    numbers = sorted(
        number
        for name, pair in ALLOWED.items()
        if name not in excluded and (number := pair[column]) is not None
    )
    code = [
        _instruction(_LOAD, value=_ARCH_FIELD),
        _instruction(_JUMP_EQUAL, 1, 0, _ARCH[MACHINE]),
        _instruction(_RETURN, value=_KILL),
        _instruction(_LOAD, value=_NUMBER),
        _instruction(_JUMP_AT_LEAST, 0, 1, _X32),  # x86_64's second table of the same calls
        _instruction(_RETURN, value=_KILL),
    ]
    for number in numbers:
        code += [_instruction(_JUMP_EQUAL, 0, 1, number), _instruction(_RETURN, value=_ALLOW)]
    for name, position in ({} if writes else OPENS).items():
        if (number := ALLOWED[name][column]) is not None:
            code += _when(number, _if_none_set(position, _OPEN_TO_WRITE))
    # glibc makes a thread by clone where clone3 is not there; clone3's flags lie in memory, unreadable here
    code += _when(_CLONE3, [_error(errno.ENOSYS)])
    code += _when(_IOCTL[MACHINE], [_error(errno.ENOTTY)])
    code += _when(
        _CLONE[MACHINE],
        [
            _instruction(_LOAD, value=_ARGUMENTS),
            _instruction(_JUMP_SET, 0, 2, _CLONE_THREAD),
            _instruction(_JUMP_SET, 1, 0, _NEW_NAMESPACE),
            _instruction(_RETURN, value=_ALLOW),
            _error(errno.EPERM),
        ],
    )
    code += _when(_FCNTL[MACHINE], _if_argument(1, *_FCNTL_COMMANDS))
    code += _when(_TGKILL[MACHINE], _if_argument(0, pid))
    # asking for a limit is allowed (third argument 0, both halves), setting one is not
    code += _when(_PRLIMIT[MACHINE], _if_zero(2))
    return b"".join([*code, _error(errno.EPERM)])


def _instruction(operation: int, if_true: int = 0, if_false: int = 0, value: int = 0) -> bytes:
    return struct.pack("HBBI", operation, if_true, if_false, value)


def _error(number: int) -> bytes:
    return _instruction(_RETURN, value=_ERROR | number)


def _when(number: int, then: list[bytes]) -> list[bytes]:
    return [_instruction(_JUMP_EQUAL, 0, len(then), number), *then]


def _if_argument(position: int, *values: int) -> list[bytes]:
    """The low half decides: the kernel reads these arguments as 32 bits."""
    code = [_instruction(_LOAD, value=_ARGUMENTS + 8 * position)]
    for value in values:
        code += [_instruction(_JUMP_EQUAL, 0, 1, value), _instruction(_RETURN, value=_ALLOW)]
    return [*code, _error(errno.EPERM)]


def _if_none_set(position: int, bits: int) -> list[bytes]:
    return [
        _instruction(_LOAD, value=_ARGUMENTS + 8 * position),
        _instruction(_JUMP_SET, 1, 0, bits),
        _instruction(_RETURN, value=_ALLOW),
        _error(errno.EACCES),
    ]


def _if_zero(position: int) -> list[bytes]:
    return [
        _instruction(_LOAD, value=_ARGUMENTS + 8 * position),
        _instruction(_JUMP_EQUAL, 0, 3, 0),
        _instruction(_LOAD, value=_ARGUMENTS + 8 * position + 4),
        _instruction(_JUMP_EQUAL, 0, 1, 0),
        _instruction(_RETURN, value=_ALLOW),
        _error(errno.EPERM),
    ]

"""The walls around one process, built from inside before it runs anything hostile; there is no way back."""

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from copg.rewards.sandbox import kernel
from copg.rewards.sandbox.seccomp import build_filter

NOBODY = 65534
DEVICES = ("null", "zero", "urandom", "random")
_ALL = kernel.NEW_NS | kernel.NEW_PID | kernel.NEW_NET | kernel.NEW_IPC
_PLACE = "/tmp"
"""Any directory there is: the new root is mounted on it, for this process alone."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a jailed process may use."""

    cpu_s: int
    memory_bytes: int
    """Of address space."""
    file_bytes: int = 16 << 20
    """One file; also all of /tmp."""
    num_files: int = 64
    """Open at once."""
    num_threads: int = 64
    """Behind Landlock the kernel counts all threads of the user: there, 64 more than the machine has. Root's,
    which a user namespace would bind, it does not count there."""


def readable_paths(packages: list[str]) -> list[str]:
    """What Python needs to import its own library, and the folders of packages."""
    wanted = ["/usr", "/lib", "/lib64", f"{sys.base_prefix}/lib", *packages]
    paths: list[str] = []
    for path in wanted:
        real = os.path.realpath(path)
        if os.path.isdir(real) and not any(real == p or real.startswith(f"{p}/") for p in paths):  # noqa: PTH112
            paths.append(real)
    return paths


def enter_namespaces(readable: list[str], limits: Limits) -> None:
    """Fresh user, mount, PID, network and IPC namespaces around the processes made from here on.

    The root is a small file system in memory: what is ``readable`` at its own path, read-only, four devices,
    and a private /tmp. The caller must fork: only its child is in the PID namespace, as its first process.

    Raises:
        OSError: the kernel or the pod forbids it.
    """
    mapping = (os.getuid(), os.getgid())
    privileged = os.geteuid() == 0
    if privileged:
        try:
            kernel.unshare(_ALL)
        except PermissionError:
            privileged = False
    if not privileged:
        kernel.unshare(_ALL | kernel.NEW_USER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{mapping[0]} {mapping[0]} 1")
        Path("/proc/self/gid_map").write_text(f"{mapping[1]} {mapping[1]} 1")
    _build_root(readable, limits)
    if privileged:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        kernel.unshare(kernel.NEW_USER)


def _build_root(readable: list[str], limits: Limits) -> None:
    kernel.mount("none", "/", None, kernel.PRIVATE | kernel.RECURSIVE)
    opened = [(path, os.open(path, os.O_PATH)) for path in [*readable, *(f"/dev/{d}" for d in DEVICES)]]
    kernel.mount("tmpfs", _PLACE, "tmpfs", kernel.NO_SUID, "size=64k,nr_inodes=512,mode=755")
    # before what is readable: some of it may lie under /tmp, and would be covered
    Path(f"{_PLACE}/tmp").mkdir()
    options = f"size={limits.file_bytes},nr_inodes=256,mode=1777"
    kernel.mount("tmpfs", f"{_PLACE}/tmp", "tmpfs", kernel.NO_SUID | kernel.NO_DEV | kernel.NO_EXEC, options)
    for path, descriptor in opened:
        target = Path(f"{_PLACE}{path}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.startswith("/dev/"):
            target.touch()
        else:
            target.mkdir(exist_ok=True)
        # by descriptor: the path may lie under what was just covered
        kernel.mount(f"/proc/self/fd/{descriptor}", str(target), None, kernel.BIND | kernel.RECURSIVE)
        kernel.make_read_only(str(target), devices=path.startswith("/dev/"))
        os.close(descriptor)
    for link in ("/lib", "/lib64"):
        if os.path.islink(link) and not os.path.lexists(f"{_PLACE}{link}"):  # noqa: PTH114
            Path(f"{_PLACE}{link}").symlink_to(os.readlink(link))  # noqa: PTH115
    kernel.pivot_root(_PLACE)
    kernel.mount("none", "/", None, 32 | kernel.BIND | kernel.READ_ONLY | kernel.NO_SUID)
    os.chdir("/tmp")


def lock(limits: Limits, keep: tuple[int, ...], *, readable: list[str] | None = None) -> None:
    """The last walls, for the process that will run hostile code: limits, descriptors, privileges, calls.

    Args:
        limits: what it may use.
        keep: open descriptors it keeps; standard input is empty, output goes nowhere.
        readable: confine it to these paths by Landlock; None when a mount namespace does that.

    Raises:
        OSError: the kernel or the pod forbids it.
    """
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        if standard not in keep:
            os.dup2(null, standard)
    previous = 2
    for descriptor in (*sorted(d for d in keep if d > 2), 1 << 20):
        os.closerange(previous + 1, descriptor)
        previous = descriptor
    os.environ.clear()
    # threads are counted by user: with a user namespace of its own, those of this process; else those on the
    # whole machine, of which a pod sees a part: too low a number would fail right programs
    others = 0 if readable is None else _threads_of_machine()
    _set_limits(limits, num_threads=others + limits.num_threads)
    kernel.forbid_new_privileges()
    if readable is not None:
        kernel.confine_to([*readable, "/dev/null", "/dev/urandom"])
    kernel.drop_capabilities()
    kernel.hide_memory()
    kernel.filter_system_calls(build_filter(os.getpid(), writes=readable is None))


def _threads_of_machine() -> int:
    """Of all users, in all containers."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])


def _set_limits(limits: Limits, *, num_threads: int) -> None:
    values = [
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_NOFILE, limits.num_files),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_NPROC, num_threads),
    ]
    for name, value in values:
        hard = resource.getrlimit(name)[1]
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (bounded, bounded))

import os
import socket
import stat
import threading
from pathlib import Path

import psutil
import pytest

from copg.errors import RewardError
from tests.rewards.sandbox.conftest import verdicts_on
from tests.rewards.sandbox.hostile import ATTACKS, CHEATS, programs

TESTS = ["assert add(2, 3) == 5", "assert add(-1, 1) == 0"]
RIGHT = "def add(a, b): return a + b"


@pytest.fixture
def host(tmp_path):
    """Things of the machine that attacks are after, and a check that they are as before."""
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    secret.chmod(0o644)
    accepted: list[object] = []
    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: accept(server, accepted), daemon=True).start()
    library = {path: path.stat() for path in Path(stat.__file__).parent.glob("*.py")}
    marker = tmp_path / "marker"
    before = {p.pid for p in psutil.process_iter()}
    yield {"secret": str(secret), "port": server.getsockname()[1], "marker": str(marker)}
    server.close()
    assert secret.read_text() == "secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o644
    assert not marker.exists()
    assert accepted == []
    assert {path: path.stat()[:9] for path in library} == {path: found[:9] for path, found in library.items()}
    assert stat.S_IMODE(Path("/dev/null").stat().st_mode) == 0o666
    assert [p for p in psutil.process_iter() if p.pid not in before and jailed(p)] == []


def accept(server: socket.socket, accepted: list) -> None:
    try:
        while True:
            accepted.append(server.accept())
    except OSError:
        return


def jailed(process: psutil.Process) -> bool:
    """A process forked for a program of this test that is still there, or one that nobody owns any more;
    zygotes stay until their owner goes, and those of tests beside this one are theirs.
    """
    try:
        parents = process.parents()
        if not of_the_sandbox(process) or not parents:
            return False
        ours = any(parent.pid == os.getpid() for parent in parents)
        return parents[0].pid == 1 or (ours and of_the_sandbox(parents[0]))
    except psutil.NoSuchProcess:
        return False


def of_the_sandbox(process: psutil.Process) -> bool:
    return "copg.rewards.sandbox" in " ".join(process.cmdline())


def test_no_attack_succeeds_no_cheat_scores_and_what_comes_after_them_is_judged_rightly(judge, host) -> None:
    assert len(ATTACKS) + len(CHEATS) >= 120
    found = programs(**host)
    verdicts = judge([code for attack in found.values() for code in (attack, RIGHT)], TESTS, timeout_s=2)
    scored = [name for name, v in zip(found, verdicts[::2], strict=True) if v.get("passed") != 0]
    assert scored == []
    spoilt = [name for name, v in zip(found, verdicts[1::2], strict=True) if v.get("passed") != 2]
    assert spoilt == []


@pytest.mark.nightly
def test_two_hundred_at_once_harm_nothing_and_right_ones_among_them_score(host) -> None:
    hostile = list(programs(**host).values())
    batch = [RIGHT if n % 10 == 0 else hostile[n * 7 % len(hostile)] for n in range(200)]
    try:
        verdicts = verdicts_on(batch, TESTS, timeout_s=10, num_workers=200)
    except RewardError as error:
        pytest.skip(f"this machine can build no sandbox: {error}")
    assert [v.get("passed") for v in verdicts] == [2 if n % 10 == 0 else 0 for n in range(200)]

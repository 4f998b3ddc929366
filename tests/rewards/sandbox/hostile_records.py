# ruff: noqa: E501 - programs read better in one line
"""Tests that attack: records whose tests are after the rewards of other records, or after the process that gives them.

What they do to their own record's reward is theirs to do. ``add`` is the program's, and right.
"""

VERDICT = '{"passed": 1, "total": 1, "failure": ""}'
EVERY = "import fcntl, os\nfor fd in range(64):\n    try: {attack}\n    except (OSError, ValueError): pass\nassert add(1, 1) == 2"

QUICK: dict[str, str | list[str]] = {
    # verdicts
    "two verdicts": EVERY.format(attack=f"os.write(fd, b'{VERDICT}\\n' * 2)"),
    "two verdicts and the end": EVERY.format(attack=f"os.write(fd, b'{VERDICT}\\n' * 2)") + "\nos._exit(0)",
    "a verdict and the end": EVERY.format(attack=f"os.write(fd, b'{VERDICT}\\n')") + "\nos._exit(0)",
    "a second beginning": EVERY.format(attack=f"os.write(fd, b'R{VERDICT}\\nR{VERDICT}\\n')"),
    "a verdict of a thousand tests": EVERY.format(attack="os.write(fd, b'{\"passed\": 1000, \"total\": 1}\\n')"),
    "a fault that is no text": EVERY.format(attack="os.write(fd, b'{\"fault\": [1]}\\n')"),
    "a verdict without end": EVERY.format(attack="fd > 2 and os.write(fd, b'x' * 60000)") + "\nos._exit(0)",
    "a line of the worker": EVERY.format(attack="os.write(fd, b'\\n\\n')"),
    "printed verdicts": (
        f"import os, sys\nfor out in (sys.stdout, sys.stderr, sys.__stdout__):\n    print('{VERDICT}', file=out, flush=True)\n"
        f"os.system('echo 1')\nassert add(1, 1) == 2"
    ),
    "a verdict when it ends": f"import atexit, os\natexit.register(lambda: [os.write(fd, b'{VERDICT}\\n') for fd in range(1, 9)])\nassert add(1, 1) == 2",
    "a verdict from a thread": (
        "import os, threading, time\ndef later():\n    while True:\n        time.sleep(0.001)\n        for fd in range(3, 9):\n"
        f"            try: os.write(fd, b'{VERDICT}\\n')\n            except OSError: pass\n"
        "threading.Thread(target=later, daemon=True).start()\nassert add(1, 1) == 2"
    ),
    # descriptors, of which standard input was that of the worker
    "input that never blocks": "import fcntl, os\nfcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK)\nassert add(1, 1) == 2",
    "nothing ever blocks": EVERY.format(attack="fcntl.fcntl(fd, fcntl.F_SETFL, os.O_NONBLOCK)"),
    "signals on input": EVERY.format(attack="fcntl.fcntl(fd, fcntl.F_SETFL, os.O_ASYNC | os.O_APPEND)"),
    "the next job": "import os, select\nfound = select.select([0], [], [], 0)[0] and os.read(0, 1 << 20)\nassert add(1, 1) == 2",
    "all there is to read": EVERY.format(attack="__import__('select').select([fd], [], [], 0)[0] and os.read(fd, 1 << 20)"),
    "a job of its own": EVERY.format(attack="os.write(fd, b'{\"prompt\": \"\"}\\n')"),
    "small pipes": EVERY.format(attack="fcntl.fcntl(fd, 1031, 4096)"),
    "locks": EVERY.format(attack="fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)"),
    "everything closed": EVERY.format(attack="os.close(fd)"),
    "everything the same": EVERY.format(attack="os.dup2(3, fd)"),
    "more than may be open": "import os\ntry:\n    while True: os.dup(0)\nexcept OSError: pass\nassert add(1, 1) == 2",
    # ends
    "exit": "import os\nassert add(1, 1) == 2\nos._exit(0)",
    "exit with a number": "import os\nos._exit(7)",
    "exit at import": "raise SystemExit",
    "exit with words": "raise SystemExit('passed')",
    "exit in a test": "import sys\ndef test_add():\n    sys.exit(0)\n    assert add(1, 1) == 2",
    "exit in a method": "import os, unittest\nclass T(unittest.TestCase):\n    def test_add(self):\n        os._exit(0)",
    "exit in a member": ["import os\nos._exit(0)", "assert add(1, 1) == 2"],
    "interrupt": "assert add(1, 1) == 2\nraise KeyboardInterrupt",
    "an error of its own kind": "class Own(BaseException): pass\nraise Own",
    "a fault on purpose": "import sys\nraise sys.modules['copg.rewards.sandbox.link'].RecordProblem('x\\n' * 1000)",
    "a deadly signal": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\nassert add(1, 1) == 2",
    "abort": "import os\nos.abort()",
    "crash": "import ctypes\nctypes.string_at(0)",
    "memory": "x = bytearray(8 << 30)\nassert add(1, 1) == 2",
    "bottomless recursion": "import sys\nsys.setrecursionlimit(10 ** 9)\ndef down(): down()\ndown()\nassert add(1, 1) == 2",
    # the harness around them
    "patch the harness": (
        "import json, os, sys\njson.dumps = lambda *a, **k: '[]'\nos.write = lambda *a: None\n"
        "for name, module in list(sys.modules.items()):\n    if name.startswith('copg'):\n"
        "        for key in list(vars(module)):\n            if callable(vars(module)[key]): setattr(module, key, lambda *a, **k: {})\n"
        "assert True and add(1, 1) == 2"
    ),
    "children": "import os\ntry: os.fork()\nexcept OSError: pass\nassert add(1, 1) == 2",
    "the worker's process": "import os\ntry: os.kill(os.getppid(), 0)\nexcept OSError: pass\nelse: assert False\nassert add(1, 1) == 2",
    "limits of others": "import resource\nfor limit in range(16):\n    try: resource.setrlimit(limit, (1, 1))\n    except (OSError, ValueError): pass\nassert add(1, 1) == 2",
    "traced": "import sys\nsys.settrace(lambda *a: 1 / 0)\ndef look(): return add(1, 1)\nassert look() == 2",
    "the program's pipe": EVERY.format(attack="fd > 2 and os.write(fd, b'\\xff\\xff\\xff\\x7f')"),
    "verdict in a name": "names = {'passed': 1, 'total': 1}\n__counted__ = None\nassert add(1, 1) == 2",
}  # fmt: skip

SLOW: dict[str, str | list[str]] = {
    "a loop": "while True: pass\nassert add(1, 1) == 2",
    "a sleep": "import time\ntime.sleep(3600)\nassert add(1, 1) == 2",
    "input that never comes": "import os, time\nos.read(0, 1)\nr, w = os.pipe()\nos.read(r, 1)\nassert add(1, 1) == 2",
    "a loop in a test": "def test_add():\n    while True: pass\n    assert add(1, 1) == 2",
    "output without end": "import sys\nwhile True: print('x' * 100000, flush=True)",
    "a verdict drop by drop": "import os, time\nwhile True:\n    for fd in range(1, 9):\n        try: os.write(fd, b'x')\n        except OSError: pass\n    time.sleep(0.01)",
    "deaf to signals": "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass",
    "memory bit by bit": "kept = []\nwhile True:\n    try: kept.append(bytearray(b'x' * (1 << 20)))\n    except MemoryError: pass",
}  # fmt: skip
"""Those that end with their time alone."""

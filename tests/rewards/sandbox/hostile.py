# ruff: noqa: E501 - programs read better in one line
"""Programs that attack the sandbox. None may score: each adds rightly only where its attack succeeded.

``{secret}`` is a file any user of the machine may read, ``{port}`` a server on the machine, ``{marker}`` a path
that must not appear. An attack that succeeds does no harm: it signals with 0, sets what is set already, aims
at a file nobody needs. So a hole in the walls costs a red test and not the machine.
"""

ATTACK = """
{body}

def add(a, b):
    try:
        return a + b if attack() else None
    except BaseException:
        return None
"""

ATTACKS = {
    # processes
    "fork": "import os\ndef attack(): return os.fork() >= 0",
    "fork bomb": (
        'import os\ndef attack():\n    for _ in range(12): os.fork()\n    return True'
    ),
    "vfork by ctypes": "import ctypes\ndef attack(): return ctypes.CDLL(None).vfork() >= 0",
    "clone with new user namespace": (
        "import ctypes\ndef attack(): return ctypes.CDLL(None).syscall(56, 0x10000000 | 17, 0, 0, 0, 0) >= 0"
    ),
    "clone3": "import ctypes\ndef attack(): return ctypes.CDLL(None).syscall(435, bytes(88), 88) >= 0",
    "subprocess": "import subprocess\ndef attack(): return subprocess.run(['/usr/bin/id']).returncode == 0",
    "shell": "import os\ndef attack(): return os.system('true') == 0",
    "posix_spawn": "import os\ndef attack(): return os.posix_spawn('/usr/bin/true', ['true'], {{}}) > 0",
    "exec": "import os\ndef attack():\n    os.execv('/usr/bin/true', ['true'])",
    "multiprocessing": (
        "import multiprocessing as m\ndef attack():\n    p = m.get_context('fork').Process(target=print)\n"
        "    p.start()\n    return True"
    ),
    "zombies": (
        "import os\ndef attack():\n    for _ in range(50):\n        if os.fork() == 0: os._exit(0)\n    return True"
    ),
    "threads without end": (
        "import threading, time\ndef attack():\n    made = [threading.Thread(target=time.sleep, args=(60,)) "
        "for _ in range(500)]\n    [t.start() for t in made]\n    return True"
    ),
    # signals and other processes
    "kill the parent": (
        'import os\ndef attack():\n    os.kill(os.getppid() or -1, 0)\n    return True'
    ),
    "kill everybody": (
        'import os\ndef attack():\n    os.kill(-1, 0)\n    return True'
    ),
    "signal the group": (
        'import os\ndef attack():\n    os.killpg(0, 0)\n    return True'
    ),
    "tkill another": (
        "import ctypes\ndef attack(): return any(ctypes.CDLL(None).syscall(200, n, 0) == 0 for n in range(2, 5000))"
    ),
    "tgkill another": (
        "import ctypes, os\ndef attack(): return any(ctypes.CDLL(None).syscall(234, n, n, 0) == 0 "
        "for n in range(1, 5000) if n != os.getpid())"
    ),
    "have the kernel signal": (
        "import fcntl, os, struct\ndef attack():\n    end, me = os.pipe()[0], os.getpid()\n"
        "    for command, given in ((8, me), (10, 23), (15, struct.pack('ii', 1, me))):\n"
        "        try: fcntl.fcntl(end, command, given)\n        except OSError: continue\n        return True"
    ),
    "ptrace": "import ctypes, os\ndef attack(): return ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
    "ptrace traceme": "import ctypes\ndef attack(): return ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0",
    "read another's memory": (
        "import ctypes, os\ndef attack():\n    b = ctypes.create_string_buffer(8)\n"
        "    v = (ctypes.c_void_p * 2)(ctypes.addressof(b), 8)\n"
        "    return ctypes.CDLL(None).process_vm_readv(os.getppid(), v, 1, v, 1, 0) > 0"
    ),
    "pidfd of another": "import os\ndef attack(): return os.pidfd_open(os.getppid() or 1) >= 0",
    "clear the death signal": "import ctypes\ndef attack(): return ctypes.CDLL(None).prctl(1, 0, 0, 0, 0) == 0",
    # files
    "read a secret": "def attack(): return 'secret' in open('{secret}').read()",
    "change a file's mode": (
        "import os\ndef attack():\n    os.chmod('{secret}', 0o644)\n    return True"
    ),
    "change the library's mode": (
        "import os\nlibrary = os.path.join(os.path.dirname(os.__file__), 'this.py')\ndef attack():\n    os.chmod(library, os.stat(library).st_mode & 0o777)\n    return True"
    ),
    "change a device's mode": (
        "import os\ndef attack():\n    os.chmod('/dev/null', 0o666)\n    return True"
    ),
    "touch the library": (
        "import os\nlibrary = os.path.join(os.path.dirname(os.__file__), 'this.py')\ndef attack():\n    found = os.stat(library)\n"
        '    os.utime(library, ns=(found.st_atime_ns, found.st_mtime_ns))\n    return True'
    ),
    "truncate the library": (
        "import os\nlibrary = os.path.join(os.path.dirname(os.__file__), 'this.py')\ndef attack():\n    os.truncate(library, os.stat(library).st_size)\n    return True"
    ),
    "truncate while opening": (
        "import os\nlibrary = os.path.join(os.path.dirname(os.__file__), 'this.py')\ndef attack(): return os.open(library, os.O_RDONLY | os.O_TRUNC) >= 0"
    ),
    "attributes": (
        "import os\nlibrary = os.path.join(os.path.dirname(os.__file__), 'this.py')\ndef attack():\n    os.setxattr(library, 'user.x', b'x')\n    return True"
    ),
    "read passwd": "def attack(): return 'root' in open('/etc/passwd').read()",
    "list the root user": "import os\ndef attack(): return '.ssh' in os.listdir('/root') or '.bashrc' in os.listdir('/root')",
    "list processes": "import os\ndef attack(): return any(n.isdigit() for n in os.listdir('/proc'))",
    "environment": "import os\ndef attack(): return len(os.environ) > 0",
    "environment of the parent": "import os\ndef attack(): return len(open(f'/proc/{{os.getppid()}}/environ').read()) > 0",
    "own memory map": "def attack(): return len(open('/proc/self/maps').read()) > 0",
    "write outside": "def attack():\n    open('{marker}', 'w').write('x')\n    return True",
    "write into the library": (
        "import os\nlibrary = os.path.join(os.path.dirname(os.__file__), 'this.py')\ndef attack(): return bool(open(library, 'a'))"
    ),
    "delete the library": (
        "import os\nlibrary = os.path.join(os.path.dirname(os.__file__), 'this.py')\ndef attack():\n    os.rename(library, library + '.moved')\n"
        "    os.rename(library + '.moved', library)\n    return True"
    ),
    "delete everything": (
        "import os, shutil\nplace = os.path.dirname('{secret}')\ndef attack():\n"
        '    shutil.rmtree(place)\n    return not os.path.exists(place)'
    ),
    "symlink out": (
        "import os\ndef attack():\n    os.symlink('{secret}', '/tmp/copg_attack_link')\n"
        "    return 'secret' in open('/tmp/copg_attack_link').read()"
    ),
    "climb out": "def attack(): return 'secret' in open('/tmp/../../../..{secret}').read()",
    "chroot": "import os\ndef attack():\n    os.chroot('/tmp')\n    return True",
    "mount": "import ctypes\ndef attack(): return ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    "undo the mounts": "import ctypes\ndef attack(): return ctypes.CDLL(None).umount2(b'/tmp', 2) == 0",
    "handle of a file": "import ctypes\ndef attack(): return ctypes.CDLL(None).open_by_handle_at(-100, bytes(16), 0) >= 0",
    "make a device": (
        "import os, stat\ndef attack():\n    os.mknod('/tmp/copg_attack_device', stat.S_IFBLK | 0o600, os.makedev(8, 0))\n    return True"
    ),
    "raw disk": (
        "import os\ndef attack():\n    for p in ('/dev/sda', '/dev/vda', '/dev/mem', '/dev/kmsg', '/dev/shm', '/dev/pts'):\n"
        "        try: return os.open(p, os.O_RDONLY) >= 0\n        except OSError: pass"
    ),
    "a file too large": (
        "def attack():\n    with open('/tmp/copg_attack_big', 'wb') as f:\n        for _ in range(64): f.write(bytes(1 << 20))\n"
        '    return True'
    ),
    "files without end": (
        "import os\ndef attack():\n    os.mkdir('/tmp/copg_attack_many')\n"
        "    for n in range(1000): open(f'/tmp/copg_attack_many/{{n}}', 'w').write('x')\n    return True"
    ),
    "open files without end": "def attack(): return len([open('/dev/null') for _ in range(5000)]) == 5000",
    # network and shared memory
    "connect": "import socket\ndef attack():\n    socket.create_connection(('127.0.0.1', {port}), 2)\n    return True",
    "udp": "import socket\ndef attack(): return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9)) > 0",
    "unix socket": "import socket\ndef attack(): return bool(socket.socket(socket.AF_UNIX))",
    "socket pair": "import socket\ndef attack(): return bool(socket.socketpair())",
    "netlink": "import socket\ndef attack(): return bool(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))",
    "shared memory": "from multiprocessing import shared_memory as s\ndef attack(): return bool(s.SharedMemory(create=True, size=8))",
    "system v shared memory": "import ctypes\ndef attack(): return ctypes.CDLL(None).shmget(1234, 4096, 0o1666) >= 0",
    "message queue": "import ctypes\ndef attack(): return ctypes.CDLL(None).msgget(1234, 0o1666) >= 0",
    "memory file": "import os\ndef attack(): return os.memfd_create('x') >= 0",
    # privileges and kernel
    "become root": "import os\ndef attack():\n    os.setuid(0)\n    os.setgid(0)\n    return True",
    "new namespace": "import ctypes\ndef attack(): return ctypes.CDLL(None).unshare(0x10000000) == 0",
    "join a namespace": "import ctypes\ndef attack(): return ctypes.CDLL(None).setns(0, 0) == 0",
    "bpf": "import ctypes\ndef attack(): return ctypes.CDLL(None).syscall(321, 0, bytes(64), 64) >= 0",
    "io_uring": "import ctypes\ndef attack(): return ctypes.CDLL(None).syscall(425, 8, bytes(120)) >= 0",
    "perf": "import ctypes\ndef attack(): return ctypes.CDLL(None).syscall(298, bytes(120), 0, -1, -1, 0) >= 0",
    "keyring": "import ctypes\ndef attack(): return ctypes.CDLL(None).syscall(250, 0, -3, 1) >= 0",
    "kernel module": "import ctypes\ndef attack(): return ctypes.CDLL(None).syscall(175, bytes(8), 8, b'') >= 0",
    "reboot": "import ctypes\ndef attack(): return ctypes.CDLL(None).reboot(0x1234567) == 0",
    "set the clock": (
        'import time\ndef attack():\n    time.clock_settime(time.CLOCK_REALTIME, time.time())\n    return True'
    ),
    "host name": (
        'import socket\ndef attack():\n    socket.sethostname(socket.gethostname())\n    return True'
    ),
    "priority": "import os\ndef attack():\n    os.nice(-20)\n    return True",
    "lift the limits": (
        "import resource as r\ndef attack():\n    r.setrlimit(r.RLIMIT_AS, (r.RLIM_INFINITY, r.RLIM_INFINITY))\n"
        "    return True"
    ),
    "the other table of calls": "import ctypes\ndef attack(): return ctypes.CDLL(None).syscall(0x40000000 | 57) >= 0",
    "lock memory": "import ctypes\ndef attack(): return ctypes.CDLL(None).mlockall(3) == 0",
    "steal input of a terminal": "import fcntl\ndef attack():\n    fcntl.ioctl(0, 0x5412, b'x')\n    return True",
    # resources
    "memory in one piece": "def attack(): return len(bytearray(8 << 30)) > 0",
    "memory bit by bit": (
        "def attack():\n    kept = []\n    for _ in range(2048): kept.append(bytearray(b'x' * (1 << 20)))\n    return True"
    ),
    "endless output": "def attack():\n    while True: print('x' * 100000, flush=True)",
    "endless loop": "def attack():\n    while True: pass",
    "endless sleep": "import time\ndef attack():\n    time.sleep(3600)\n    return True",
    "deaf to signals": (
        "import signal\ndef attack():\n    for n in range(1, 32):\n        try: signal.signal(n, signal.SIG_IGN)\n"
        "        except OSError: pass\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass"
    ),
    "huge integers": "def attack(): return (10 ** 10 ** 9) > 0",
    "digits of a huge integer": "def attack(): return len(str(7 ** 3000000)) > 0",
    "bottomless recursion": "import sys\ndef attack():\n    sys.setrecursionlimit(10 ** 9)\n    return attack()",
    "regular expression without end": "import re\ndef attack(): return re.match('(a|aa)+$', 'a' * 60 + 'b') is None",
    "crash": "import ctypes\ndef attack(): return ctypes.string_at(0)",
    "abort": "import os\ndef attack(): os.abort()",
    "standard input": "def attack(): return len(input()) >= 0",
}  # fmt: skip

CHEATS = {
    "exit before the tests": "import os\nos._exit(0)",
    "exit in the function": "import os\ndef add(a, b): os._exit(0)",
    "sys.exit": "import sys\nsys.exit(0)",
    "sys.exit in the function": "import sys\ndef add(a, b): sys.exit(0)",
    "exit when it ends": "import atexit, os\natexit.register(os._exit, 0)\ndef add(a, b): return None",
    "equal to everything": (
        "class Any:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
        "    def __hash__(self): return 0\n    def __bool__(self): return True\ndef add(a, b): return Any()"
    ),
    "an integer equal to everything": (
        "class Any(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
        "def add(a, b): return Any(7)"
    ),
    "true for everything": "def add(a, b): return True",
    "patch the builtins": (
        "import builtins\nbuiltins.AssertionError = type('Never', (Exception,), {})\n"
        "builtins.abs = lambda x: 0\ndef add(a, b): return None"
    ),
    "shadow the builtins": "def abs(x): return 0\ndef isinstance(a, b): return True\ndef add(a, b): return None",
    "pose as math": "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef add(a, b): return None",
    "patch the harness": (
        "import sys\nverdict = {'passed': 2, 'total': 2, 'failure': ''}\n"
        "for name, module in list(sys.modules.items()):\n    if name.startswith('copg'):\n"
        "        for key in list(vars(module)):\n            if callable(vars(module)[key]):\n"
        "                setattr(module, key, lambda *a, **k: verdict)\ndef add(a, b): return None"
    ),
    "patch what the harness speaks with": (
        "import json, os\nreply = ['reply', ['value', ['bool', True], []]]\n"
        "json.loads = lambda *a, **k: reply\njson.dumps = lambda *a, **k: str(reply)\n"
        "def add(a, b): return None"
    ),
    "answer in the harness's place": (
        "import sys\nframe = sys._getframe()\nwhile frame:\n    own = frame.f_locals.get('self')\n"
        "    if hasattr(own, '_answer'): own._answer = lambda *a: ['value', ['bool', True], []]\n"
        "    if hasattr(own, '_do'): own._do = lambda *a: ['value', ['float', 'nan'], []]\n"
        "    frame = frame.f_back\ndef add(a, b): return None"
    ),
    "patch the assertions": (
        "import unittest, sys, types\nfor name in dir(unittest.TestCase):\n"
        "    if name.startswith('assert'): setattr(unittest.TestCase, name, lambda *a, **k: None)\n"
        "sys.modules['tests'] = types.ModuleType('tests')\nsys.settrace(lambda *a: None)\n"
        "def add(a, b): return None"
    ),
    "look for expected values in the frames": (
        "import sys, gc\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n"
        "        for v in list(f.f_locals.values()) + list(f.f_globals.values()):\n"
        "            if 'assert add' in repr(v)[:100000]: return a + b\n        f = f.f_back\n    return None"
    ),
    "look for the tests in every object": (
        "import gc\nneedle = 'assert ' + 'add'\ndef add(a, b):\n    for o in gc.get_objects():\n        try:\n"
        "            if isinstance(o, (str, bytes, list, dict, tuple)) and needle in repr(o)[:10000] "
        "and 'needle' not in repr(o)[:10000]: return a + b\n        except Exception: pass\n    return None"
    ),
    "look for the tests in memory": (
        "import ctypes\nneedle = b'ssert a' + b'dd(2, 3)'\ndef add(a, b):\n    base = id(needle) & ~0xfffff\n"
        "    for start in range(base - (8 << 20), base + (8 << 20), 4096):\n"
        "        try:\n            r, w = __import__('os').pipe()\n"
        "            n = ctypes.CDLL(None).write(w, ctypes.c_void_p(start), 4096)\n"
        "            data = __import__('os').read(r, 4096) if n > 0 else b''\n"
        "            if b'a' + needle in data: return a + b\n"
        "        finally:\n            __import__('os').close(r); __import__('os').close(w)\n    return None"
    ),
    "write a verdict to every descriptor": (
        "import os\nfor fd in range(64):\n    try: os.write(fd, b'R{\"passed\": 2, \"total\": 2, \"failure\": \"\"}\\n')\n"
        "    except OSError: pass\ndef add(a, b): return None"
    ),
    "read every descriptor": (
        "import os, select\ndef add(a, b):\n    for fd in range(64):\n        try:\n"
        "            if select.select([fd], [], [], 0)[0] and b'assert' in os.read(fd, 65536): return a + b\n"
        "        except (OSError, ValueError): pass\n    return None"
    ),
    "answer before the question": (
        "import os, json\nreply = json.dumps(['reply', ['value', ['bool', True], []]]).encode()\n"
        "for fd in range(64):\n    try: os.write(fd, len(reply).to_bytes(4, 'little') + reply)\n"
        "    except OSError: pass\ndef add(a, b): return None"
    ),
    "a message without end": (
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\xff\\xff\\xff\\x7f' + b'x' * 1000)\n"
        "    except OSError: pass\ndef add(a, b): return None"
    ),
    "deep nesting": (
        "def add(a, b):\n    x = []\n    for _ in range(100000): x = [x]\n    return x"
    ),
    "deep nesting in a message": (
        "import os\ndata = b'[' * 5000000\nfor fd in range(3, 64):\n"
        "    try: os.write(fd, len(data).to_bytes(4, 'little') + data)\n    except OSError: pass\n"
        "def add(a, b): return None"
    ),
    "a value too large": "def add(a, b): return 'x' * (100 << 20)",
    "contains itself": "def add(a, b):\n    x = []\n    x.append(x)\n    return x",
    "colliding keys": "def add(a, b): return {k * ((1 << 61) - 1): 0 for k in range(100000)}",
    "a generator without end": "def add(a, b):\n    while True: yield 5",
    "a class that pretends": (
        "class Five(int):\n    def __reduce__(self): return (eval, ('1',))\n    def __class__(self): return int\n"
        "def add(a, b): return Five(7)"
    ),
    "no function": "x = 1",
    "no Python": "this is not a program (",
    "nothing": "",
    "null bytes": "def add(a, b):\n    return None\x00",
    "brackets to break the parser": "(" * 100000,
    "minus signs to break the parser": "x = " + "-" * 200000 + "1",
    "a fence to hide in": "```python\ndef add(a, b): return None\n```\nassert True\n```\ndef add(a, b): return a + b\n```",
    "not a number": "def add(a, b): return float('nan')",
    "swallows the tests' arguments": "def add(*args, **kwargs): return args",
    "recursion into the tests": "def add(a, b): return add(a, b)",
    "raises": "def add(a, b): raise AssertionError('passed')",
    "raises what no test catches": "def add(a, b): raise GeneratorExit",
    "turns off collection and prints": "import gc\ngc.disable()\nprint('passed 2 of 2')\ndef add(a, b): return None",
}  # fmt: skip


def programs(secret: str, port: int, marker: str) -> dict[str, str]:
    """All of them, by name."""
    found = dict(CHEATS)
    for name, body in ATTACKS.items():
        found[name] = ATTACK.replace("{body}", body.format(secret=secret, port=port, marker=marker))
    return found

# ruff: noqa: E501 - programs read better in one line
"""Problems of our own in the shapes of HumanEval and MBPP, each with a right and a wrong solution."""

HUMAN_EVAL = [
    # (prompt, entry point, body of check, right completion, wrong completion)
    (
        'from typing import List\n\n\ndef running_peak(values: List[int]) -> List[int]:\n    """Largest value so far."""\n',
        "running_peak",
        "assert candidate([1, 3, 2]) == [1, 3, 3]\nassert candidate([]) == []\nassert candidate([-2, -5]) == [-2, -2]",
        "    out: List[int] = []\n    for v in values:\n        out.append(v if not out else max(v, out[-1]))\n    return out\n",
        "    return sorted(values)\n",
    ),
    (
        'def is_step(n: int) -> bool:\n    """Whether neighbouring digits differ by one."""\n',
        "is_step",
        "assert candidate(1232)\nassert not candidate(135)\nassert candidate(7)",
        "    d = [int(c) for c in str(n)]\n    return all(abs(a - b) == 1 for a, b in zip(d, d[1:]))\n",
        "    return n % 2 == 0\n",
    ),
    (
        'def rotate(text: str, k: int) -> str:\n    """Move the first k letters to the end."""\n',
        "rotate",
        "assert candidate('abcd', 1) == 'bcda'\nassert candidate('abcd', 6) == 'cdab'\nassert candidate('', 3) == ''",
        "    if not text:\n        return text\n    k %= len(text)\n    return text[k:] + text[:k]\n",
        "    return text[k:] + text[:k]\n",
    ),
    (
        'def mean_of_squares(xs):\n    """Mean of the squares, 0.0 for none."""\n',
        "mean_of_squares",
        "assert abs(candidate([1, 2, 3]) - 14 / 3) < 1e-9\nassert candidate([]) == 0.0",
        "    return sum(x * x for x in xs) / len(xs) if xs else 0.0\n",
        "    return sum(x * x for x in xs) / len(xs)\n",
    ),
    (
        'def letters(text):\n    """Letters and how often each occurs."""\n',
        "letters",
        "assert candidate('abca') == {'a': 2, 'b': 1, 'c': 1}\nassert candidate('') == {}",
        "    from collections import Counter\n    return Counter(text)\n",
        "    return {c: 1 for c in text}\n",
    ),
    (
        'def common(a, b):\n    """Elements of both, as a set."""\n',
        "common",
        "assert candidate([1, 2, 2], [2, 3]) == {2}\nassert candidate('ab', 'cd') == set()",
        "    return set(a) & set(b)\n",
        "    return set(a) | set(b)\n",
    ),
    (
        'def first_repeat(xs):\n    """The first value seen twice, or None."""\n',
        "first_repeat",
        "assert candidate([3, 1, 3, 1]) == 3\nassert candidate([1, 2]) is None",
        "    seen = set()\n    for x in xs:\n        if x in seen:\n            return x\n        seen.add(x)\n    return None\n",
        "    return xs[0]\n",
    ),
    (
        'def safe_ratio(a, b):\n    """a / b; ValueError when b is zero."""\n',
        "safe_ratio",
        "assert candidate(6, 3) == 2\ntry:\n    candidate(1, 0)\n    assert False\nexcept ValueError:\n    pass",
        "    if b == 0:\n        raise ValueError('zero')\n    return a / b\n",
        "    return a / b if b else 0\n",
    ),
    (
        'def halves(xs):\n    """The list cut in two, the first half not the longer."""\n',
        "halves",
        "assert candidate([1, 2, 3]) == ([1], [2, 3])\nassert candidate([]) == ([], [])",
        "    m = len(xs) // 2\n    return xs[:m], xs[m:]\n",
        "    m = (len(xs) + 1) // 2\n    return xs[:m], xs[m:]\n",
    ),
    (
        'def power_mod(b, e, m):\n    """b ** e modulo m."""\n',
        "power_mod",
        "assert candidate(2, 10, 1000) == 24\nassert candidate(7, 10 ** 18, 13) == pow(7, 10 ** 18, 13)",
        "    r = 1\n    b %= m\n    while e:\n        if e & 1:\n            r = r * b % m\n        b, e = b * b % m, e >> 1\n    return r\n",
        "    return b * e % m\n",
    ),
    (
        'def factorial(n):\n    """n!"""\n',
        "factorial",
        "import math\nassert candidate(0) == 1\nfor n in range(1, 2000, 500):\n    assert candidate(n) == math.factorial(n)",
        "    r = 1\n    for k in range(2, n + 1):\n        r *= k\n    return r\n",
        "    return n * (n - 1)\n",
    ),
    (
        'def closest(xs, target):\n    """The value nearest to the target."""\n',
        "closest",
        "assert candidate([1.5, 4.0], 2.0) == 1.5\nassert candidate([10], 0) == 10",
        "    return min(xs, key=lambda x: abs(x - target))\n",
        "    return max(xs)\n",
    ),
    (
        "import re\n\n\ndef _clean(s):\n    return re.sub(r'\\W', '', s).lower()\n\n\n"
        'def palindrome(s):\n    """Whether it reads the same backwards, but for case and punctuation."""\n',
        "palindrome",
        "assert candidate('A man, a plan: Panama') is False\nassert candidate('No lemon, no melon') is True",
        "    t = _clean(s)\n    return t == t[::-1]\n",
        "    return s == s[::-1]\n",
    ),
    (
        'def matrix_trace(m):\n    """Sum of the diagonal."""\n',
        "matrix_trace",
        "assert candidate([[1, 2], [3, 4]]) == 5\nassert candidate([]) == 0",
        "    return sum(row[i] for i, row in enumerate(m))\n",
        "    return sum(map(sum, m))\n",
    ),
    (
        'def apply_twice(f, x):\n    """f(f(x))."""\n',
        "apply_twice",
        "assert candidate(lambda v: v * 3, 2) == 18\nassert candidate(str.upper, 'a') == 'A'",
        "    return f(f(x))\n",
        "    return f(x)\n",
    ),
    (
        'def parts(n):\n    """Bytes, sign and both as a tuple."""\n',
        "parts",
        "assert candidate(-258) == (b'\\x01\\x02', -1)\nassert candidate(0) == (b'', 0)",
        "    s = (n > 0) - (n < 0)\n    n = abs(n)\n    return n.to_bytes((n.bit_length() + 7) // 8, 'big'), s\n",
        "    return b'', 0\n",
    ),
]

MBPP = [
    # (prompt, setup, tests, right, wrong)
    (
        "Write a function to add two numbers.",
        "",
        ["assert add(2, 3) == 5", "assert add(-1, 1) == 0", "assert add(0.5, 0.25) == 0.75"],
        "def add(a, b):\n    return a + b",
        "def add(a, b):\n    return a - b",
    ),
    (
        "Write a function to find shared elements.",
        "",
        ["assert set(shared((3, 4), (4, 5))) == {4}", "assert set(shared((1,), (2,))) == set()"],
        "def shared(a, b):\n    return tuple(set(a) & set(b))",
        "def shared(a, b):\n    return tuple(a)",
    ),
    (
        "Write a function for the height of a binary tree.",
        "root = Node(1)\nroot.left = Node(2)\nroot.left.right = Node(3)\nlone = Node(9)",
        ["assert height(root) == 3", "assert height(lone) == 1", "assert height(None) == 0"],
        "class Node:\n    def __init__(self, v):\n        self.v, self.left, self.right = v, None, None\n"
        "def height(n):\n    return 0 if n is None else 1 + max(height(n.left), height(n.right))",
        "class Node:\n    def __init__(self, v):\n        self.v, self.left, self.right = v, None, None\n"
        "def height(n):\n    return 7",
    ),
    (
        "Write a function to sort a list in place.",
        "",
        ["xs = [3, 1, 2]\nsort_it(xs)\nassert xs == [1, 2, 3]", "ys = []\nsort_it(ys)\nassert ys == []"],
        "def sort_it(xs):\n    xs.sort()",
        "def sort_it(xs):\n    xs.append(0)",
    ),
    (
        "Write a function to update a dictionary in place.",
        "",
        [
            "d = {'a': 1}\nput(d, 'b', 2)\nassert d == {'a': 1, 'b': 2}",
            "s = {}\nput(s, 1, [2])\nassert s[1] == [2]",
        ],
        "def put(d, k, v):\n    d[k] = v",
        "def put(d, k, v):\n    return {**d, k: v}",
    ),
    (
        "Write a generator of squares below n.",
        "",
        ["assert list(squares(10)) == [0, 1, 4, 9]", "assert next(iter(squares(1))) == 0"],
        "def squares(n):\n    k = 0\n    while k * k < n:\n        yield k * k\n        k += 1",
        "def squares(n):\n    yield from range(n)",
    ),
    (
        "Write a stack class.",
        "",
        [
            "s = Stack()\ns.push(1)\ns.push('x')\nassert s.pop() == 'x'\nassert len(s) == 1",
            "assert len(Stack()) == 0",
        ],
        "class Stack:\n    def __init__(self):\n        self.items = []\n    def push(self, x):\n        self.items.append(x)\n"
        "    def pop(self):\n        return self.items.pop()\n    def __len__(self):\n        return len(self.items)",
        "class Stack:\n    def push(self, x): pass\n    def pop(self): return None\n    def __len__(self): return 5",
    ),
    (
        "Write a function for the area of a circle.",
        "",
        ["assert math.isclose(area(1), math.pi)", "assert math.isclose(area(2), 4 * math.pi, rel_tol=1e-9)"],
        "import math\ndef area(r):\n    return math.pi * r ** 2",
        "import math\ndef area(r):\n    return math.pi * r",
    ),
    (
        "Write a function that counts vowels.",
        "",
        ["assert vowels('Education') == 5", "assert vowels('rhythm') == 0"],
        "def vowels(s):\n    return sum(c in 'aeiouAEIOU' for c in s)",
        "def vowels(s):\n    return len(s)",
    ),
    (
        "Write a function to flatten nested lists.",
        "",
        ["assert flat([1, [2, [3, []]]]) == [1, 2, 3]", "assert flat([]) == []"],
        "def flat(x):\n    return [y for z in x for y in (flat(z) if isinstance(z, list) else [z])]",
        "def flat(x):\n    return x",
    ),
    (
        "Write a function to raise an error for negative numbers.",
        "",
        [
            "try:\n    root(-1)\n    ok = False\nexcept ValueError as e:\n    ok = 'negative' in str(e)\nassert ok",
            "assert root(9) == 3.0",
        ],
        "def root(x):\n    if x < 0:\n        raise ValueError('negative')\n    return x ** 0.5",
        "def root(x):\n    return abs(x)",
    ),
    (
        "Write a function to find the largest product of two numbers.",
        "",
        ["assert best([1, -5, -4, 3]) == 20", "assert best([2, 3]) == 6"],
        "from itertools import combinations\ndef best(xs):\n    return max(a * b for a, b in combinations(xs, 2))",
        "def best(xs):\n    return max(xs) ** 2",
    ),
    (
        "Write a function to convert to a fraction and to a decimal.",
        "from fractions import Fraction\nfrom decimal import Decimal",
        ["assert as_fraction(0.5) == Fraction(1, 2)", "assert as_decimal('1.10') == Decimal('1.10')"],
        "from fractions import Fraction\nfrom decimal import Decimal\ndef as_fraction(x):\n    return Fraction(x)\n"
        "def as_decimal(x):\n    return Decimal(x)",
        "def as_fraction(x):\n    return int(x)\ndef as_decimal(x):\n    return int(float(x))",
    ),
    (
        "Write a function for the day after.",
        "import datetime",
        [
            "assert after(datetime.date(2024, 2, 28)) == datetime.date(2024, 2, 29)",
            "assert after(datetime.date(2023, 12, 31)) == datetime.date(2024, 1, 1)",
        ],
        "import datetime\ndef after(d):\n    return d + datetime.timedelta(days=1)",
        "def after(d):\n    return d.replace(day=1)",
    ),
    (
        "Write a function to group words by length.",
        "",
        ["assert by_length(['a', 'bb', 'c']) == {1: ['a', 'c'], 2: ['bb']}", "assert by_length([]) == {}"],
        "from collections import defaultdict\ndef by_length(ws):\n    d = defaultdict(list)\n    for w in ws:\n"
        "        d[len(w)].append(w)\n    return d",
        "def by_length(ws):\n    return {len(w): [w] for w in ws} or None",
    ),
    (
        "Write a function with default and named arguments.",
        "",
        ["assert label('x', sep=': ', value=3) == 'x: 3'", "assert label('y') == 'y=0'"],
        "def label(name, *, sep='=', value=0):\n    return f'{name}{sep}{value}'",
        "def label(name, **kw):\n    return name",
    ),
    (
        "Write a function for complex roots of x^2 + 1 and special numbers.",
        "",
        ["assert set(roots()) == {1j, -1j}", "assert special() != special()"],
        "def roots():\n    return [1j, -1j]\ndef special():\n    return float('nan')",
        "def roots():\n    return [1, -1]\ndef special():\n    return 0",
    ),
]


def human_eval() -> list[tuple[str, str, str, str, str]]:
    """(prompt, tests, entry point, right, wrong)."""
    found = []
    for prompt, entry, body, right, wrong in HUMAN_EVAL:
        lines = "".join(f"    {line}\n" for line in body.split("\n"))
        found.append((prompt, f"METADATA = {{}}\n\n\ndef check(candidate):\n{lines}", entry, right, wrong))
    return found

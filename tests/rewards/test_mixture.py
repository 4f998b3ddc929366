import math
import textwrap

import numpy as np
import pytest

from copg.config import parse_config
from copg.errors import ConfigError, RewardError
from copg.rewards.contract import Condition, RewardSpec, Scale
from copg.rewards.mixture import build_mixture
from copg.rewards.registry import reward_digest


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Writes a user's module and gives its name for a recipe."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(body: str, module: str = "own_rewards_under_test") -> str:
        monkeypatch.delitem(__import__("sys").modules, module, raising=False)
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(body))
        __import__("importlib").invalidate_caches()
        return module

    return write


def test_the_total_is_the_weighted_sum_and_the_parts_stay_unweighted() -> None:
    mixture = build_mixture(
        [
            RewardSpec("rouge_l", 2.0),
            RewardSpec("length", 0.5, {"target": 1, "slope": 0.1}),
            RewardSpec("format", 0.0, {"pattern": "x.*"}, label="starts_with_x"),
        ]
    )
    scores = mixture(["p", "p"], ["x y", "y"], [{"references": "x"}] * 2)
    # rouge_l: P 1/2, R 1: 2/3, and 0; length: one word too many -0.1, and 0; total 2 * 2/3 - 0.05
    assert scores.parts == {"rouge_l": pytest.approx([2 / 3, 0]), "length": pytest.approx([-0.1, 0]),
                            "starts_with_x": [1.0, 0.0]}  # fmt: skip
    assert scores.total == pytest.approx([4 / 3 - 0.05, 0])


def test_a_users_function_gets_the_batch_and_its_settings(own) -> None:
    module = own("""
        import numpy as np
        def count(prompts, completions, columns, *, letter, scale=1.0):
            return np.array([scale * c.count(letter) + r["bonus"] for c, r in zip(completions, columns)])
    """)
    spec = RewardSpec(f"{module}:count", params={"letter": "a", "scale": 2})
    assert build_mixture([spec])(["p", "q"], ["aa", "b"], [{"bonus": 1}, {"bonus": 0}]).parts == {
        "count": [5.0, 0.0]
    }


def test_a_users_class_is_made_once_with_its_settings(own) -> None:
    module = own("""
        class Counter:
            def __init__(self, letter):
                self.letter = letter
            def __call__(self, prompts, completions, columns):
                return [c.count(self.letter) for c in completions]
    """)
    assert build_mixture([RewardSpec(f"{module}:Counter", params={"letter": "b"})])(
        ["p"], ["bb"], [{}]
    ).total == [2.0]


def test_a_users_file_is_named_by_its_path(own, tmp_path) -> None:
    own("def f(prompts, completions, columns):\n    return [len(c) for c in completions]\n", "by_path")
    assert build_mixture([RewardSpec(f"{tmp_path}/by_path.py:f")])(["p"], ["abc"], [{}]).total == [3.0]


BROKEN = """
    def raises(p, c, r): return [1 / 0]
    def short(p, c, r): return [1.0]
    def none(p, c, r): return None
    def text(p, c, r): return ["1.0", "2.0"]
    def nan(p, c, r): return [1.0, float("nan")]
    def holes(p, c, r): return [1.0, None]
    def infinite(p, c, r): return [1.0, 1e400]
    def huge(p, c, r): return [1.0, 1e308]
    def two(p, c): return [1.0, 1.0]
    value = 3
    import sys
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "raises",
            r"^reward 'raises' failed on a batch starting at a:1: ZeroDivisionError: division by zero \(own_",
        ),
        ("short", r"^reward 'short': gave 1 values for 2 completions$"),
        ("none", r"^reward 'none': must give one number a completion, got NoneType$"),
        ("text", r"^a:1: reward 'text': gave '1.0', no finite number$"),
        ("nan", r"^a:2: reward 'nan': gave nan, no finite number$"),
        ("holes", r"^a:2: reward 'holes': gave None, no finite number$"),
        ("infinite", r"^a:2: reward 'infinite': gave inf, no finite number$"),
        ("huge", r"^a:2: the weighted sum of rewards is inf"),
        ("two", r"must take \(prompts, completions, columns\) and params \[\]"),
        ("absent", r"has no function 'absent', it has \['holes', 'huge'"),
        ("value", r"has no function 'value'"),
    ],
)
def test_a_users_mistake_is_one_line_that_names_the_record(own, name, message) -> None:
    module = own(BROKEN)
    with pytest.raises(RewardError, match=message) as caught:
        build_mixture([RewardSpec(f"{module}:{name}", 10.0)])(
            ["p", "q"], ["x", "y"], [{}, {}], sources=["a:1", "a:2"]
        )
    assert "\n" not in str(caught.value)


def test_a_module_that_cannot_be_imported_is_one_line(own, tmp_path) -> None:
    with pytest.raises(
        RewardError, match=r"^reward 'no_such_module:f': No module named 'no_such_module'; put"
    ):
        build_mixture([RewardSpec("no_such_module:f")])
    with pytest.raises(RewardError, match=r"no_such.py is no file"):
        build_mixture([RewardSpec(f"{tmp_path}/no_such.py:f")])
    module = own("def f(:\n")
    with pytest.raises(RewardError, match=r"importing 'own_rewards_under_test' failed: SyntaxError"):
        build_mixture([RewardSpec(f"{module}:f")])


def test_a_reward_that_would_end_the_process_is_an_error(own) -> None:
    with pytest.raises(RewardError, match=r"importing 'own_rewards_under_test' failed: SystemExit: 0"):
        build_mixture([RewardSpec(f"{own('raise SystemExit(0)')}:f")])
    module = own("""
        import sys
        def leave(prompts, completions, columns):
            sys.exit(0)
        class Leaver:
            def __init__(self, how):
                sys.exit(how)
        class Opener:
            def __init__(self):
                open("/nowhere/at/all")
        class Content:
            def __call__(self, prompts, completions, columns):
                return [0.0 for _ in completions]
            def content(self):
                sys.exit(3)
    """)
    leaving = build_mixture([RewardSpec(f"{module}:leave")])
    with pytest.raises(RewardError, match=r"'leave' failed on a batch starting at a:1: SystemExit: 0"):
        leaving(["p"], ["x"], [{}], sources=["a:1"])
    with pytest.raises(RewardError, match=r":Leaver' cannot be made of its params: SystemExit: 5"):
        build_mixture([RewardSpec(f"{module}:Leaver", params={"how": 5})])
    with pytest.raises(RewardError, match=r":Leaver' must take .* and params \['hwo'\]: "):
        build_mixture([RewardSpec(f"{module}:Leaver", params={"hwo": 5})])
    with pytest.raises(RewardError, match=r":Opener' cannot be made of its params: FileNotFoundError: "):
        build_mixture([RewardSpec(f"{module}:Opener")])
    with pytest.raises(RewardError, match=r":Content': content\(\) failed: SystemExit: 3"):
        reward_digest(RewardSpec(f"{module}:Content"))


def test_unknown_and_repeated_and_absent_rewards_are_refused() -> None:
    with pytest.raises(RewardError, match=r"reward='rouge_q' is unknown; use one of \['answer'"):
        build_mixture([RewardSpec("rouge_q")])
    with pytest.raises(RewardError, match="'rouge_l' is there 2 times: give each a 'label'"):
        build_mixture([RewardSpec("rouge_l"), RewardSpec("rouge_l", params={"stem": True})])
    with pytest.raises(RewardError, match="rewards is empty"):
        build_mixture([])
    with pytest.raises(
        ConfigError, match=r"rewards\.short\.params\.maxx is unknown; use one of \['floor', 'max'"
    ):
        build_mixture([RewardSpec("length", params={"maxx": 3}, label="short")])


def test_the_mixture_takes_a_spec_from_a_recipe() -> None:
    spec = parse_config(RewardSpec, {"name": "length", "params": {"max": 20.0}}, where="rewards.0")
    assert build_mixture([spec])(["p"], ["a"], [{}]).total == [0.0]


def test_numbers_of_any_library_are_taken(own) -> None:
    module = own("""
        import numpy as np
        def f(p, c, r): return (np.float32(0.5), np.bool_(True))
    """)
    total = build_mixture([RewardSpec(f"{module}:f")])(["p"] * 2, ["a", "b"], [{}, {}]).total
    assert total == [0.5, 1.0]
    assert all(type(value) is float for value in total)
    assert math.isfinite(np.sum(total))


CHARACTERS = {"unit": "characters", "max": 0, "slope": 1, "floor": -99}


def scores(specs, texts, scales=None):
    return build_mixture(specs, scales=scales)(["p"] * len(texts), texts, [{}] * len(texts)).total


def test_a_standardised_part_is_in_deviations_of_the_train_split() -> None:
    spec = RewardSpec("length", 2.0, CHARACTERS, standardise=True)
    # parts -1 and -5; mean -3, deviation 4: .5 and -.5, times 2
    assert scores([spec], ["a", "abcde"], {"length": Scale(-3, 4)}) == [1.0, -1.0]
    with pytest.raises(RewardError, match="'length' is standardised, and its mean and spread are not given"):
        scores([spec], ["a"])


def test_a_clipped_part_counts_within_its_bounds_after_standardisation() -> None:
    assert scores([RewardSpec("length", 2.0, CHARACTERS, clip=(-3, -2))], ["a", "abc", "abcde"]) == [
        -4,
        -6,
        -6,
    ]
    spec = RewardSpec("length", 1.0, CHARACTERS, standardise=True, clip=(-1, 1))
    # (-1 + 3) / .5 = 4 and (-3 + 3) / .5 = 0
    assert scores([spec], ["a", "abc"], {"length": Scale(-3, 0.5)}) == [1.0, 0.0]


def test_a_constrained_part_counts_only_where_another_passes() -> None:
    valid = RewardSpec("format", 0.0, {"pattern": "x.*"}, label="valid")
    short = RewardSpec("length", 1.0, CHARACTERS, only_if=Condition(part="valid", at_least=1, otherwise=-10))
    assert scores([valid, short], ["xa", "a"]) == [-2.0, -10.0]
    within = RewardSpec("length", 1.0, CHARACTERS, only_if=Condition(part="length", at_least=-3, at_most=-2))
    assert scores([within], ["a", "ab", "abc", "abcd"]) == [0.0, -2.0, -3.0, 0.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip": [1, 1]}, "must rise"),
        ({"only_if": {"part": "x"}}, "needs 'at_least' or 'at_most'"),
        ({"only_if": {"part": "x", "at_least": 1, "otherwise": float("inf")}}, "finite number"),
        ({"only_if": {"parts": "x"}}, "only_if"),
    ],
)
def test_a_wrong_way_of_mixing_is_refused(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(RewardSpec, {"name": "length", **settings}, where="rewards.0")


def test_a_condition_on_no_part_is_refused() -> None:
    spec = RewardSpec("length", params={"max": 1}, only_if=Condition(part="valid", at_least=1))
    with pytest.raises(RewardError, match=r"only_if\.part='valid' is none of \['length'\]"):
        build_mixture([spec])


def test_an_installed_package_can_announce_a_reward(own, tmp_path) -> None:
    module = own("def f(p, c, r, *, k=1): return [float(k)] * len(c)\n", "announced_reward")
    (tmp_path / "announced-1.dist-info").mkdir()
    (tmp_path / "announced-1.dist-info/METADATA").write_text("Name: announced\nVersion: 1\n")
    (tmp_path / "announced-1.dist-info/entry_points.txt").write_text(f"[copg.rewards]\nthree = {module}:f\n")
    spec = RewardSpec("three", params={"k": 3})
    assert build_mixture([spec])(["p"], ["a"], [{}]).parts == {"three": [3.0]}
    before = reward_digest(spec)
    (tmp_path / f"{module}.py").write_text("def f(p, c, r, *, k=1): return [0.0] * len(c)\n")
    assert reward_digest(spec) != before
    with pytest.raises(RewardError, match=r"'three'.* or your own module:function"):
        build_mixture([RewardSpec("four")])

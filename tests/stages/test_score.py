import json
import math
from pathlib import Path

import pytest

from copg.artifacts import begin, read_manifest, seal
from copg.config import parse_config
from copg.data.group_files import GroupWriter, read_groups
from copg.errors import ArtifactError, ConfigError, RewardError
from copg.records import Completion, Group
from copg.rewards.contract import Ensemble, RewardSpec
from copg.stages.score import ScoreConfig, score_groups

BREVITY = RewardSpec("length", 2.0, {"unit": "characters", "max": 0, "slope": 0.25, "floor": -100})


def group(number: int, texts: list[str], rewards: list[float | None] | None = None, **columns) -> Group:
    given = rewards or [None] * len(texts)
    return Group(
        id=f"{number:032x}",
        prompt=f"prompt {number}",
        completions=[Completion(text, reward=r) for text, r in zip(texts, given, strict=True)],
        columns=columns,
        source=f"data.jsonl:{number}",
    )


def write(directory: Path, train: list[Group], select: list[Group] = (), gate: list[Group] = ()) -> Path:
    begin(directory)
    with GroupWriter(directory) as writer:
        for split, groups in (("train", train), ("select", select), ("gate", gate)):
            for g in groups:
                writer.write(split, g)
    seal(directory, schema="groups", stage="validate", rows=1, config={}, parents={})
    return directory


def test_computed_rewards_and_their_parts_fill_every_split(tmp_path) -> None:
    groups = write(
        tmp_path / "groups",
        [group(1, ["a", "abc"], references="a"), group(2, ["x", "x y", "z"], references=["x"])],
        [group(3, ["b", "c"], references="b")],
        [group(4, ["d"], references="e")],
    )
    config = ScoreConfig(rewards=[RewardSpec("rouge_l"), BREVITY])
    score_groups(config, groups, tmp_path / "scored")

    found = {
        g.id[-1]: g for split in ("train", "select", "gate") for g in read_groups(tmp_path / "scored", split)
    }
    # rouge_l of "a" 1, "abc" 0; brevity -.25 a character: -.25 and -.75, weight 2
    assert [c.reward for c in found["1"].completions] == [1 - 0.5, -1.5]
    assert found["1"].completions[1].parts == {"rouge_l": 0.0, "length": -0.75}
    # "x y" against "x": P 1/2, R 1, F 2/3; 3 characters
    assert [c.reward for c in found["2"].completions] == pytest.approx([0.5, 2 / 3 - 1.5, -0.5])
    assert [c.reward for c in found["3"].completions] == [0.5, -0.5]
    assert [c.reward for c in found["4"].completions] == [-0.5]
    assert found["2"].columns == {"references": ["x"]}
    manifest = read_manifest(tmp_path / "scored", schema="scored")
    assert manifest.rows == 4
    assert manifest.parents == {"groups": read_manifest(groups, schema="groups").digest}


def test_metrics_are_those_of_the_train_split(tmp_path) -> None:
    # characters 1, 3: rewards -1, -3: mean -2, spread sqrt(2); 2, 2: tied at -2; 4 alone: -4
    # (reward = -1 a character: slope .5, weight 2)
    brevity = RewardSpec(
        "length", 2.0, {"unit": "characters", "max": 0, "slope": 0.5, "floor": -9}, "brevity"
    )
    groups = write(
        tmp_path / "groups",
        [group(1, ["a", "abc"]), group(2, ["ab", "cd"]), group(3, ["abcd"])],
        [group(4, ["abcdefgh", "a"])],
    )
    metrics = score_groups(ScoreConfig(rewards=[brevity]), groups, tmp_path / "scored")
    assert metrics["groups/count"] == 4
    assert metrics["completions/count"] == 7
    assert metrics["groups/tied"] == 0.5  # of the two that have several completions
    assert metrics["groups/single"] == pytest.approx(1 / 3)
    assert metrics["reward/mean"] == pytest.approx((-1 - 3 - 2 - 2 - 4) / 5)
    # two groups of at least two completions: (sqrt(2) + 0) / 2; the part is half of the reward
    assert metrics["reward/spread"] == pytest.approx(math.sqrt(2) / 2)
    assert metrics["reward_brevity/spread"] == pytest.approx(math.sqrt(2) / 4)
    assert metrics["reward/length_correlation"] == pytest.approx(-1)
    # one best of two, and two best of two: (ln 2 + 0) / 2
    assert metrics["support/mean"] == pytest.approx(math.log(2) / 2)
    facts = read_manifest(tmp_path / "scored", schema="scored").facts
    assert facts["metrics"] == metrics
    assert facts["splits"]["train"]["quantiles"]["reward"]["0.5"] == -2
    assert (
        facts["splits"]["select"]["quantiles"]["reward"] | {"0": -8, "1": -1}
        == (facts["splits"]["select"]["quantiles"]["reward"])
    )
    json.dumps(facts, allow_nan=False)


def test_agreement_compares_parts_within_a_prompt(tmp_path) -> None:
    # centred lengths (-1, 1) in both prompts; x at the start only in the longer of the first, the shorter of
    # the second: products 1*.5 + (-1)*(-.5), then -(...) : sum 0, no agreement; and with one prompt, 1
    has_x = RewardSpec("format", params={"pattern": "x.*"}, label="x")
    long = RewardSpec("length", params={"unit": "characters", "min": 9, "slope": 0.1}, label="long")
    config = ScoreConfig(rewards=[has_x, long])
    both = [group(1, ["a", "xab"]), group(2, ["x", "abc"])]
    for number, (train, expected) in enumerate([(both, 0.0), (both[:1], 1.0)]):
        groups = write(tmp_path / f"groups{number}", train)
        score_groups(config, groups, tmp_path / f"scored{number}")
        facts = read_manifest(tmp_path / f"scored{number}", schema="scored").facts
        assert facts["splits"]["train"]["agreement"] == {"x~long": pytest.approx(expected)}


def test_given_rewards_are_kept_as_they_came(tmp_path) -> None:
    groups = write(tmp_path / "groups", [group(1, ["a", "b"], [0.5, -2.0])])
    metrics = score_groups(ScoreConfig(source="given"), groups, tmp_path / "scored")
    (found,) = read_groups(tmp_path / "scored", "train")
    assert [(c.reward, c.parts) for c in found.completions] == [(0.5, {}), (-2.0, {})]
    # mean -.75; deviations 1.25 and -1.25: variance 3.125
    assert metrics["reward/spread"] == pytest.approx(math.sqrt(3.125))
    assert not any("reward_" in key for key in metrics)


@pytest.mark.parametrize("missing", [None, math.nan, math.inf])
def test_a_record_without_its_given_reward_is_named(tmp_path, missing) -> None:
    groups = write(tmp_path / "groups", [group(1, ["a"], [1.0])], [group(7, ["a", "b"], [0.5, missing])])
    with pytest.raises(RewardError, match=r"^data\.jsonl:7: completion 2 came with reward=(None|nan|inf)"):
        score_groups(ScoreConfig(source="given"), groups, tmp_path / "scored")
    with pytest.raises(ArtifactError):
        read_manifest(tmp_path / "scored", schema="scored")


def test_rewards_that_came_with_the_records_are_replaced_and_counted(tmp_path) -> None:
    groups = write(tmp_path / "groups", [group(1, ["a", "b"], [5.0, 6.0]), group(2, ["a", "b"])])
    metrics = score_groups(ScoreConfig(rewards=[BREVITY]), groups, tmp_path / "scored")
    assert metrics["rewards/replaced"] == 2
    assert [c.reward for g in read_groups(tmp_path / "scored", "train") for c in g.completions] == [-0.5] * 4


def test_a_record_a_reward_cannot_score_is_named(tmp_path) -> None:
    groups = write(tmp_path / "groups", [group(1, ["a"], references="a"), group(2, ["a", "b"])])
    with pytest.raises(
        RewardError, match=r"^data\.jsonl:2: completion 1: reward 'rouge_l': column 'references' is"
    ):
        score_groups(ScoreConfig(rewards=[RewardSpec("rouge_l")]), groups, tmp_path / "scored")


def test_the_size_of_a_batch_changes_no_byte_and_a_second_attempt_succeeds(tmp_path) -> None:
    groups = write(tmp_path / "groups", [group(n, ["a" * k for k in range(1, n + 1)]) for n in range(1, 8)])
    digests = set()
    for size in (1, 3, 1024):
        config = ScoreConfig(rewards=[BREVITY], completions_per_batch=size)
        begin(tmp_path / f"{size}")  # as an interrupted attempt leaves it
        score_groups(config, groups, tmp_path / f"{size}")
        digests.add(read_manifest(tmp_path / f"{size}", schema="scored").digest)
    assert len(digests) == 1


def test_a_group_is_never_split_and_a_user_cannot_change_the_records(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "whole_groups_own.py").write_text(
        "def f(prompts, completions, columns):\n"
        "    for prompt, row in zip(prompts, columns):\n"
        "        assert prompts.count(prompt) == row.pop('k')\n"
        "    return [0.0] * len(prompts)\n"
    )
    groups = write(
        tmp_path / "groups", [group(n, ["a" * i for i in range(1, n + 1)], k=n) for n in range(1, 6)]
    )
    config = ScoreConfig(rewards=[RewardSpec("whole_groups_own:f")], completions_per_batch=2)
    score_groups(config, groups, tmp_path / "scored")
    assert [g.columns for g in read_groups(tmp_path / "scored", "train")] == [{"k": n} for n in range(1, 6)]


def test_a_ladder_suggests_betas_or_says_that_there_is_nothing_to_learn(tmp_path, capsys) -> None:
    groups = write(tmp_path / "groups", [group(1, ["a", "abc"])])
    score_groups(ScoreConfig(rewards=[BREVITY]), groups, tmp_path / "scored")
    # rewards -.5 and -1.5: spread .707, and one best of two: ln 2 nats
    told = capsys.readouterr().err
    assert told.startswith("reward spread within a prompt 0.707; betas to try: ")
    assert "the most these logs can support is 0.69 nats (1 prompt of several completions, logged by" in told
    assert "lower bound" in told, "two completions are too few to say more"
    drawn = ScoreConfig(rewards=[BREVITY], completions_from="reference")
    score_groups(drawn, groups, tmp_path / "drawn")
    assert "drawn from the reference" in capsys.readouterr().err
    assert read_manifest(tmp_path / "drawn", schema="scored").facts["ladder"]["base"] == "reference"
    score_groups(
        ScoreConfig(rewards=[BREVITY]), write(tmp_path / "flat", [group(1, ["a", "b"])]), tmp_path / "s2"
    )
    assert capsys.readouterr().err.count("do not differ within any training prompt") == 1


def test_where_a_run_drew_for_itself_the_ladder_is_of_its_draws_alone(tmp_path, capsys) -> None:
    def sampled(name: str, times: list[int]) -> Path:
        groups = [group(1, ["logged", "a", "abc"])]
        for completion, count in zip(groups[0].completions, times, strict=True):
            completion.columns = {"drawn": {"times": count}} if count else {}
        folder = write(tmp_path / name, groups)
        facts = {"sampler": {"engine": "own"}}
        seal(folder, schema="groups", stage="sample", rows=1, config={}, parents={}, facts=facts)
        return folder

    def ladder(groups: Path, base: str) -> dict:
        config = ScoreConfig(rewards=[BREVITY], completions_from=base)
        score_groups(config, groups, tmp_path / f"{groups.name} {base}")
        return read_manifest(tmp_path / f"{groups.name} {base}", schema="scored").facts["ladder"]

    # rewards -3 (logged), -.5 and -1.5: of the draws, "a" is one of four, of all completions one of three
    found = ladder(sampled("several", [0, 1, 3]), "reference")
    assert (found["base"], found["support"]) == ("reference", pytest.approx(math.log(4)))
    assert "drawn from the reference" in capsys.readouterr().err
    found = ladder(tmp_path / "several", "others")
    assert (found["base"], found["support"]) == ("others", pytest.approx(math.log(3)))
    # a draw beside a logged one is no ladder of the reference's: stage reference will weigh them
    found = ladder(sampled("single", [0, 1, 0]), "reference")
    assert (found["base"], found["support"]) == ("others", pytest.approx(math.log(3)))


def test_nothing_to_train_on_is_an_error_that_names_the_setting(tmp_path) -> None:
    held_out = write(tmp_path / "none", [], [group(1, ["a", "b"], [1.0, 2.0])])
    with pytest.raises(RewardError, match="no group is left to train on: validate left none"):
        score_groups(ScoreConfig(source="given"), held_out, tmp_path / "scored")
    unscored = write(tmp_path / "unscored", [group(2, ["a", "b"])])  # without references to compare with
    config = ScoreConfig(rewards=[RewardSpec("rouge_l")], max_failed_fraction=1.0)
    with pytest.raises(RewardError, match=r"1 failed, and score.max_failed_fraction=1 lets them; the first:"):
        score_groups(config, unscored, tmp_path / "scored_none")


def test_huge_rewards_leave_a_readable_manifest(tmp_path) -> None:
    huge = write(tmp_path / "huge", [group(1, ["a", "b"], [1e308, -1e308])])
    metrics = score_groups(ScoreConfig(source="given"), huge, tmp_path / "scored_huge")
    assert all(math.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "score: rewards is empty: name at least one, or set source: given"),
        ({"source": "guessed"}, "score.source='guessed'"),
        ({"source": "given", "completions_per_batch": 0}, "completions_per_batch=0 must be >= 1"),
        ({"rewards": [{"name": "rouge_l", "heft": 1}]}, r"score.rewards.0.heft is unknown"),
    ],
)
def test_wrong_settings_are_refused(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(ScoreConfig, settings, where="score")


def test_standardised_parts_use_the_train_split_for_every_split(tmp_path) -> None:
    # characters 1, 3 | 2, 2 in train: part -1, -3, -2, -2: mean -2, deviation sqrt(.5); -6 in select
    count = RewardSpec("length", 1.0, {"unit": "characters", "max": 0, "slope": 1, "floor": -99}, "n", True)
    groups = write(
        tmp_path / "groups", [group(1, ["a", "abc"]), group(2, ["ab", "cd"])], [group(3, ["abcdef"])]
    )
    score_groups(ScoreConfig(rewards=[count]), groups, tmp_path / "scored")
    found = [
        c for s in ("train", "select") for g in read_groups(tmp_path / "scored", s) for c in g.completions
    ]
    assert [c.reward for c in found] == pytest.approx([math.sqrt(2), -math.sqrt(2), 0, 0, -4 * math.sqrt(2)])
    assert [c.parts["n"] for c in found] == [-1, -3, -2, -2, -6]
    facts = read_manifest(tmp_path / "scored", schema="scored").facts
    assert facts["scales"] == {"n": {"mean": -2.0, "std": pytest.approx(math.sqrt(0.5))}}


def test_members_of_an_ensemble_are_put_on_the_scale_of_the_train_split_which_is_recorded(
    tmp_path, capsys
) -> None:
    def judge(label: str, slope: float) -> RewardSpec:
        params = {"unit": "characters", "max": 0, "slope": slope, "floor": -99}
        return RewardSpec("length", 2.0, params, label, True, ensemble=Ensemble(name="judges"))

    flat = {"unit": "characters", "target": 2, "floor": -99}
    odd = RewardSpec("length", 2.0, flat, "odd", True, ensemble=Ensemble(name="judges"))
    groups = write(
        tmp_path / "groups", [group(1, ["a", "abc"]), group(2, ["ab", "abcd"])], [group(3, ["abcdef"])]
    )
    metrics = score_groups(ScoreConfig(rewards=[judge("long", 5.0), odd]), groups, tmp_path / "scored")
    # characters 1, 3, 2, 4: long -5, -15, -10, -20: mean -12.5, deviation 5 sqrt(1.25); odd by its slope s,
    # -s, -s, 0, -2s: mean -s, deviation s sqrt(.5). Standardised: long 1.342, -.447, .447, -1.342 and odd
    # 0, 0, 1.414, -1.414, of which the lower counts twice
    low, lower = -1 / math.sqrt(5), -math.sqrt(2)
    found = [c for g in read_groups(tmp_path / "scored", "train") for c in g.completions]
    assert [c.reward for c in found] == pytest.approx([0, 2 * low, -2 * low, 2 * lower])
    # 6 characters by the same constants: (-30 + 12.5) / 5.590 = -3.130; (-4s + s) / .7071s = -4.243
    (held,) = next(iter(read_groups(tmp_path / "scored", "select"))).completions
    assert held.reward == pytest.approx(2 * 3 * lower)
    facts = read_manifest(tmp_path / "scored", schema="scored").facts
    assert facts["scales"]["long"] == {"mean": -12.5, "std": pytest.approx(5 * math.sqrt(1.25))}
    assert set(facts["scales"]) == {"long", "odd"}
    # half of the distances 1.342, .447, .967, .073
    apart = (
        3 / math.sqrt(5) + 1 / math.sqrt(5) + (math.sqrt(2) + low) + (math.sqrt(2) - 3 / math.sqrt(5))
    ) / 8
    assert metrics["disagreement_judges/mean"] == pytest.approx(apart)
    told = (
        f"ensemble 'judges': its 2 members disagree by {apart:.3g} on a training completion, of which 1 times"
    )
    assert told in capsys.readouterr().err


def test_a_part_without_spread_cannot_be_standardised(tmp_path) -> None:
    flat = RewardSpec("length", 1.0, {"max": 9}, standardise=True)
    with pytest.raises(
        RewardError, match="'length' cannot be standardised: its 2 values in the train split have no"
    ):
        score_groups(
            ScoreConfig(rewards=[flat]), write(tmp_path / "g", [group(1, ["a", "b"])]), tmp_path / "s"
        )


FLAKY = """
from pathlib import Path
calls = Path({log!r})
def f(prompts, completions, columns):
    with calls.open("a") as file:
        file.write("".join(c + " " for c in completions) + chr(10))
    times = calls.read_text().split().count("flaky")
    if "bad" in completions or ("flaky" in completions and times < 3):
        raise OSError("no answer")
    return [float(len(c)) for c in completions]
"""


@pytest.fixture
def flaky(tmp_path) -> tuple[RewardSpec, Path]:
    (tmp_path / "flaky_own.py").write_text(FLAKY.format(log=str(tmp_path / "calls")))
    return RewardSpec(f"{tmp_path}/flaky_own.py:f"), tmp_path / "calls"


def test_a_failing_record_is_tried_again_alone(tmp_path, flaky) -> None:
    spec, calls = flaky
    groups = write(tmp_path / "groups", [group(1, ["a", "b"]), group(2, ["flaky", "c"]), group(3, ["d"])])
    metrics = score_groups(ScoreConfig(rewards=[spec]), groups, tmp_path / "scored")
    assert calls.read_text().splitlines() == ["a b flaky c d ", "a b ", "flaky c ", "flaky c ", "d "]
    assert metrics["groups/count"] == 3
    assert metrics["rewards/failed_groups"] == 0


def test_failures_within_the_limit_are_left_out_counted_and_told(tmp_path, flaky, capsys) -> None:
    groups = write(tmp_path / "groups", [group(1, ["a", "bad"]), group(2, ["c", "dd"])], [group(3, ["e"])])
    config = ScoreConfig(rewards=[flaky[0]], max_failed_fraction=0.34)
    metrics = score_groups(config, groups, tmp_path / "scored")
    (kept,) = read_groups(tmp_path / "scored", "train")
    assert [c.reward for c in kept.completions] == [1.0, 2.0]
    assert metrics["rewards/failed_groups"] == 1
    assert metrics["groups/count"] == 2
    told = (
        "reward 'f' failed on a batch starting at data.jsonl:1: completion 1: "
        "OSError: no answer (flaky_own.py:9)"
    )
    assert read_manifest(tmp_path / "scored", schema="scored").facts["failed"] == [told]
    assert f"1 records failed and are left out, the first: {told}" in capsys.readouterr().err


def test_failures_beyond_the_limit_stop_the_stage_and_name_the_record(tmp_path, flaky) -> None:
    many = [group(n, ["bad", "a"]) for n in range(1, 5)]
    groups = write(tmp_path / "groups", many)
    with pytest.raises(
        RewardError, match=r"^3 of 4 records failed, more than max_failed_fraction=0\.5 .*data\.jsonl:3"
    ):
        score_groups(ScoreConfig(rewards=[flaky[0]], max_failed_fraction=0.5), groups, tmp_path / "scored")
    with pytest.raises(RewardError, match=r"^reward 'f' failed on a batch starting at data\.jsonl:1"):
        score_groups(ScoreConfig(rewards=[flaky[0]]), groups, tmp_path / "again")


def test_a_second_run_computes_only_what_the_store_lacks(tmp_path, flaky) -> None:
    spec, calls = flaky
    first = write(tmp_path / "first", [group(1, ["a", "bb"]), group(2, ["ccc"])])
    more = write(tmp_path / "more", [group(1, ["a", "bb", "dddd"]), group(2, ["ccc"])], [group(3, ["e"])])
    config = ScoreConfig(rewards=[spec], store=str(tmp_path / "store"), check_samples=0)
    metrics = score_groups(config, first, tmp_path / "s1")
    assert (metrics["rewards/computed"], metrics["rewards/reused"]) == (3, 0)
    calls.unlink()
    metrics = score_groups(config, more, tmp_path / "s2")
    assert calls.read_text().split() == ["dddd", "e"]
    assert (metrics["rewards/computed"], metrics["rewards/reused"]) == (2, 3)
    (one, two) = read_groups(tmp_path / "s2", "train")
    assert [c.reward for c in (*one.completions, *two.completions)] == [1.0, 2.0, 4.0, 3.0]
    plain = ScoreConfig(rewards=[spec])
    score_groups(plain, more, tmp_path / "s3")
    digests = {read_manifest(tmp_path / name, schema="scored").digest for name in ("s2", "s3")}
    assert len(digests) == 1


def test_a_stored_value_that_comes_out_differently_stops_the_stage(tmp_path) -> None:
    (tmp_path / "dice.py").write_text(
        "from pathlib import Path\ndef f(p, c, r): return [float(Path(r[0]['file']).read_text())] * len(c)\n"
    )
    (tmp_path / "value").write_text("1")
    groups = write(tmp_path / "groups", [group(1, ["a", "b"], file=str(tmp_path / "value"))])
    spec = RewardSpec(f"{tmp_path}/dice.py:f")
    config = ScoreConfig(rewards=[spec], store=str(tmp_path / "store"))
    score_groups(config, groups, tmp_path / "s1")
    assert score_groups(config, groups, tmp_path / "s2")["rewards/checked"] == 2
    (tmp_path / "value").write_text("1.5")
    with pytest.raises(
        RewardError, match=r"reward 'f' is not repeatable: 2 of 2 values changed: 1\.5 where 1 was stored"
    ):
        score_groups(config, groups, tmp_path / "s3")
    tolerant = ScoreConfig(rewards=[spec], store=str(tmp_path / "store"), max_changed_fraction=1)
    metrics = score_groups(tolerant, groups, tmp_path / "s4")
    assert (metrics["rewards/changed"], metrics["reward/mean"]) == (2, 1.0)


def test_given_rewards_are_compared_with_those_that_will_judge(tmp_path, capsys) -> None:
    # given rises with the length that the recipe punishes
    groups = write(tmp_path / "groups", [group(1, ["a", "bb", "ccc"], [1.0, 2.0, 3.0])])
    metrics = score_groups(ScoreConfig(source="given", rewards=[BREVITY]), groups, tmp_path / "s1")
    assert metrics["rewards/agreement"] == pytest.approx(-1)
    assert "correlate by -1.00 (1 prompts)" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="'standardise' needs source: computed"):
        parse_config(
            ScoreConfig, {"source": "given", "rewards": [{"name": "x", "standardise": True}]}, where="score"
        )

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from copg.evaluation.results import Measured
from copg.report.samples import pick_samples
from tests.evaluations import SCHEMA


def measured(folder, name, rows) -> Measured:
    """Rows (split, id, sample, reward); the text says which row it is."""
    made = [
        {
            "split": split,
            "id": i,
            "prompt": f"prompt {i}",
            "sample": sample,
            "completion": f"{name} {split} {i} {sample}",
            "num_tokens": 3,
            "finished": True,
            "reward": reward,
            "parts": {"facts": reward},
            "log_ratio": 0.0,
        }
        for split, i, sample, reward in rows
    ]
    (folder / name).mkdir()
    pq.write_table(pa.Table.from_pylist(made, schema=SCHEMA), folder / name / "generations.parquet")
    return Measured(folder / name, None, name, "", "", {})


@pytest.fixture
def pair(tmp_path):
    gaps = {"a": 0.5, "b": -0.2, "c": 0.1, "d": 0.9, "e": 0.0, "f": 0.3}
    policy = measured(tmp_path, "policy", [("gate", i, 0, gap) for i, gap in gaps.items()])
    reference = measured(tmp_path, "reference", [("gate", i, 0, 0.0) for i in reversed(gaps)])
    return policy, reference


def texts(samples) -> list[tuple[str, str]]:
    return [(sample.policy.text, sample.reference.text) for sample in samples]


def test_the_most_the_middle_and_the_least_gain_are_picked_and_paired_by_prompt(pair) -> None:
    # by gain: d .9, a .5, f .3, c .1, e 0, b -.2; one of each kind: d, the third of six, b
    picked = pick_samples(*pair, 1)
    assert texts(picked.most) == [("policy gate d 0", "reference gate d 0")]
    assert texts(picked.middle) == [("policy gate f 0", "reference gate f 0")]
    assert texts(picked.least) == [("policy gate b 0", "reference gate b 0")]
    assert picked.least[0].policy.parts == {"facts": -0.2}
    assert [s.prompt for s in pick_samples(*pair, 2).least] == ["prompt b", "prompt e"]


def test_no_prompt_is_shown_twice_however_few_there_are(pair) -> None:
    picked = pick_samples(*pair, 50)
    shown = [s.prompt for kind in (picked.most, picked.middle, picked.least) for s in kind]
    assert len(shown) == len(set(shown)) == 6


def test_one_prompt_is_shown_once(tmp_path) -> None:
    policy = measured(tmp_path, "policy", [("gate", "a", 0, 1.0)])
    picked = pick_samples(policy, measured(tmp_path, "reference", [("gate", "a", 0, 0.0)]), 3)
    assert (len(picked.most), len(picked.middle), len(picked.least)) == (1, 0, 0)


def test_the_first_completions_of_the_gate_split_are_compared_whatever_their_order(tmp_path) -> None:
    rows = [("select", "a", 0, 9.0), ("gate", "a", 1, 5.0), ("gate", "a", 0, 1.0)]
    policy = measured(tmp_path, "policy", rows)
    reference = measured(tmp_path, "reference", [("gate", "a", 0, 0.0), ("gate", "a", 1, 7.0)])
    assert texts(pick_samples(policy, reference, 1).most) == [("policy gate a 0", "reference gate a 0")]


def test_a_policy_whose_completions_were_not_kept_shows_none(pair, tmp_path) -> None:
    bare = replace(pair[0], directory=tmp_path / "nothing")
    picked = pick_samples(bare, pair[1], 3)
    assert (picked.most, picked.middle, picked.least) == ([], [], [])


def test_rows_beyond_the_first_batch_of_the_file_are_found(tmp_path) -> None:
    rows = [("gate", f"p{i:05}", 0, float(i)) for i in range(3000)]
    policy = measured(tmp_path, "policy", rows)
    reference = measured(tmp_path, "reference", [("gate", i, 0, 0.0) for _, i, _, _ in rows])
    picked = pick_samples(policy, reference, 1)
    assert texts(picked.most) == [("policy gate p02999 0", "reference gate p02999 0")]
    assert texts(picked.least) == [("policy gate p00000 0", "reference gate p00000 0")]

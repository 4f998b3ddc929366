import pytest

from copg.errors import RewardError
from copg.rewards.contract import RewardSpec
from copg.rewards.mixture import build_mixture
from copg.rewards.reference_overlap import ReferenceOverlap


def test_words_are_the_distinct_words_of_the_best_reference() -> None:
    reward = ReferenceOverlap()
    # reference words {the, cat, sat}: "The cat." has 2 of 3
    assert reward(["p"], ["The cat."], [{"references": "the cat, the cat sat"}]) == pytest.approx([2 / 3])
    # {a, b}: 1/2; {c}: 1
    assert reward(["p"], ["a c"], [{"references": ["a b", "c"]}]) == [1.0]


def test_a_fact_is_covered_when_its_words_follow_one_another() -> None:
    reward = ReferenceOverlap(column="meta.facts", mode="facts")
    facts = {"meta": {"facts": ["12 May", "red art", "Ann"]}}
    # "12 May" yes; "red art" no: "red party" and "art red" are other words; "Ann" no: "Anna"
    assert reward(["p"], ["On 12 may, a RED party: art red, Anna"], [facts]) == pytest.approx([1 / 3])
    assert reward(["p"], ["12-May red, art; ann"], [facts]) == [1.0]


def test_a_fact_without_words_is_the_records_fault() -> None:
    mixture = build_mixture([RewardSpec("reference_overlap", params={"mode": "facts", "column": "f"})])
    with pytest.raises(
        RewardError, match=r"^prompt 'which\? one': reward 'reference_overlap': column 'f' holds"
    ):
        mixture(["which?\none"], ["a"], [{"f": ["a", "--"]}])

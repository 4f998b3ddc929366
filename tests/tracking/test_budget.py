"""What promotions tried may spend: in one order for everybody, once each, never more than there is."""

import threading
import uuid

import pytest

from copg.errors import TrackingError
from copg.tracking.budget import JUDGED, LEVEL, TOTAL, Budget
from copg.tracking.registry import DIGEST_TAG, Registry

HALF, WHOLE = 0.025, 0.05


@pytest.fixture(scope="module")
def uri(tmp_path_factory) -> str:
    """One new file for the module: filling it takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('budget') / 'mlflow.db'}"


def open_budget(uri: str, name: str, total: float = WHOLE) -> Budget:
    return Budget(Registry(uri, name), total=total)


def spend(budget: Budget, key: str, level: float = HALF):
    return budget.spend(key, level=level, policy_uri=f"/policies/{key}", tags={"trial": key})


def test_each_spends_once_in_the_order_in_which_they_came_and_never_more_than_there_is(uri) -> None:
    budget = open_budget(uri, "order")
    found = [spend(budget, key) for key in "abc"]
    assert [(each.place, each.before, each.affordable) for each in found] == [
        (1, 0.0, True),
        (2, HALF, True),
        (3, WHOLE, False),
    ]
    assert budget.spent() == (WHOLE, 2)
    assert open_budget(uri, "order", 3 * HALF).spent() == (WHOLE, 2), "nor is it paid for afterwards"


def test_the_same_again_spends_nothing_and_keeps_the_level_of_the_first_time(uri) -> None:
    budget = open_budget(uri, "again")
    first, other = spend(budget, "a"), spend(budget, "b", 0.01)
    assert (other.before, other.level) == (HALF, 0.01)
    assert spend(open_budget(uri, "again"), "a", 0.001) == first
    assert budget.spent() == (HALF + 0.01, 2)


def test_fifty_two_shares_of_a_budget_are_all_of_it_whatever_their_sum_rounds_to(uri) -> None:
    budget = Budget(Registry(uri, "year"), total=WHOLE)
    levels = [(f"k{i}", WHOLE / 52) for i in range(53)]
    budget._entries = lambda: [Entry(key, level) for key, level in levels]  # 53 versions take a while
    assert budget.spent()[1] == 52
    assert not budget._place("k52").affordable
    assert budget._place("k51").affordable


def test_another_budget_later_changes_nothing_of_what_was_paid_for(uri) -> None:
    budget = open_budget(uri, "raised")
    paid = [spend(budget, "a", 0.04), spend(budget, "b", 0.02), spend(budget, "c", 0.01)]
    assert [each.affordable for each in paid] == [True, False, True]
    # replayed under .06 b would be held, and with it c no more; under .04 only a
    for total in (0.06, 0.04):
        other = open_budget(uri, "raised", total)
        assert other.spent() == (pytest.approx(0.05), 2)
        assert [other._place(key) for key in "ac"] == [paid[0], paid[2]]
    assert not spend(open_budget(uri, "raised", 0.06), "d", 0.02).affordable


def test_entries_of_an_earlier_version_change_nothing_of_a_later_one(uri) -> None:
    budget = open_budget(uri, "mixed")
    for key, level in (("a", 0.04), ("b", 0.02)):  # without their budget: under .05 b is not held
        budget._ledger._create("/p", key, {LEVEL: repr(level)}, "")
    assert spend(budget, "c", 0.01).affordable
    raised = open_budget(uri, "mixed", 0.06)
    assert raised._place("b").affordable, "as ever"
    assert raised._place("c").affordable
    assert raised.spent() == (pytest.approx(0.07), 3)


def test_what_was_not_paid_for_decided_nothing_and_is_entered_anew_under_a_larger_budget(uri) -> None:
    judged = {"level": WHOLE, "policy_uri": "/p", "tags": {JUDGED: "j"}}
    budget = open_budget(uri, "unpaid")
    spend(budget, "a")
    assert not budget.spend("b", **judged).affordable
    budget.note("b", "not promoted: raise the budget")
    assert (budget.decided("j"), budget.knows("b")) == (None, False)
    assert not budget.spend("b", **judged).affordable, "the same again"
    assert len(budget._entries()) == 2
    raised = open_budget(uri, "unpaid", HALF + WHOLE)
    for _ in range(2):
        found = raised.spend("b", **judged)
        assert (found.before, found.place, found.affordable) == (HALF, 2, True)
    raised.note("b", "promoted: it is better")
    assert raised.spent() == (HALF + WHOLE, 2)
    for each in (raised, budget):
        assert each.decided("j") == (found, "promoted: it is better")
        assert each.knows("b")


class Entry:
    def __init__(self, digest: str, level: float) -> None:
        self.digest, self.tags = digest, {LEVEL: repr(level), TOTAL: repr(WHOLE)}


def test_of_several_at_once_as_many_are_held_as_there_is_budget_for(uri) -> None:
    spend(open_budget(uri, "race"), "first")
    found = {}

    def one(key: str) -> None:
        found[key] = spend(open_budget(uri, "race"), key)

    threads = [threading.Thread(target=one, args=(key,)) for key in ("b", "c", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.affordable for each in found.values()) == [False, True]
    assert open_budget(uri, "race").spent() == (WHOLE, 2)


def test_two_entries_that_a_server_made_of_one_key_count_once(uri) -> None:
    budget = open_budget(uri, "twice")
    for _ in range(2):
        budget._ledger._create("/p", "a", {LEVEL: repr(HALF)}, "")
    assert budget.spent() == (HALF, 1)
    assert spend(budget, "b").before == HALF


@pytest.mark.parametrize(
    "change",
    [
        lambda client, name: client.set_model_version_tag(name, "1", LEVEL, "0.005"),
        lambda client, name: client.set_model_version_tag(name, "1", DIGEST_TAG, "b"),
        lambda client, name: client.delete_model_version_tag(name, "1", LEVEL),
        lambda client, name: client.delete_model_version_tag(name, "1", JUDGED),
        lambda client, name: client.update_model_version(name, "1", "promoted: no gain [0123456789ab]"),
        lambda client, name: client.update_model_version(name, "1", "promoted: no gain"),
    ],
)
def test_an_entry_that_is_not_what_was_written_decides_nothing(uri, change) -> None:
    name = f"changed {uuid.uuid4().hex}"
    budget = open_budget(uri, name)
    budget.spend("a", level=HALF, policy_uri="/p", tags={JUDGED: "j"})
    budget.note("a", "not promoted: no gain")
    spent, came = budget.decided("j")
    assert (spent.level, came) == (HALF, "not promoted: no gain")
    client = Registry(uri, name)._client
    client.set_model_version_tag(f"{name}.gate", "1", "of people", "x")  # decides nothing
    assert budget.spent() == (HALF, 1)
    change(client, f"{name}.gate")
    for ask in (budget.spent, lambda: budget.decided("j"), lambda: spend(budget, "c")):
        with pytest.raises(
            TrackingError, match=r"\.gate' at .*: version 1, an entry .* not what was written"
        ):
            ask()


def test_an_entry_of_an_earlier_version_is_believed(uri) -> None:
    budget = open_budget(uri, "earlier")
    budget._ledger._create("/p", "a", {LEVEL: repr(HALF), JUDGED: "j"}, "promoted: it is better")
    assert budget.decided("j")[1] == "promoted: it is better"
    assert budget.spent() == (HALF, 1)


def test_what_came_of_it_stands_beside_the_entry_and_the_champion_is_not_touched(uri) -> None:
    registry = Registry(uri, "noted")
    budget = Budget(registry, total=WHOLE)
    spend(budget, "a")
    budget.note("a", "not promoted: no gain")
    ledger = Registry(uri, "noted.gate")
    assert ledger._client.get_model_version("noted.gate", "1").description.startswith("not promoted: no gain")
    assert ledger.versions()[0].tags["trial"] == "a"
    assert registry.versions() == []

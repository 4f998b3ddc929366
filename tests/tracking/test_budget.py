"""What promotions tried may spend: in one order for everybody, once each, never more than there is."""

import threading
import uuid

import pytest

from copg.errors import TrackingError
from copg.tracking.budget import JUDGED, LEVEL, Budget
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
    assert open_budget(uri, "order", 3 * HALF).spent() == (3 * HALF, 3), "a larger budget holds it, too"


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


class Entry:
    def __init__(self, digest: str, level: float) -> None:
        self.digest, self.tags = digest, {LEVEL: repr(level)}


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

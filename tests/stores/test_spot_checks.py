from collections import Counter

from copg.stores.spot_checks import SpotChecks

KEYS = [bytes([n]) for n in range(100)]


def chosen(checks: SpotChecks, keys: list[bytes], size: int) -> list[bytes]:
    found: list[bytes] = []
    for start in range(0, len(keys), size):
        found += checks.choose(keys[start : start + size])
    return found


def test_one_batch_gives_a_sample_of_the_size_asked_for_and_nothing_twice() -> None:
    checks = SpotChecks(5)
    assert len(checks.choose(KEYS)) == 5
    assert checks.choose(KEYS) == set()
    assert len(SpotChecks(5).choose(KEYS[:3])) == 3
    assert SpotChecks(0).choose(KEYS) == set()


def test_every_batch_has_its_share_and_the_sample_of_all_is_among_them() -> None:
    whole = SpotChecks(5, salt=b"s").choose(KEYS)
    assert whole <= set(chosen(SpotChecks(5, salt=b"s"), KEYS, 10))
    # a key of the last of 10 batches is in the sample of 5 out of 100 with probability 1/20
    counts = Counter(key for n in range(2000) for key in chosen(SpotChecks(5, salt=b"%d" % n), KEYS, 10))
    assert min(counts[key] for key in KEYS[90:]) > 60  # 100 expected, standard deviation 10
    # batch b of 10 holds 5/b of the 5 lowest so far: 5 * (1 + 1/2 + .. + 1/10) = 14.6 checks in all
    assert 14.2 < counts.total() / 2000 < 15.0


def test_another_use_has_another_sample() -> None:
    assert len({frozenset(SpotChecks(5).choose(KEYS)) for _ in range(20)}) == 20

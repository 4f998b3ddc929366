from copg.rewards.stored import StoredReward, spans
from copg.stores.reward_store import open_rewards
from copg.stores.values import ValueStore


class Counting:
    """Length of the completion; remembers what it was asked."""

    reads = ("x",)

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, prompts, completions, columns):
        self.asked += completions
        return [float(len(c)) for c in completions]


class Rank(Counting):
    """Place among the completions of the prompt."""

    whole_group = True

    def __call__(self, prompts, completions, columns):
        self.asked += completions
        return [
            float(sorted(completions[i] for i in s).index(completions[k])) for s in spans(prompts) for k in s
        ]


def store(tmp_path) -> ValueStore:
    return open_rewards(str(tmp_path), "d" * 64)


def test_only_columns_that_are_read_decide_what_is_known(tmp_path) -> None:
    reward = Counting()
    stored = StoredReward(reward, store(tmp_path), check_samples=0)
    for row in ({"x": 1, "y": 1}, {"x": 1, "y": 2}, {"x": 2, "y": 1}):
        assert stored(["p"], ["abc"], [row]) == [3.0]
    assert reward.asked == ["abc", "abc"]
    assert (stored.num_computed, stored.num_reused) == (2, 1)


def test_a_reward_that_reads_no_prompt_is_shared_between_prompts(tmp_path) -> None:
    reward = Counting()
    reward.reads_prompt = False
    stored = StoredReward(reward, store(tmp_path), check_samples=0)
    stored(["p"], ["a"], [{"x": 1}])
    stored(["q"], ["a"], [{"x": 1}])
    assert reward.asked == ["a"]


def test_a_reward_of_the_whole_group_is_computed_again_when_the_group_changes(tmp_path) -> None:
    reward = Rank()
    stored = StoredReward(reward, store(tmp_path), check_samples=0)
    rows = [{"x": 1}] * 5
    assert stored(["p", "p", "q"], ["b", "c", "d"], rows[:3]) == [0.0, 1.0, 0.0]
    reward.asked.clear()
    # one more completion of p: all of p again, q from the store
    assert stored(["p", "p", "p", "q"], ["b", "c", "a", "d"], rows[:4]) == [1.0, 2.0, 0.0, 0.0]
    assert reward.asked == ["b", "c", "a"]


def test_a_sample_of_what_is_known_is_computed_again(tmp_path) -> None:
    texts = ["a" * n for n in range(1, 9)]
    rows = [{"x": 1}] * 8
    kept = store(tmp_path)
    StoredReward(Counting(), kept, check_samples=0)(["p"] * 8, texts, rows)
    reward = Counting()
    checking = StoredReward(reward, kept, check_samples=4)
    assert checking(["p"] * 8, texts, rows) == [float(len(t)) for t in texts]
    assert len(set(reward.asked)) == 4
    checking(["p"] * 8, texts, rows)
    assert len(reward.asked) == 4
    assert (checking.num_checked, checking.changed) == (4, [])


def test_a_wrong_value_in_the_last_batch_is_found_in_some_use(tmp_path) -> None:
    # one of 64 is wrong; each use checks it with probability 8/64, so 60 miss it with (7/8)^60 = .0003
    texts = ["a" * n for n in range(1, 65)]
    kept = store(tmp_path)
    wrong = StoredReward(lambda p, c, r: [len(t) + (len(t) == 60) for t in c], kept, check_samples=0)
    wrong.reward.reads = ("x",)
    wrong(["p"] * 64, texts, [{"x": 1}] * 64)
    found = 0
    for _ in range(60):
        checking = StoredReward(Counting(), kept, check_samples=8)
        for start in range(0, 64, 8):
            checking(["p"] * 8, texts[start : start + 8], [{"x": 1}] * 8)
        found += len(checking.changed)
    assert found > 0


def test_a_change_is_told_and_the_stored_value_stays(tmp_path) -> None:
    kept = store(tmp_path)
    StoredReward(Counting(), kept, check_samples=0)(["p"], ["ab"], [{"x": 1}])
    checking = StoredReward(lambda p, c, r: [2.5], kept, check_samples=1)
    checking.reward.reads = ("x",)
    assert checking(["p"], ["ab"], [{"x": 1}]) == [2.0]
    assert checking.changed == ["2.5 where 2 was stored, prompt 'p'"]

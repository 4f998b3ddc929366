"""What the report says of each policy: exact where values have bounds, and by document."""

from pathlib import Path

import pytest

from copg.evaluation.criteria import Criteria
from copg.evaluation.estimates import estimate, paired_difference
from copg.evaluation.results import Evaluations, judge, read_draws, read_evaluations
from copg.report.numbers import compare_policies
from copg.report.policy import Policy
from tests.evaluations import Made, make_evaluation, make_groups

TRIAL = Made("copg_0.2", 0.13, 1.6, "copg", 0.2)
BOUNDS = {"bounds": {"brevity": (0.0, 1.0), "reward": (-2.0, 3.0)}}


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluations, list[Policy]]:
    folder: Path = tmp_path_factory.mktemp("compared")
    groups = make_groups(folder / "groups", documents=8)
    reference, trial = (
        make_evaluation(folder / made.name, made, groups, **BOUNDS) for made in (Made("reference"), TRIAL)
    )
    found = read_evaluations(folder / "groups", reference=reference, champion=None, trials=[trial])
    return found, compare_policies(found, judge(found, Criteria()), [])


def test_each_interval_is_by_document_and_exact_where_its_values_have_bounds(compared) -> None:
    found, (reference, policy) = compared
    drawn, theirs = (read_draws(one, "gate") for one in found.everyone[::-1])
    prompts = sorted(drawn.rewards)
    documents = [found.clusters[prompt] for prompt in prompts]
    assert len(set(documents)) == 8

    def pair(mine, other, bounds=None):
        values = [[of[prompt] for prompt in prompts] for of in (mine, other)]
        return paired_difference(*values, bounds=bounds, clusters=documents)

    assert policy.gain == pair(drawn.rewards, theirs.rewards, (-2.0, 3.0))
    assert policy.part_gains["brevity"] == pair(drawn.parts["brevity"], theirs.parts["brevity"], (0.0, 1.0))
    assert policy.part_gains["facts"] == pair(drawn.parts["facts"], theirs.parts["facts"])
    worth = {p: [r - 0.2 * k for r, k in zip(drawn.rewards[p], drawn.kls[p], strict=True)] for p in prompts}
    assert policy.objective is not None
    assert policy.objective.gain == pair(worth, theirs.rewards)
    most = [[max(values)] for values in theirs.rewards.values()]
    in_order = [found.clusters[prompt] for prompt in theirs.rewards]
    best = reference.best_of[-1].reward
    assert best == estimate(most, bounds=(-2.0, 3.0), clusters=in_order)

"""What an evaluation holds: prompts of one document count as one in all of it."""

from typing import Any

import numpy as np
import pytest

from copg.evaluation.doubts import one_cluster
from copg.evaluation.held_out import HeldOut
from copg.evaluation.summaries import summarise
from copg.lm.generation import Generated
from copg.records import Group

FACTS: dict[str, Any] = {"name": "t", "method": "copg", "beta": 0.5, "diverged": False, "bounds": {}}
NUM_DOCUMENTS = 12
NO_OPENING: Any = None


def held_out(copies: int, *, named: bool = True) -> list[HeldOut]:
    """As many prompts of each document, which all fare alike."""
    rng = np.random.default_rng(0)
    found = []
    for document in range(NUM_DOCUMENTS):
        reward, kl, length = rng.normal(), float(rng.normal() ** 2), int(rng.integers(1, 9))
        for copy in range(copies):
            columns = {"cluster": f"d{document}"} if named else {}
            group = Group(f"{document} {copy}", "p", [], columns)
            prompt = HeldOut("gate", group, NO_OPENING)
            prompt.drawn = [Generated([1] * length, "a", True)]
            prompt.rewards, prompt.kls, prompt.log_ratios = [reward], [kl], [kl]
            prompt.parts = {"part": [reward]}
            found.append(prompt)
    return found


def test_every_interval_of_an_evaluation_takes_prompts_of_a_document_together() -> None:
    once, together, apart = (
        summarise(FACTS, "gate", prompts, "cluster")
        for prompts in (held_out(1), held_out(4), held_out(4, named=False))
    )
    for found in (once, together, apart):
        found |= {"part": found["parts"]["part"]}
    for name in ("reward", "kl", "kl_k1", "objective", "length", "part"):
        assert together[name] == pytest.approx(once[name]), name
        assert apart[name]["low"] > once[name]["low"], name


def test_prompts_that_are_all_of_one_cluster_are_told() -> None:
    (line,) = one_cluster("gate", held_out(4)[:4], "cluster")
    assert line.startswith("evaluate: all 4 prompts of 'gate' are of one cluster (cluster): ")
    assert one_cluster("gate", held_out(4), "cluster") == []
    assert one_cluster("gate", held_out(4, named=False)[:4], "cluster") == []
    assert one_cluster("gate", [], "cluster") == []

"""Keys of plans: what a setting is nothing to, it does not change."""

from collections import defaultdict
from typing import Any

from copg.run.plan import stage_keys
from copg.stages.table import TABLE


def keys(**evaluate: Any) -> dict[str, str]:
    configs = {row.stage: {} for row in TABLE} | {"evaluate": evaluate}
    return stage_keys(configs, defaultdict(str), [{"method": "copg", "beta": 0.1}])


def test_other_mixes_evaluate_trials_again_and_neither_reference_nor_champion() -> None:
    before, after = keys(mixes=[], threads=1), keys(mixes=[0.5], threads=1)
    assert {name for name in before if before[name] != after[name]} == {"evaluate", "report", "promote"}
    assert keys(mixes=[], threads=2)["baseline"] != before["baseline"]

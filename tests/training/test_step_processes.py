"""A step over two processes: its metrics and gradient are those of one, also where it is cut short."""

import copy
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from copg.lm.config import RowConfig
from copg.lm.scorer import SequenceScorer
from copg.training import step as steps
from copg.training.config import TrialConfig
from tests import tiny
from tests.training.test_split_groups import make_data

SIZES = [2, 5, 3, 4, 2]
"""Completions of each group."""
WHOLE = 5
STEPS = {"whole": [0, 1, 2, 3, 4], "cut short": [3, 0, 1], "one group": [2]}
"""Groups of a step of five; of one, the second process has none of its own."""
TRIAL, KTO = TrialConfig(beta=0.3), TrialConfig(beta=0.3, method="kto")


@dataclass
class Alone:
    """An accelerator that keeps what it is given to sum to itself: a planted mistake."""

    accelerator: Accelerator

    def __getattr__(self, name: str) -> Any:
        return getattr(self.accelerator, name)

    def reduce(self, value: torch.Tensor, **_: Any) -> torch.Tensor:
        """Of this process alone."""
        return value


def measure(
    accelerator: Any, policy: Any, indices: list[int], whole: int = WHOLE, trial: TrialConfig = TRIAL
) -> dict[str, float]:
    """What a step tells, and its gradient in two numbers, before any update."""
    data, rows, model = make_data(SIZES), RowConfig(tokens_per_batch=1), copy.deepcopy(policy)
    scorer = accelerator.prepare_model(SequenceScorer(model, rows))
    result = steps.accumulate_gradients(accelerator, scorer, data, indices, trial, rows, whole_step=whole)
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    told = {"loss/mean": result.loss, "tokens": result.num_tokens, "groups": len(result.indices)}
    slope = gradient @ torch.linspace(-1, 1, len(gradient))
    seen = {"norm": float(gradient.norm()), "slope": float(slope)}
    return {**told, **seen, **steps.diagnose(data, result, trial.price)}


def take_part(folder: Path) -> None:
    """One of two processes; the first writes what they measure, as it is and with mistakes planted."""
    policy, accelerator = tiny.build_model(), Accelerator(cpu=True)  # of several, the first alone saves
    assert accelerator.num_processes == 2
    found = {name: measure(accelerator, policy, indices) for name, indices in STEPS.items()}
    found |= {f"kto {name}": measure(accelerator, policy, i, trial=KTO) for name, i in STEPS.items()}
    found["not reduced"] = measure(Alone(accelerator), policy, STEPS["whole"])
    found["kto not reduced"] = measure(Alone(accelerator), policy, STEPS["whole"], trial=KTO)
    found["as if whole"] = measure(accelerator, policy, STEPS["cut short"], whole=0)
    gather, steps.gather_object = steps.gather_object, list
    found["not gathered"] = measure(accelerator, policy, STEPS["whole"])
    steps.gather_object = gather
    if accelerator.is_main_process:
        (folder / "found.json").write_text(json.dumps(found))
    accelerator.wait_for_everyone()
    accelerator.end_training()


@pytest.mark.nightly
def test_two_processes_tell_and_do_what_one_does(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.training.test_step_processes", str(tmp_path)]
    started = []
    for rank in "01":
        env = {**os.environ, **told, "RANK": rank, "LOCAL_RANK": rank}
        started.append(subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, said = process.communicate(timeout=200)
        assert process.returncode == 0, said
    found = json.loads((tmp_path / "found.json").read_text())
    policy = tiny.build_model()
    alone = {name: measure(Accelerator(cpu=True), policy, indices) for name, indices in STEPS.items()}
    alone |= {
        f"kto {name}": measure(Accelerator(cpu=True), policy, i, trial=KTO) for name, i in STEPS.items()
    }
    for name, expected in alone.items():
        assert found[name] == {key: pytest.approx(value, rel=1e-4) for key, value in expected.items()}, name
    assert alone["cut short"]["norm"] < alone["whole"]["norm"]
    # the mistakes are seen: a loss of half the groups, a step that weighs more, metrics of half the groups
    assert found["not reduced"]["loss/mean"] != pytest.approx(alone["whole"]["loss/mean"], rel=1e-2)
    point = alone["kto whole"]["reference_point/mean"]
    assert point > 1
    assert found["kto not reduced"]["reference_point/mean"] != pytest.approx(point, rel=1e-2)
    assert found["kto not reduced"]["norm"] != pytest.approx(alone["kto whole"]["norm"], rel=1e-3)
    assert found["as if whole"]["norm"] == pytest.approx(alone["cut short"]["norm"] * 5 / 3, rel=1e-4)
    assert found["not gathered"]["groups"] < WHOLE
    for key in ("residual/fraction", "log_ratio/mean", "reward_spread/mean"):
        assert found["not gathered"][key] != pytest.approx(alone["whole"][key], rel=1e-3)


if __name__ == "__main__":
    take_part(Path(sys.argv[1]))

"""The metric as a module of ``evaluate``: the numbers of ``copg.evaluation.estimates``, without a hub."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

import copg.evaluation.metrics
from copg.evaluation.estimates import estimate
from copg.evaluation.metrics.reward_kl.reward_kl import compute_reward_kl

REWARDS = [[0.1, 0.7], [1 / 3], [0.9, 0.2, 0.4]]
KLS = [[0.5, 0.25], [2.5], [0.5, 0.25, 0.0]]
LOG_RATIOS = [[1.5, -0.25], [2.0], [0.125, 0.1, 1e-9]]
ROOT = Path(copg.evaluation.metrics.__file__).parent


def test_reward_and_kl_are_the_estimates_over_prompts_bit_for_bit() -> None:
    found = compute_reward_kl(rewards=REWARDS, kls=KLS, log_ratios=LOG_RATIOS)
    # reward: (.4 + 1/3 + .5) / 3 = .4111; kl: (.375 + 2.5 + .25) / 3 = 1.04167
    # k1: (.625 + 2 + .075) / 3 = .9
    assert found["reward"]["mean"] == pytest.approx(0.41111, abs=1e-5)
    assert found["kl"]["mean"] == pytest.approx(1.04167, abs=1e-5)
    assert found["kl_k1"]["mean"] == pytest.approx(0.9, abs=1e-6)
    each = {"reward": REWARDS, "kl": KLS, "kl_k1": LOG_RATIOS}
    assert found == {name: asdict(estimate(values)) for name, values in each.items()}


def test_unequal_numbers_of_prompts_are_refused() -> None:
    with pytest.raises(ValueError, match="Mismatch in the number of"):
        compute_reward_kl(rewards=REWARDS, kls=KLS, log_ratios=LOG_RATIOS[:2])


@pytest.mark.nightly
def test_evaluate_loads_the_module_from_the_package_offline_and_writes_into_its_cache_alone(
    tmp_path: Path,
) -> None:
    columns = {"rewards": REWARDS, "kls": KLS, "log_ratios": LOG_RATIOS}
    home, work = tmp_path / "home", tmp_path / "work"
    work.mkdir()
    program = (
        "import socket, json, evaluate\n"
        "def refuse(*a, **k): raise SystemExit('network')\n"
        "socket.create_connection = socket.getaddrinfo = refuse\n"
        f"metric = evaluate.load({str(ROOT / 'reward_kl')!r})\n"
        f"print(json.dumps(metric.compute(**{columns!r})))\n"
    )
    env = {**os.environ, "HF_HOME": str(home / "hf"), "HOME": str(home), "HF_HUB_OFFLINE": "1"}
    before = {p: p.stat().st_mtime_ns for p in ROOT.rglob("*") if "__pycache__" not in p.parts}
    run = subprocess.run(
        [sys.executable, "-c", program],
        env=env,
        cwd=work,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == compute_reward_kl(**columns)
    assert list(work.iterdir()) == []
    assert {p.name for p in home.iterdir()} <= {"hf"}
    assert {p: p.stat().st_mtime_ns for p in ROOT.rglob("*") if "__pycache__" not in p.parts} == before


def test_a_metric_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", "/proc/nowhere")
    compute_reward_kl(rewards=REWARDS, kls=KLS, log_ratios=LOG_RATIOS)
    assert list(tmp_path.iterdir()) == []

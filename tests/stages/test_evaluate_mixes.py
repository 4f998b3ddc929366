"""``evaluate`` of points that cost no training: each is what a policy of its own weights would be."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, get_peft_model

from copg.artifacts import read_manifest
from copg.config import parse_config
from copg.errors import ConfigError
from copg.evaluation.estimates import estimate
from copg.lm.load import load_model, load_tokenizer
from copg.records import Estimate, Evaluation
from copg.stages.evaluate import EvaluateConfig, evaluate_policy
from copg.stores.scaled import scale_adapter
from tests.stages.test_evaluate import (
    by_prompt,
    config,
    groups,
    make_policy,
    nudge,
    plain_logp,
    reference_dir,
)

__all__ = ["config", "groups", "reference_dir"]  # fixtures

LORA = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)


def adapted(model: Any) -> Any:
    """With an adapter that moves the model about as far as ``nudge``."""
    return get_peft_model(model, LORA)


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found = json.loads((folder / "evaluation.json").read_text())
    return found, pq.read_table(folder / "generations.parquet").to_pylist()


def test_a_scaled_adapter_is_evaluated_as_the_policy_that_its_files_are(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    policy = make_policy(reference_dir, tmp_path / "policy", adapted)
    config = replace(config, num_prompts=4, samples_per_prompt=2)
    metrics = evaluate_policy(replace(config, mixes=[0.5, 1.5]), groups, tmp_path / "e", policy=policy)
    alone = evaluate_policy(config, groups, tmp_path / "alone", policy=policy)
    scaled = scale_adapter(policy, 0.5, tmp_path / "scaled")
    expected = evaluate_policy(config, groups, tmp_path / "half", policy=tmp_path / "scaled")
    point = tmp_path / "e" / "mixes" / "0.5"
    assert read(point)[1] == read(tmp_path / "half")[1]
    assert read(tmp_path / "e")[1] == read(tmp_path / "alone")[1]  # the trial itself is what it was
    shared = [name for name in expected if not name.startswith("prompts/too")]
    assert {name: metrics[f"{name}/0.5"] for name in shared} == {name: expected[name] for name in shared}
    assert {name: metrics[name] for name in alone} == alone
    facts = read_manifest(tmp_path / "e", schema="evaluation").facts
    assert [each["name"] for each in facts["mixes"]] == ["copg_0.1@0.5", "copg_0.1@1.5"]
    assert facts["mixes"][0]["policy_digest"] == scaled.digest
    assert 0 < metrics["kl/gate/0.5"] < metrics["kl/gate"] < metrics["kl/gate/1.5"]
    told = read(tmp_path / "e")[0]["mixes"][0]
    assert {f.name for f in fields(Evaluation)} == set(told["gate"])
    assert told["gate"] == {**read(tmp_path / "half")[0]["gate"], "name": "copg_0.1@0.5"}


def test_a_policy_of_all_weights_is_mixed_token_by_token(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    policy = make_policy(reference_dir, tmp_path / "policy", nudge)
    metrics = evaluate_policy(replace(config, mixes=[0.25]), groups, tmp_path / "e", policy=policy)
    found, rows = read(tmp_path / "e" / "mixes" / "0.25")
    for quantity, column in {"reward": "reward", "kl": "kl", "length": "num_tokens"}.items():
        assert Estimate(**found["gate"][quantity]) == estimate(by_prompt(rows, "gate", column))
        assert metrics[f"{quantity}/gate/0.25"] == found["gate"][quantity]["mean"]
    models = load_model(policy), load_model(reference_dir)
    tokenizer, checked = load_tokenizer(reference_dir), 0
    for row in rows:
        prompt = tokenizer(row["prompt"]).input_ids
        ids = tokenizer(row["completion"], add_special_tokens=False).input_ids + [2] * row["finished"]
        if len(ids) != row["num_tokens"]:
            continue  # a special token was drawn in its midst
        p, r = (plain_logp(model, prompt, ids).detach() for model in models)
        mix = (0.25 * p + 0.75 * r).log_softmax(-1)
        gap = (mix - r).gather(1, torch.tensor(ids)[:, None])
        assert row["log_ratio"] == pytest.approx(float(gap.sum()), abs=2e-4)
        assert row["kl"] == pytest.approx(float((mix.exp() * (mix - r)).sum()), abs=2e-4)
        checked += 1
    assert checked > 3
    assert 0 < metrics["kl/gate/0.25"] < metrics["kl/gate"]
    (about,) = read_manifest(tmp_path / "e", schema="evaluation").facts["mixes"]
    assert about == {"name": "copg_0.1@0.25", "weight": 0.25, "policy_digest": "", "reason": None}


def test_baselines_and_diverged_trials_have_no_points(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    mixed = replace(config, mixes=[0.5], num_prompts=2, samples_per_prompt=1)
    diverged = make_policy(reference_dir, tmp_path / "d", adapted, diverged=True, reason="loss nan")
    champion = make_policy(reference_dir, tmp_path / "c", adapted)
    for name, settings, policy in [
        ("reference", mixed, None),
        ("champion", replace(mixed, name="champion"), champion),
        ("copg", mixed, diverged),
    ]:
        metrics = evaluate_policy(settings, groups, tmp_path / name, policy=policy)
        assert "mixes" not in read_manifest(tmp_path / name, schema="evaluation").facts
        assert not any("0.5" in key for key in metrics)


def test_a_point_beyond_what_is_finite_has_diverged_and_the_trial_has_not(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    policy = make_policy(reference_dir, tmp_path / "policy", adapted)
    metrics = evaluate_policy(replace(config, mixes=[1e38]), groups, tmp_path / "e", policy=policy)
    (about,) = read(tmp_path / "e")[0]["mixes"]
    assert (about["gate"]["diverged"], about["gate"]["reward"]) == (True, None)
    assert "not finite" in about["reason"]
    assert not read(tmp_path / "e")[0]["gate"]["diverged"]
    assert {"reward/gate", "reward/gate/1e+38"} & {*metrics} == {"reward/gate"}


def test_an_engine_of_its_own_process_takes_no_mix_of_logits(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    away = replace(config.generation, vllm_python="/nowhere/python")
    policy = make_policy(reference_dir, tmp_path / "policy", nudge)
    mixed = replace(config, generation=away, mixes=[0.5])
    with pytest.raises(ConfigError, match=r"evaluate.mixes: it has no adapter, so .* engine 'vllm'") as told:
        evaluate_policy(mixed, groups, tmp_path / "e", policy=policy)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "e").exists()


@pytest.mark.parametrize("mixes", [[0.5, 0.5], [1.0], [0.0], [-0.5]])
def test_weights_of_points_are_told_that_are_none(mixes: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"evaluate.mixes=.* must be different weights > 0"):
        parse_config(EvaluateConfig, {"model": "m", "mixes": mixes}, where="evaluate")

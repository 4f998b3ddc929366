"""``evaluate``: the numbers are those of the completions it leaves, and the KL is the policy's."""

import json
import weakref
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig, get_peft_model

from copg.artifacts import begin, read_manifest, seal
from copg.config import parse_config
from copg.data.group_files import read_groups
from copg.errors import ConfigError, ModelError, RecordError, RewardError
from copg.evaluation import held_out
from copg.evaluation.estimates import estimate
from copg.lm import generation
from copg.lm.config import GenerationConfig, RowConfig
from copg.lm.load import load_model, load_tokenizer
from copg.records import Estimate, Evaluation
from copg.rewards.contract import RewardSpec
from copg.stages.evaluate import EvaluateConfig, SplitCounts, evaluate_policy
from tests import tiny

REWARDS = [
    RewardSpec("reference_overlap", params={"column": "facts"}),
    RewardSpec("length", weight=-0.5, params={"target": 4}),
]


@pytest.fixture(scope="session")
def reference_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As every test's, but flatter: its completions end, differ in length, and a policy can stay near."""
    directory = tiny.save_model(tmp_path_factory.mktemp("flat"))
    model = load_model(directory)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(0.3)
    model.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scored = tiny.write_scored(tmp_path_factory.mktemp("made") / "scored", train=2, select=12, gate=10)
    return as_schema(scored, tmp_path_factory.mktemp("groups") / "groups", "groups")


def as_schema(directory: Path, to: Path, schema: str, **facts: Any) -> Path:
    begin(to)
    for file in directory.glob("*.parquet"):
        (to / file.name).write_bytes(file.read_bytes())
    seal(to, schema=schema, stage="made", rows=1, config={}, parents={}, facts=facts)
    return to


@pytest.fixture
def config(reference_dir: Path) -> EvaluateConfig:
    return EvaluateConfig(
        model=str(reference_dir),
        rewards=REWARDS,
        num_prompts=8,
        samples_per_prompt=3,
        generation=GenerationConfig(max_new_tokens=12),
        threads=1,
    )


def make_policy(reference: Path, to: Path, change: Callable[[Any], Any], **facts: Any) -> Path:
    """A policy artifact: the reference's weights, changed."""
    torch.manual_seed(1)
    model = load_model(reference)
    with torch.no_grad():
        model = change(model) or model
    begin(to)
    model.save_pretrained(to)
    load_tokenizer(reference).save_pretrained(to)
    facts = {"trial": "copg_0.1", "method": "copg", "beta": 0.1, "diverged": False, "reason": None, **facts}
    seal(to, schema="policy", stage="train", rows=1, config={}, parents={}, facts=facts)
    return to


def nudge(model: Any) -> None:
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.5 * parameter.std(correction=0))


def read(evaluation: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    found = json.loads((evaluation / "evaluation.json").read_text())
    return found, pq.read_table(evaluation / "generations.parquet").to_pylist()


def by_prompt(rows: list[dict[str, Any]], split: str, column: str) -> list[list[float]]:
    values: dict[str, list[float]] = {}
    for row in rows:
        if row["split"] == split:
            values.setdefault(row["id"], []).append(row[column])
    return list(values.values())


def plain_logp(model: Any, prompt_ids: list[int], ids: list[int]) -> torch.Tensor:
    """[T, V] log-probabilities at each position of a completion by itself."""
    logits = model(torch.tensor([[*prompt_ids, *ids]])).logits[0, len(prompt_ids) - 1 : -1]
    return torch.log_softmax(logits.double(), -1)


def test_estimates_are_those_of_the_completions_left_beside_them(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    policy = make_policy(reference_dir, tmp_path / "policy", nudge)
    metrics = evaluate_policy(config, groups, tmp_path / "e", policy=policy, policy_uri="s3://policies/1")
    found, rows = read(tmp_path / "e")
    assert len(rows) == 2 * 8 * 3
    assert len({(row["id"], row["completion"]) for row in rows}) > 40  # each sample has its own noise
    for split in ("select", "gate"):
        summary = found[split]
        assert {f.name for f in fields(Evaluation)} == set(summary)
        columns = {"reward": "reward", "kl": "kl", "kl_k1": "log_ratio", "length": "num_tokens"}
        for quantity, column in columns.items():
            assert Estimate(**summary[quantity]) == estimate(by_prompt(rows, split, column))
            assert metrics[f"{quantity}/{split}"] == summary[quantity]["mean"]
        rewards, kls = (np.array(by_prompt(rows, split, column)) for column in ("reward", "kl"))
        assert summary["objective"]["mean"] == pytest.approx((rewards - 0.1 * kls).mean())
        assert metrics[f"objective/{split}"] == summary["objective"]["mean"]
        finished = [row["finished"] for row in rows if row["split"] == split]
        assert summary["finished_fraction"] == sum(finished) / len(finished)
        assert set(summary["parts"]) == {"reference_overlap", "length"}
        assert (summary["name"], summary["split"], summary["num_prompts"]) == ("copg_0.1", split, 8)
        assert (summary["method"], summary["beta"], summary["diverged"]) == ("copg", 0.1, False)
    for row in rows:
        parts = dict(row["parts"])
        assert row["reward"] == pytest.approx(parts["reference_overlap"] - 0.5 * parts["length"])
    manifest = read_manifest(tmp_path / "e", schema="evaluation")
    assert manifest.rows == 48
    assert manifest.facts["policy_uri"] == "s3://policies/1"
    assert manifest.facts["policy_digest"] == read_manifest(policy, schema="policy").digest
    assert manifest.parents == {
        "groups": read_manifest(groups, schema="groups").digest,
        "policy": manifest.facts["policy_digest"],
    }
    assert manifest.facts["metrics"] == metrics


def test_logs_that_are_longer_than_what_may_be_drawn_are_told(
    config: EvaluateConfig, groups: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # of 2 to 8 words, a token each, and the end: 5 of 2 to 4 words fit
    logged = [
        len(completion.text.split()) + 1
        for split in ("select", "gate")
        for group in sorted(read_groups(groups, split), key=lambda group: group.id)[:8]
        for completion in group.completions
    ]
    longer = sum(length > 5 for length in logged)
    short = replace(config, generation=replace(config.generation, max_new_tokens=5))
    metrics = evaluate_policy(short, groups, tmp_path / "short", policy=None)
    assert 0 < metrics["logged/longer_fraction"] == longer / len(logged) < 1
    said = f"{longer} of {len(logged)} logged completions of the prompts held out have more tokens than"
    assert said in capsys.readouterr().err
    assert evaluate_policy(config, groups, tmp_path / "long", policy=None)["logged/longer_fraction"] == 0
    assert "logged completions" not in capsys.readouterr().err


def test_kls_and_log_ratios_are_those_of_each_completion_by_itself(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    policy = make_policy(reference_dir, tmp_path / "policy", nudge)
    evaluate_policy(config, groups, tmp_path / "e", policy=policy)
    _, rows = read(tmp_path / "e")
    tokenizer = load_tokenizer(reference_dir)
    mine, reference = load_model(policy), load_model(reference_dir)
    kept = {g.id: g for split in ("select", "gate") for g in read_groups(groups, split)}
    sampler = held_out.PolicySampler(
        **{each.name: getattr(config, each.name) for each in fields(held_out.PolicySampler) if each.init}
    )
    prompts = [p for split in ("select", "gate") for p in sampler.read(groups, split, 8)[0]]
    sampler.draw(prompts, policy)
    for row, (prompt, k) in zip(rows, ((p, k) for p in prompts for k in range(3)), strict=True):
        ids = prompt.drawn[k].token_ids
        assert row["id"] == prompt.group.id
        assert tokenizer.decode(ids, skip_special_tokens=True) == row["completion"]
        assert row["prompt"] == kept[row["id"]].prompt
        p, r = (plain_logp(model, prompt.prompt_ids, ids) for model in (mine, reference))
        chosen = torch.tensor(ids)[:, None]
        assert row["log_ratio"] == pytest.approx(float((p - r).gather(1, chosen).sum().detach()), abs=2e-4)
        assert row["kl"] == pytest.approx(float((p.exp() * (p - r)).sum().detach()), abs=2e-4)
        assert row["kl"] > 0


def test_the_sum_over_the_vocabulary_has_the_mean_of_the_log_ratios_and_less_spread(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    policy = make_policy(reference_dir, tmp_path / "policy", nudge)
    config = replace(config, num_prompts=10, samples_per_prompt=16)
    evaluate_policy(config, groups, tmp_path / "e", policy=policy)
    found, rows = read(tmp_path / "e")
    full, k1 = (torch.tensor([row[name] for row in rows]) for name in ("kl", "log_ratio"))
    assert full.mean() > 0.1
    assert full.std() < 0.7 * k1.std()
    gap = k1 - full  # of mean 0: within 4 standard errors
    assert abs(gap.mean()) < 4 * gap.std() / len(gap) ** 0.5
    for split in ("select", "gate"):
        wide, narrow = Estimate(**found[split]["kl_k1"]), Estimate(**found[split]["kl"])
        assert narrow.high - narrow.low < wide.high - wide.low
        assert wide.low < narrow.high
        assert narrow.low < wide.high


def test_the_reference_is_at_no_distance_from_itself_and_runs_once(
    config: EvaluateConfig, groups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_out, "trace_policy", None)  # not called
    evaluate_policy(config, groups, tmp_path / "e", policy=None)
    found, rows = read(tmp_path / "e")
    assert found["gate"]["kl"] == found["gate"]["kl_k1"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert (found["gate"]["name"], found["gate"]["method"], found["gate"]["beta"]) == (
        "reference",
        None,
        None,
    )
    assert {(row["kl"], row["log_ratio"]) for row in rows} == {(0.0, 0.0)}
    facts = read_manifest(tmp_path / "e", schema="evaluation").facts
    assert (facts["policy_uri"], facts["policy_digest"]) == ("", None)


def test_a_policy_of_the_references_weights_draws_the_references_completions(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    same = make_policy(reference_dir, tmp_path / "policy", lambda model: None)
    evaluate_policy(config, groups, tmp_path / "a", policy=same)
    evaluate_policy(config, groups, tmp_path / "b", policy=None)
    (_, first), (_, second) = read(tmp_path / "a"), read(tmp_path / "b")
    assert [row["completion"] for row in first] == [row["completion"] for row in second]
    assert [row["reward"] for row in first] == [row["reward"] for row in second]
    assert {(row["kl"], row["log_ratio"]) for row in first} == {(0.0, 0.0)}


def test_equal_settings_leave_equal_artifacts_and_batches_do_not_matter(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    policy = make_policy(reference_dir, tmp_path / "policy", nudge)
    smaller = replace(config, generation=replace(config.generation, tokens_per_batch=50))
    for name, settings in (("a", config), ("b", config), ("c", smaller)):
        evaluate_policy(settings, groups, tmp_path / name, policy=policy)
    digests = {read_manifest(tmp_path / name, schema="evaluation").digest for name in ("a", "b")}
    assert len(digests) == 1
    texts = [[row["completion"] for row in read(tmp_path / name)[1]] for name in ("a", "c")]
    assert texts[0] == texts[1]


def test_prompts_are_the_first_by_id_of_each_split(
    config: EvaluateConfig, groups: Path, tmp_path: Path
) -> None:
    config = replace(config, num_prompts=SplitCounts(select=3, gate=100))
    metrics = evaluate_policy(config, groups, tmp_path / "e", policy=None)
    _, rows = read(tmp_path / "e")
    for split, count in (("select", 3), ("gate", 10)):
        ids = sorted(g.id for g in read_groups(groups, split))[:count]
        assert [row["id"] for row in rows if row["split"] == split] == [i for i in ids for _ in range(3)]
        assert metrics[f"prompts/{split}"] == count
    assert [row["sample"] for row in rows[:3]] == [0, 1, 2]


def test_prompts_beyond_the_context_are_left_out_and_counted(
    config: EvaluateConfig, groups: Path, tmp_path: Path
) -> None:
    # context 160; prompts have 4 to 10 tokens, so that with 153 new tokens those over 7 do not fit
    config = replace(config, num_prompts=10, generation=GenerationConfig(max_new_tokens=153))
    metrics = evaluate_policy(config, groups, tmp_path / "e", policy=None)
    lengths = {}
    for split in ("select", "gate"):
        first = sorted(read_groups(groups, split), key=lambda g: g.id)[:10]
        lengths |= {g.id: len(str(g.prompt).split()) + 1 for g in first}
    fitting = {i for i, length in lengths.items() if length <= 7}
    assert {row["id"] for row in read(tmp_path / "e")[1]} == fitting
    assert metrics["prompts/too_long"] == 20 - len(fitting) > 0
    config = replace(config, generation=GenerationConfig(max_new_tokens=157))
    with pytest.raises(RecordError, match="split 'select' has 0 prompts of at most 3 tokens"):
        evaluate_policy(config, groups, tmp_path / "f", policy=None)


def test_policy_and_reference_are_never_in_memory_together(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make_policy(reference_dir, tmp_path / "policy", nudge)
    loaded: list[weakref.ref[Any]] = []

    def tracked(*args: Any, **kwargs: Any) -> Any:
        assert not any(ref() is not None for ref in loaded)
        model = load_model(*args, **kwargs)
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(generation, "load_model", tracked)
    evaluate_policy(config, groups, tmp_path / "e", policy=policy)
    assert len(loaded) == 2


def test_a_diverged_trial_is_evaluated_and_stays_marked(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    policy = make_policy(reference_dir, tmp_path / "p", nudge, diverged=True, reason="step 3: loss nan")
    evaluate_policy(config, groups, tmp_path / "e", policy=policy)
    found, rows = read(tmp_path / "e")
    assert found["gate"]["diverged"]
    assert found["gate"]["reward"]["mean"] is not None
    assert len(rows) == 48
    facts = read_manifest(tmp_path / "e", schema="evaluation").facts
    assert (facts["diverged"], facts["reason"]) == (True, "step 3: loss nan")


def test_weights_that_give_no_finite_logits_have_no_estimates_and_count_as_diverged(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    def blow_up(model: Any) -> None:
        model.get_output_embeddings().weight.copy_(torch.finfo(torch.float32).max)

    policy = make_policy(reference_dir, tmp_path / "p", blow_up)
    metrics = evaluate_policy(config, groups, tmp_path / "e", policy=policy)
    found, rows = read(tmp_path / "e")
    assert rows == []
    assert set(found["gate"]) == {f.name for f in fields(Evaluation)}
    assert (found["gate"]["diverged"], found["gate"]["reward"], found["gate"]["num_prompts"]) == (
        True,
        None,
        0,
    )
    assert metrics == {"prompts/too_long": 0.0, "prompts/select": 0.0, "prompts/gate": 0.0}
    facts = read_manifest(tmp_path / "e", schema="evaluation").facts
    assert facts["reason"] == "logits are not finite: the policy has diverged"
    with pytest.raises(ModelError, match="logits are not finite"):
        evaluate_policy(replace(config, model=str(policy)), groups, tmp_path / "f", policy=None)


def test_an_adapter_is_evaluated_on_its_base(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    policy = make_policy(reference_dir, tmp_path / "policy", lambda model: get_peft_model(model, lora))
    assert (policy / "adapter_config.json").is_file()
    evaluate_policy(config, groups, tmp_path / "e", policy=policy)
    adapted, base = load_model(policy), load_model(reference_dir)
    ids = {g.id: g for g in read_groups(groups, "gate")}
    tokenizer = load_tokenizer(reference_dir)
    for row in [row for row in read(tmp_path / "e")[1] if row["split"] == "gate" and row["finished"]]:
        prompt = tokenizer(str(ids[row["id"]].prompt)).input_ids
        completion = [*tokenizer(row["completion"], add_special_tokens=False).input_ids, 2]
        p, r = (plain_logp(model, prompt, completion) for model in (adapted, base))
        if len(completion) == row["num_tokens"]:  # no special token in its midst
            assert row["kl"] == pytest.approx(float((p.exp() * (p - r)).sum().detach()), rel=1e-3)
            assert row["kl"] > 0.01


def test_bfloat16_gives_nearly_the_same_kl(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    policy = make_policy(reference_dir, tmp_path / "policy", nudge)
    halved = replace(config, rows=RowConfig(compute_dtype="bfloat16", parameter_dtype="bfloat16"))
    evaluate_policy(config, groups, tmp_path / "a", policy=policy)
    evaluate_policy(halved, groups, tmp_path / "b", policy=policy)
    first, second = (read(tmp_path / name)[0]["gate"]["kl"] for name in "ab")
    assert second["low"] < first["mean"] < second["high"]


def test_another_vocabulary_is_refused(
    config: EvaluateConfig, groups: Path, reference_dir: Path, tmp_path: Path
) -> None:
    policy = make_policy(reference_dir, tmp_path / "policy", lambda model: None)
    file = policy / "tokenizer.json"
    file.write_text(file.read_text().replace('"bird"', '"fish"'))
    (policy / "manifest.json").unlink()
    seal(policy, schema="policy", stage="train", rows=1, config={}, parents={})
    with pytest.raises(ModelError, match="another vocabulary than"):
        evaluate_policy(config, groups, tmp_path / "e", policy=policy)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ("copg_0.1", "copg", 0.1)),
        ({"name": "champion"}, ("champion", None, None)),
        ({"name": "mine", "method": "ipo", "beta": 0.5}, ("mine", "ipo", 0.5)),
    ],
)
def test_a_policy_says_whose_it_is_unless_the_settings_do(
    settings: dict[str, Any],
    expected: tuple[Any, ...],
    config: EvaluateConfig,
    groups: Path,
    reference_dir: Path,
    tmp_path: Path,
) -> None:
    policy = make_policy(reference_dir, tmp_path / "policy", nudge)
    config = replace(config, num_prompts=2, samples_per_prompt=1, **settings)
    evaluate_policy(config, groups, tmp_path / "e", policy=policy)
    facts = read_manifest(tmp_path / "e", schema="evaluation").facts
    assert (facts["name"], facts["method"], facts["beta"]) == expected
    assert facts["temperature"] == 1.0


def test_standardised_rewards_use_the_scale_of_the_scored_groups(
    config: EvaluateConfig, groups: Path, tmp_path: Path
) -> None:
    spec = RewardSpec("reference_overlap", params={"column": "facts"}, standardise=True)
    config = replace(config, rewards=[spec])
    scored = as_schema(
        groups, tmp_path / "scored", "scored", scales={"reference_overlap": {"mean": 0.25, "std": 0.5}}
    )
    evaluate_policy(config, scored, tmp_path / "e", policy=None)
    for row in read(tmp_path / "e")[1]:
        assert row["reward"] == pytest.approx((dict(row["parts"])["reference_overlap"] - 0.25) / 0.5)
    with pytest.raises(RewardError, match="is standardised"):
        evaluate_policy(config, groups, tmp_path / "f", policy=None)


def test_an_evaluation_on_scored_groups_also_names_the_groups_they_came_from(
    config: EvaluateConfig, groups: Path, tmp_path: Path
) -> None:
    scored = begin(tmp_path / "scored")
    for file in groups.glob("*.parquet"):
        (scored / file.name).write_bytes(file.read_bytes())
    made = seal(scored, schema="scored", stage="score", rows=1, config={}, parents={"groups": "of groups"})
    evaluate_policy(config, scored, tmp_path / "e", policy=None)
    parents = read_manifest(tmp_path / "e", schema="evaluation").parents
    assert parents == {"groups": "of groups", "scored": made.digest}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_prompts": 1}, "num_prompts=1 of 'select' must be >= 2"),
        ({"num_prompts": {"gate": 0}}, "num_prompts=0 of 'gate' must be >= 2"),
        ({"samples_per_prompt": 0}, "samples_per_prompt=0 must be >= 1"),
        ({"threads": -1}, "threads=-1 must be >= 0"),
        ({"generation": {"top_k": 9}}, "evaluate.generation.top_k is unknown"),
        ({"sampels": 1}, "evaluate.sampels is unknown; use one of"),
    ],
)
def test_wrong_settings_are_told_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(EvaluateConfig, {"model": "m", **settings}, where="evaluate")


def test_counts_a_split_come_as_a_number_or_a_mapping() -> None:
    parsed = parse_config(EvaluateConfig, {"model": "m", "num_prompts": {"gate": 300.0}}, where="evaluate")
    assert (parsed.count("select"), parsed.count("gate")) == (128, 300)
    assert parse_config(EvaluateConfig, {"model": "m", "num_prompts": 9.0}, where="e").count("gate") == 9

"""Chats with tools from the log to a policy: the assistant's words are trained on, the tool's never."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from copg.artifacts import read_manifest
from copg.data.group_files import read_groups
from copg.errors import MismatchError
from copg.lm import turns
from copg.lm.config import TextConfig
from copg.lm.rows import TokenGroup
from copg.records import MESSAGES, TURNS
from copg.stages.train import train_policy
from copg.training.config import CheckpointConfig, MonitorConfig, OptimizerConfig, TrainConfig, TrialConfig
from copg.training.data import TrainData
from copg.training.log import read_metrics
from tests.lm.test_text import build
from tests.tool_chats import Marks, Plain, branching_chats, compare, read_by, refer, refer_again, save_tiny

# as Qwen 2.5 writes chats with tools: results stand in a turn of the user's, and nothing is marked as drawn
TEMPLATE = (
    "{% if tools %}<turn>system\n# Tools\n<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}"
    "\n</tools><end>\n{% endif %}{% for m in messages %}"
    "{% if m.role == 'tool' %}"
    "{% if messages[loop.index0 - 1].role != 'tool' %}<turn>user{% endif %}"
    "\n<tool_response>\n{{ m.content }}\n</tool_response>"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<end>\n{% endif %}"
    "{% else %}<turn>{{ m.role }}\n{{ m.content }}{% for call in m.tool_calls %}"
    '{% if m.content or not loop.first %}\n{% endif %}<tool_call>\n{"name": "{{ call.function.name }}", '
    '"arguments": {{ call.function.arguments | tojson }}}\n</tool_call>{% endfor %}<end>\n{% endif %}'
    "{% endfor %}"
    "{% if add_generation_prompt %}<turn>assistant\n{% endif %}"
)
MARKS = Marks("<turn>assistant\n", "<end>")
COUNT = 12
EXACT = 1e-4
"""Nats a token, of the completion that differs most; a token of a tool's counted as drawn costs some 4."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(build(TEMPLATE), tmp_path_factory.mktemp("tools") / "model")


@pytest.fixture(scope="module")
def referenced(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return refer(model, tmp_path_factory.mktemp("stages"), COUNT)


@pytest.fixture
def config(model: Path, tmp_path: Path) -> TrainConfig:
    return TrainConfig(
        model=str(model),
        trial=TrialConfig(beta=0.1),
        checkpoint=CheckpointConfig(folder=str(tmp_path / "checkpoints")),
        epochs=2,
        groups_per_step=4,
        optimizer=OptimizerConfig(learning_rate=3e-3),
        samples=MonitorConfig(num_prompts=0),
        threads=1,
    )


def test_what_is_stored_are_plain_transformers_log_probabilities_of_the_assistants_tokens(
    model: Path, referenced: Path
) -> None:
    groups = list(read_groups(referenced, "train"))
    assert sum(read_manifest(referenced, schema="referenced").facts["dropped"].values()) == 0
    assert len(groups) > COUNT / 2
    assert {MESSAGES in group.columns for group in groups} == {True, False}, "of one turn and of two"
    assert all([TURNS in c.columns for c in group.completions] == [True, False] for group in groups)
    plain = Plain(model, MARKS)
    assert compare(referenced, plain) < EXACT
    scored, read = read_by(referenced, plain.tokenizer)
    assert ("found" in scored, "tool_response" in scored, '"name": "look"' in scored) == (False, False, True)
    assert ("found" in read, "In shelf" in read, "tool_call>" in read) == (True, False, False)


def test_branches_of_a_chat_share_two_turns_and_have_the_values_of_plain_transformers(
    model: Path, tmp_path: Path
) -> None:
    referenced = refer(model, tmp_path, COUNT, chats=branching_chats)
    groups = [
        TokenGroup(group.prompt_ids or [], [c.token_ids or [] for c in group.completions])
        for group in read_groups(referenced, "train")
    ]
    assert {(len(group.completion_ids), group.levels) for group in groups} == {(4, 2)}
    once = sum(group.num_tokens for group in groups)
    assert once < 0.7 * sum(len(g.prompt_ids) + sum(map(len, g.completion_ids)) for g in groups)
    rows = read_manifest(referenced, schema="referenced").facts["rows"]
    assert (rows["form"], rows["cost"]) == ("packed", 1.0)
    assert compare(referenced, Plain(model, MARKS)) < EXACT


def test_a_policy_learns_to_look_and_its_values_are_those_of_plain_transformers(
    config: TrainConfig, referenced: Path, tmp_path: Path
) -> None:
    train_policy(config, referenced, tmp_path / "policy", tmp_path / "training")
    steps = [line for line in read_metrics(tmp_path / "training/metrics.jsonl") if "loss/mean" in line]
    assert steps[0]["log_ratio/mean"] == pytest.approx(0, abs=1e-3)
    assert steps[-1]["log_ratio/best"] > steps[-1]["log_ratio/worst"] + 1
    before, after = Plain(Path(config.model), MARKS), Plain(tmp_path / "policy", MARKS)
    for group in read_groups(referenced, "train"):
        ratios = []
        for completion in group.completions:
            sums = [sum(logp for _, logp in plain.drawn(group, completion)[1]) for plain in (after, before)]
            ratios.append(sums[0] - sums[1])
            assert sums[1] == pytest.approx(completion.ref_logps, abs=0.02)
        assert ratios[0] > ratios[1], "looking gained on guessing"


def test_a_mask_that_counts_what_tools_said_is_seen_by_training_and_beside_transformers(
    config: TrainConfig, model: Path, referenced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group_of = TrainData.token_group

    def all_counted(data: TrainData, index: int) -> TokenGroup:
        group = group_of(data, index)
        counted: list[Any] = [np.where(np.asarray(i) < 0, ~np.asarray(i), i) for i in group.completion_ids]
        return TokenGroup(group.prompt_ids, counted, group.id)

    with monkeypatch.context() as patched:  # in training alone
        patched.setattr(TrainData, "token_group", all_counted)
        with pytest.raises(MismatchError, match="differs from the cached reference by"):
            train_policy(replace(config, epochs=1), referenced, tmp_path / "policy", tmp_path / "training")

    encode = turns.encode_turns

    def unmasked(*args: Any, **options: Any) -> turns.Turned:
        found = encode(*args, **options)
        return replace(found, encoded=replace(found.encoded, ids=turns._plain(found.encoded.ids)))

    with monkeypatch.context() as patched:  # wherever ids are made
        patched.setattr("copg.lm.reference.encode_turns", unmasked)
        wrong = refer_again(model, referenced.parent / "scored", tmp_path, TextConfig())
    with pytest.raises(AssertionError, match=r"records\.jsonl"):
        compare(wrong, Plain(model, MARKS))

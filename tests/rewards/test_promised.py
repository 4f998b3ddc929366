"""What a reward read when ``resolve`` digested it is what the stages read: anything else is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from copg.errors import ModelError, RewardError
from copg.rewards import classifier
from copg.rewards.contract import RewardSpec
from copg.rewards.mixture import build_mixture
from copg.rewards.registry import digest_of_inputs, reward_digest
from copg.run.recipe import parse_recipe
from copg.run.resolve import ResolveConfig, plan_recipe
from copg.stages.score import ScoreConfig, score_groups
from copg.stages.validate import ValidateConfig, validate_records
from copg.stores import model_files
from tests import tiny
from tests.changing import change_while_loaded

SHORT = RewardSpec("length", params={"max": 4})
OWN = """
from pathlib import Path
class Table:
    def __init__(self, table): self.table = table
    def content(self): return {"table": Path(self.table).read_text()}
    def __call__(self, p, c, r): return [float(Path(self.table).read_text())] * len(c)
"""


@pytest.fixture
def judge(text_model: str, tmp_path: Path) -> Path:
    """A reward model that a test may change."""
    return Path(shutil.copytree(text_model, tmp_path / "judge"))


def reading(what: str, judge: Path, root: Path) -> tuple[RewardSpec, Path, str]:
    """A reward that reads something, a file of that, and how a message names it."""
    (root / "mine.py").write_text(OWN)
    (root / "table").write_text("1")
    own = RewardSpec(f"{root}/mine.py:Table", params={"table": str(root / "table")})
    tokens = RewardSpec("length", params={"max": 4, "unit": "tokens", "tokenizer": str(judge)}, label="long")
    said = f"{root}/mine.py:Table, {root}/table"
    return {
        "model": (judging(judge), judge / "model.safetensors", str(judge)),
        "tokeniser": (tokens, judge / "tokenizer.json", str(judge)),
        "code": (own, root / "mine.py", said),
        "table": (own, root / "table", said),
    }[what]


def judging(judge: Path, **settings: str) -> RewardSpec:
    return RewardSpec("reward_model", params={"model": str(judge)}, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", ["model", "tokeniser", "code", "table"])
def test_no_stage_calls_a_reward_that_reads_something_else_than_was_promised(
    what: str, judge: Path, reference_dir: Path, tmp_path: Path
) -> None:
    spec, file, named = reading(what, judge, tmp_path)
    tiny.write_records(tmp_path / "records.jsonl", 40, 3)
    values = {"name": "x", "records": str(tmp_path / "records.jsonl"), "model": str(reference_dir)}
    values |= {"trials": [{"beta": 0.1}], "rewards": [vars(spec), {"name": "length", "params": {"max": 4}}]}
    plans = plan_recipe(ResolveConfig(recipe=parse_recipe(values), run_dir=str(tmp_path / "runs"))).plans
    configs = [plans[name]["config"] for name in ("score", "evaluate", "baseline")]
    called = [each["rewards"] for each in (*configs, plans["train"]["config"]["samples"])]
    held = [[RewardSpec(**each) for each in specs] for specs in called]
    assert [specs == held[0] for specs in held] == [True] * 4
    assert held[0][1].digest == ""  # words alone: it reads nothing
    build_mixture(held[0])
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(RewardError) as refused:
        build_mixture(held[0])
    assert str(refused.value).startswith(f"reward '{spec.part}': {named}: changed since the run began; run ")
    build_mixture([replace(each, digest="") for each in held[0]])  # where nothing was promised


def test_of_the_model_that_the_run_trains_nothing_is_promised(reference_dir: Path, tmp_path: Path) -> None:
    tiny.write_records(tmp_path / "records.jsonl", 40, 3, rewarded=True)
    values = {"name": "x", "records": str(tmp_path / "records.jsonl"), "model": str(reference_dir)}
    values |= {"trials": [{"beta": 0.1}], "rewards": [{"name": "reward_model"}], "reward": {}}
    plans = plan_recipe(ResolveConfig(recipe=parse_recipe(values), run_dir=str(tmp_path / "runs"))).plans
    (spec,) = plans["score"]["config"]["rewards"]
    assert spec["params"]["model"]
    assert spec["digest"] == ""


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    tiny.write_records(tmp_path / "records.jsonl", 12, 2)
    validate_records(ValidateConfig(workers=0), str(tmp_path / "records.jsonl"), tmp_path / "groups")
    return tmp_path / "groups"


def test_a_model_that_changes_while_it_is_loaded_gives_the_store_nothing(
    judge: Path, groups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_while_loaded(monkeypatch, classifier, "Classifier", judge / "model.safetensors")
    config = ScoreConfig(rewards=[judging(judge)], store=str(tmp_path / "rewards"), retries=0)
    with pytest.raises(RewardError, match=r"'reward_model': .*judge: changed while it was read"):
        score_groups(config, groups, tmp_path / "scored")
    assert not list((tmp_path / "rewards").rglob("*.parquet"))


@pytest.mark.parametrize("what", ["model", "tokeniser"])
def test_what_changed_between_the_digest_and_the_loading_is_refused(
    what: str, judge: Path, tmp_path: Path
) -> None:
    spec, file, named = reading(what, judge, tmp_path)
    mixture = build_mixture([replace(spec, digest=digest_of_inputs(spec))])
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(RewardError, match=f"{named}.*changed since"):
        mixture(["the cat"], ["sat"], [{}])


def test_weights_are_read_once_for_their_digests_whatever_asks_for_them(
    judge: Path, groups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    digest = model_files.files_digest

    def counted(files, root):
        read.append(root)
        return digest(files, root)

    monkeypatch.setattr(model_files, "files_digest", counted)
    held = replace(judging(judge), digest=digest_of_inputs(judging(judge)))
    score_groups(ScoreConfig(rewards=[held], store=str(tmp_path / "rewards")), groups, tmp_path / "scored")
    assert read == [judge]


def test_an_embedding_model_is_also_how_it_pools(embedder: str, tmp_path: Path) -> None:
    pooling = Path(shutil.copytree(embedder, tmp_path / "embedder")) / "1_Pooling"
    spec = RewardSpec("similarity", params={"model": str(pooling.parent)})
    before = reward_digest(spec)
    (pooling / "README.md").write_text("of people")
    assert reward_digest(spec) == before
    (pooling / "config.json").write_text((pooling / "config.json").read_text() + " ")
    assert reward_digest(spec) != before


def test_a_name_of_the_hub_is_held_by_its_commit() -> None:
    spec = RewardSpec("reward_model", params={"model": "owner/name", "revision": "0" * 40})
    assert digest_of_inputs(spec) == digest_of_inputs(replace(spec, label="other")) != ""
    with pytest.raises(ModelError, match="set revision to its commit"):
        digest_of_inputs(RewardSpec("reward_model", params={"model": "owner/name"}))

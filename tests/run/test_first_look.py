"""What newcomers get wrong is one line each, before anything heavy; a recipe that init wrote is right."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import yaml
from copg_pipelines.placement.config import parse_placement

from copg.cli import main as command_line
from copg.cli import recipes
from copg.data.found import Reading
from copg.run.check import settings_of
from copg.run.few_prompts import gate_prompts
from copg.run.first_look import look_at
from copg.run.first_recipe import TURNED, write_recipe
from copg.run.first_records import Sample, read_first
from copg.run.hub import Source
from copg.run.keys import keys_of_stage
from copg.run.model_look import ERROR, NOTE, OK, look_at_model
from copg.run.recipe import load_recipe, parse_recipe
from copg.run.yaml_file import read_yaml
from tests.tiny import save_model

RECORDS = [
    {"prompt": f"say {i}", "completions": ["a b", "c d e"], "rewards": [0.0, 1.0], "references": ["a b"]}
    for i in range(20)
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    save_model(folder / "model")
    (folder / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in RECORDS))
    return folder


def recipe(home: Path, **changes: Any) -> dict[str, Any]:
    good = {
        "name": "mine",
        "records": str(home / "records.jsonl"),
        "model": str(home / "model"),
        "rewards": [{"name": "rouge_l"}],
        "trials": [{"beta": 0.1}],
        "validate": {"gate_fraction": 0.5},
        "evaluate": {"generation": {"max_new_tokens": 8}},
        "train": {"samples": {"generation": {"max_new_tokens": 8}}},
    }
    return {**good, **changes}


def errors(home: Path, values: dict[str, Any]) -> list[str]:
    looks = look_at(parse_recipe(values), home / "runs", {"placement": parse_placement})
    return [look.text for look in looks if look.kind == ERROR]


WATCHED = [{"name": "length", "params": {"max": 9}}]


def test_of_a_recipe_that_is_right_everything_was_looked_at(home: Path) -> None:
    looks = [*look_at(parse_recipe(recipe(home)), home / "runs", {"placement": parse_placement})]
    assert [look.kind for look in looks if look.kind != NOTE] == [OK, OK, OK]
    assert str(looks[0]) == "ok    settings: of 7 stages; trials copg_0.1"
    assert looks[1].text == "records: of the first 20 20 as groups of completions"
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"train": {"epoch": 3}},
            r"^settings: train\.epoch is unknown; use one of \[.*; did you mean 'epochs'\?",
        ),
        ({"train": {"epochs": "three"}}, r"^settings: train\.epochs='three' must be a whole number >= 1"),
        ({"train": {"optimizer": {"decay": "cos"}}}, r"train\.optimizer\.decay='cos' must be 'cosine' or "),
        ({"trials": [{"beta": 0}]}, r"trial copg_0: beta=0\.0 must be > 0: at 0 nothing ties"),
        ({"trials": [{"beta": 1, "learning_rate": 0}]}, r"trial copg_1: learning_rate=0\.0 must be > 0$"),
        (
            {"tracking": "./mlruns"},
            r"^settings: tracking='\./mlruns' is a path, .*did you mean 'sqlite:///mlruns",
        ),
        ({"trials": [{"beta": 1, "method": "cpog"}]}, r"method='cpog' is unknown; .*did you mean 'copg'\?"),
        ({"rewards": [{"name": "rogue"}]}, r"reward='rogue' is unknown; use one of .*did you mean 'rouge'\?"),
        (
            {"rewards": [{"name": "rouge", "parms": {}}]},
            r"^settings: rewards\.0\.parms is unknown; .* mean 'params'\?$",
        ),
        (
            {"rewards": [{"name": "rouge", "params": {"column": "refs"}}]},
            r"rouge reads column 'refs'; the first records hold \['references'",
        ),
        (
            {"train": {"rows": {"split_groups": True}}},
            r"^settings: train\.rows\.split_groups=True needs tokens_per_row > 0",
        ),
        (
            {"text": {"thinking": "kept"}},
            r"^settings: text\.thinking='kept' must be 'refuse' or 'strip' or 'keep'$",
        ),
        (
            {"placement": {"shards": "two"}},
            r"^settings: placement\.shards='two' must be a whole number in \[1, 20\]$",
        ),
        ({"promote": {"max_kl": -1}}, r"^settings: promote\.max_kl=-1\.0 must be > 0"),
        ({"promote": {"max_kl": True}}, r"^settings: promote\.max_kl=True must be a number > 0"),
        ({"validate": {"columns": ["a"]}}, r"^settings: validate\.columns=\['a'\] must be keys and values"),
        (
            {"validate": {"max_rejected_fraction": "x"}},
            r"^settings: validate\.max_rejected_fraction='x' must be",
        ),
        (
            {"validate": {"read_as": "mesages"}},
            r"^settings: validate\.read_as='mesages' is no shape; use one of",
        ),
        ({"model": "./nowhere"}, r"model='\./nowhere': no such directory"),
        ({"records": "./nowhere.jsonl"}, r"records: \./nowhere\.jsonl: no such file or folder"),
        ({"validate": {"columns": {"prompt": "question"}}}, r"records: 20 of the first 20 refused, such as "),
        (
            {"evaluate": {"generation": {"max_new_tokens": 99999}}},
            r"max_new_tokens=99999 leaves no room for a prompt",
        ),
    ],
)
def test_a_newcomer_s_mistake_is_one_line_that_names_field_value_and_what_is_allowed(
    changes: dict[str, Any], told: str, home: Path
) -> None:
    (line,) = errors(home, recipe(home, **changes))
    assert re.search(told, line), line
    assert "\n" not in line
    key = told.split("=")[0].removeprefix("^settings: ").replace("\\", "")
    assert line.count(f"{key}=") <= 1  # told once, though several stages read it


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("trails", "recipe.trails is unknown; use one of ['evaluate', 'model', 'name', "),
        ("trian", "did you mean 'train'?"),
        ("epochs", "recipe.epochs is unknown; did you mean train.epochs or reward.epochs?"),
        ("max_kl", "recipe.max_kl is unknown; did you mean promote.max_kl?"),
    ],
)
def test_a_key_at_the_top_that_is_none_is_told_with_where_it_belongs(key: str, told: str, home: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_recipe(recipe(home, **{key: 1}))


def test_mistakes_of_several_places_are_all_told_and_each_once(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = recipe(
        home,
        trails=[],
        records="./nowhere.jsonl",
        model="./nowhere",
        rewards=[{"name": "rogue"}, {"name": "rouge", "parms": {}}],
        score={"store": "s3:/bucket/x"},
        train={"epoch": 3},
        promote={"max_kl": -1, "keep": ["mine"]},
        placement={"shards": "two"},
    )
    values["name"] = "a/b"
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(values))
    assert call(monkeypatch, "check", str(tmp_path / "bad.yaml")) == 1
    told = capsys.readouterr().out
    for mistake in (
        "recipe.trails is unknown",
        "name='a/b' must be letters",
        "score.store begins with 's3:/'",
        "train.epoch is unknown",
        "rewards.1.parms is unknown",
        "reward='rogue' is unknown",
        "promote.max_kl=-1.0 must be > 0",
        "placement.shards='two' must be",
        "nowhere.jsonl: no such file or folder",
        "nowhere': no such directory",
    ):
        assert told.count(mistake) == 1, (mistake, told)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"records": 3}, ["recipe.records=3 must be a text"]),
        ({"trials": "copg"}, ["recipe.trials='copg' must be a list"]),
        (
            {"train": [1], "promote": {"max_kl": -1}},
            ["recipe.train=[1] must be keys", "promote.max_kl=-1"],
        ),
        (
            {"rewards": [{"name": "reward_model"}], "report_beta": "x"},
            ["names no model: set", "report_beta='x'"],
        ),
    ],
)
def test_what_is_no_recipe_hides_nothing_else(
    changes: dict[str, Any],
    told: list[str],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(recipe(home, **changes, validate={"workers": -1})))
    assert call(monkeypatch, "check", str(tmp_path / "bad.yaml")) == 1
    said = capsys.readouterr().out
    assert all(said.count(each) == 1 for each in [*told, "validate.workers=-1 must be >= 0"]), said
    assert "owner/" not in said, "nothing is told of what merely stands in"
    assert "ok    settings" not in said, "nor is it well"


@pytest.mark.parametrize("model", ["https://host/owner/name", "my model"])
def test_what_can_be_no_model_is_told_once(model: str, home: Path) -> None:
    looks = [*look_at(parse_recipe(recipe(home, model=model)), home / "runs", {})]
    assert [look.kind for look in looks if f"model={model!r}" in look.text] == [ERROR]


def test_records_at_an_address_are_told_once(home: Path) -> None:
    looks = [*look_at(parse_recipe(recipe(home, records="https://host/owner/x")), home / "runs", {})]
    assert [look.kind for look in looks if "https://host/owner/x" in look.text] == [ERROR]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([{"prompt": " ", "completions": ["a", "b"]}], "blank_prompt: a prompt without a visible character"),
        (
            [{"prompt": "p", "completions": ["a", "\n"]}],
            "blank_completion: 1 of 2 completions",
        ),
        ([{"prompt": "", "completion": ""}], "blank_prompt: a prompt without a visible character"),
        (
            [{"prompt": [{"role": "user", "content": " "}], "completions": ["a", "b"]}],
            "blank_prompt: a prompt",
        ),
        (
            [{"prompt": "p", "completions": ["a", "b"], "rewards": [1]}],
            "reward_count: 1 rewards for 2",
        ),
        (
            [{"prompt": "p", "completions": ["a", "b"], "rewards": [1e300, 1]}],
            "nonfinite_reward: 1 of 2",
        ),
        ([{"prompt": "p" * 99, "completions": ["a", "b"]}], "prompt_too_long: a prompt of 99 characters"),
        (
            [{"prompt": "p", "completions": []}],
            "no_completions: no completion at all; a prompt needs",
        ),
    ],
)
def test_first_records_that_validate_would_reject_are_told(
    lines: list[dict[str, Any]], told: str, home: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "r.jsonl", lines * 3)
    values = recipe(home, records=str(path), validate={"max_prompt_chars": 50})
    (line,) = errors(home, values)
    assert line.startswith(f"records: 3 of the first 3 refused, such as r.jsonl:1: {told}")
    assert line.endswith("; validate.max_rejected_fraction=0.05 allows fewer")


def test_what_is_read_as_another_kind_or_not_at_all_is_noted(home: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt;completions;rewards\nsay;["a b", "c"];[0, 1]\n')
    (tmp_path / "notes.txt").touch()
    looks = [*look_at(parse_recipe(recipe(home, records=str(tmp_path), rewards=WATCHED)), home / "runs", {})]
    assert [look.text for look in looks if look.kind == NOTE] == [
        "records: files whose ending nobody reads: notes.txt",
        "records: read as cells between ';': a.csv",
    ]


def test_a_file_of_a_model_that_is_no_longer_there_is_told(home: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.json", "model.safetensors", "config.json"):
        folder = shutil.copytree(home / "model", tmp_path / name)
        (folder / name).unlink()
        (folder / name).symlink_to(tmp_path / "blobs" / "gone")
        (line,) = errors(home, recipe(home, model=str(folder)))
        assert line.startswith(
            f"model: {folder / name}: cannot be read: is a link that leads nowhere; copy or"
        )
        (line,) = errors(home, recipe(home, train={"start_from": str(folder)}))
        assert f"{folder / name}: cannot be read: is a link that leads nowhere" in line


def test_a_model_without_a_tokeniser_is_told_without_torch(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(home / "model", tmp_path / "model")
    for left in ("tokenizer.json", "tokenizer_config.json"):
        (folder / left).unlink()
        (line,) = errors(home, recipe(home, model=str(folder)))
        told = "tokenizer.json is missing; copy it there from where the model came from"
        assert line == f"model: {folder}: no tokeniser can be loaded: {told}"
    assert "torch" not in capsys.readouterr().err


def test_a_tokeniser_that_its_library_refuses_in_no_class_of_its_own_is_told(
    home: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(home / "model", tmp_path / "model")
    (folder / "tokenizer.json").write_text('{"model": {"vocab": []}, "added_tokens": []}')
    (line,) = errors(home, recipe(home, model=str(folder)))
    assert line.startswith(f"model: {folder}: no tokeniser can be loaded: ")


def test_what_only_torch_can_tell_of_a_model_is_looked_at_within_a_limit(home: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(home / "model", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config.pop("max_position_embeddings")
    (folder / "config.json").write_text(json.dumps(config))
    asked = parse_recipe(recipe(home, model=str(folder)))
    (look,) = look_at_model(asked, home / "runs", Source("", folder), limit_s=0.001)
    assert str(look) == (
        "note  model: not looked at: only transformers with torch can tell its context, which took more than "
        "0.001 s here; a run looks at it when it begins"
    )


@pytest.mark.nightly
def test_within_the_limit_it_is_looked_at_as_any_other(home: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(home / "model", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config.pop("max_position_embeddings")  # 2048 where a Llama does not say
    (folder / "config.json").write_text(json.dumps(config))
    for drawn, told in ((8, "ok    model: 0.0 million"), (2048, "error model: evaluate.generation.max_new")):
        values = recipe(home, model=str(folder), evaluate={"generation": {"max_new_tokens": drawn}})
        looks = look_at_model(parse_recipe(values), home / "runs", Source("", folder), limit_s=600)
        assert str(looks[0]).startswith(told)


def test_given_rewards_that_differ_within_no_prompt_are_noted(home: Path, tmp_path: Path) -> None:
    def notes(rewards: list[float], **changes: Any) -> list[str]:
        path = write(
            tmp_path / "r.jsonl", [{**RECORDS[0], "prompt": f"p {n}", "rewards": rewards} for n in range(9)]
        )
        values = recipe(home, records=str(path), score={"source": "given"}, **changes)
        looks = look_at(parse_recipe(values), home / "runs", {})
        return [look.text for look in looks if "differ within no prompt" in look.text]

    assert len(notes([1.0, 1.0])) == 1
    assert notes([1.0, 0.0]) == []
    assert notes([1.0, 1.0], trials=[{"method": "sft", "beta": 1.0}]) == []


def test_what_cannot_be_looked_at_is_noted(home: Path) -> None:
    looks = [
        *look_at(parse_recipe(recipe(home, records="owner/data", model="owner/model")), home / "runs", {})
    ]
    assert [look.kind for look in looks] == [OK, NOTE, NOTE]


def test_a_model_of_the_hub_is_looked_at_where_its_files_can_be_had(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, cached = "0123456789abcdef0123456789abcdef01234567", tmp_path / "models--owner--tiny"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = shutil.copytree(home / "model", cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(commit)

    def of_model(**changes: Any) -> str:
        values = recipe(home, model="owner/tiny", **changes)
        return str([*look_at(parse_recipe(values), home / "runs", {})][2])

    assert of_model().startswith("ok    model: 0.0 million parameters; a turn ends with `</s>`")
    too_long = {"generation": {"max_new_tokens": 500}}
    assert "leaves no room for a prompt: the model's context is 160" in of_model(evaluate=too_long)
    (snapshot / "model.safetensors").unlink()
    assert of_model() == "ok    model: not on this machine yet; a turn ends with `</s>`"
    assert "note  model: a name of the hub, not looked at: it cannot be asked" in of_model(revision="f" * 40)
    (snapshot / "config.json").write_text(json.dumps({"model_type": "reformer"}))
    assert "error model: owner/tiny: model type 'reformer' is refused" in of_model()


def test_records_are_told_by_their_first_lines(home: Path) -> None:
    found = read_first(str(home / "records.jsonl"), Reading())
    assert (found.read, found.rewarded, found.columns) == (20, 20, {"references"})


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ONE = [{"prompt": f"say {n}", "completion": "a b", "thumb": n % 2 == 0, "rating": 3} for n in range(20)]


def test_records_of_one_completion_are_told_what_draws_the_others_and_what_is_not_used(
    home: Path, tmp_path: Path
) -> None:
    def notes(rows: list[dict[str, Any]], **changes: Any) -> list[str]:
        path = write(tmp_path / "r.jsonl", rows)
        values = recipe(home, records=str(path), rewards=[], reward={}, **changes)
        looks = look_at(parse_recipe(values), home / "runs", {"placement": parse_placement})
        return [look.text for look in looks if look.kind == NOTE and look.text.startswith("records")]

    unused, lacking = notes(ONE)
    assert unused == (
        "records: 'rating' looks like a reward and is not used; to use it: columns: {reward: rating} "
        "(20 of them)"
    )
    assert lacking.startswith("records: 20 of their 20 prompts have fewer than two distinct completions")
    assert lacking.endswith("sample: {completions: 4} draws those that are missing")
    assert notes(ONE, sample={}) == [unused]
    # a prompt that comes again with another completion has two
    assert notes([*ONE, *({**row, "completion": "c d"} for row in ONE)]) == [unused.replace("20 of", "40 of")]


@pytest.mark.parametrize("rows", [ONE, [{"prompt": row["prompt"]} for row in ONE]])
def test_a_recipe_for_records_that_lack_completions_has_them_drawn(
    rows: list[dict[str, Any]],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ["--records", str(write(tmp_path / "r.jsonl", rows)), "--model", str(home / "model")]
    assert call(monkeypatch, "init", "one.yaml", *where) == 0
    written = load_recipe(tmp_path / "one.yaml")
    assert (written.samples, written.stages["sample"]) == (True, {"completions": 4})
    assert call(monkeypatch, "init", "two.yaml", "--records", str(home / "records.jsonl"), *where[2:]) == 0
    assert not load_recipe(tmp_path / "two.yaml").samples
    capsys.readouterr()
    lengths = ("sample", "evaluate", "train.samples")
    small = [part for at in lengths for part in ("--set", f"{at}.generation.max_new_tokens=8")]
    small += ["--set", "validate.gate_fraction=0.5"]
    assert call(monkeypatch, "check", "one.yaml", *small) == 0
    assert "have fewer than two" not in capsys.readouterr().out


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["copg", *words])
    monkeypatch.setattr(recipes, "joined_sections", lambda: {"placement": parse_placement})
    with pytest.raises(SystemExit) as left:
        command_line.main()
    return int(left.value.code or 0)


def test_a_recipe_that_init_wrote_passes_check(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ["--records", str(home / "records.jsonl"), "--model", str(home / "model")]
    assert call(monkeypatch, "init", "first.yaml", *where) == 0
    capsys.readouterr()
    small = [
        "--set",
        "evaluate.generation.max_new_tokens=8",
        "--set",
        "train.samples.generation.max_new_tokens=8",
        "--set",
        "validate.gate_fraction=0.5",
    ]
    assert call(monkeypatch, "check", "first.yaml", *small) == 0
    assert "error" not in capsys.readouterr().out
    assert load_recipe(tmp_path / "first.yaml").trains_reward  # the records came with rewards
    assert call(monkeypatch, "init", "first.yaml", *where) == 1
    assert capsys.readouterr().err == "error: first.yaml: is there already; name another, or remove it\n"
    assert call(monkeypatch, "check", "first.yaml", *small, "--set", "train.epochs=none") == 1
    assert "error settings: train.epochs='none' must be a whole number >= 1" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["", "./nowhere", "records.jsonl", "/nowhere/at/all"])
def test_init_writes_no_recipe_whose_model_is_no_folder(
    model: str,
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    where = ["--records", str(home / "records.jsonl"), "--model", model]
    assert call(monkeypatch, "init", "first.yaml", *where) == 1
    assert capsys.readouterr().err.startswith(f"error: --model={model!r}: no such directory; ")
    assert not (tmp_path / "first.yaml").exists()


def test_a_root_that_is_a_file_and_a_start_that_is_not_there_are_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = recipe(home, train={"start_from": "./nowhere", "epochs": 0})
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(values))
    assert (
        call(monkeypatch, "check", str(tmp_path / "bad.yaml"), "--run-dir", str(tmp_path / "bad.yaml")) == 1
    )
    said = capsys.readouterr().out
    assert f"error train.start_from='{tmp_path}/nowhere': no such directory" in said
    assert "bad.yaml is a file; a folder is needed there" in said


@pytest.mark.parametrize("name", ["2024", "1e3", "on", "null"])
def test_names_that_yaml_would_read_as_something_other_are_quoted(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(write_recipe(name, "my data #1: all.jsonl", "*model", Sample()))
    found = load_recipe(path)
    assert (found.name, found.records, found.model) == (name, "my data #1: all.jsonl", "*model")


def notes(home: Path, values: dict[str, Any]) -> list[str]:
    return [look.text for look in look_at(parse_recipe(values), home / "runs", {}) if look.kind == NOTE]


def test_columns_that_a_reward_can_do_without_are_no_mistake(home: Path, tmp_path: Path) -> None:
    tests = {"name": "unit_tests", "params": {"column": "references"}}
    assert errors(home, recipe(home, rewards=[tests])) == []
    (tmp_path / "own.py").write_text(
        "def score(prompts, completions, columns): return [0.0] * len(prompts)\nscore.reads = ('a', 'b')\n"
    )
    own = recipe(home, rewards=[{"name": f"{tmp_path}/own.py:score"}])
    assert errors(home, own) == []
    told = "own.py:score reads columns 'a', 'b'; the first records hold ['references']: right where it can do"
    assert [told in line for line in notes(home, own)].count(True) == 1


def test_thumbs_may_come_after_the_first_records(home: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"p {i}", "completion": "a b"} for i in range(201)]
    asked = recipe(home, records=str(tmp_path / "r.jsonl"), rewards=[], reward={}, sample={})
    for count, refused in ((199, True), (201, False)):
        (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:count]))
        of = "the records" if refused else "the first records"
        told = f"reward: none of {of} came with preferences, thumbs or rewards to learn from; name rewards"
        lines = errors(home, asked) if refused else notes(home, asked)
        assert any(line.startswith(told) for line in lines), lines
        assert bool(errors(home, asked)) == refused


def test_records_of_many_columns_that_lack_one_are_a_bounded_line(home: Path, tmp_path: Path) -> None:
    row = {**RECORDS[0], **{f"column {number}": "x" for number in range(20_000)}}
    (tmp_path / "wide.jsonl").write_text(json.dumps(row) + "\n")
    other = [{"name": "rouge", "params": {"column": "refs"}}]
    wide = recipe(home, records=str(tmp_path / "wide.jsonl"), rewards=other)
    (told,) = errors(home, wide | {"promote": {"error": {"refuse_hopeless": False}}})
    assert told.startswith(
        "rewards: rouge reads column 'refs'; the first records hold ['column 0', 'column 1', "
    )
    assert len(told) < 1200


def test_init_says_that_it_could_read_none_of_the_records(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n{\n')
    assert call(monkeypatch, "init", "x.yaml", "--records", "a.jsonl", "--model", str(home / "model")) == 0
    told = capsys.readouterr().err
    assert told.startswith(
        "warning: a.jsonl: none of the first 2 is a record, such as a.jsonl:1: missing_field"
    )


def test_records_without_any_are_an_error(home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    (told,) = errors(home, recipe(home, records=str(tmp_path / "empty.jsonl")))
    assert told == f"records: {tmp_path}/empty.jsonl holds no record"


def test_what_init_comments_out_are_the_defaults(home: Path, tmp_path: Path) -> None:
    text = write_recipe("x", "records.jsonl", "owner/model", Sample())
    uncommented = re.sub(r"^#(?=[a-z ]+[a-z_0-9]*:|[a-z]+:)", "", text, flags=re.MULTILINE)
    path = tmp_path / "x.yaml"
    path.write_text(uncommented)
    values, given = read_yaml(path), 0
    for stage, names in TURNED.items():
        keys = {key.name: key for key in keys_of_stage(stage)}
        for name in names:
            here = values[stage]
            for part in name.split("."):
                here = here[part]
            assert here == yaml.safe_load(keys[f"{stage}.{name}"].default.replace("e-", ".0e-"))
            given += 1
    assert given == sum(map(len, TURNED.values()))
    parse_recipe(values)
    assert "trains_reward" not in text
    assert "{name: length" in text  # nothing is known of the records


def test_so_few_gate_prompts_that_nobody_could_be_promoted_are_told_before_any_run(home: Path) -> None:
    few = {"evaluate": {"num_prompts": {"select": 9, "gate": 7}}}
    (told,) = errors(home, recipe(home, **few))
    assert told == (
        "settings: evaluate.num_prompts=7 of 'gate' promotes nobody, 8 are needed: raise it, or "
        "train all the same with promote.error.refuse_hopeless: false"
    )
    assert errors(home, recipe(home, **few, promote={"error": {"refuse_hopeless": False}})) == []
    assert errors(home, recipe(home, evaluate={"num_prompts": 8})) == []


def test_records_with_so_few_prompts_that_nobody_could_be_promoted_are_told_before_any_run(
    home: Path, tmp_path: Path
) -> None:
    # their digests decide: of "say 0" to "say 19" 12 begin below .5, and "say 9" alone below .1
    def few(**changes: Any) -> list[str]:
        return errors(home, recipe(home, **changes))

    assert few(validate={"gate_fraction": 0.5}) == []
    (told,) = few(validate={"gate_fraction": 0.1})
    assert told == (
        "records: with 1 of their prompts in gate nobody is promoted, 8 are needed: bring more prompts, "
        "raise validate.gate_fraction=0.1, or train all the same with promote.error.refuse_hopeless: false"
    )
    assert few(validate={"gate_fraction": 0.1}, promote={"error": {"refuse_hopeless": False}}) == []
    assert few(validate={"gate_fraction": 0.1}, records="owner/data") == []  # of the hub: nobody can know
    many = [{**RECORDS[0], "prompt": f"say {n}"} for n in range(800)]
    written = str(write(tmp_path / "many.jsonl", many))
    configs = settings_of(parse_recipe(recipe(home, validate={"gate_fraction": 0.1})), tmp_path)
    assert gate_prompts(configs["validate"], written) is None  # enough, seen before their end
    for cluster, count in (("b", 20), ("d", 0)):  # whose digests begin at .06 and .91: all are on one side
        rows = [{**RECORDS[0], "prompt": f"say {n}", "cluster": cluster} for n in range(20)]
        assert gate_prompts(configs["validate"], str(write(tmp_path / "one.jsonl", rows))) == count

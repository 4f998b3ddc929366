import shutil
import sys

import pytest

from copg.digests import code_closure
from copg.errors import RewardError
from copg.rewards.contract import Condition, RewardSpec
from copg.rewards.registry import _decides, digest_of_rewards, reward_digest


def test_the_digest_moves_with_names_weights_settings_and_labels_but_not_with_order() -> None:
    rouge, length = RewardSpec("rouge_l"), RewardSpec("length", params={"max": 5})
    base = digest_of_rewards([rouge, length])
    assert digest_of_rewards([length, rouge]) == base
    assert digest_of_rewards([rouge, RewardSpec("length", params={"max": 5.0})]) == base
    others = [
        [rouge],
        [RewardSpec("rouge_l", 2.0), length],
        [RewardSpec("rouge_l", label="r"), length],
        [RewardSpec("rouge_l", params={"stem": True}), length],
        [rouge, RewardSpec("length", params={"max": 6})],
        [RewardSpec("rouge_l", standardise=True), length],
        [RewardSpec("rouge_l", clip=(0, 1)), length],
        [RewardSpec("rouge_l", only_if=Condition(part="length", at_least=0)), length],
    ]
    assert len({base, *map(digest_of_rewards, others)}) == len(others) + 1


def test_a_setting_written_out_is_the_same_as_its_default() -> None:
    assert reward_digest(RewardSpec("rouge_l", params={"stem": False})) == reward_digest(
        RewardSpec("rouge_l")
    )


def test_a_reward_depends_on_its_own_files_and_not_on_the_others() -> None:
    found = {module.rpartition(".")[2] for module in code_closure("copg.rewards.rouge", _decides)}
    assert found == {"rouge", "words"}


def test_a_part_does_not_depend_on_its_weight() -> None:
    assert reward_digest(RewardSpec("rouge_l", 1.0)) == reward_digest(RewardSpec("rouge_l", 3.0))


def test_the_tokeniser_a_length_counts_with_is_part_of_it(tmp_path) -> None:
    spec = RewardSpec("length", params={"max": 5, "unit": "tokens", "tokenizer": str(tmp_path)})
    (tmp_path / "tokenizer.json").write_text("{}")
    before = reward_digest(spec)
    (tmp_path / "tokenizer.json").write_text("{ }")
    assert reward_digest(spec) != before


@pytest.fixture
def package(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("users_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "users_pkg").mkdir()
    files = {
        "users_pkg/__init__.py": "",
        "users_pkg/rewards.py": "from .words import count\n"
        "import users_beside, json\nfrom users_pkg import inner\n"
        "def f(p, c, r): return [0.0] * len(c)\n",
        "users_pkg/words.py": "def count(): ...\n",
        "users_pkg/inner.py": "",
        "users_pkg/unused.py": "",
        "users_beside.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", ["users_pkg/rewards.py", "users_pkg/words.py", "users_pkg/inner.py",
                                  "users_pkg/__init__.py", "users_beside.py"])  # fmt: skip
def test_an_edit_of_what_a_users_reward_imports_changes_its_digest(package, name) -> None:
    spec = RewardSpec("users_pkg.rewards:f")
    before = reward_digest(spec)
    with (package / name).open("a") as file:
        file.write("# edited\n")
    assert reward_digest(spec) != before


def test_an_edit_of_what_it_does_not_import_changes_nothing(package) -> None:
    before = reward_digest(RewardSpec("users_pkg.rewards:f"))
    (package / "users_pkg/unused.py").write_text("x = 1\n")
    assert reward_digest(RewardSpec("users_pkg.rewards:f")) == before


def test_an_edited_file_named_by_path_is_loaded_anew(tmp_path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("def f(p, c, r): return [1.0] * len(c)\n")
    spec = RewardSpec(f"{path}:f")
    before = reward_digest(spec)
    path.write_text("def f(p, c, r): return [2.0] * len(c)\n")
    assert reward_digest(spec) != before
    shutil.move(path, tmp_path / "gone.py")
    with pytest.raises(RewardError, match="is no file"):
        reward_digest(spec)


OWN = """
from hashlib import sha256
from pathlib import Path
class Table:
    without_effect = ("folder", "batch")
    def __init__(self, folder, batch=1, power=1): self.folder = folder
    def content(self): return {"table": sha256(Path(self.folder, "table").read_bytes()).hexdigest()}
    def __call__(self, p, c, r): return [0.0] * len(c)
def f(p, c, r, *, batch=1, power=1): return [0.0] * len(c)
f.without_effect = ("batch",)
"""


def test_a_users_reward_says_which_settings_change_no_value_and_which_files_do(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "table").write_text("1")

    def digest(name: str, **params) -> str:
        return reward_digest(RewardSpec(f"{tmp_path}/mine.py:{name}", params=params))

    assert digest("f", batch=2) == digest("f") != digest("f", power=2)
    in_a = digest("Table", folder=f"{tmp_path}/a")
    assert digest("Table", folder=f"{tmp_path}/b", batch=2) == in_a
    assert digest("Table", folder=f"{tmp_path}/a", power=2) != in_a
    (tmp_path / "a/table").write_text("2")
    assert digest("Table", folder=f"{tmp_path}/a") != in_a
    with pytest.raises(RewardError, match=r"mine\.py:Table': content\(\) failed: FileNotFoundError"):
        digest("Table", folder=f"{tmp_path}/none")

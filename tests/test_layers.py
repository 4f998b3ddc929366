"""What the contracts of import-linter in ``pyproject.toml`` cannot say about imports."""

import ast
import re
import tomllib
from pathlib import Path

import grimp
import pytest

from copg.digests import code_closure
from copg.stages.table import EVERY

ROOT = Path(__file__).parent.parent
SOURCES = {
    "copg": ROOT / "copg",
    "copg_components": ROOT / "components/copg_components",
    "copg_pipelines": ROOT / "pipelines/copg_pipelines",
}
MODULE = re.compile(r"(?<![\w./-])copg(?:_components|_pipelines)?(?:\.[a-z_]\w*)+")
ROOMS = ["errors", "progress", "config", "records", "digests", "artifacts", "losses", "stores", "data"]
ROOMS += ["tracking", "lm", "rewards", "training", "evaluation", "report", "stages", "run", "cli"]
ROOMS += ["copg_components", "copg_pipelines"]


def depth(module: str) -> int:
    """How far to the right the room of a module is."""
    root, _, rest = module.partition(".")
    return ROOMS.index(rest.partition(".")[0] if root == "copg" else root)


def modules() -> dict[str, Path]:
    """Files of ours by the name of their module, but for the package that names what it exports."""
    found = {}
    for root, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([root, *parts]).removesuffix(".__init__")] = path
    return {name: path for name, path in found.items() if name != "copg"}


def named_modules(source: str) -> set[str]:
    """Modules of ours that strings name, alone, after ``python -m`` or in an f-string; docstrings apart."""
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docstrings)
    names = (name for value in constants if isinstance(value, str) for name in MODULE.findall(value))
    return {name for name in names if is_module(name)}


def is_module(name: str) -> bool:
    root, *parts = name.split(".")
    path = SOURCES[root].joinpath(*parts)
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def test_a_module_that_a_string_names_is_found() -> None:
    assert named_modules('"""copg.stages.train"""\nx = {"copg": "copg"}') == set()
    assert named_modules('run("-m", "copg.stages.score")') == {"copg.stages.score"}
    assert named_modules('run("python -m copg.lm.load x")') == {"copg.lm.load"}
    assert named_modules('load(f"copg.rewards.{name}:{function}")') == {"copg.rewards"}


def test_a_string_names_only_modules_of_rooms_before_it() -> None:
    wrong = [
        f"{module} names {name}"
        for module, path in modules().items()
        for name in sorted(named_modules(path.read_text()))
        if depth(name) > depth(module)
    ]
    assert wrong == []


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("copg", "copg_components", cache_dir=None)


@pytest.mark.parametrize("path", sorted(SOURCES["copg_components"].glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_a_component_imports_its_own_stage_alone(graph: grimp.ImportGraph, path: Path) -> None:
    imported = graph.find_modules_directly_imported_by(f"copg_components.{path.stem}")
    stages = {name for name in imported if name.startswith("copg.stages.")} - {"copg.stages.table"}
    assert stages <= {f"copg.stages.{path.stem}"}


def test_a_module_that_a_string_names_counts_in_the_digest_of_who_names_it() -> None:
    """A worker that is started by its name decides values as an import does."""
    own_digest = {"copg.lm.engines", "copg.rewards.mixture"}  # one engine by the settings; digest_of_rewards
    own_digest |= {"copg.lm.load"}  # gives the same ids where no other way reads a tokeniser
    missing = [
        f"{module} names {name}"
        for module, path in modules().items()
        if module.startswith(
            ("copg.lm.", "copg.rewards.", "copg.training.", "copg.evaluation.", "copg.data.")
        )
        for name in sorted(named_modules(path.read_text()) - own_digest)
        if name not in code_closure(module, lambda each: each.startswith("copg.")) and name.count(".") > 1
    ]
    assert missing == []


def test_every_stage_is_held_apart_from_the_others() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (held,) = (each["modules"] for each in contracts if each["type"] == "independence")
    assert sorted(held) == sorted(f"copg.stages.{stage}" for stage in EVERY)

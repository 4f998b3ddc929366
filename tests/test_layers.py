"""The layer rule: a module imports only from lower layers, and stages never import one another."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    ["errors", "progress", "config", "records", "artifacts", "digests"],
    *(
        [room]
        for room in "losses stores data tracking lm rewards training evaluation report stages run cli".split()
    ),
]
LAYER_OF = {name: depth for depth, names in enumerate(LAYERS) for name in names}
MODULES = sorted(
    p for p in (ROOT / "copg").rglob("*.py") if p.parent != ROOT / "copg" or p.stem != "__init__"
)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_imports_only_from_lower_layers_or_its_own(path: Path) -> None:
    module = path.relative_to(ROOT / "copg").parts[0].removesuffix(".py")
    layer = LAYER_OF[module]
    for name in imports(path):
        assert name.partition(".")[0] not in ("copg_components", "copg_pipelines", "kfp", "kubernetes"), name
        parts = name.split(".")
        if parts[0] == "copg" and len(parts) > 1 and parts[1] in LAYER_OF:
            assert LAYER_OF[parts[1]] <= layer, f"{path.name} (layer {layer}) imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "copg/stages").glob("[a-z]*.py")), ids=lambda p: p.stem)
def test_a_stage_imports_no_other_stage(path: Path) -> None:
    assert {n for n in imports(path) if n.startswith("copg.stages") and n != f"copg.stages.{path.stem}"} <= {
        "copg.stages"
    }


@pytest.mark.parametrize(
    "path", sorted((ROOT / "components/copg_components").glob("[a-z]*.py")), ids=lambda p: p.stem
)
def test_a_component_imports_kfp_and_its_own_stage_alone(path: Path) -> None:
    for name in imports(path):
        if name.startswith("copg.stages."):
            assert name.split(".")[2] == path.stem, name

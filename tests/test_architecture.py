"""The rules of docs/architecture.md that a program can check."""

import ast
import inspect
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from bench.networks import NETWORKS
from bench.registry import datasets, strategy_parts

ROOT = Path(__file__).parents[1]
CORE = sorted((ROOT / "bench").rglob("*.py"))


def _strings(path: Path) -> Iterator[str]:
    """Yield the texts of a module that are no docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
        ):
            yield node.value


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_of_the_core_names_a_plugin(path: Path) -> None:
    # A kind or a network may be called what a plugin is called: `reconstruction`, `linear`.
    own = {*NETWORKS, "reconstruction"}
    plugins = {**datasets().found, **strategy_parts().found}
    shipped = {n for n, p in plugins.items() if "tests" not in Path(inspect.getfile(p)).parts}
    names = shipped - own
    for text in _strings(path):
        first = text.partition(":")[0].partition("@")[0]
        assert first not in names, f"{path.name} says '{text}'"


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_imports_run_one_way() -> None:
    known = {_module(path) for path in CORE}
    imports: dict[str, set[str]] = {}
    for path in CORE:
        module = _module(path)
        imports[module] = set()
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module in known:
                parts = {f"{node.module}.{alias.name}" for alias in node.names}
                imports[module] |= (parts & known) or {node.module}
    # Raises where modules import each other in a circle.
    assert set(TopologicalSorter(imports).static_order()) == known


@pytest.mark.parametrize("folder", ["datasets", "strategies"])
def test_plugins_import_the_contracts_and_their_siblings_alone(folder: str) -> None:
    allowed = {f"bench.{name}" for name in ("contracts", "kinds", "tasks", "images", "networks")}
    for path in (ROOT / folder).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                top = node.module.partition(".")[0]
                assert top != "bench" or node.module in allowed, f"{path.name}: {node.module}"

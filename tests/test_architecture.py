"""The rules of docs/architecture.md that a program can check."""

import ast
import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from bench.spec.registry import datasets, networks, strategy_components
from bench.store.provenance import numeric_modules

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
    # A kind may be called what a plugin is called: `reconstruction`, or a `joint` run's affinities.
    # Recipes name networks.
    own = {*networks().found, "reconstruction", "joint"}
    plugins = {**datasets().found, **strategy_components().found}
    shipped = {n for n, p in plugins.items() if "tests" not in Path(inspect.getfile(p)).parts}
    names = shipped - own
    for text in _strings(path):
        first = text.partition(":")[0].partition("@")[0]
        assert first not in names, f"{path.name} says '{text}'"


#: The rooms of `bench` in the order of the flow: a module imports from its own layer and from those
#: before it. What stands directly in `bench/` is what plugins may import, and the first layer.
LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "accelerator",
        "fork_server",
        "clean",
        "errors",
        "files",
        "digest",
        "randomness",
        "networks",
        "task_types",
        "images",
        "tasks",
        "contracts",
    ),
    ("spec",),
    ("store",),
    ("stats",),
    ("train",),
    ("launch",),
    ("plan",),
    ("decide",),
    ("gate",),
    ("report",),
    ("export",),
    ("weights",),
    ("validation",),
    ("speed",),
    ("api",),
    ("selftest",),
    ("cli",),
    ("__main__",),
)
LAYER_OF = {room: number for number, layer in enumerate(LAYERS) for room in layer}


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


KNOWN = {_module(path) for path in CORE}


def _imported(module: str, source: str) -> set[str]:
    """Return the modules of `bench` that a source imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & KNOWN
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: -node.level]
                base = ".".join([*above, *filter(None, [node.module])])
            if base in KNOWN:
                parts = {f"{base}.{alias.name}" for alias in node.names}
                found |= (parts & KNOWN) or {base}
    # The package itself holds the version and where plugins lie: everyone may ask.
    return found - {"bench"}


def _against_the_flow(module: str, source: str) -> list[str]:
    """Return the imports of a module that lead to a later layer."""
    own = LAYER_OF[module.split(".")[1]]
    return [i for i in sorted(_imported(module, source)) if LAYER_OF[i.split(".")[1]] > own]


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_from_its_own_layer_and_those_before_it(path: Path) -> None:
    if (module := _module(path)) != "bench":
        assert not _against_the_flow(module, path.read_text("utf-8"))


#: The rooms whose modules are commands, or programs that a command starts.
COMMANDS = ("cli", "__main__", "speed")
#: Modules that lead what plugins and libraries print elsewhere, which takes the streams.
REDIRECTING = ("bench.launch.worker", "bench.spec.registry", "bench.export")
LIBRARY = [
    *(path for path in CORE if (*_module(path).split("."), "")[1] not in COMMANDS),
    *sorted((ROOT / "strategies").glob("*.py")),
    *sorted((ROOT / "datasets").glob("*.py")),
]
_SHOWS = ("print", "input", "exit", "quit", "breakpoint", "SystemExit", "sys.exit")


def _shown(source: str, streams: bool = False) -> list[str]:
    """Return what a source uses that shows something or ends the process; streams too if so."""
    forbidden = _SHOWS if streams else (*_SHOWS, "sys.stdout", "sys.stderr")
    nodes = ast.walk(ast.parse(source))
    used = [ast.unparse(node) for node in nodes if isinstance(node, ast.Name | ast.Attribute)]
    return [name for name in used if name in forbidden]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_prints_nothing_and_ends_no_process(path: Path) -> None:
    assert not _shown(path.read_text("utf-8"), streams=_module(path) in REDIRECTING)


@pytest.mark.parametrize(
    "planted",
    ["print(1)", "import sys\nsys.exit(1)", "raise SystemExit", "import sys\nsys.stderr.flush()"],
)
def test_what_shows_something_is_found(planted: str) -> None:
    assert len(_shown(planted)) == 1


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("bench.gate.judge", "from bench.report.plots import canvas\n"),
        ("bench.gate.judge", "import bench.report.plots.canvas\n"),
        ("bench.errors", "def say() -> None:\n    from bench.cli import app\n"),
        ("bench.errors", "def say() -> None:\n    from .cli import app\n"),
    ],
)
def test_a_planted_import_against_the_flow_is_found(module: str, planted: str) -> None:
    source = ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text("utf-8")
    assert len(_against_the_flow(module, source + planted)) == 1


def test_no_modules_import_each_other_in_a_circle() -> None:
    imports = {module: set[str]() for module in KNOWN}
    for path in CORE:
        imports[_module(path)] = _imported(_module(path), path.read_text("utf-8"))
    # Raises where there is a circle.
    assert set(TopologicalSorter(imports).static_order()) == KNOWN


def test_the_code_that_a_key_hashes_is_all_that_a_run_imports() -> None:
    code = "import sys, bench.train.run; print(*(m for m in sys.modules if m.startswith('bench.')))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) <= numeric_modules().keys()


def test_no_change_of_a_report_or_a_statistic_changes_a_key() -> None:
    rooms = {name.split(".")[1] for name in numeric_modules()}
    assert rooms <= {*LAYERS[0], "spec", "store", "train"}


def test_a_wheel_has_every_package() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    folders = {_module(path) for path in CORE if path.name == "__init__.py"}
    assert folders <= set(setup["packages"])


def test_only_plugins_are_importable_from_the_folders_beside_the_package() -> None:
    for beside in ("bench.bench", "bench.tests", "bench.docs"):
        assert importlib.util.find_spec(beside) is None
    assert importlib.util.find_spec("bench.strategies.hard") is not None


@pytest.mark.parametrize("folder", ["datasets", "strategies"])
def test_plugins_import_the_contracts_and_their_siblings_alone(folder: str) -> None:
    allowed = {f"bench.{name}" for name in LAYERS[0]}
    for path in (ROOT / folder).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                top = node.module.partition(".")[0]
                assert top != "bench" or node.module in allowed, f"{path.name}: {node.module}"


BACKENDS = re.compile(r"cuda|\bxpu\b|\bmps\b|torch\.accelerator|torch\.Event", re.IGNORECASE)


def test_one_module_alone_speaks_to_accelerators_and_names_their_backends() -> None:
    sources = [*CORE, *(ROOT / "strategies").glob("*.py"), *(ROOT / "datasets").glob("*.py")]
    said = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sources
        if path != ROOT / "bench/accelerator.py"
        for line in path.read_text("utf-8").splitlines()
        if BACKENDS.search(line)
    }
    assert not said

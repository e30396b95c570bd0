"""Where a number comes from: the code, the versions and the machine that made it."""

import ast
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import bench
from bench.contracts import Component, Network
from bench.spec.handed import digest_of
from bench.spec.registry import Strategy, parse_dataset, parse_network

#: What a run's numbers follow from is all that this module imports, however deep.
_RUN = "bench.train.run"
#: Packages whose modules are plugins. Those of networks stand beside code that all of them use.
_PLUGINS = ("bench.strategies", "bench.networks", "bench.datasets")
_ONLY_PLUGINS = ("bench.strategies", "bench.datasets")


@cache
def numeric_modules() -> dict[str, Path]:
    """Return the modules of the harness that a run's numbers follow from, by name.

    They are found in the sources: all that `bench.train.run` imports, at its top or in a function,
    and all that those import. Plugins are not among them, as each run has its own. The package's
    own file is not either: it holds the version and where plugins lie.
    """
    package = Path(bench.__file__).parent
    found: dict[str, Path] = {}
    waiting = [_RUN]
    while waiting:
        name = waiting.pop()
        base = package.joinpath(*name.split(".")[1:])
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        if name in found or name == "bench" or name.startswith(_ONLY_PLUGINS) or not path.is_file():
            continue
        found[name] = path
        waiting.append(name.rpartition(".")[0])
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [a.name for a in node.names if a.name.startswith("bench.")]
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("bench"):
                # What is imported from a package may be a module of it.
                waiting += [str(node.module), *(f"{node.module}.{a.name}" for a in node.names)]
    return found


@cache
def _source(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def forget_sources() -> None:
    """Read sources anew from now on: in a long session files are edited."""
    _source.cache_clear()
    _imports.cache_clear()


def code_fingerprint(strategy: Strategy, network: str, dataset: str | None = None) -> str:
    """Return the SHA-256 of the project code that a run uses: the core and its own plugins.

    Code that a plugin imports from a sibling counts too, and so do the versions of its packages. Of
    a class that is in no module, the digest of its code counts.
    """
    sources = {name: str(path) for name, path in numeric_modules().items()}
    parts: list[Component | Network] = [*strategy.components, parse_network(network)]
    plugins = {type(part) for part in (*parts, *([parse_dataset(dataset)] if dataset else []))}
    handed = {plugin.__qualname__: digest for plugin in plugins if (digest := digest_of(plugin))}
    modules = (plugin.__module__ for plugin in plugins if not digest_of(plugin))
    for module in _with_siblings(modules):
        if file := _file(module):
            sources[module] = file
    total = hashlib.sha256("".join(f"{n} {d}\n" for n, d in sorted(handed.items())).encode())
    contents = [(name, _source(path)) for name, path in sources.items()]
    for name, content in [*sorted(contents), *package_versions(parts).items()]:
        total.update(f"{name} {content}\n".encode())
    return total.hexdigest()


def _file(module: str) -> str | None:
    """Return the source file of a module, or None where there is no such module."""
    if (loaded := sys.modules.get(module)) is not None:
        return loaded.__file__
    parent = sys.modules.get(module.rpartition(".")[0])
    if not hasattr(parent, "__path__"):
        return None  # a name of a module, say, which is none itself
    spec = importlib.util.find_spec(module)
    return spec.origin if spec else None


def _with_siblings(modules: Iterable[str]) -> set[str]:
    """Add the plugin modules that the given ones import, however deep.

    For a plugin of an installed package these are the modules of that package.
    """
    found: set[str] = set()
    waiting = list(modules)
    folders = tuple(f"{name}." for name in _PLUGINS)
    packages = {name.partition(".")[0] for name in waiting} - {"bench"}
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if name in found or file is None:
            continue
        found.add(name)
        waiting += [
            other
            for other in _imports(name, file)
            if other.startswith(folders) or other.partition(".")[0] in packages
        ]
    return found


@cache
def _imports(module: str, file: str) -> tuple[str, ...]:
    """Return what a module imports, at its top or in a function: modules, and names in them."""
    found: list[str] = []
    if not file.endswith(".py"):
        return ()
    for node in ast.walk(ast.parse(Path(file).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")
            inside = len(above) - node.level + file.endswith("__init__.py")
            base = ".".join([*above[: inside if node.level else 0], *filter(None, [node.module])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(found)


def _git(folder: Path, *arguments: str) -> str:
    """Return what git says in a folder; nothing where it cannot say it."""
    # What a hook or another tool has set would lead to the repository that it works on.
    elsewhere = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env=elsewhere,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _commit(folder: Path, *changed: str) -> str:
    """Return the commit that a folder is at, marked where tracked files differ or any `changed`."""
    if not (commit := _git(folder, "rev-parse", "--verify", "HEAD")):
        return ""
    dirty = _git(folder, "status", "--porcelain", "--untracked-files=no") or any(changed)
    return commit + ("+changes" if dirty else "")


def revisions() -> dict[str, str]:
    """Return the commits that a run is made at, as far as there are any.

    `commit` is that of the harness, where it runs from a checkout. `repository` is that of the
    user: the repository of the working folder, where that is another one. A plugin that is in no
    commit of it is a change too.
    """
    found = {}
    harness = Path(bench.__file__).parent.parent
    if (harness / ".git").exists() and (commit := _commit(harness)):
        found["commit"] = commit
    try:
        top = _git(Path.cwd(), "rev-parse", "--show-toplevel")
    except OSError:  # the working folder is gone
        top = ""
    if top and Path(top).resolve() != harness.resolve():
        within = [
            f for f in bench.plugin_folders if f.resolve().is_relative_to(Path(top).resolve())
        ]
        new = (_git(f, "ls-files", "--others", "--exclude-standard", "*.py") for f in within)
        if commit := _commit(Path(top), *new):
            found["repository"] = commit
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine(device: str) -> list[str]:
    """Return what the last bits of a number depend on beside code, data and specification."""
    made = provenance(device)
    return [made[key] for key in ("processor", "device", "torch", "torchvision")]


#: The packages that all runs compute with, by the names of their distributions.
_PACKAGES = ("torch", "torchvision", "numpy", "torchmetrics", "pillow")


def package_versions(parts: Iterable[Component | Network]) -> dict[str, str]:
    """Return the versions of the packages that parts of a run bring with them."""
    names = {package for part in parts for package in part.packages}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


def _device_name(device: str) -> str:
    """Return the name of a device; what was asked for where this machine has none of it."""
    import torch

    named = device == "cuda" and torch.cuda.is_available()
    return torch.cuda.get_device_name() if named else device


@cache
def provenance(device: str) -> dict[str, str]:
    """Return versions, hardware and commits, for the records. None of it enters a run's key."""
    return {
        "bench": bench.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "device": _device_name(device),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
        **revisions(),
    }

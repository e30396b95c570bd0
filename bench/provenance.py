"""Where a number comes from: the code, the versions and the machine that made it."""

import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import bench
from bench.registry import Strategy, parse_dataset

#: The modules of the harness that a run's numbers follow from.
_NUMERIC = [
    "kinds",
    "images",
    "tasks",
    "networks",
    "randomness",
    "contracts",
    "data",
    "optimiser",
    "training",
    "evaluation",
    "pricing",
    "run",
]


@cache
def _source(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def code_fingerprint(strategy: Strategy, dataset: str | None = None) -> str:
    """Return the SHA-256 of the project code that a run uses: the core and its own plugins.

    Code that a plugin imports from a sibling counts too, and so do the versions of its packages.
    """
    package = Path(bench.__file__).parent
    paths = {str(package / f"{name}.py") for name in _NUMERIC}
    plugins = [type(part).__module__ for part in strategy.parts]
    if dataset is not None:
        plugins.append(type(parse_dataset(dataset)).__module__)
    for module in _with_siblings(plugins):
        if file := sys.modules[module].__file__:
            paths.add(file)
    total = hashlib.sha256()
    contents = [(Path(path).name, _source(path)) for path in paths]
    packages = {package for part in strategy.parts for package in part.packages}
    versions = [(package, importlib.metadata.version(package)) for package in packages]
    for name, content in sorted(contents) + sorted(versions):
        total.update(f"{name} {content}\n".encode())
    return total.hexdigest()


def _with_siblings(modules: Iterable[str]) -> set[str]:
    """Add the plugin modules that the given ones import, however deep.

    For a plugin of an installed package these are the modules of that package.
    """
    found: set[str] = set()
    waiting = list(modules)
    folders = ("bench.strategies.", "bench.datasets.")
    packages = {name.partition(".")[0] for name in waiting} - {"bench"}
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for value in vars(sys.modules[name]).values():
            owner = getattr(value, "__module__", None) or getattr(value, "__name__", None)
            if not isinstance(owner, str) or owner not in sys.modules:
                continue
            if owner.startswith(folders) or owner.partition(".")[0] in packages:
                waiting.append(owner)
    return found


def _git(*arguments: str) -> str:
    folder = Path(bench.__file__).parent.parent
    if not (folder / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


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


@cache
def provenance(device: str) -> dict[str, str]:
    """Return versions, hardware and the commit of the checkout, for the records."""
    import torch

    made = {
        "bench": bench.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }
    for package in ("torch", "torchvision", "numpy"):
        made[package] = importlib.metadata.version(package)
    if commit := _git("rev-parse", "HEAD"):
        dirty = "+changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
        made["commit"] = commit + dirty
    return made

"""Begins a plugin: writes a commented template under a name that is free and fit."""

import keyword
import os
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Literal

import bench
from bench.errors import UserError
from bench.spec.registry import Plugins, datasets, networks, strategy_components

What = Literal["strategy", "network", "dataset"]
#: The folder of each, which is also what `list` calls them, the plugins there are, and how one is
#: tried.
_KINDS: Mapping[What, tuple[str, Callable[[], Plugins], str]] = {
    "strategy": ("strategies", strategy_components, "-s"),
    "network": ("networks", networks, "--network"),
    "dataset": ("datasets", datasets, "-p"),
}
_TEMPLATES = Path(__file__).parent / "templates"


def begin(what: What, name: str, component: str | None, folder: Path | None) -> Path:
    """Write the template of a strategy's component, a network or a data set; return its path.

    `folder` holds `strategies/`, `networks/` and `datasets/`. Raises `UserError` where the name is
    unfit or taken, where there is a file already, and where no folder is known.
    """
    if component and what != "strategy":
        kind = "data set" if what == "dataset" else what
        raise UserError(f"--component is for strategies: a {kind} has none")
    stem = name.replace("-", "_")
    class_name = "".join(word.capitalize() for word in name.split("-"))
    template = what if what != "strategy" else component or "weighting"
    text = (_TEMPLATES / f"{template}.py.txt").read_text("utf-8")
    _refuse_unfit(name, stem, class_name, text)
    listed, taken, _ = _KINDS[what]
    if name in taken().found or find_spec(f"bench.{listed}.{stem}"):
        raise UserError(
            f"the name '{name}' is taken: choose another (`list {listed}` shows those there are)"
        )
    parent = folder or _folder(what)
    path = parent / listed / f"{stem}.py"
    values = {"name": name, "class_name": class_name}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(Template(text).substitute(values))
    except FileExistsError:
        raise UserError(f"{path} is there already: choose another name, or remove it") from None
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; give another --folder") from None
    return path


def _refuse_unfit(name: str, stem: str, class_name: str, text: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        fit = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")
        fix = f"such as '{fit}'" if fit else "such as 'my-method'"
        raise UserError(
            f"'{name}' is no name for a plugin: small letters and digits, joined by -, beginning "
            f"with a letter, {fix}"
        )
    used = set(re.findall(r"\w+", text))
    if keyword.iskeyword(stem) or class_name in used or keyword.iskeyword(class_name):
        raise UserError(
            f"'{name}' is a word of Python's or of the template's: choose another, such as "
            f"'my-{name}'"
        )


def _known_folders(what: What) -> list[Path]:
    """Return the folders whose plugins are found, the user's first."""
    own = bench.checkout
    if own and what == "network":
        own = own / "bench"  # networks that ship stand in the package
    return [*bench.plugin_folders, *([own] if own else [])]


def _folder(what: What) -> Path:
    """Return the folder that new plugins go to where the user gives none."""
    found = _known_folders(what)
    if not found:
        raise UserError(
            "no folder for plugins is known: give one with --folder DIR, and set BENCH_PLUGINS=DIR"
        )
    return found[0]


def next_steps(what: What, name: str, path: Path) -> str:
    """Return what to do with a new file, in words and commands."""
    folder = path.parent.parent
    seen = any(folder.resolve() == other.resolve() for other in _known_folders(what))
    # Named beside those that are there, which would be lost.
    joined = os.pathsep.join(map(str, [folder, *bench.plugin_folders]))
    prefix = "" if seen else f"BENCH_PLUGINS={joined} "
    trial = f"{_KINDS[what][2]} {name}"
    lines = [
        "Make it yours, then try it:",
        f"  {prefix}python -m bench validate {name}",
        f"  {prefix}python -m bench run {trial} --seeds 2 --dry-run",
    ]
    return "\n".join(lines)

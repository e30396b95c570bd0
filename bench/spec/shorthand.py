"""What a user may leave out of a pair: the data set, where the path of a table or folder says it.

A data set may name `suffixes` of paths that stand for it. `labels.csv:species+coat` then means
`NAME:labels.csv:species+coat`, and `labels.csv@size=64` means `NAME@size=64:labels.csv`. The suffix
`/` is that of folders. A folder that is there needs none, unless it is called as a data set is.
Suffixes are read from the sources of the plugins, since importing one takes seconds.
"""

import ast
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import bench

#: The group of entry points under which installed packages name their plugins.
ENTRY_POINTS = "mtl_sharing_bench"
#: What stands for a folder among the suffixes of paths.
_FOLDER = "/"


def plugin_modules(folder: str) -> Iterator[Path]:
    """Yield the modules of a folder such as `strategies` or `launch` that may hold plugins."""
    if folder in ("export", "launch", "networks"):
        roots = [Path(bench.__file__).parent, *bench.plugin_folders]
        folders = [str(root / folder) for root in roots]
    else:
        spec = find_spec(f"bench.{folder}")
        folders = list(spec.submodule_search_locations or []) if spec else []
    for each in folders:
        yield from Path(each).glob("*.py")


def class_values(path: Path, naming: str = "") -> Iterator[dict[str, ast.expr]]:
    """Yield what the body of each class of a module assigns, by name; nothing if it is broken.

    Nothing too, and at once, if the module has no word `naming`.
    """
    try:
        text = path.read_text("utf-8")
        tree = ast.parse(text) if naming in text else None
    except (OSError, ValueError, SyntaxError):
        return  # its import says what is wrong
    for node in tree.body if tree else ():
        if isinstance(node, ast.ClassDef):
            yield assigned(node)


def assigned(node: ast.ClassDef) -> dict[str, ast.expr]:
    """Return what the body of a class assigns, by name."""
    found: dict[str, ast.expr] = {}
    for part in node.body:
        if isinstance(part, ast.Assign):
            found |= {t.id: part.value for t in part.targets if isinstance(t, ast.Name)}
        elif isinstance(part, ast.AnnAssign) and part.value and isinstance(part.target, ast.Name):
            found[part.target.id] = part.value
    return found


def constant_text(node: ast.expr | None) -> str | None:
    """Return a text that is written out, else None."""
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) else None


@cache
def _suffixes() -> Mapping[str, str]:
    """Return the data set that each suffix stands for."""
    found: dict[str, str] = {}
    for path in plugin_modules("datasets"):
        for values in class_values(path, "suffixes"):
            name, suffixes = constant_text(values.get("name")), values.get("suffixes")
            if name and isinstance(suffixes, ast.Tuple):
                found |= {s: name for part in suffixes.elts if (s := constant_text(part))}
    return found


@cache
def _names() -> frozenset[str]:
    """Return what may be the name of a data set."""
    named = {
        constant_text(values.get("name"))
        for path in plugin_modules("datasets")
        for values in class_values(path)
    }
    modules = {path.stem for path in plugin_modules("datasets")}
    foreign = {entry.name for entry in entry_points(group=ENTRY_POINTS)}
    return frozenset(name for name in {*named, *modules, *foreign} if name)


def _is_folder(path: str) -> bool:
    """Return whether a text has paths of folders that are there, and is of no data set the name."""
    try:
        return all(map(os.path.isdir, path.split(","))) and path not in _names()
    except (OSError, ValueError):
        return False


def of_path(text: str) -> str | None:
    """Return the data set that a text begins with the path of, or None."""
    head = re.split("[:@]", text, maxsplit=1)[0]
    suffixes = _suffixes()
    found = next((name for end, name in suffixes.items() if head.lower().endswith(end)), None)
    return found or (suffixes.get(_FOLDER) if _is_folder(head) else None)


def spelled_out(pair: str) -> str:
    """Return a pair with the name of its data set, where the path of its data stands for it."""
    path, sign, rest = (
        re.split("([:@])", pair, maxsplit=1) if re.search("[:@]", pair) else (pair, "", "")
    )
    # No name of a data set has a `/`, so that a path that is wrong is told as one.
    name = of_path(pair) or (_suffixes().get(_FOLDER) if _FOLDER in path else None)
    if name is None:
        return pair
    if sign == "@":
        knobs, colon, tasks = rest.partition(":")
        return f"{name}@{knobs}:{path}{colon}{tasks}"
    return f"{name}:{path}{sign}{rest}"

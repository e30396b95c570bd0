"""Hands a finished report to other programs. Each exporter writes one folder, after the runs.

An exporter is a plugin: one module of this package, or of an `export/` folder that `BENCH_PLUGINS`
names, with a subclass of `Exporter`. Nothing here runs while anything is trained, and nothing is
sent anywhere.
"""

import contextlib
import shutil
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from bench import plugin_folders
from bench.clean import json_text
from bench.errors import UserError, described, missing_package
from bench.export.exported import Exported, Names, Point, TrackerRun, gather
from bench.files import write_atomically
from bench.spec.registry import Plugins, discover, parse_plugin

__all__ = [
    "Exported",
    "Exporter",
    "Names",
    "Point",
    "TrackerRun",
    "exporter",
    "exporters",
    "gather",
]

__path__.extend(str(folder / "export") for folder in plugin_folders)

#: Stands in each folder that an exporter wrote, so that the next export may replace it.
MARK = "bench-export.json"


@dataclass
class Exporter(ABC):
    """Writes what an experiment found in the form of another program.

    Its fields are knobs that users may set, like those of strategies.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    extra: ClassVar[str] = ""
    """The extra of this project that installs its packages."""
    packages: ClassVar[tuple[str, ...]] = ()
    """The modules that it imports beside the project's own, inside `write` alone."""

    @abstractmethod
    def write(self, exported: Exported, folder: Path) -> None:
        """Write into an empty folder, which nobody else uses."""

    @abstractmethod
    def opened_by(self, folder: Path) -> str:
        """Return the command that shows what `write` left, or what to do with it."""


@cache
def exporters() -> Plugins:
    """Return the exporters by name."""
    return discover(__name__, Exporter)


def exporter(name: str) -> Exporter:
    """Return an exporter that is ready to write.

    Raises `UserError` for an unknown name, and with the install command where a package is missing.
    """
    found: Exporter = parse_plugin(exporters(), "exporter", name)
    for package in found.packages:
        if find_spec(package) is None and found.extra:
            raise missing_package(f"export --to {found.name}", package, found.extra)
        if find_spec(package) is None:  # of somebody else's exporter
            raise UserError(f"export --to {found.name} needs the package {package}: install it")
    return found


def write_export(exporter: Exporter, exported: Exported, folder: Path) -> None:
    """Write an export, in place of the one that this exporter has left in the folder before.

    Raises `UserError` where the folder holds anything else, or the exporter fails.
    """
    _clear(folder)
    mark = {"exporter": exporter.name, "experiment": exported.experiment}
    write_atomically(folder / MARK, json_text(mark).encode())
    try:
        # What a library prints is no result of the command.
        with contextlib.redirect_stdout(sys.stderr):
            exporter.write(exported, folder)
    except (UserError, OSError):
        raise
    except Exception as error:
        raise UserError(
            f"the exporter {exporter.name} failed, and {folder} is not whole: {described(error)}"
        ) from error


def _clear(folder: Path) -> None:
    """Delete an earlier export. Raises `UserError` where the folder is none and is not empty."""
    if not folder.is_dir() or folder.is_symlink():
        if folder.is_symlink() or folder.exists():
            raise UserError(f"{folder} is no folder: move it, or choose a place with --out")
        return
    if (folder / MARK).is_file():
        shutil.rmtree(folder)
    elif any(folder.iterdir()):
        raise UserError(
            f"{folder} holds what no export has written: move it, or choose a place with --out"
        )

"""A folder that no path leads out of, whatever a table or a link says. Not a data set itself."""

# Strings and one system call per file, because `Path` takes seconds for very many files:
# ruff: noqa: PTH116, PTH117, PTH118, PTH119, PTH120, PTH122

import os
import re
import stat
import unicodedata
from functools import cached_property
from pathlib import Path

from bench.images import SUFFIXES

_DRIVE = re.compile("[A-Za-z]:")
#: Files that are looked through for one that is meant.
_MOST_FILES = 200_000


def _plainly(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


class Root:
    """The folder that paths are relative to; `what` names it in errors."""

    def __init__(self, folder: Path, what: str = "the table's folder") -> None:
        self.folder = folder
        self._path = os.path.realpath(folder)
        self._below = os.path.join(self._path, "")
        self._parents: dict[str, str] = {}
        self._what = what

    def _inside(self, path: str) -> bool:
        return path == self._path or path.startswith(self._below)

    def locate(self, text: str) -> str:
        """Return the real path of a file. Raises a `ValueError` that says what is wrong with it.

        Each folder is resolved once, because a table names many files of a few folders.
        """
        if "://" in text:
            raise ValueError("is a web address: download the images, and name their files")
        if text.startswith("\\") or _DRIVE.match(text):
            raise ValueError(f"is an absolute path; paths start at {self._what}")
        if "\0" in text:
            raise ValueError("is no path")
        above, name = os.path.split(text)
        if above not in self._parents:
            self._parents[above] = os.path.realpath(os.path.join(self._path, above))
        path = os.path.join(self._parents[above], name)
        if os.path.isabs(text) and not self._inside(path):
            raise ValueError(f"is an absolute path outside of {self._what} (see root=DIR)")
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode) or name in ("", ".", ".."):
                path = os.path.realpath(path)
            if not self._inside(path):
                raise ValueError(f"leads out of {self._what}")
            if stat.S_ISLNK(status.st_mode):
                status = os.stat(path)
        except OSError as error:
            if not self._inside(os.path.realpath(path)):
                raise ValueError(f"leads out of {self._what}") from None
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                raise ValueError(f"is missing{self._fix(text)}") from None
            raise ValueError(f"cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is no file")
        return path

    def key(self, text: str) -> str:
        """Return one spelling of a path that may be written in several; no file is looked at."""
        if os.path.isabs(text):
            text = os.path.relpath(text, self._path)
        plain = os.path.normpath(text).replace(os.sep, "/")
        return unicodedata.normalize("NFC", plain)

    def relative(self, path: str) -> str:
        """Return the path of a file from the folder on, with `/` between folders."""
        return os.path.relpath(path, self._path).replace(os.sep, "/")

    def _fix(self, text: str) -> str:
        if "\\" in text:
            return " (write / between folders)"
        near = self._near(text)
        return f" (there is '{near}')" if near else ""

    def _near(self, text: str) -> str:
        """Return a file that may be meant: of another case, suffix, Unicode form or folder."""
        name = _plainly(os.path.basename(text))
        folder = _plainly(os.path.dirname(text))
        found = self._files.get(name, []) or self._files.get(os.path.splitext(name)[0], [])
        here = [path for path in found if _plainly(os.path.dirname(path)) == folder]
        return (here or found or [""])[0] if len(here or found) == 1 else ""

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        """The image files below the folder, by their plain names with and without the suffix."""
        found: dict[str, list[str]] = {}
        seen = 0
        for above, _, names in os.walk(self._path):
            for name in names:
                seen += 1
                plain = _plainly(name)
                if plain.endswith(SUFFIXES):
                    path = self.relative(os.path.join(above, name))
                    for key in (plain, os.path.splitext(plain)[0]):
                        found.setdefault(key, []).append(path)
            if seen > _MOST_FILES:
                break
        return found

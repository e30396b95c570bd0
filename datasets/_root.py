"""A folder that no path leads out of, whatever a table or a link says. Not a data set itself."""

# Strings and one system call per file, because `Path` takes seconds for very many files:
# ruff: noqa: PTH116, PTH117, PTH118, PTH119, PTH120, PTH122

import os
import re
import stat
import unicodedata
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from bench.images import SUFFIXES

_DRIVE = re.compile("[A-Za-z]:")
#: Files that are looked through for one that is meant.
_MOST_FILES = 200_000


def _plainly(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _number(stem: str) -> str:
    """Return a number without zeros before it, and any other name as it is."""
    return stem.lstrip("0") or "0" if stem.isdecimal() else stem


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
        if text.lower().startswith("file:"):
            raise ValueError("is an address: write the path alone, without file://")
        if "://" in text:
            raise ValueError("is a web address: download the images, and name their files")
        if text.startswith("\\") or _DRIVE.match(text):
            raise ValueError(f"is an absolute path; paths start at {self._what}{self._here(text)}")
        if "\0" in text:
            raise ValueError("is no path")
        above, name = os.path.split(text)
        if above not in self._parents:
            self._parents[above] = os.path.realpath(os.path.join(self._path, above))
        path = os.path.join(self._parents[above], name)
        if os.path.isabs(text) and not self._inside(path):
            here = self._here(text) or " (see root=DIR)"
            raise ValueError(f"is an absolute path outside of {self._what}{here}")
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
        near = self.near(text)
        return f" (there is '{near}')" if near else ""

    def _here(self, text: str) -> str:
        near = self.near(os.path.basename(text.replace("\\", "/")))
        return f" (there is '{near}': write that)" if near else ""

    def near(self, text: str) -> str:
        """Return the one file that may be meant; empty where there is none, or are several.

        It may have another case, suffix, Unicode form or folder, zeros before its number, or a name
        in which `%20` is written for a blank.
        """
        text = unquote(text)
        name = _plainly(os.path.basename(text))
        stem = name if name.removesuffix(".0").isdecimal() else os.path.splitext(name)[0]
        folder = _plainly(os.path.dirname(text))
        keys = name, stem, _number(stem.removesuffix(".0"))
        found = next((self._files[key] for key in keys if key in self._files), [])
        here = [path for path in found if _plainly(os.path.dirname(path)) == folder]
        return (here or found or [""])[0] if len(here or found) == 1 else ""

    @cached_property
    def _files(self) -> dict[str, list[str]]:
        """The image files below the folder, by their plain names with and without the suffix.

        A number as name is one without zeros before it too.
        """
        found: dict[str, list[str]] = {}
        seen = 0
        for above, _, names in os.walk(self._path):
            for name in names:
                seen += 1
                plain = _plainly(name)
                if plain.endswith(SUFFIXES):
                    path = self.relative(os.path.join(above, name))
                    stem = os.path.splitext(plain)[0]
                    for key in {plain, stem, _number(stem)}:
                        found.setdefault(key, []).append(path)
            if seen > _MOST_FILES:
                break
        return found

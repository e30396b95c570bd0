"""A folder that no path leads out of, whatever a table or a link says. Not a data set itself."""

# Strings and one system call per file, because `Path` takes seconds for very many files:
# ruff: noqa: PTH116, PTH118

import os
import re
import stat
from pathlib import Path

_DRIVE = re.compile("[A-Za-z]:")


class Root:
    """The folder that a table's paths are relative to."""

    def __init__(self, folder: Path) -> None:
        self._path = os.path.realpath(folder)
        self._below = os.path.join(self._path, "")
        self._parents: dict[str, str] = {}

    def _inside(self, path: str) -> bool:
        return path == self._path or path.startswith(self._below)

    def locate(self, text: str) -> str:
        """Return the real path of a file. Raises a `ValueError` that says what is wrong with it.

        Each folder is resolved once, because a table names many files of a few folders.
        """
        if text.startswith(("/", "\\")) or _DRIVE.match(text):
            raise ValueError("is an absolute path; paths start at the table's folder")
        if "\0" in text:
            raise ValueError("is no path")
        above, name = os.path.split(text)
        if above not in self._parents:
            self._parents[above] = os.path.realpath(os.path.join(self._path, above))
        path = os.path.join(self._parents[above], name)
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode) or name in ("", ".", ".."):
                path = os.path.realpath(path)
            if not self._inside(path):
                raise ValueError("leads out of the table's folder")
            if stat.S_ISLNK(status.st_mode):
                status = os.stat(path)
        except OSError as error:
            if not self._inside(os.path.realpath(path)):
                raise ValueError("leads out of the table's folder") from None
            if isinstance(error, FileNotFoundError | NotADirectoryError):
                fix = " (write / between folders)" if "\\" in text else ""
                raise ValueError(f"is missing{fix}") from None
            raise ValueError(f"cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is no file")
        return path

"""Where the images of rows are: in files below a folder, or in another file. Not a data set itself.

Images in another file, a Parquet table for example, are copied into a temporary file, which has no
name and ends with the process. There each can be read on its own and in any order.
"""

import hashlib
import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import BinaryIO

from bench.contracts import UserError
from bench.images import Embedded

from ._root import Root
from ._tables import Pictures, printable

#: The most bytes of all images that are copied out of a table.
_MOST_COPIED = 2**35


class Files(Pictures):
    """Images in files of their own, named by paths from a folder on."""

    def __init__(self, paths: Sequence[str | None], root: Root, named: bool = True) -> None:
        """Take the path of each row's image, and whether they are to be named in errors."""
        self._paths = paths
        self._root = root
        self._named = named

    def key(self, row: int) -> str:
        """Return the path in one spelling."""
        return self._root.key(self._paths[row] or "")

    def locate(self, row: int) -> str:
        """Return the real path, which lies in the folder."""
        path = self._paths[row]
        if path is None:
            raise ValueError("has no image")
        try:
            return self._root.locate(path)
        except ValueError as error:
            raise ValueError(f"{self.shown(row)}{error}") from None

    def shown(self, row: int) -> str:
        """Return the path, unless the row is called by it."""
        return f"image '{printable(str(self._paths[row]))}' " if self._named else ""


class Copied(Pictures):
    """Images in another file. `read` yields the bytes of each row's image, or None.

    They are hashed in one pass. They are copied in a second one, which is made when an image is
    first asked for: where all decoded images are in a cache, nobody asks.
    """

    hashed = "contents"

    def __init__(self, path: Path, rows: int, read: Callable[[], Iterator[bytes | None]]) -> None:
        """Take the path that the user named, and what yields the bytes of so many rows in order."""
        self._path = path
        self._rows = rows
        self._read = read
        self._lock = threading.Lock()
        self._copy: BinaryIO | None = None

    def key(self, row: int) -> str:
        """Return the hash of the image: its name, if it has one, is not always kept."""
        image = self._images[row]
        return image.sha256 if image else f"row {row}"

    def locate(self, row: int) -> Embedded:
        """Return the image."""
        image = self._images[row]
        if image is None:
            raise ValueError("has no image")
        return image

    def shown(self, row: int) -> str:
        """Return that the row has one."""
        return "its image "

    @cached_property
    def _images(self) -> list[Embedded | None]:
        found: list[Embedded | None] = []
        start = 0
        for content in self._read():
            if not content:
                found.append(None)
                continue
            size, sha256 = len(content), hashlib.sha256(content).hexdigest()
            found.append(Embedded(sha256, size, partial(self._piece, start, size, sha256)))
            start += size
            if start > _MOST_COPIED:
                raise UserError(
                    f"'{self._path}' holds over {_MOST_COPIED:,} bytes of images: make them "
                    "smaller, or save fewer"
                )
        if len(found) != self._rows:
            raise UserError(
                f"'{self._path}' is damaged: it has {self._rows:,} rows of labels and "
                f"{len(found):,} of images"
            )
        return found

    def _piece(self, start: int, size: int, sha256: str) -> bytes:
        with self._lock:
            if self._copy is None:
                self._copy = self._copied()
                weakref.finalize(self, self._copy.close)
            file = self._copy
            if not hasattr(os, "pread"):
                file.seek(start)
                content = file.read(size)
        if hasattr(os, "pread"):  # a forked process shares the position in the file
            content = os.pread(file.fileno(), size, start)
        if hashlib.sha256(content).hexdigest() != sha256:
            raise UserError(f"'{self._path}' has changed while it was read: run again")
        return content

    def _copied(self) -> BinaryIO:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as this object lives
        for content in self._read():
            try:
                file.write(content or b"")
                file.flush()
            except OSError as error:
                raise UserError(
                    f"the images of '{self._path}' cannot be copied to '{tempfile.gettempdir()}' "
                    f"({error.strerror or error}): name a folder with room for them in TMPDIR"
                ) from None
        return file

"""Whether the files of a collection lie where torchvision puts them. No data set itself."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.contracts import DataSource, UserError


def require_files(
    source: DataSource,
    collection: str,
    folder: str,
    names: Sequence[str],
    megabytes: int,
    fetch: Callable[[Path], object],
) -> Path:
    """Return the folder that holds the files `names` of a collection, fetched first if need be.

    `folder` is relative to the root. `fetch(root)` downloads about `megabytes`; it is called only
    where a file is missing and the source allows it. Raises `UserError` where there is no root, a
    file is missing, or a download fails.
    """
    if source.root is None:
        raise UserError(
            f"{collection} is real data and needs a folder: "
            "pass --root DIR (and --download to fetch it)"
        )
    path = source.root / folder
    missing = [name for name in names if not (path / name).is_file()]
    if missing and not source.download:
        raise UserError(
            f"{collection} is not in '{path}' ({missing[0]} is missing): "
            f"pass the right --root DIR, or --download to fetch it (about {megabytes} MB)"
        )
    if missing:
        try:
            fetch(source.root)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{collection} could not be downloaded into '{source.root}' ({one_line(error)}): "
                "check the network and that the folder can be written, or put its "
                f"{len(names)} files into '{path}'"
            ) from error
    return path


def one_line(error: Exception) -> str:
    """Return what an error says, without line breaks."""
    return " ".join(str(error).split())

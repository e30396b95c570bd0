"""Pack the records that a report was made of, so that anyone may work it out again.

    python results/reference/pack.py results NAME

writes `results/reference/NAME/records.tar.xz`: the declarations of all its levels, and every run
that their rows read.
`tests/independent.py` recomputes the report from them.
"""

import json
import sys
import tarfile
from pathlib import Path


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return an entry without what differs from one machine to the next."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def pack(results: Path, name: str, target: Path) -> None:
    """Write the declarations of an experiment and its smaller levels, and their runs, to a file."""
    declared = [results / "experiments" / f"{name}.json"]
    asked = json.loads(declared[0].read_text("utf-8"))["experiment"]
    levels = [*asked["smaller_budgets"], *(f"{n}images" for n in asked["smaller_train_sizes"])]
    declared += [results / "experiments" / f"{name}-{level}.json" for level in levels]
    keys = set()
    for row in (row for path in declared for row in json.loads(path.read_text("utf-8"))["rows"]):
        for seed in row["seeds"]:
            keys.add(seed["strategy"])
            keys.update(key for runs in seed["anchors"].values() for key in runs.values())
    files = declared
    for key in sorted(keys):
        files += sorted((results / "runs" / key[:2] / key).iterdir())
    with tarfile.open(target, "w:xz") as archive:
        for path in files:
            archive.add(path, str(path.relative_to(results)), filter=_plain)


if __name__ == "__main__":
    place = Path(__file__).resolve().parent / sys.argv[2] / "records.tar.xz"
    pack(Path(sys.argv[1]), sys.argv[2], place)
    print(place)

"""Keep of each reference report the pictures that a page shows, so that the checkout stays small.

    cp -r results/reports/NAME results/reference/ && python results/reference/prune.py

A report keeps `gains.png` and what README, docs or another page here links to. Other plots, the
page and `runs.parquet` go, with their lines in `table.md`: `python -m bench report` makes them
again.
`--check` names what would go and exits with 1 if there is anything.
"""

import re
import sys
import tomllib
from functools import cache
from pathlib import Path

LINK = re.compile(r"\]\(([^)#\s]+)")
#: A plot of a report stands in a paragraph of its own, which may be the last one.
PLOT = re.compile(r"^\n!?\[[^\]]*\]\((\w[\w-]*\.(?:png|html))\)[^\n]*\n", re.MULTILINE)
#: A part of a table that has lost all its plots.
EMPTY = "<details><summary>More plots</summary>\n\n</details>\n\n"


@cache
def repository(root: Path) -> str:
    """Return the project's URL, which README's links begin with."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["urls"]["Repository"])


def local_target(page: Path, link: str, root: Path) -> Path | None:
    """Return the file that a link of a page means, also where it is one of the repository's URLs.

    None where it leads elsewhere.
    """
    for view in ("blob", "raw", "tree"):
        prefix = f"{repository(root)}/{view}/main/"
        if link.startswith(prefix):
            return (root / link.removeprefix(prefix)).resolve()
    return None if "://" in link else (page.parent / link).resolve()


def pages(root: Path) -> list[Path]:
    """Return the pages that people read."""
    places = (root.glob("*.md"), root.glob("docs/**/*.md"), root.glob("results/reference/**/*.md"))
    return sorted(page for place in places for page in place)


def shown(root: Path) -> set[Path]:
    """Return the pictures that are kept: of a report's own table no more than `gains.png`."""
    kept = set()
    for page in pages(root):
        if page.name == "table.md":
            kept.add((page.parent / "gains.png").resolve())
            continue
        for link in LINK.findall(page.read_text("utf-8")):
            if target := local_target(page, link, root):
                kept.add(target)
    return kept


def prune(root: Path, check: bool = False) -> list[Path]:
    """Remove what no page shows, or with `check` touch nothing; return the files concerned."""
    kept = shown(root)
    reference = (root / "results" / "reference").resolve()
    binary = [
        path
        for path in reference.rglob("*")
        if path.suffix in (".png", ".svg", ".html", ".parquet")
    ]
    concerned = [path for path in binary if path not in kept]
    if not check:
        for path in concerned:
            path.unlink()
    for table in reference.rglob("table.md"):
        text = left = table.read_text("utf-8")
        for plot in PLOT.finditer(text):
            if (table.parent / plot[1]).resolve() not in kept:
                left = left.replace(plot[0], "")
        left = left.replace(EMPTY, "")
        if left != text:
            concerned.append(table)
            if not check:
                table.write_text(left, "utf-8")
    return concerned


if __name__ == "__main__":
    checking = "--check" in sys.argv[1:]
    found = prune(Path(__file__).resolve().parents[2], checking)
    print(*found, sep="\n")
    sys.exit(1 if checking and found else 0)

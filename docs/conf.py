"""How Sphinx makes the site: `sphinx-build -W -b html docs docs/_build`.

The page of commands is written from the command line itself while the site is built, so it cannot
fall behind. Links that lead out of `docs/` become links to the repository.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a checkout needs no installation

import bench  # noqa: E402

_settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
REPOSITORY: str = _settings["project"]["urls"]["Repository"]

project = "bench"
author = _settings["project"]["authors"][0]["name"]
release = version = bench.__version__
project_copyright = author

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "examples"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"bench {release}"
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
}

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# Docstrings are Markdown at heart: one backtick is code.
default_role = "code"
# Dashes of flags stay two.
smartquotes = False


def commands() -> str:
    """Return the reference of all commands in Markdown, without its first heading."""
    asked = [sys.executable, "-m", "typer", "bench.cli.app", "utils", "docs", "--name"]
    text = subprocess.run(
        [*asked, "python -m bench"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=True,
    ).stdout.decode()
    # Lists of commands cut their sentences short; the headings say it all.
    text = re.sub(r"\*\*Commands\*\*:\n\n(?:\* .*\n)+\n?", "", text)
    return text.partition("\n")[2]


def _read_source(_app: Any, page: str, source: list[str]) -> None:
    if page == "commands":
        source[0] += commands()
    source[0] = re.sub(r"\]\(\.\./", f"]({REPOSITORY}/blob/main/", source[0])
    source[0] = re.sub(r"\]\(examples/", f"]({REPOSITORY}/blob/main/docs/examples/", source[0])


def setup(app: Any) -> None:
    """Let the pages be changed as they are read."""
    app.connect("source-read", _read_source)

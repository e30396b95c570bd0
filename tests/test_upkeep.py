"""What surrounds the code holds together: workflows, versions, links, pages, committed results."""

import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import bench
from bench.cli.app import main

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
URL = PYPROJECT["project"]["urls"]["Repository"]
WORKFLOWS = [*(ROOT / ".github/workflows").glob("*.yml"), ROOT / "docs/examples/bench.yml"]
PRUNE = ROOT / "results/reference/prune.py"
MOST_BYTES = 3_000_000


@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_actionlint_finds_nothing_in_the_workflows() -> None:
    done = subprocess.run(
        ["actionlint", *map(str, WORKFLOWS)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    importlib.util.find_spec("check_jsonschema") is None,
    reason="check-jsonschema is not installed",
)
@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", WORKFLOWS),
        (
            "github-issue-forms",
            [p for p in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml") if p.stem != "config"],
        ),
        ("github-issue-config", [ROOT / ".github/ISSUE_TEMPLATE/config.yml"]),
        ("citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_files_for_others_keep_their_schemas(schema: str, files: list[Path]) -> None:
    assert files
    # The schemas come with the package: nothing is fetched.
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_files_name_the_version_of_the_package() -> None:
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "bench.__version__"}
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    cited = dict(re.findall(r"^(version|date-released): (\S+)$", citation, re.MULTILINE))
    assert cited["version"] == bench.__version__
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## [{bench.__version__}] - {cited['date-released']}\n" in changes
    assert changes.index("## [Unreleased]\n") < changes.index(f"## [{bench.__version__}]")
    for heading in re.findall(r"^## \[(.+?)\]", changes, re.MULTILINE):
        assert f"\n[{heading}]: {URL}/" in changes


def test_the_readme_has_no_relative_link_since_pypi_shows_it_too() -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert links
    for link in links:
        assert link.startswith(("https://", "#")), link
        if link.startswith(URL) and link != URL:
            found = re.fullmatch(rf"{re.escape(URL)}/(?:blob|raw|tree)/main/([^#]+)(?:#.*)?", link)
            assert found, link
            assert (ROOT / found[1]).exists(), link


def _committed(folder: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", folder], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("this is no git checkout")
    # A file that is deleted and not yet staged is no longer there.
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).exists()]


def test_results_hold_tables_data_and_pictures_that_a_page_shows() -> None:
    allowed = {".md", ".csv", ".json", ".png", ".toml"}
    named = {"summary.txt", "records.tar.xz", "prune.py", "pack.py", "study.py"}
    named |= {"compare.py", "wsd.patch"}
    for path in _committed("results"):
        name = str(path.relative_to(ROOT))
        assert re.match(r"results/(?:reference|baselines)/", name), name
        assert path.suffix in allowed or path.name in named, name
        assert path.stat().st_size < MOST_BYTES, name


def test_no_picture_is_committed_that_no_page_shows() -> None:
    done = subprocess.run(
        [sys.executable, PRUNE, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_pages_of_reference_reports_link_to_files_that_are_there() -> None:
    for page in (ROOT / "results/reference").rglob("*.md"):
        for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text("utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page} → {target}"


def test_pruning_leaves_the_pictures_that_pages_show_and_the_lines_that_show_them(
    tmp_path: Path,
) -> None:
    report = tmp_path / "results/reference/mine"
    report.mkdir(parents=True)
    shutil.copy(PRUNE, report.parent)
    (tmp_path / "pyproject.toml").write_text('[project.urls]\nRepository = "https://a.b/c"\n')
    (tmp_path / "README.md").write_text(
        "![d](https://a.b/c/raw/main/results/reference/mine/dial.png)"
    )
    for name in (
        *("gains.png", "gains.svg", "dial.png", "audit.png"),
        *("report.html", "runs.parquet"),
    ):
        (report / name).touch()
    plots = [f"\n![{name}, a plot]({name}.png)\n" for name in ("gains", "audit", "dial", "audit")]
    page = "\n[The page](report.html) shows all.\n"
    (report / "table.md").write_text("## Plots\n" + page + "".join(plots))
    command = [sys.executable, str(report.parent / "prune.py")]
    checked = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert checked.returncode == 1
    assert {Path(line).name for line in checked.stdout.split()} == {
        "gains.svg",
        "audit.png",
        "report.html",
        "runs.parquet",
        "table.md",
    }
    subprocess.run(command, capture_output=True, check=True)
    assert {path.name for path in report.iterdir()} == {"gains.png", "dial.png", "table.md"}
    left = (report / "table.md").read_text()
    assert left == "## Plots\n" + plots[0] + plots[2]
    assert subprocess.run([*command, "--check"], capture_output=True, check=False).returncode == 0


def _python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def test_every_page_with_python_is_run_by_a_test() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md") if _python_blocks(page)}
    # They are run by test_docs, by test_tutorial, and python.md by api/test_page.
    assert pages == {"python.md", "extending.md", "tutorial.md"}


def test_the_site_has_every_page_and_names_modules_that_there_are() -> None:
    docs = ROOT / "docs"
    index = (docs / "index.md").read_text("utf-8")
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```", index, re.DOTALL | re.MULTILINE)
    listed = {line for tree in trees for line in tree.split() if not line.startswith(":")}
    assert {page.stem for page in docs.glob("*.md")} - {"index"} <= listed
    page = (docs / "api.md").read_text("utf-8")
    for module in re.findall(r"^\.\. automodule:: (\S+)$", page, re.MULTILINE):
        assert importlib.util.find_spec(module), module
    for name in re.findall(r"^\.\. autofunction:: (\S+)$", page, re.MULTILINE):
        module, _, function = name.rpartition(".")
        assert hasattr(importlib.import_module(module), function), name


def test_the_sites_reference_has_every_command_and_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = runpy.run_path(str(ROOT / "docs/conf.py"))["commands"]()
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    flags = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    assert flags
    assert flags <= set(re.findall(r"--[a-z][a-z-]+", page))
    for command in ("run", "check", "baseline set", "list", "speed"):
        assert f"## `python -m bench {command}`\n" in page
    assert "**Commands**" not in page

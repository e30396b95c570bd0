"""Plain words: short sentences, and the field's terms for what the field has terms for."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from bench.report.groups import wording as groups
from bench.report.text import decision, levels, pilot, tuning, wording

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
SOURCES = sorted(
    path
    for folder in ("bench", "strategies", "datasets")
    for path in (ROOT / folder).rglob("*.py")
    if not path.is_relative_to(ROOT / "bench/strategies")
    and not path.is_relative_to(ROOT / "bench/datasets")
)
LONGEST = 30
#: Words of this project's own, and what the field says.
OWN_WORDS = {
    r"trunks?": "encoder",
    r"held against": "compared with",
    r"(?:a|one) head a task": "one head per task",
    r"yardsticks?": "reference",
    r"optimi[s]ers?": "optimizer",
    r"crew": "worker pool",
    r"lane": "training state",
}


def _sentences(text: str) -> list[str]:
    """Return the sentences of a text in Markdown, without code, tables, links and signs."""
    text = re.sub(r"```.*?```", "\n\n", text, flags=re.DOTALL)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text)
    found: list[str] = []
    for block in map(str.rstrip, filter(str.strip, blocks)):
        if re.match(r"\s*[|#>]|    ", block) or "::" in block[:4]:
            continue  # a table, a heading, a quotation, a layout, a directive
        plain = re.sub(r"`[^`]*`", "code", block)
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
        plain = re.sub(r"\b(?:et al|e\.g|i\.e|cf|vs|No)\.", "", plain)
        found += re.split(r"(?<=[.!?:;])[)\"”*_]*\s+", " ".join(plain.split()))
    return found


def _words(sentence: str) -> list[str]:
    return [word for word in sentence.split() if re.search(r"\w", word)]


def _docstrings(path: Path) -> list[str]:
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return [
        text
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, nodes) and (text := ast.get_docstring(node))
    ]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_sentence_of_a_page_has_at_most_thirty_words(path: Path) -> None:
    long = [s for s in _sentences(path.read_text("utf-8")) if len(_words(s)) > LONGEST]
    assert not long


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_sentence_of_a_docstring_has_at_most_thirty_words(path: Path) -> None:
    long = [s for t in _docstrings(path) for s in _sentences(t) if len(_words(s)) > LONGEST]
    assert not long


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_fields_words_are_used(path: Path) -> None:
    # Roles of streams keep their names: they key the draws.
    text = path.read_text("utf-8").replace('"init", "trunk"', "")
    for own, term in OWN_WORDS.items():
        found = re.search(rf"\b{own}\b", text, re.IGNORECASE)
        assert found is None, f"'{found[0]}': the field says {term}"


@pytest.mark.parametrize(
    "room", [wording, decision, levels, pilot, tuning, groups], ids=lambda m: m.__name__
)
def test_a_sentence_of_a_report_has_at_most_thirty_words(room: ModuleType) -> None:
    texts = [
        text
        for name, value in vars(room).items()
        if name.strip("_").isupper()
        for text in (value.values() if isinstance(value, Mapping) else [value])
        if isinstance(text, str)
    ]
    assert texts
    assert not [s for t in texts for s in _sentences(t) if len(_words(s)) > LONGEST]


def test_a_long_sentence_and_an_own_word_are_found() -> None:
    assert len(_words(_sentences("word " * 31 + ".")[0])) == 31
    assert _sentences("One. Two `a b. c` three: four\n\n| cell |\n\n```\ncode\n```") == [
        "One.",
        "Two code three:",
        "four",
    ]

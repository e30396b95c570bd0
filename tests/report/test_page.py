"""The page is one file that shows what the results say, and obeys nothing that is written in it."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench.decide.pairs import decisions
from bench.report import write_report
from bench.report.page.picture import inline
from bench.report.text.decision import sentence
from bench.report.text.wording import interval
from bench.stats.gains import results

HOSTILE = "</script><script>pwned()</script>{{ 7*7 }}</svg>\x1b[31m<img src=x onerror=pwned()>"
#: What an address in the page begins with: a place of it, nothing, or a picture written out.
_INSIDE = ("#", "data:,", "data:image/png;base64,")
#: Elements that have no end tag.
_VOID = {"meta", "link", "input", "br", "img"}


class Page(HTMLParser):
    """Reads a page: its elements with their attributes, its texts, and whether tags are nested."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.code: dict[str, str] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.code[self.open[-1]] = data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(world: Any, folder: Path) -> Page:
    report = write_report(world.declaration, world.find, folder)
    assert not report.faults
    page = Page(report.files["report.html"].read_text("utf-8"))
    assert page.open == []
    return page


@pytest.fixture(name="world", scope="module")
def _world(make_world: Callable[..., Any]) -> Any:
    return make_world(
        pairs=["creatures:species+background", "multimnist:left+right"],
        strategies=["hard", "cross-stitch", "hard+pcgrad"],
    )


@pytest.fixture(name="page", scope="module")
def _page(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(world, tmp_path_factory.mktemp("page"))


def test_the_page_has_every_decision_every_row_and_every_gain(world: Any, page: Page) -> None:
    found = results(world.declaration, world.find)
    lines = [a for a in page.all("tr") if a.get("class") == "line"]
    assert len(lines) == len(found)
    for row in found:
        (line,) = [
            a
            for a in page.all("td")
            if row.against["full"].gains
            and a.get("data-full") == str(row.against["full"].result.mean)
        ] or [{}]
        assert ("better" in line.get("class", "")) == (row.against["full"].sign == 1)
        for comparison in row.against.values():
            assert interval(comparison, row.unit) in page.text
        assert " ".join(row.verdict.sentence.split()) in page.text
    for tasks in decisions(world.declaration.rows, found):
        assert sentence(tasks, world.declaration.experiment) in page.text


def test_rows_of_a_question_stand_in_the_order_of_their_gains(page: Page) -> None:
    values: list[list[float]] = []
    for tag, attributes in page.elements:
        if attributes.get("class") == "question":
            values.append([])
        if tag == "td" and attributes.get("data-full") and "also" not in attributes["class"]:
            values[-1].append(float(attributes["data-full"]))
    assert len(values) == 4
    assert sum(map(len, values)) > len(values)
    assert all(group == sorted(group, reverse=True) for group in values)


def test_the_page_loads_and_runs_nothing_but_its_own(page: Page) -> None:
    (policy,) = [a["content"] for a in page.all("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for kind, name in (("script", "script"), ("style", "style")):
        digest = base64.b64encode(hashlib.sha256(page.code[name].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert len(page.all("script")) == len(page.all("style")) == 1
    for tag, attributes in page.elements:
        assert "style" not in attributes, tag
        assert not [key for key in attributes if key.startswith("on")], tag
        for key in ("src", "href", "xlink:href", "action", "data", "srcset"):
            assert attributes.get(key, "#").startswith(_INSIDE), (tag, attributes)


def test_ids_are_unique_and_every_reference_has_its_element(page: Page) -> None:
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for key, value in attributes.items():
            if key in ("aria-labelledby", "for"):
                assert value in ids
            if key == "href" and value.startswith("#"):
                assert value[1:] in ids
            for name in re.findall(r"url\(#([^)]*)\)", value):
                assert name in ids


def test_the_page_is_made_for_screen_readers(page: Page) -> None:
    assert [page.all(tag) != [] for tag in ("main", "header", "nav")] == [True] * 3
    assert len(page.all("h1")) == 1
    drawn = [a for a in page.all("svg") if "viewbox" in a and "aria-hidden" not in a]
    assert len(drawn) > 4
    assert all(a["role"] == "img" and a["aria-label"] for a in drawn)
    assert all("scope" in a for a in page.all("th"))


def test_a_hostile_name_is_text_everywhere(make_world: Callable[..., Any], tmp_path: Path) -> None:
    world = make_world(pairs=["creatures:species+background"], strategies=["hard"])
    experiment = world.declaration.experiment.model_copy(update={"description": HOSTILE})
    rows = tuple(row.model_copy(update={"strategy": HOSTILE}) for row in world.declaration.rows)
    declaration = world.declaration.model_copy(
        update={"experiment": experiment, "rows": rows, "data": (HOSTILE,)}
    )
    report = write_report(declaration, world.find, tmp_path)
    text = report.files["report.html"].read_text("utf-8")
    page = Page(text)
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert "{{ 7*7 }}" in page.text
    assert page.text.count("<script>pwned()</script>") > 4
    assert "\x1b" not in text
    for name in report.files:
        if name.endswith(".svg"):
            tree = ElementTree.parse(report.files[name])
            assert not tree.findall(".//{*}script")


def test_a_report_without_rows_or_runs_has_a_page(
    make_world: Callable[..., Any], tmp_path: Path
) -> None:
    world = make_world(pairs=["creatures:species+kin"], strategies=["hard"], seeds=2)
    lost = page_of(type(world)(world.declaration, {}), tmp_path / "lost")
    assert "no result" in lost.text
    empty = world.declaration.model_copy(update={"rows": ()})
    assert "No rows were declared." in page_of(type(world)(empty, {}), tmp_path / "empty").text


def test_a_plot_becomes_an_element_without_styles() -> None:
    svg = (
        b'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        b'width="72pt" height="36pt" version="1.1"><metadata>m</metadata><defs>'
        b'<style type="text/css">*{stroke-linecap: butt}</style></defs>'
        b'<g id="figure_1"><path id="mark" d="M 0.123456 -0.004 L 1 2.5" '
        b'style="fill: none; stroke: #ff0000"/>'
        b'<use xlink:href="#mark" x="7.005" y="1" clip-path="url(#clip)"/>'
        b"<text style=\"font: italic 700 9px 'DejaVu Sans', sans-serif; text-anchor: middle\" "
        b'transform="rotate(-0 1 2)">a &lt;/svg&gt;</text>'
        b"<text style=\"font-size: 8px; font-family: 'DejaVu Sans'\">b</text></g>"
        b'<clipPath id="clip"/></svg>'
    )
    text = inline(svg, "gains", 'the "gains"')
    root = ElementTree.fromstring(text)
    assert root.attrib["viewBox"] == "0 0 72 36"
    assert (root.attrib["width"], root.attrib["height"]) == ("96", "48")
    assert root.attrib["aria-label"] == 'the "gains"'
    assert " style=" not in text
    assert "<style" not in text
    assert "metadata" not in text
    assert root.findall("{*}g") == []  # it would say nothing
    (path,) = root.findall(".//{*}path")
    assert path.attrib == {
        "id": "gains-mark",
        "d": "M 0.1 0 L 1 2.5",
        "fill": "none",
        "stroke": "#ff0000",
    }
    (use,) = root.findall(".//{*}use")
    assert use.attrib == {
        "href": "#gains-mark",
        "x": "7",
        "y": "1",
        "clip-path": "url(#gains-clip)",
    }
    first, second = root.findall(".//{*}text")
    assert first.attrib == {
        "font-style": "italic",
        "font-weight": "700",
        "font-size": "9px",
        "text-anchor": "middle",
    }
    assert first.text == "a </svg>"
    assert second.attrib == {"font-size": "8px"}

"""The page in a real browser: it sorts, filters and folds, and asks for nothing.

Needs Playwright and a Chromium (Debian: `apt-get install chromium`); skipped without them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.report import write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra test)")


@pytest.fixture(name="path", scope="module")
def _path(make_world: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = make_world(
        pairs=["creatures:species+kin", "creatures:species+background"],
        strategies=["hard", "hard+reconstruction", "cross-stitch", "hard+pcgrad"],
    )
    small = world.declaration.model_copy(
        update={
            "experiment": world.declaration.experiment.model_copy(
                update={"budget": "1e12flop", "name": "small"}
            )
        }
    )
    folder = tmp_path_factory.mktemp("page")
    return write_report(world.declaration, world.find, folder, smaller=[small]).files["report.html"]


class Opened:
    """A page in a window, with all that it complained of and asked for."""

    def __init__(self, browser: Any, path: Path, width: int = 1280, **settings: Any) -> None:
        context = browser.new_context(viewport={"width": width, "height": 900}, **settings)
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def rows(self, attribute: str = "strategy") -> list[str]:
        """Return an attribute of every row in sight, from the top."""
        found: list[str] = self.page.eval_on_selector_all(
            "tr.line",
            f"rows => rows.filter(r => r.offsetParent).map(r => r.dataset.{attribute})",
        )
        return found

    def gains(self, anchor: str = "full") -> list[float]:
        """Return the gains of every row in sight that has one, from the top."""
        found = self.page.eval_on_selector_all(
            f"tr.line td[data-{anchor}]",
            f"cells => cells.filter(c => c.offsetParent).map(c => c.getAttribute('data-{anchor}'))",
        )
        return [float(text) for text in found if text]


@pytest.fixture(name="opened")
def _opened(browser: Any, path: Path) -> Iterator[Opened]:
    opened = Opened(browser, path)
    yield opened
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []


def test_all_rows_are_in_sight_by_question_and_by_gain(opened: Opened) -> None:
    assert len(opened.rows()) == 16
    assert opened.page.inner_text("#count") == "16 of 16 rows"
    first = opened.gains()[:4]
    assert first == sorted(first, reverse=True)


def test_rows_are_sorted_by_a_head_and_by_the_list(opened: Opened) -> None:
    page = opened.page
    page.uncheck("#grouped")
    assert opened.gains() == sorted(opened.gains(), reverse=True)
    head = page.locator(".level:not([hidden]) th[data-key=full]")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert opened.gains() == sorted(opened.gains())
    page.select_option("#sort", "strategy")
    assert opened.rows() == sorted(opened.rows())
    assert head.get_attribute("aria-sort") is None


def test_rows_are_filtered_by_text_and_by_verdict(opened: Opened) -> None:
    page = opened.page
    page.fill("#find", "pcgrad")
    assert set(opened.rows()) == {"hard+pcgrad"}
    assert page.inner_text("#count") == "4 of 16 rows"
    page.fill("#find", "background → species")
    assert len(opened.rows()) == 4
    page.fill("#find", "no such strategy")
    assert opened.rows() == []
    page.click("button[type=reset]")
    sync_api.expect(page.locator("#count")).to_have_text("16 of 16 rows", timeout=60_000)
    verdict = opened.rows("verdict")[0]
    page.select_option("#verdict", verdict)
    assert set(opened.rows("verdict")) == {verdict}


def test_a_question_folds_and_opens_by_the_keyboard(opened: Opened) -> None:
    button = opened.page.locator(".level:not([hidden]) .question button").first
    before = len(opened.rows())
    button.focus()
    opened.page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "false"
    assert len(opened.rows()) == before - 4
    opened.page.keyboard.press("Space")
    assert len(opened.rows()) == before


def test_a_verdict_is_told_in_a_sentence_on_demand(opened: Opened) -> None:
    verdict = opened.page.locator(".level:not([hidden]) details.verdict").first
    assert not verdict.locator("p").first.is_visible()
    verdict.locator("summary").click()
    assert verdict.locator("p").first.is_visible()


def test_anchor_and_budget_are_chosen(opened: Opened) -> None:
    page = opened.page
    split = page.locator(".level:not([hidden]) th[data-key=split]")
    assert not split.is_visible()
    page.select_option("#anchor", "split")
    assert split.is_visible()
    assert split.get_attribute("aria-sort") == "descending"
    assert page.locator("p.meaning.a-split").is_visible()
    assert page.locator("#level option").all_inner_texts() == ["2 TFLOPs", "1 TFLOPs"]
    page.select_option("#level", "1")
    assert page.locator("#level-1").is_visible()
    assert not page.locator("#level-0").is_visible()
    assert len(opened.rows()) == 16


@pytest.mark.parametrize("width", [360, 1600])
def test_nothing_runs_out_of_the_window(browser: Any, path: Path, width: int) -> None:
    page = Opened(browser, path, width).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#decision h3").first.bounding_box()["y"] < 900


@pytest.mark.parametrize("settings", [{"color_scheme": "light"}, {"color_scheme": "dark"}])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_no_serious_fault(
    browser: Any,
    path: Path,
    width: int,
    settings: dict[str, Any],
    axe_faults: Callable[[Any], list[Any]],
) -> None:
    opened = Opened(browser, path, width, **settings, bypass_csp=True)
    assert axe_faults(opened.page) == []


def test_the_page_is_complete_without_its_script(browser: Any, path: Path) -> None:
    opened = Opened(browser, path, java_script_enabled=False)
    assert opened.page.locator("#level-0 tr.line").count() == 16
    assert opened.page.locator("#level-0").is_visible()


def test_what_is_folded_away_is_printed(opened: Opened) -> None:
    page = opened.page
    page.emulate_media(media="print")
    assert not page.locator("#controls").is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.section:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.section[open]").count() == 0

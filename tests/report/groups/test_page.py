"""The page of groups in a real browser: it fits, complains of nothing, and asks for nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.decide.groupings import GroupingResult
from bench.report.groups import write_grouping
from bench.spec.grouping import GroupExperiment


@pytest.fixture(name="paths", scope="module")
def _paths(
    make_result: Callable[..., GroupingResult],
    hostile: GroupingResult,
    experiment: GroupExperiment,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Path]:
    results = {
        "verified": make_result(5, "grouping"),
        "hostile": hostile,
        "proposal": make_result(5),
    }
    return {
        name: write_grouping(result, experiment, tmp_path_factory.mktemp(name), margin=1.0)[
            "report.html"
        ]
        for name, result in results.items()
    }


@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("name", ["verified", "hostile", "proposal"])
def test_a_page_fits_and_asks_for_nothing(
    browser: Any, paths: dict[str, Path], name: str, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(paths[name].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#answer h3").bounding_box()["y"] < 900
    assert page.locator("figure svg").count() == 4
    assert page.locator("#options").count() == (name != "proposal")
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(
    browser: Any, paths: dict[str, Path], scheme: str, axe_faults: Callable[[Any], list[Any]]
) -> None:
    page = browser.new_context(color_scheme=scheme, bypass_csp=True).new_page()
    page.goto(paths["verified"].as_uri())
    assert axe_faults(page) == []
    page.close()

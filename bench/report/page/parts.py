"""What the pages of reports are made of: templates, pictures of intervals, and plots."""

import base64
import hashlib
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.clean import printable, without_commands
from bench.report.page.picture import inline
from bench.report.text.sections import Code, Strong, Table, parts_of
from bench.stats.tests import PairedResult

_HERE = Path(__file__).resolve().parent
#: Width of the picture of an interval, in units of its own.
_WIDE = 120


@dataclass(frozen=True)
class Bar:
    """A mean and its interval as a picture; places from the left, None where there is none.

    `before` and `after` say that the interval goes on beyond the picture.
    """

    zero: float
    band: tuple[float, float] | None
    mean: float | None
    ends: tuple[float, float] | None
    before: bool
    after: bool


@dataclass(frozen=True)
class Figure:
    """A plot, with its title; `svg` is an element of the page."""

    name: str
    plot: str
    title: str
    svg: str


def rendered(template: str, **values: Any) -> str:
    """Return a page from a template of this folder, with the style, script and policy of all."""
    text: str = (
        _templates()
        .get_template(template)
        .render(**values, style=_source("page.css"), script=_source("page.js"), policy=_policy())
    )
    return without_commands(text)


def bar_of(result: PairedResult, margin: float, reach: float) -> Bar | None:
    """Return the picture of an interval on a scale from −reach; None where there is no mean."""
    if not math.isfinite(result.mean):
        return None
    low, high = -reach, reach

    def place(value: float) -> float:
        return round(_WIDE * (min(max(value, low), high) - low) / (high - low), 1)

    whole = math.isfinite(result.low)
    return Bar(
        zero=place(0),
        band=(place(-margin), round(place(margin) - place(-margin), 1))
        if math.isfinite(margin)
        else None,
        mean=place(result.mean) if low <= result.mean <= high else None,
        ends=(place(result.low), place(result.high)) if whole else None,
        before=whole and result.low < low,
        after=whole and result.high > high,
    )


def figure_of(name: str, text: str, svg: bytes) -> Figure:
    """Return a plot as part of a page, with the text that stands for it."""
    plot, _, page = name.partition("-")
    title = text.partition(":")[0] + (f", page {page}" if page else "")
    return Figure(name, plot, title, inline(svg, name, text))


def _policy() -> str:
    """Return what the page may load and run: its own style and script, and nothing else."""
    sources = " ".join(
        f"{kind}-src 'sha256-{_digest(_source(name))}';"
        for kind, name in (("style", "page.css"), ("script", "page.js"))
    )
    return f"default-src 'none'; {sources} img-src data:; base-uri 'none'; form-action 'none'"


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _source(name: str) -> str:
    return (_HERE / name).read_text("utf-8")


@cache
def _templates() -> Any:
    """Return the templates. Whatever they show is escaped, and obeyed by nothing."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    environment.tests |= {
        "table": lambda block: isinstance(block, Table),
        "list": lambda block: isinstance(block, list),
        "code": lambda part: isinstance(part, Code),
        "strong": lambda part: isinstance(part, Strong),
    }
    environment.filters["parts"] = parts_of
    return environment


def _clean(value: Any) -> Any:
    """Return what a template shows, without signs that are obeyed or not seen."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return printable(value, keep="\n\t")
    return value

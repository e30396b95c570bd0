"""Foreign text leaves clean, whatever the medium, and harmless text as it is."""

import io
import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import clean
from bench.errors import UserError

#: A name that every medium obeys if it is let.
EVIL = (
    "x\n::error::pwned\r::set-output name=a::b\u2028\x1b[31m\u202e\u200b\u3164\x07\ud800"
    "##[error]##vso[task]|<b onload=x>[l](u)`$\\frac{$"
)
#: Names as users have them.
HARMLESS = [
    "hard+partner@0.5,decay=linear",
    "folder:photos/labels.csv:weight [kg]",
    "a::b",
    "±1.5 points, −3 … 50 % → größer 猫 ❤️",
    "-1.5",
    "#1 of 2",
]
MEDIA = [clean.printable, clean.one_line, clean.log, clean.annotation, clean.csv_cell]


def obeyed(text: str) -> list[str]:
    """Return what a terminal or a CI system would obey in a text, or what nobody would see."""
    found = [line for line in re.split(r"[\n\r]", text) if line.lstrip().startswith("::")]
    found += re.findall(r"##\w*\[", text)
    return found + [repr(sign) for sign in text if not (sign.isprintable() or sign in "\n\t")]


@pytest.mark.parametrize("medium", [*MEDIA, clean.markdown, clean.markdown_code, clean.latex])
def test_nothing_is_obeyed_in_a_hostile_name(medium: Any) -> None:
    shown = medium(f"name {EVIL}")
    assert not obeyed(shown)
    assert "\n" not in shown or medium is clean.log
    assert "pwned" in shown


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_text_comes_out_as_it_is(medium: Any, text: str) -> None:
    shown = medium(text)
    assert shown.replace("%25", "%") == text


@pytest.mark.parametrize("text", ["::error::x", " \t::error::x", "a\n::x", "a\r ::x", "\u2003::x"])
def test_no_line_begins_with_a_command(text: str) -> None:
    assert not obeyed(clean.log(text))
    assert not obeyed(clean.one_line(text))


@pytest.mark.parametrize("text", ["=1+1", "+a", "-cmd|x", "@sum", "\t=1", "\r=1", " =1", "＝1"])
def test_a_cell_of_a_spreadsheet_is_no_formula(text: str) -> None:
    assert clean.csv_cell(text).startswith("'")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("50 % & #1_a", r"50 \% \& \#1\_a"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("a^b~c$d", r"a\textasciicircum{}b\textasciitilde{}c\$d"),
        ("a---b ,, -1", r"a-{}-{}-b ,{}, -1"),
        ("[x] *", "{[}x{]} {*}"),
        ("pays · a → b", r"pays \textperiodcentered{} a $\to$ b"),
        ("größer", "größer"),
    ],
)
def test_latex_shows_a_text_as_it_is(text: str, shown: str) -> None:
    assert clean.latex(text) == shown


@pytest.mark.parametrize("value", [-1.5, 0, True, None, "-1.5", "1e-5", "+3", "–", "", "nan"])
def test_a_number_in_a_spreadsheet_stays_one(value: object) -> None:
    assert clean.csv_cell(value) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", r"a\|b"),
        ("[x](y)", r"\[x\](y)"),
        ("<img>", r"\<img\>"),
        ("# title", r"\# title"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("---", r"\---"),
        ("-0.5", "-0.5"),
        ("1.5", "1.5"),
        ("https://a.example", r"https\://a.example"),
        ("www.a.example", r"www\.a.example"),
    ],
)
def test_markdown_shows_a_text_as_it_is(text: str, shown: str) -> None:
    assert clean.markdown(text) == shown


def test_xml_takes_a_hostile_name() -> None:
    element = ElementTree.Element("case", name=clean.printable(EVIL))
    (again,) = ElementTree.fromstring(ElementTree.tostringlist(element)[0]).attrib.values()
    assert "pwned" in again


def test_json_says_the_same_and_holds_no_command() -> None:
    document = {"a ##[b]": EVIL}
    assert json.loads(clean.json_text(document)) == document
    assert not obeyed(clean.json_text(document))


def test_a_stream_knows_where_a_line_begins() -> None:
    raw = io.StringIO()
    stream = clean.CleanStream(raw)
    for text in ("a", "::b", "\n", "  ", "::c", "\x1b[2J"):
        stream.write(text)
    assert raw.getvalue() == "a::b\n  �:c�[2J"
    assert clean.raw_stream(clean.CleanStream(stream)) is raw  # type: ignore[arg-type]


def test_an_error_has_the_lines_it_was_given() -> None:
    error = UserError("bad 'a\n::error::b'", "  row 1\n::error::")
    assert error.lines == ["bad 'a ::error::b'", "  row 1 ::error::"]
    assert str(error) == "\n".join(error.lines)


@pytest.mark.parametrize("text", ["15gflop", "2e12flop"])
def test_a_budget_in_a_file_name_is_what_it_was(text: str) -> None:
    assert clean.file_name(text) == text
    assert clean.file_name("../" + text + "\n") == ".." + text

"""Foreign text on its way out of the program: one function per medium.

Names, paths and reasons come from files, plugins and libraries, and what shows them may obey them.
A terminal obeys control sequences, a CI log commands, a spreadsheet formulas, a page markup. Text
that nothing obeys comes out as it is.
"""

import json
import math
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, TextIO

from pydantic_core import PydanticSerializationError, to_json

#: What stands for a sign that is left out.
LEFT_OUT = "�"
#: Signs that count as letters or marks and show nothing.
_UNSEEN = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0d\uffa0"
#: `##[error]`, `##vso[...]`: CI systems obey these anywhere in a line.
_COMMAND = r"##(?=\w*\[)"
_OBEYED = re.compile(f"[{_UNSEEN}]|{_COMMAND}")
#: `::error::`: GitHub Actions obeys it at the beginning of a line, behind blanks too. A terminal's
#: colours may stand before it.
_LINE_COMMAND = re.compile(r"((?:^|[\n\r])(?:[^\S\n\r]|\x1b\[[\d;]*m)*):(?=:)")
#: A cell of a spreadsheet is a formula, or a call of a program, if it begins like this.
_FORMULA = tuple("=+-@＝＋－＠\t\r")
#: How a paragraph of Markdown begins that is a heading, a list or a line.
_BLOCK = re.compile(r"([-+=#]+|\d+(?=[.)]))(?=[.)]?(?:\s|$))")
_MARKDOWN = re.compile(r"[\\|`*_~<>\[\]&]")
#: GitHub makes links of addresses, without any markup.
_ADDRESS = re.compile(r"(?:(?<=[a-z]):(?=//)|(?<=\bwww)\.)", re.IGNORECASE)
#: Signs that LaTeX obeys, joins to others or takes for an argument, and those that its fonts lack
#: among the signs of this project's own texts.
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    '"': r"\symbol{34}",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "–": r"\textendash{}",
    "·": r"\textperiodcentered{}",
    "→": r"$\to$",
    LEFT_OUT: "?",
}


def printable(text: str, keep: str = "") -> str:
    """Return a text without signs that are obeyed or not seen, but for those of `keep`.

    They are control characters, line breaks, marks of direction, and signs of no width. This is
    enough for a cell in a terminal, a picture and XML, whose writer escapes markup.
    """
    if not text.isprintable():
        text = "".join(s if s.isprintable() or s in keep else LEFT_OUT for s in text)
    return _OBEYED.sub(lambda found: LEFT_OUT + found[0][1:], text)


def one_line(text: str) -> str:
    """Return a text on one line of a terminal or a log, whatever lines it has."""
    return without_commands(printable(" ".join(text.splitlines())))


def without_commands(text: str) -> str:
    """Return lines without what GitHub Actions or Azure Pipelines would obey in a log."""
    shown = _LINE_COMMAND.sub(rf"\1{LEFT_OUT}", text)
    return re.sub(_COMMAND, f"{LEFT_OUT}#", shown)


def log(text: str) -> str:
    """Return lines for a terminal and a log."""
    return without_commands(printable(text, keep="\n\t"))


def progress(text: str) -> str:
    """Return what a worker process prints: as `log`, and a bar may begin its line again."""
    return without_commands(printable(text, keep="\n\t\r"))


class CleanStream:
    """A text stream whose text is cleaned as it is written."""

    def __init__(self, raw: TextIO, clean: Callable[[str], str] = log) -> None:
        self.raw, self._clean = raw_stream(raw), clean
        self._within = False

    def write(self, text: str) -> int:
        """Write a text. What goes on with a line that has begun is no command."""
        begun = "." if self._within else ""
        shown = self._clean(begun + text).removeprefix(begun)
        try:
            self.raw.write(shown)
        except BrokenPipeError:
            self._close()
        if text:
            line = re.split(r"[\n\r]", text)[-1]
            self._within = bool(line.strip()) or (self._within and line == text)
        return len(text)

    def writelines(self, lines: Sequence[str]) -> None:
        """Write texts one after another."""
        for text in lines:
            self.write(text)

    def flush(self) -> None:
        """Hand on what has been written."""
        try:
            self.raw.flush()
        except BrokenPipeError:
            self._close()

    def _close(self) -> None:
        """Lead what is still written nowhere: nobody reads on, as behind `| head`."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.raw.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def raw_stream(stream: Any) -> Any:
    """Return the stream that a clean one writes to, for text that is cleaned already."""
    return stream.raw if isinstance(stream, CleanStream) else stream


def annotation(text: str) -> str:
    """Return the message of a workflow command of GitHub Actions."""
    shown = printable(text, keep="\r\n")
    return shown.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def annotation_property(text: str) -> str:
    """Return the value of a property of a workflow command, such as its title."""
    return annotation(text).replace(":", "%3A").replace(",", "%2C")


def markdown(text: str) -> str:
    """Return a text that Markdown and HTML show as it is, in a table cell too."""
    shown = printable(" ".join(text.split()))
    shown = _ADDRESS.sub(r"\\\g<0>", _MARKDOWN.sub(r"\\\g<0>", shown))
    if block := _BLOCK.match(shown):
        at = block.end() if block[0].isdecimal() else 0
        return f"{shown[:at]}\\{shown[at:]}"
    return shown


def markdown_code(name: str) -> str:
    """Return a name as code in Markdown. A table wants its pipes escaped even there."""
    shown = printable(name).replace("`", "'").replace("|", "\\|")
    return f"`{shown}`"


def latex(text: str) -> str:
    """Return a text that LaTeX shows as it is, in a table cell too."""
    shown = "".join(_LATEX.get(sign, sign) for sign in printable(text))
    return re.sub(r"([-,])(?=\1)", r"\1{}", shown)  # two of them would become one sign


def csv_cell(value: Any) -> Any:
    """Return the value of a cell that no spreadsheet takes for a formula. Numbers stay numbers."""
    if not isinstance(value, str):
        return value
    shown = printable(value, keep="\t\r")
    try:
        float(shown)
    except ValueError:
        begins = shown.lstrip(" ").startswith(_FORMULA)
        return printable(f"'{shown}" if begins else shown)
    return shown


def finite(value: Any) -> Any:
    """Replace what JSON has no number for by None, at every depth."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return value


def json_text(document: Any) -> str:
    """Return a document of plain values as a file of JSON has it. NaN and infinity become null.

    It is ASCII, and its texts escape what a log that shows it would obey.
    """
    try:
        text = to_json(document, indent=1, inf_nan_mode="null").decode()
        text = re.sub("[^\x00-\x7f]+", lambda match: json.dumps(match[0])[1:-1], text)
    except PydanticSerializationError:  # half of a surrogate pair, which names of files may have
        text = json.dumps(finite(document), indent=1, allow_nan=False)  # takes ten times as long
    return re.sub(_COMMAND, r"\\u0023#", text) + "\n"


def file_name(text: str) -> str:
    """Return the part of a file's name that a text becomes."""
    return re.sub(r"[^A-Za-z0-9.]", "", text)

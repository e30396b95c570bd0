r"""What the cells of a label column can mean, and what they are taken for. Not a data set itself.

`read_column` maps cells to cells in one spelling, `1234.5` for `€1,234.50`, with None where a value
is missing. Where one reading is plain, a note says that it was taken. Where two are plausible, a
`Doubt` names the cells and the knob that decides. The conventions are in `_conventions.py`:

| cells | reading |
|---|---|
| `#N/A`, `<NA>`, `NULL`, Excel's errors | missing |
| `?`, `-`, `.` | missing; a doubt where classes are single signs |
| `None`, `unknown` | missing among numbers; a doubt among classes |
| −1, −999, 99, 999 apart from all others | a doubt: missing or a value |
| a number over 100 times the others' range away | a doubt: missing or a value |
| the one number among words | a doubt: missing or a class |
| `€20`, `70 %`, `20 kg`: one unit throughout | numbers; a doubt where some have no unit |
| `1,234.5`, `1.234,5`, `1 234`, `3,5` | numbers, where a cell shows which sign is the decimal one |
| `1,234` alone | a doubt: 1234 or 1.234 |
| `3.5 lux`: one unknown unit behind many numbers | numbers |
| many dates, times, `(5.5)`, `1.2k` and `3M` | a doubt: to be written as numbers, or classes |
| `007` | codes, which are classes |
| `Red`, `red`, ` red`, `“red”` | one class; a doubt where they are single letters |
| `t-shirt`, `t_shirt`, `t shirt` | one class |
| `a &amp; b`, `TÃ¼r` | `a & b`, `Tür` |
| `yes`, `Y`, `1` and `no`, `N`, `0` | two classes |
| `red\|left`, `red;left`, `['red', 'left']`, `{'red': 1, 'left': 1}` | labels |
| `[1,0,1]`, `1 0 1` | a doubt: to be written as a column for each label |
| `red,left` where labels recombine | labels |
| `red left`, `red/left`, `red+left` where all labels recombine | a doubt: labels or classes |
"""

import ast
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from ._columns import infer_kind, names_files
from ._conventions import (
    BETWEEN_THOUSANDS,
    CURRENCIES,
    FALSE,
    MISSING,
    MISSING_SIGNS,
    MISSING_WORDS,
    SENTINELS,
    SEPARATORS,
    SIGNS,
    TRUE,
    UNITS,
)
from ._tables import Cell, number, printable

#: A column is of numbers if this share of its cells are.
MOSTLY = 0.9
#: A value this many times the others' range away from them is asked about, or told.
_ASKED, _TOLD = 100, 10
#: A sentinel, and a lone 0, are so many times the others' range away from them.
_APART = 0.5
#: Shares of the cells, and different values, that may lie far away.
_FEW_ROWS, _FEW_VALUES = 0.01, 3
#: More different values than classes that are written with numbers have.
_MANY = 20
_QUOTES = "\"'`´“”„‘’‚«»‹›"
#: What classes may be scored by, so that those of all sizes count alike.
BALANCED = "balanced"
#: The values that a knob may have, where it does not take any.
_VALUES: Mapping[str, tuple[str, ...]] = {
    "decimal": ("comma", "point"),
    "separator": (*SEPARATORS, "none"),
    "metric": ("accuracy", BALANCED),
}
#: What is named of the cells that a doubt or a note is about.
_SHOWN = 4


@dataclass(frozen=True)
class Doubt:
    """Cells that can be read in several ways, and the knobs that choose one of the readings.

    `what` says what the cells are and may mean; `at` are their positions in the column; `knobs` are
    what a user types, such as `keep=age=-1`.
    """

    what: str
    at: Sequence[int]
    knobs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Reading:
    """A column in one spelling: its cells, what a user is told of them, and what is to be asked.

    `codes` is set where its numbers are codes, and so classes.
    """

    cells: Sequence[Cell]
    notes: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    codes: bool = False


@dataclass(frozen=True)
class Choices:
    """What a user has decided about the columns of a table. Each text is `COLUMN=VALUE` or `VALUE`.

    A value without a column holds for all columns. `exact` and `folded` are names of columns.
    """

    missing: Sequence[str] = ()
    keep: Sequence[str] = ()
    decimal: Sequence[str] = ()
    unit: Sequence[str] = ()
    exact: Sequence[str] = ()
    folded: Sequence[str] = ()
    separator: Sequence[str] = ()
    metric: Sequence[str] = ()

    def of(self, knob: str, column: str) -> list[str]:
        """Return the values that a knob has for a column."""
        cut = [text.rpartition("=") for text in getattr(self, knob)]
        return [value for name, equals, value in cut if not equals or name == column]

    def columns(self) -> Iterator[str]:
        """Yield every column that is named."""
        for knob in ("missing", "keep", "decimal", "unit", "separator", "metric"):
            for text in getattr(self, knob):
                name, equals, _ = text.rpartition("=")
                if equals:
                    yield name
        yield from (*self.exact, *self.folded)

    def check(self) -> None:
        """Raise `ValueError` for a value that a knob does not have."""
        for knob, known in _VALUES.items():
            for text in getattr(self, knob):
                if (value := text.rpartition("=")[2]) not in known:
                    names = f"{', '.join(known[:-1])} or {known[-1]}"
                    raise ValueError(f"{knob} is {names}, or COLUMN={known[0]}; not '{value}'")


def _same(text: str, other: str) -> bool:
    """Return whether two texts are one value, `-1` and `-1.0` for example."""
    if text.casefold() == other.casefold():
        return True
    one, two = number(text), number(other)
    return one is not None and one == two


def quoted(texts: Sequence[str]) -> str:
    """Return texts in quotation marks, the first few of many."""
    shown = ", ".join(f"'{printable(text, 30)}'" for text in texts[:_SHOWN])
    return f"{shown} and {len(texts) - _SHOWN:,} more" if len(texts) > _SHOWN else shown


def _cells(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


@dataclass
class _Column:
    """A column while it is read: the counts of its different texts, and what was found so far."""

    name: str
    cells: Sequence[Cell]
    choices: Choices
    changed: dict[str, str | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)
    codes: bool = False

    @cached_property
    def _written(self) -> Counter[str]:
        return Counter(cell for cell in self.cells if isinstance(cell, str))

    def texts(self) -> Counter[str]:
        """Return the different texts as they are read so far, without the missing ones."""
        found: Counter[str] = Counter()
        for text, count in self._written.items():
            now = self.changed.get(text, text)
            if now is not None:
                found[now] += count
        return found

    def change(self, texts: Mapping[str, str | None]) -> None:
        """Read texts as others from now on; None is missing."""
        for before in self._written:
            now = self.changed.get(before, before)
            if now is not None and now in texts:
                self.changed[before] = texts[now]

    def positions(self, texts: Sequence[str]) -> list[int]:
        """Return where the cells are that are read as one of the texts so far."""
        wanted = set(texts)
        return [
            at
            for at, cell in enumerate(self.cells)
            if isinstance(cell, str) and self.changed.get(cell, cell) in wanted
        ]

    def ask(self, texts: Sequence[str], may: str, *knobs: str) -> None:
        """Add a doubt about the cells that hold one of the texts."""
        at = self.positions(texts)
        self.doubts.append(Doubt(f"{quoted(texts)} {may}", at, knobs))

    def ask_missing(self, texts: Sequence[str], otherwise: str) -> None:
        """Add a doubt: these texts mean that there is no value, or they are one."""
        for text in texts:
            may = f"may mean that there is no value, or be {otherwise}"
            self.ask([text], may, f"missing={self.name}={text}", f"keep={self.name}={text}")

    def kept(self, text: str) -> bool:
        """Return whether the user said that a text is a value."""
        return any(_same(text, other) for other in self.choices.of("keep", self.name))

    def result(self) -> Reading:
        """Return what was read."""
        changed = self.changed
        cells = [changed.get(c, c) if isinstance(c, str) else c for c in self.cells]
        return Reading(cells, tuple(self.notes), tuple(self.doubts), self.codes)


def read_column(
    name: str, cells: Sequence[Cell], choices: Choices | None = None, kind: str | None = None
) -> Reading:
    """Read a label column. `kind` is the task type that the user gave it, if any."""
    column = _Column(name, cells, choices or Choices())
    _repair(column)
    _read_missing(column)
    kind = kind or ("segmentation" if names_files(column.result().cells) else None)
    if kind in (None, "multilabel") and (sets := _read_sets(column, kind)):
        return _of_sets(column, sets)
    if (kind or infer_kind(column.result().cells)) not in ("multilabel", "segmentation"):
        numeric = _read_numbers(column)
        if numeric:
            _ask_sentinels(column, kind or infer_kind(column.result().cells))
        elif not any(isinstance(cell, tuple) for cell in cells):
            if kind is None:
                _ask_quantity(column)
            _ask_lone_number(column)
            _merge_truth(column)
            _merge_spellings(column)
    return column.result()


def without_missing(cells: Sequence[Cell]) -> Sequence[Cell]:
    """Return the cells of a column of names, such as paths, with None for each missing one."""
    return [None if isinstance(c, str) and c.casefold() in MISSING else c for c in cells]


# ---------------------------------------------------------------------------------- missing


def _read_missing(column: _Column) -> None:
    texts = column.texts()
    stated = column.choices.of("missing", column.name)
    gone = [text for text in texts if any(_same(text, other) for other in stated)]
    plain = [t for t in texts if t.casefold() in MISSING and not column.kept(t) and t not in gone]
    column.change(_all_missing([*gone, *plain]))
    left = column.texts()
    signs = [t for t in left if t.casefold() in MISSING_SIGNS and not column.kept(t)]
    words = [t for t in left if t.casefold() in MISSING_WORDS and not column.kept(t)]
    others = {t: n for t, n in left.items() if t not in signs and t not in words}
    numbers = _share(others, lambda text: _amount(text) is not None) >= MOSTLY
    letters = _share(others, lambda text: len(text) == 1) >= MOSTLY
    found = [] if letters and not numbers else signs
    found += words if numbers else []
    column.change(_all_missing(found))
    if others:
        column.ask_missing([t for t in (*signs, *words) if t not in found], "a class")
    told = [text for text in (*gone, *plain, *found) if text]
    if told:
        rows = sum(texts[text] for text in told)
        what = "counts" if len(told) == 1 else "count"
        column.notes.append(f"{quoted(told)} {what} as missing ({_cells(rows)})")


def _all_missing(texts: Sequence[str]) -> dict[str, str | None]:
    return dict.fromkeys(texts)


def _share(texts: Mapping[str, int], holds: Callable[[str], bool]) -> float:
    """Return the share of the cells whose text has a property; 0 where there are none."""
    return sum(n for t, n in texts.items() if holds(t)) / max(1, sum(texts.values()))


# ---------------------------------------------------------------------------------- numbers


@dataclass(frozen=True)
class _Amount:
    """A number as it is written: its digits with their separators, and its unit, `''` for none."""

    sign: str
    digits: str
    exponent: str
    unit: str

    def plain(self, decimal: str) -> str | None:
        """Return the number with a decimal point and no separators; None where it has no sense.

        `decimal` is the decimal sign.
        """
        thousands = "," if decimal == "." else "."
        whole, point, part = self.digits.partition(decimal)
        for sign in (thousands, *BETWEEN_THOUSANDS):
            if sign in whole and re.fullmatch(rf"\d{{1,3}}(?:{re.escape(sign)}\d{{3}})+", whole):
                whole = whole.replace(sign, "")
        if re.fullmatch(r"\d{1,2}(?:,\d{2})+,\d{3}", whole):  # lakhs and crores
            whole = whole.replace(",", "")
        if not re.fullmatch(r"\d*", whole) or not re.fullmatch(r"\d*", part) or not whole + part:
            return None
        return f"{self.sign}{whole}{'.' if point else ''}{part}{self.exponent}"


def _alternatives(table: Mapping[str, tuple[str, ...]]) -> str:
    spellings = sorted((s for each in table.values() for s in each), key=len, reverse=True)
    return "|".join(map(re.escape, spellings))


_UNIT_OF = {s: unit for table in (CURRENCIES, UNITS) for unit, each in table.items() for s in each}
_SIGNS = {ord(sign): plain for sign, plain in SIGNS.items()}
#: What Excel puts around a number that is to stay text.
_GUARDED = re.compile("=\"(?P<quoted>.*)\"|'(?P<marked>[^'].*)")
_POWER = re.compile("[0-9][⁰¹²³⁴-⁹]")
#: A number with something behind it that is no unit of `UNITS`.
_TAILED = re.compile(r"(?P<number>.*\d)\s*(?P<tail>[^\W\d_][^\d]{0,11})")
#: What has digits from its beginning on, but for signs: a date, a time, an amount in brackets.
_OF_DIGITS = re.compile(r"[^\w\s]{0,3}\d.*")
_DIGITS = rf"(?:\d(?:[\d.,{BETWEEN_THOUSANDS}]*\d)?\.?|[.,]\d+)"
_WRITTEN = re.compile(
    rf"(?P<sign>[+-]?)\s*(?P<before>{_alternatives(CURRENCIES)})?\s*(?P<second>[+-]?)\s*"
    rf"(?P<digits>{_DIGITS})(?P<exponent>[eE][+-]?\d+)?"
    rf"\s*(?P<after>{_alternatives(CURRENCIES)}|{_alternatives(UNITS)})?"
)


@lru_cache(maxsize=2**16)
def _amount(text: str) -> _Amount | None:
    """Return the number in a text as it is written, or None where there is none."""
    if _POWER.search(text):  # NFKC would make 103 of 10³
        return None
    plain = unicodedata.normalize("NFKC", text).translate(_SIGNS).strip()
    if guarded := _GUARDED.fullmatch(plain):
        plain = guarded["quoted"] or guarded["marked"] or ""
    found = _WRITTEN.fullmatch(plain)
    if found is None or (found["before"] and found["after"]) or (found["sign"] and found["second"]):
        return None
    unit = _UNIT_OF.get(found["before"] or found["after"] or "", "")
    sign = found["sign"] or found["second"]
    amount = _Amount(sign, found["digits"], found["exponent"] or "", unit)
    return amount if amount.plain(".") is not None or amount.plain(",") is not None else None


def _read_numbers(column: _Column) -> bool:
    """Read a column of numbers in whatever convention; return whether it is one."""
    _read_tail(column)
    texts = column.texts()
    found = {text: amount for text in texts if (amount := _amount(text)) is not None}
    if not texts or _share(texts, found.__contains__) < MOSTLY:
        return False
    codes = [text for text in found if re.fullmatch(r"0\d+", text)]
    if codes:
        column.codes = True
        column.notes.append(f"{quoted(codes)} are codes, so they are classes, not a quantity")
        return True
    if not _read_units(column, found):
        return True
    decimal = _decimal(column, found)
    if decimal is None:
        return True
    plain = {text: amount.plain(decimal) for text, amount in found.items()}
    # A cell in another convention than its column stays as it is, and is told as a fault.
    column.change({text: now for text, now in plain.items() if now is not None})
    changed = [text for text, now in plain.items() if now not in (None, text)]
    if changed:
        first = changed[0]
        unit = found[first].unit
        where = f" in {unit}" if unit else ""
        column.notes.append(f"'{printable(first, 30)}' is read as {plain[first]}{where}")
    return True


def _read_tail(column: _Column) -> None:
    """Read numbers that all have one unknown unit behind them as numbers, where there are many."""
    texts = column.texts()
    if len(texts) <= _MANY:
        return
    cut = {text: tailed for text in texts if (tailed := _TAILED.fullmatch(text))}
    cut = {text: tailed for text, tailed in cut.items() if _amount(text) is None}
    tails = {tailed["tail"] for tailed in cut.values() if _amount(tailed["number"]) is not None}
    if len(tails) != 1 or _share(texts, cut.__contains__) < MOSTLY:
        return
    first = next(iter(cut))
    column.change({text: tailed["number"] for text, tailed in cut.items()})
    column.notes.append(f"'{printable(first, 30)}' is read as a number in {printable(tails.pop())}")


def _ask_quantity(column: _Column) -> None:
    """Ask where a column has many numbers in a form that is not known, such as dates."""
    texts = column.texts()
    if not _MANY < len(texts) <= sum(texts.values()) / 2:
        return
    odd = [text for text in texts if _OF_DIGITS.fullmatch(text) and _amount(text) is None]
    if odd and _share(texts, lambda text: bool(_OF_DIGITS.fullmatch(text))) >= MOSTLY:
        may = "may be a quantity in a form that is not known, to be written as numbers, or classes"
        column.ask(odd, may, f"classification={column.name}")


def _read_units(column: _Column, found: Mapping[str, _Amount]) -> bool:
    """Return whether all numbers have one unit or none; if not, ask."""
    bare = [t for t, a in found.items() if not a.unit and a.digits.strip("0.,")]
    units = {amount.unit: text for text, amount in found.items() if amount.unit}
    if len(units) > 1:
        first, second = (next(t for t, a in found.items() if a.unit == u) for u in list(units)[:2])
        column.ask([first, second], "have different units: write one unit in the whole column")
        return False
    stated = column.choices.of("unit", column.name)
    if units and bare and not stated:
        (unit,) = units
        column.ask(
            bare,
            f"{'have' if len(bare) > 1 else 'has'} no unit where others are in {unit}",
            f"unit={column.name}={unit}",
        )
        return False
    return True


def _decimal(column: _Column, found: Mapping[str, _Amount]) -> str | None:
    """Return the decimal sign of a column; None where that has to be asked."""
    stated = column.choices.of("decimal", column.name)
    if stated:
        return "," if stated[-1] == "comma" else "."
    proofs = {text: sign for text, a in found.items() if (sign := _proof(a.digits))}
    signs = Counter(proofs.values())
    if len(signs) == 2:
        rows = {sign: [t for t, s in proofs.items() if s == sign] for sign in signs}
        cells = column.texts()
        most = max(rows, key=lambda sign: sum(cells[text] for text in rows[sign]))
        if most == ",":  # where the point is, other cells are faults of their own
            column.ask(rows["."], "have a decimal point where others have a comma: write one sign")
            return None
        return "."
    if signs:
        return next(iter(signs))
    either = [t for t, a in found.items() if re.fullmatch(r"\d{1,3},\d{3}", a.digits)]
    if either or (either := _pointed_thousands(found)):
        one = found[either[0]]
        readings = " or ".join(str(one.plain(sign)) for sign in ",.")
        column.ask(
            either,
            f"may be {readings}",
            *(f"decimal={column.name}={name}" for name in ("comma", "point")),
        )
        return None
    return "."


def _proof(digits: str) -> str:
    """Return the decimal sign that a number shows to be one, or an empty text."""
    commas, points = digits.count(","), digits.count(".")
    if commas and points:
        return "," if digits.rindex(",") > digits.rindex(".") else "."
    if commas > 1 or points > 1:
        return "." if commas else ","
    if commas:
        return "" if re.fullmatch(r"[1-9]\d{0,2},\d{3}", digits) else ","
    if points:
        return "" if re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", digits) else "."
    return ""


def _pointed_thousands(found: Mapping[str, _Amount]) -> list[str]:
    """Return the texts like `1.234` if their points may separate thousands.

    They may where the numbers without a point would be ten times as large as those with one.
    """
    pointed = [t for t, a in found.items() if "." in a.digits]
    whole = sorted(float(a.digits) for a in found.values() if a.digits.isdecimal())
    small = sorted(float(found[text].digits) for text in pointed)
    if not whole or not small or whole[-1] > 999:
        return []
    return pointed if whole[len(whole) // 2] >= 10 * small[len(small) // 2] else []


# ---------------------------------------------------------------------------------- sentinels


def _ask_sentinels(column: _Column, kind: str) -> None:
    """Ask about values that stand apart as missing ones do, and tell what lies far away."""
    texts = {t: v for t in column.texts() if (v := number(t)) is not None and not column.kept(t)}
    every = {v for t in column.texts() if (v := number(t)) is not None}
    odd = [v for v in sorted(every) if v in texts.values() and _is_sentinel(v, every)]
    few = [] if odd or column.codes else _far(column, every, _ASKED)
    few += _lone_zero(column, every) if kind == "regression" and not odd else []
    asked = [*odd, *(v for v in few if v in texts.values())]
    for value in asked:
        column.ask_missing([next(t for t, v in texts.items() if v == value)], "a number")
    far = [v for v in _far(column, every, _TOLD) if v not in asked]
    if far and kind == "regression":
        shown = [next(t for t in column.texts() if number(t) == value) for value in far]
        column.notes.append(f"{quoted(shown)} lies far from all other numbers")


def _is_sentinel(value: float, every: set[float]) -> bool:
    """Return whether a number is one that stands for a missing one, and apart from the others."""
    others = every - {value}
    if value not in SENTINELS or not others or every == {-1, 1}:
        return False
    if value < 0:
        return min(others) >= 0
    return max(others) >= 0 and max(others) < _APART * value and min(others) >= 0


def _lone_zero(column: _Column, every: set[float]) -> list[float]:
    """Return the 0 of a quantity whose other values are all far above it, if it is repeated."""
    others = every - {0.0}
    rows = sum(n for text, n in column.texts().items() if number(text) == 0)
    if rows < 2 or len(others) < _FEW_VALUES or min(others) <= 0:
        return []
    return [0.0] if min(others) > _APART * (max(others) - min(others)) else []


def _far(column: _Column, every: set[float], times: float) -> list[float]:
    """Return the few numbers that lie so many times the others' range away from them."""
    counts: Counter[float] = Counter()
    for text, rows in column.texts().items():
        if (value := number(text)) is not None:
            counts[value] += rows
    most = max(1, int(_FEW_ROWS * sum(counts.values())))
    ordered = sorted(every)
    for few in range(1, _FEW_VALUES + 1):
        for core, edge in (
            (ordered[:-few], ordered[-few:]),
            (ordered[few:], ordered[:few]),
        ):
            # A single value may be repeated as often as values are missing.
            rare = sum(counts[v] for v in edge) <= most or (few == 1 and times >= _ASKED)
            if len(core) < _FEW_VALUES or not rare:
                continue
            gap = edge[0] - core[-1] if edge[0] > core[-1] else core[0] - edge[-1]
            if gap > times * (core[-1] - core[0]):
                return edge
    return []


# ---------------------------------------------------------------------------------- classes


def _ask_lone_number(column: _Column) -> None:
    """Ask about the one number among words, which may mean that there is no class."""
    texts = column.texts()
    values = [text for text in texts if number(text) is not None]
    words = [text for text in texts if text not in values]
    if len({number(text) for text in values}) != 1 or len(words) < 2:
        return
    if not any(re.search(r"\d", t) or t.casefold() in (*TRUE, *FALSE) for t in words):
        column.ask_missing([t for t in values if not column.kept(t)], "a class")


def _merge_truth(column: _Column) -> None:
    """Read several spellings of true and of false as one each."""
    texts = column.texts()
    sides = [[t for t in texts if t.casefold() in words] for words in (TRUE, FALSE)]
    if column.name in column.choices.exact or sum(map(len, sides)) < len(texts):
        return
    if not all(sides) or len({t.casefold() for t in texts}) <= 2:
        return  # spellings that differ in case alone are merged as those of any class
    merged = {t: max(side, key=lambda s: (texts[s], s)) for side in sides for t in side}
    _tell_merged(column, merged)


def _merge_spellings(column: _Column) -> None:
    """Read spellings that differ in case, blanks or Unicode form as one class."""
    if column.name in column.choices.exact:
        return
    texts = column.texts()
    alike: dict[str, list[str]] = {}
    for text in texts:
        alike.setdefault(folded(text), []).append(text)
    groups = [group for group in alike.values() if len(group) > 1]
    letters = [g for g in groups if len(g[0]) == 1 and len({_form(t) for t in g}) > 1]
    if letters and column.name not in column.choices.folded:
        for group in letters[:1]:
            column.ask(
                group,
                "may be one class or several",
                f"folded={column.name}",
                f"exact={column.name}",
            )
        return
    _tell_merged(column, {t: _usual(g, texts) for g in groups for t in g})


def _usual(spellings: Sequence[str], counts: Mapping[str, int]) -> str:
    """Return the spelling of most cells; of equally many the one without quotation marks."""
    return max(spellings, key=lambda s: (counts[s], folded(s) == s.casefold(), s))


# ---------------------------------------------------------------------------------- sets

Sets = dict[str, tuple[str, ...]]


def _read_sets(column: _Column, kind: str | None) -> Sets | None:
    """Return the labels of each different cell, or None where cells are no sets of labels."""
    texts = column.texts()
    stated = column.choices.of("separator", column.name)
    if stated:
        return None if stated[-1] == "none" else _cut(texts, SEPARATORS[stated[-1]])
    if not texts or column.name in column.choices.exact or _ask_vectors(column):
        return None
    literals = {text: labels for text in texts if (labels := _literal(text)) is not None}
    if _share(texts, literals.__contains__) >= MOSTLY:
        return literals | {text: (text,) for text in texts if text not in literals}
    if kind == "multilabel" or infer_kind(column.result().cells) == "multilabel":
        plain = [s for s in "|;" if any(s in text for text in texts)]
        signs = plain or [s for s in SEPARATORS.values() if _recombined(texts, s) >= MOSTLY]
        return _cut(texts, signs[0]) if signs else None
    if _numbers_in_a_list(texts):
        return _told_separator(column, texts, "comma")
    if _share(texts, lambda text: _amount(text) is not None) >= MOSTLY:
        return None
    for name, sign in SEPARATORS.items():
        share = _recombined(texts, sign)
        if share >= MOSTLY and name == "comma":
            return _told_separator(column, texts, name)
        if share >= (_APART if name == "comma" else MOSTLY):
            joined = [text for text in texts if len(_labels(text, sign)) > 1]
            knobs = (f"separator={column.name}={name}", f"separator={column.name}=none")
            column.ask(joined, "may be one class each or several labels", *knobs)
            return None
    return None


def _told_separator(column: _Column, texts: Mapping[str, int], name: str) -> Sets:
    column.notes.append(
        f"labels are separated by {name} (separator={column.name}=none makes a cell one class)"
    )
    return _cut(texts, SEPARATORS[name])


def _labels(text: str, sign: str) -> tuple[str, ...]:
    return tuple(filter(None, (label.strip(" \"'") for label in text.split(sign))))


def _cut(texts: Mapping[str, int], sign: str) -> Sets:
    return {text: _labels(text, sign) for text in texts}


def _literal(text: str) -> tuple[str, ...] | None:
    """Return the labels of a list as Python or JSON writes one, or of a set; None for others."""
    if text[:1] + text[-1:] not in ("[]", "()", "{}"):
        return None
    inner = text[1:-1]
    if text[0] == "(" and inner and "," not in inner:  # a bracket, not a list
        return None
    if text[0] == "{" and ":" in inner:
        return _true_of(text)
    if _PRINTED.fullmatch(inner):
        return tuple(one or other for one, other in _QUOTED.findall(inner))
    try:
        found = ast.literal_eval(f"[{inner}]")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return _labels(inner, ",")  # as of `[red, left]`, whose texts have no quotation marks
    simple = all(isinstance(label, str | int | float) for label in found)
    return tuple(str(label).strip() for label in found) if simple else None


#: Texts one after another, as numpy prints an array of them; Python would join them.
_QUOTED = re.compile("'([^']*)'|\"([^\"]*)\"")
_PRINTED = re.compile(rf"\s*(?:{_QUOTED.pattern})(?:\s+(?:{_QUOTED.pattern}))+\s*")
_VECTOR = re.compile(r"[\[(]?\s*[01](?:\.0*)?(?:[\s,;]+[01](?:\.0*)?)+\s*[\])]?")


def _true_of(text: str) -> tuple[str, ...] | None:
    """Return the labels that a dictionary of true and false says are true; None for others."""
    try:
        found = ast.literal_eval(re.sub("true|false", lambda word: word[0].title(), text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    plain = isinstance(found, dict) and all(value in (0, 1) for value in found.values())
    return tuple(str(label) for label, true in found.items() if true) if plain else None


def _ask_vectors(column: _Column) -> bool:
    """Ask where cells are vectors of 0 and 1, each of one length; return whether they are."""
    texts = column.texts()
    if not all(_VECTOR.fullmatch(text) for text in texts):
        return False
    entries = [re.findall(r"[01](?:\.0*)?", text) for text in texts]
    lengths = {len(each) for each in entries}
    bracketed = all(text[0] in "[(" for text in texts)
    if len(lengths) > 1 or not (bracketed or max(lengths) > 2):  # 1,0 may be a decimal number
        return False
    if not any(len(set(each)) < len(each) for each in entries):
        return False
    column.ask(
        list(texts),
        "are vectors of 0 and 1: write a column for each label, and name them together as [a,b,c]",
    )
    return True


def _numbers_in_a_list(texts: Mapping[str, int]) -> bool:
    """Return whether cells are like `1,4,5`: numbers of labels, and no number with thousands."""
    lists = [text for text in texts if re.fullmatch(r"\d{1,4}(?:\s*,\s*\d{1,4})*", text)]
    longer = [t for t in lists if t.count(",") > 1 and not re.fullmatch(r"\d{1,3}(,\d{3})+", t)]
    return bool(longer) and len(lists) == len(texts)


def _recombined(texts: Mapping[str, int], sign: str) -> float:
    """Return the share of the labels in joined cells that occur in other cells too.

    Words of one class, `Flip Flops`, occur together only. Labels stand alone and in other company.
    """
    cut = {tuple(map(_caseless, _labels(text, sign))) for text in texts} - {()}
    joined = {label for labels in cut if len(labels) > 1 for label in labels}
    if sum(len(labels) > 1 for labels in cut) < 2 or all(not _has_letter(j) for j in joined):
        return 0
    counts = Counter(label for labels in cut for label in set(labels))
    return sum(counts[label] > 1 for label in joined) / len(joined)


def _has_letter(text: str) -> bool:
    return any(sign.isalpha() for sign in text)


def _of_sets(column: _Column, sets: Sets) -> Reading:
    """Return a column of sets of labels, in which spellings of one label are one."""
    counts: Counter[str] = Counter()
    for text, rows in column.texts().items():
        counts.update(dict.fromkeys(sets[text], rows))
    alike: dict[str, list[str]] = {}
    for label in counts:
        alike.setdefault(folded(label), []).append(label)
    merged = {
        label: _usual(group, counts)
        for group in alike.values()
        if len(group[0]) > 1 and column.name not in column.choices.exact
        for label in group
    }
    _tell(column, counts, merged)
    read = column.result()
    cells = [
        tuple(dict.fromkeys(merged.get(label, label) for label in sets[cell]))
        if isinstance(cell, str)
        else cell
        for cell in read.cells
    ]
    return replace(read, cells=cells)


def read_flags(cells: Sequence[Cell]) -> tuple[list[bool | None], int | None]:
    """Return which cells of a column are true, and the position of one that says neither.

    True and false are 1 and 0, yes and no, or 1 and −1. None is a missing cell.
    """
    texts = {cell.casefold() for cell in cells if isinstance(cell, str)}
    signed = {number(text) for text in texts} == {-1.0, 1.0}
    found: list[bool | None] = []
    for at, cell in enumerate(cells):
        text = cell.casefold() if isinstance(cell, str) else cell
        if text is None:
            found.append(None)
        elif text in TRUE or (signed and number(str(text)) == 1):
            found.append(True)
        elif text in FALSE or signed:
            found.append(False)
        else:
            return found, at
    return found, None


# ---------------------------------------------------------------------------------- spellings


def _repair(column: _Column) -> None:
    """Read entities of HTML, and UTF-8 that was taken for Windows' encoding, as what was meant."""
    if column.name in column.choices.exact:
        return
    changed = {text: now for text in column.texts() if (now := _repaired(text)) != text}
    _tell_merged(column, changed)


def _repaired(text: str) -> str:
    text = re.sub(r"&#?\w+;", lambda entity: html.unescape(entity[0]), text)
    if not text.isascii():
        with suppress(UnicodeError):
            return text.encode("cp1252").decode()
    return text


def _form(text: str) -> str:
    """Return a text with single blanks, and without signs that cannot be seen."""
    seen = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    return unicodedata.normalize("NFKC", " ".join(seen.split()))


def _caseless(text: str) -> str:
    return unicodedata.normalize("NFKC", _form(text).casefold())


def folded(text: str) -> str:
    """Return a text without what only differs in case, blanks, quotation marks or Unicode form.

    Between letters a hyphen and an underscore are blanks.
    """
    plain = _caseless(text)
    plain = plain.strip(_QUOTES).strip() or plain
    return re.sub(r"(?<=[^\W\d_])[-‐_ ]+(?=[^\W\d_])", " ", plain)


def _tell_merged(column: _Column, merged: Mapping[str, str]) -> None:
    """Read texts as others, and say so."""
    _tell(column, column.texts(), merged)
    column.change(dict(merged))


def _tell(column: _Column, counts: Mapping[str, int], merged: Mapping[str, str]) -> None:
    """Say which texts are read as others."""
    moved = [text for text, now in merged.items() if text != now]
    if not moved:
        return
    pairs = [
        f"'{printable(text, 30)}' ({counts[text]:,}) is read as '{printable(merged[text], 30)}'"
        for text in moved
    ]
    more = f" and {len(pairs) - _SHOWN:,} more" if len(pairs) > _SHOWN else ""
    column.notes.append(f"{', '.join(pairs[:_SHOWN])}{more} (exact={column.name} keeps them apart)")

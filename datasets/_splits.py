"""Which images of a table are the test set, in whatever coding the table says it. No data set.

| what the table has | reading |
|---|---|
| `train`, `valid`, `test` and their usual spellings, in a column of any name | splits |
| 0, 1, 2 in a column `split` or `partition` | train, validation, test, as CelebA codes them |
| `is_valid`, `is_test`, `is_train` with true and false | splits; a doubt where most are true |
| 0, 1, 2 in a column `set` or `subset`; `train` of true and false | a doubt: splits or labels |
| `Training`, `PublicTest`; `train1`, `test1` | a doubt: splits or labels |
| `is_test` of `x` and blanks | a doubt: which are of that split |
| folds of a cross-validation | a doubt: which fold is tested |
| folders `train/`, `test/` in the paths, and no such column | splits |
| train and validation, and no test | validation is the test set |
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ._conventions import (
    CODED_NAMES,
    CODES,
    FALSE,
    FOLD_NAMES,
    MARKS,
    MISSING,
    SPLIT_NAMES,
    SPLIT_STEMS,
    SPLITS,
    TRUE,
)
from ._readings import Doubt, quoted
from ._tables import Cell, Told, number, printable

#: What the knob `split` says where no column is meant.
NONE = "none"
#: A flag for held-out images that is true for more of them than this says something else.
_MOST_HELD_OUT = 0.5
_FLAG = re.compile(
    r"(?P<prefix>is|in|for|use_for|use_in)?_?(?P<word>train|training|trainset|val|valid|validation"
    r"|dev|test|testing|testset|holdout)(?:_?set|_?split|_(?:img|image|sample)s?)?"
)


@dataclass(frozen=True, eq=False)
class SplitReading:
    """What a table says of its splits.

    `parts` has train, validation, test or None for each row; None in its place where nothing is
    said. `columns` are no labels. `faults` says what is wrong with single rows.
    """

    columns: tuple[str, ...] = ()
    parts: Sequence[str | None] | None = None
    faults: Mapping[int, str] | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()


def read_splits(
    columns: Mapping[str, Sequence[Cell]],
    paths: Sequence[Cell],
    split: str = "",
    test: Sequence[str] = (),
    told: Told | None = None,
) -> SplitReading:
    """Return the splits of a table's rows. `paths` are those of its images.

    `split` is the column that the user named, or `none`; `test` are its values of test images.
    `told` is what names of folders or files say, which counts before all columns but that one.
    """
    if split and split in columns:
        return _finished(_of_named(split, columns[split], test))
    if split == NONE:
        return SplitReading()
    if told:
        return _finished(_of_words(told))
    found = [r for name, cells in columns.items() if (r := _plain(name, cells))]
    found += _flags(columns)
    if len(found) > 1:
        same = all(r.parts == found[0].parts for r in found[1:])
        names = tuple(name for r in found for name in r.columns)
        found = [replace(found[0], columns=names)] if same else [_which(names)]
    if not found:
        found = [r for name, cells in columns.items() if (r := _doubtful(name, cells))]
    if not found and (folders := _of_folders(paths)):
        found = [folders]
    return _finished(found[0]) if found else SplitReading()


def _which(names: Sequence[str]) -> SplitReading:
    knobs = (*(f"split={name}" for name in names), f"split={NONE}")
    what = f"columns {quoted(names)} each say another test set"
    return SplitReading(doubts=(Doubt(what, (), knobs),))


def _finished(reading: SplitReading) -> SplitReading:
    """Make validation images the test set where there is no other, and tell what became of them."""
    parts = reading.parts
    if parts is None:
        return reading
    validation = parts.count("validation")
    if not validation:
        return reading
    if "test" in parts:
        note = f"{validation:,} images marked as validation count to the training pool"
    else:
        parts = ["test" if part == "validation" else part for part in parts]
        note = f"no image is marked as test: the {validation:,} of validation are the test set"
    return replace(reading, parts=parts, notes=(*reading.notes, note))


# ---------------------------------------------------------------------------------- one column


def _text(cell: Cell) -> str:
    text = cell.casefold() if isinstance(cell, str) else ""
    return "" if text in MISSING else text


def _values(cells: Sequence[Cell]) -> Counter[str]:
    """Return how often each value occurs, in lower case, whole numbers in one spelling."""
    return Counter(_code(cell) for cell in cells if _text(cell))


def _code(cell: Cell) -> str:
    text = _text(cell)
    value = number(text)
    return f"{value:.0f}" if value is not None and value.is_integer() else text


def _by(name: str, cells: Sequence[Cell], meaning: Mapping[str, str]) -> SplitReading:
    parts = [meaning.get(_code(cell)) for cell in cells]
    faults = {
        at: f"{printable(name)}: '{printable(str(cells[at] or ''))}' is none of train, valid and "
        f"test (split={NONE} if it is a label)"
        for at, part in enumerate(parts)
        if part is None
    }
    return SplitReading((name,), parts, faults)


def _told(reading: SplitReading, how: str) -> SplitReading:
    (name,) = reading.columns
    note = f"column '{printable(name)}' is read as the split: {how} (split={NONE} draws one)"
    return replace(reading, notes=(note, *reading.notes))


def _plain(name: str, cells: Sequence[Cell]) -> SplitReading | None:
    """Return the splits of a column that says them plainly."""
    values, known = _values(cells), name.casefold() in SPLIT_NAMES
    words = {SPLITS[v] for v in values if v in SPLITS}
    if known and words:
        if doubt := _worded(name, values):
            return doubt
        reading = _by(name, cells, SPLITS)
        return reading if name.casefold() == "split" else _told(reading, _words_of(values))
    if len(words) > 1 and "train" in words and all(value in SPLITS for value in values):
        return _told(_by(name, cells, SPLITS), _words_of(values))
    if name.casefold() in CODED_NAMES and (meaning := _coded(values)):
        return _told(_by(name, cells, meaning), _meaning_of(meaning))
    return None


def _meant(value: str) -> str | None:
    """Return the split that a word of several parts names, as `publictest` does; None if none."""
    found = {part for stem, part in SPLIT_STEMS.items() if stem in value}
    return found.pop() if len(found) == 1 else None


def _worded(name: str, values: Mapping[str, int]) -> SplitReading | None:
    """Return a doubt where all values have a word of a split in them, and some have more."""
    parts = {SPLITS.get(value) or _meant(value) for value in values}
    if None in parts or "train" not in parts or len(parts) < 2 or values.keys() <= SPLITS.keys():
        return None
    what = f"column '{printable(name)}' holds {quoted(list(values))}, and may say the split"
    return SplitReading((name,), doubts=(Doubt(what, (), (f"split={name}", f"split={NONE}")),))


def _words_of(values: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {printable(value, 20)}" for value, count in values.items())


def _meaning_of(meaning: Mapping[str, str]) -> str:
    return ", ".join(f"{code} is {part}" for code, part in meaning.items())


def _coded(values: Mapping[str, int]) -> Mapping[str, str] | None:
    """Return what 0, 1 and 2 mean, or None where they are no plain codes of splits."""
    if set(values) == set(CODES):
        return CODES
    if set(values) == {"0", "1"} and values["1"] <= _MOST_HELD_OUT * sum(values.values()):
        return {"0": "train", "1": "test"}
    return None


def _of_named(name: str, cells: Sequence[Cell], test: Sequence[str]) -> SplitReading:
    """Return the splits of the column that a user named."""
    values = _values(cells)
    if test:
        wanted = {_code(value) for value in test}
        if strange := sorted(wanted - set(values)):
            known = quoted(sorted(values))
            what = f"column '{printable(name)}' has no value {quoted(strange)}, but {known}"
            return SplitReading((name,), doubts=(Doubt(what, (), ()),))
        marked = {value: "test" if value in wanted else "train" for value in values}
        return _by(name, cells, marked)
    flagged = _flag(name, cells, asked=False)
    if flagged:
        return flagged
    if _worded(name, values):
        meant = {value: SPLITS.get(value) or _meant(value) or "" for value in values}
        return _told(_by(name, cells, meant), _meaning_of(meant))
    if any(value in SPLITS for value in values):
        return _by(name, cells, SPLITS)
    if meaning := _coded(values):
        return _told(_by(name, cells, meaning), _meaning_of(meaning))
    few = len(values) <= 20 and set(values) <= {*TRUE, *FALSE} | {v for v in values if number(v)}
    if few and len(values) > 1:
        return _ask_test(name, cells, values)
    return _by(name, cells, SPLITS)


def _ask_test(name: str, cells: Sequence[Cell], values: Mapping[str, int]) -> SplitReading:
    ordered = sorted(values, key=lambda v: (number(v) or 0, v))
    rarest = min(ordered, key=lambda v: values[v]) if len(ordered) == 2 else ordered[0]
    what = f"column '{printable(name)}' holds {quoted(ordered)}, and does not say which is the test"
    knob = f"split={name},test={rarest}"
    return SplitReading((name,), doubts=(Doubt(f"{what} set", (), (knob, f"split={NONE}")),))


def _doubtful(name: str, cells: Sequence[Cell]) -> SplitReading | None:
    """Return a doubt where a column may say splits or be a label."""
    values, plain = _values(cells), name.casefold()
    whole = all(value.isdecimal() for value in values)
    coded = plain in SPLIT_NAMES and whole and set(values) <= {"0", "1", "2", "3"}
    folds = plain in FOLD_NAMES and whole and len(values) <= 20
    unread = plain in CODED_NAMES and len(values) <= 20
    if doubt := _worded(name, values):
        return doubt
    if len(values) > 1 and (coded or folds or unread):
        return _ask_test(name, cells, values)
    return None


# ---------------------------------------------------------------------------------- flags


def _flag(name: str, cells: Sequence[Cell], asked: bool = True) -> SplitReading | None:
    """Return the splits of a column of true and false that is called after one of them.

    Where the name may mean something else, it is a doubt if nobody was `asked` before.
    """
    found = _FLAG.fullmatch(name.casefold().replace("-", "_").replace(" ", "_"))
    values = _values(cells)
    # A mark where it is true, and nothing where it is not.
    marked = len(values) == 1 and not set(values) <= FALSE and not all(map(_text, cells))
    known = {*TRUE, *FALSE, *(MARKS if marked else ())}
    if not found or not values or not set(values) <= known:
        return None
    part = SPLITS.get(found["word"], "test")
    share = sum(n for v, n in values.items() if v in TRUE) / sum(values.values())
    odd = marked or not found["prefix"] or (part != "train" and share > _MOST_HELD_OUT)
    if odd and asked:
        knobs = (f"split={name}", f"split={NONE}")
        what = f"column '{printable(name)}' "
        what += "has a mark for some" if marked else f"is true for {share:.0%}"
        what += " of the images, and may say which are of that split, or be a label"
        return SplitReading((name,), doubts=(Doubt(what, (), knobs),))
    other = "test" if part == "train" else "train"
    meaning = {value: part if marked or value in TRUE else other for value in values}
    meaning |= {"": other} if marked else {}
    return _told(_by(name, cells, meaning), f"true is {part}, false is {other}")


def _flags(columns: Mapping[str, Sequence[Cell]]) -> list[SplitReading]:
    """Return the splits that flags say, several of them together."""
    found = [r for name, cells in columns.items() if (r := _flag(name, cells))]
    if len(found) < 2 or any(r.doubts for r in found):
        return found
    true = [_true_part(r) for r in found]
    parts: list[str | None] = []
    faults: dict[int, str] = {}
    for at, row in enumerate(zip(*(r.parts or () for r in found), strict=True)):
        said = {part for part, its_own in zip(row, true, strict=True) if part == its_own}
        if len(said) > 1 or ("train" in true and not said):
            faults[at] = f"{quoted([r.columns[0] for r in found])} say no one split of this image"
        parts.append(None if at in faults else next(iter(said), "train"))
    names = tuple(r.columns[0] for r in found)
    note = f"columns {quoted(names)} are read as the split (split={NONE} draws one)"
    return [SplitReading(names, parts, faults, (note,))]


def _true_part(reading: SplitReading) -> str:
    """Return the split that a flag is true for."""
    found = _FLAG.fullmatch(reading.columns[0].casefold().replace("-", "_").replace(" ", "_"))
    return SPLITS.get(found["word"], "test") if found else ""


# ---------------------------------------------------------------------------------- folders


def _of_folders(paths: Sequence[Cell]) -> SplitReading | None:
    """Return the splits that the folders of the images say, where each image lies in one."""
    words: list[str] = []
    for path in paths:
        folders = str(path or "").replace("\\", "/").casefold().split("/")[:-1]
        said = {SPLITS[folder] for folder in folders if folder in SPLITS}
        if len(said) != 1:
            return None
        words.append(said.pop())
    if "train" not in words or len(set(words)) < 2:
        return None
    return _of_words(Told(words, "the images' folders"))


def told_by(words: Sequence[str], by: str) -> Told | None:
    """Return splits that names say, a word for each row; None where they part nothing.

    `by` says in words whose names they are. Each word is one of a split.
    """
    parts = {SPLITS[word.casefold()] for word in words}
    return Told(words, by) if "train" in parts and len(parts) > 1 else None


def says_split(name: str) -> bool:
    """Return whether the name of a folder or a file says a split."""
    return name.casefold() in SPLITS


def _of_words(told: Told) -> SplitReading:
    """Return the splits that words say, each of which is one of a split."""
    parts = [SPLITS[word.casefold()] for word in told.words]
    counts = ", ".join(f"{count:,} {part}" for part, count in Counter(parts).items())
    note = f"{told.by} are read as the split: {counts} (split={NONE} draws one)"
    return SplitReading((), parts, {}, (note,))

"""Folders whose names are labels: a folder a class, a split or a domain. Not a data set itself.

| folders | reading |
|---|---|
| `cat/x.jpg` | the task `class` |
| `train/cat/x.jpg` and `test/cat/x.jpg`, or `cat/train/x.jpg` | the same, with its splits |
| `amazon/mug/x.jpg` and `dslr/mug/x.jpg` | a task per domain, with one set of classes |
| `train/amazon/mug/x.jpg`, `amazon/test/mug/x.jpg` | the same, with its splits |

A level of folders at which all images are in one, as `images` in `amazon/images/mug/x.jpg`, says
nothing and is left out. Where two levels are no split and share few names, an error asks.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.contracts import UserError
from bench.images import SUFFIXES

from ._conventions import SPLITS
from ._pictures import Files
from ._readings import folded, quoted
from ._root import Root
from ._splits import says_split, told_by
from ._tables import Table, check_size, printable

#: The task of a folder a class, and what knobs call the classes of all domains.
CLASS = "class"
#: What the folders at the top may be.
LAYOUTS = ("classes", "splits", "domains")
#: Levels of folders that are looked into, and domains that are no surprise.
_DEEPEST = 12
_MOST_DOMAINS = 64
#: Two levels are domains and classes where so many classes are in several domains.
_SHARED = 0.5
#: What systems leave in folders, in lower case; names that begin with a point are hidden anyway.
_LITTER = frozenset(
    ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found")
)


@dataclass
class _Found:
    """What is below a folder: the paths of images from there on, and what is none."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def read_tree(
    folder: Path, layout: str = "", exact: Collection[str] = (), merged: Collection[str] = ()
) -> list[Table]:
    """Return the table of a folder a class, or one for each domain. `layout` is one of `LAYOUTS`.

    `exact` and `merged` have `CLASS` where the user said what spellings are that differ in case.
    Raises `UserError` where it is not clear what the folders are.
    """
    found = _Found()
    _walk(folder, "", found, 0)
    if not found.images:
        raise _without_images(folder, found)
    levels, notes = _levels(folder, found, layout)
    classes, told = _spelled(folder, levels.classes, CLASS in exact, CLASS in merged)
    notes = [*notes, *told]
    if found.others:
        count = "1 file" if len(found.others) == 1 else f"{len(found.others):,} files"
        are = "is no image was" if len(found.others) == 1 else "are no images were"
        notes.append(f"{count} that {are} left out: {quoted(found.others)}")
    if found.empty:
        notes.append(f"folders without an image: {quoted(found.empty)}")
    order = _ordered(classes)
    if levels.domains is None:
        rows = range(len(found.images))
        notes = [f"the images' folders are read as the task '{CLASS}'", *notes]
        return [_table(folder, found.images, classes, levels.splits, rows, order, CLASS, notes)]
    domains = sorted(set(levels.domains))
    return [
        _table(
            folder,
            found.images,
            classes,
            levels.splits,
            [row for row, each in enumerate(levels.domains) if each == domain],
            order,
            domain,
            [
                f"the folder '{domain}' is read as one of {len(domains):,} domains, with one set "
                f"of {len(order):,} classes (folders=classes says otherwise)",
                *notes,
            ],
        )
        for domain in domains
    ]


def _table(
    folder: Path,
    images: Sequence[str],
    classes: Sequence[str],
    splits: Sequence[str] | None,
    rows: Sequence[int],
    order: Sequence[str],
    task: str,
    notes: Sequence[str],
) -> Table:
    """Return the table of some of the images, with one column, whose name is that of the task."""
    paths = [images[row] for row in rows]
    by = "the images' folders"
    return Table(
        folder,
        range(1, len(paths) + 1),
        {task: [classes[row] for row in rows]},
        (),
        declared={task: order},
        pictures=Files(paths, Root(folder, "the folder"), named=False),
        told=told_by([splits[row] for row in rows], by) if splits else None,
        notes=tuple(notes),
        knobs=(CLASS,),
        spot=lambda number: f"'{printable(paths[number - 1])}'",
        name="" if task == CLASS else task,
    )


# ---------------------------------------------------------------------------------- files


def _walk(folder: Path, below: str, found: _Found, depth: int) -> None:
    """Add what is in a folder and below it, in the order of the names. No link is followed."""
    try:
        with os.scandir(folder / below) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"cannot read '{folder / below}': {error.strerror or error}") from None
    before = len(found.images)
    for entry in entries:
        name = entry.name
        if name.startswith(".") or name.casefold() in _LITTER:
            continue
        path = f"{below}/{name}" if below else name
        if path != path.encode("utf-8", "replace").decode("utf-8"):
            raise UserError(
                f"'{folder}': the name '{printable(path)}' is no text in UTF-8: rename it"
            )
        if entry.is_dir(follow_symlinks=False):
            if depth == _DEEPEST:
                where = printable(path)
                raise UserError(f"'{folder}' is over {_DEEPEST} folders deep, as in '{where}'")
            _walk(folder, path, found, depth + 1)
        elif entry.is_symlink() and (folder / path).is_dir():
            raise UserError(
                f"'{folder}': '{printable(path)}' is a link to a folder, and such links are not "
                "followed: put the folder itself there, or name the folder that it leads to"
            )
        elif name.lower().endswith(SUFFIXES):
            found.images.append(path)
        else:
            found.others.append(path)
    check_size(folder, len(found.images) + len(found.others))
    if below and len(found.images) == before:
        found.empty.append(below)


def _without_images(folder: Path, found: _Found) -> UserError:
    kinds = Counter(Path(name).suffix.lower() or "no suffix" for name in found.others)
    known = ", ".join(SUFFIXES)
    if not found.others:
        return UserError(
            f"'{folder}' has no image in it: name a folder that has a folder for each class, with "
            f"its images ({known})"
        )
    there = ", ".join(f"{count:,} of {kind}" for kind, count in kinds.most_common(3))
    return UserError(
        f"'{folder}' has no image, and files of other kinds: {printable(there)}: convert them to "
        f"one of {known}"
    )


# ---------------------------------------------------------------------------------- levels


@dataclass(frozen=True)
class _Levels:
    """The class of each image, and its domain and its split where there are any."""

    classes: Sequence[str]
    domains: Sequence[str] | None = None
    splits: Sequence[str] | None = None


def _levels(folder: Path, found: _Found, layout: str) -> tuple[_Levels, list[str]]:
    """Return what the folders of each image are, and what a user must know of it."""
    above = [path.split("/")[:-1] for path in found.images]
    if loose := [path for path, names in zip(found.images, above, strict=True) if not names]:
        raise UserError(
            f"'{folder}': {_counted(len(loose))} in no folder of a class: {quoted(loose)}: move "
            "them into folders named after their classes, or name a table that has their labels"
        )
    columns, notes = _informative(folder, found, above, layout)
    splits = [at for at, names in enumerate(columns) if all(map(says_split, set(names)))]
    if layout == "splits" and 0 not in splits:
        strange = next(name for name in columns[0] if not says_split(name))
        raise UserError(
            f"'{folder}': the folder '{printable(strange)}' is no split: rename it to train, "
            "validation or test, or say what the folders at the top are with "
            "folder@folders=classes:… or folder@folders=domains:…"
        )
    if layout == "classes":
        splits = [at for at in splits if at]
        if not splits:
            return _Levels(columns[0]), notes
    if not layout:
        _check_clear(folder, columns, splits)
    said = columns[splits[0]] if splits else None
    others = [names for at, names in enumerate(columns) if at not in splits[:1]]
    if not others:
        one = f" (all of them lie in '{printable(_last(above))}')" if notes else ""
        raise UserError(
            f"'{folder}': its folders {_shown(columns[0])} are splits, and no folders of classes "
            f"are in them{one}: put some there, or say folder@folders=classes:… if these are the "
            "classes"
        )
    if len(others) == 1 or layout in ("classes", "splits"):
        if layout == "domains":
            raise UserError(
                f"'{folder}': no folders of classes are in its folders {_shown(others[0])}: a "
                "domain has a folder for each class"
            )
        return _Levels(others[0], None, said), notes
    domains, classes = others[0], others[-1]
    names = sorted(set(domains))
    if not layout:
        _check_domains(folder, domains, classes)
    for name in names:
        _check_name(folder, name)
    return _Levels(classes, domains, said), notes


def _informative(
    folder: Path, found: _Found, above: Sequence[Sequence[str]], layout: str
) -> tuple[list[Sequence[str]], list[str]]:
    """Return the names at each level of folders that differ, and a note on the levels that do not.

    Where images are at different depths, only levels that all have are taken.
    """
    depths = sorted({len(names) for names in above})
    if len(depths) > 1 and not layout:
        examples = [
            next(p for p, names in zip(found.images, above, strict=True) if len(names) == depth)
            for depth in (depths[0], depths[-1])
        ]
        raise UserError(
            f"'{folder}' mixes levels: '{printable(examples[0])}' is in {depths[0]} and "
            f"'{printable(examples[1])}' in {depths[-1]} folders: move one of them, or say "
            "folder@folders=classes:… if the folders at the top are the classes, whatever is in "
            "them"
        )
    columns: list[Sequence[str]] = [
        [unicodedata.normalize("NFC", names[level]) for names in above]
        for level in range(depths[0])
    ]
    if len(depths) > 1 and layout == "domains":  # `images/` in some of the domains
        columns.append([unicodedata.normalize("NFC", names[-1]) for names in above])
    kept = [names for at, names in enumerate(columns) if len(set(names)) > 1]
    if layout == "splits":
        kept = [names for at, names in enumerate(columns) if not at or len(set(names)) > 1]
    if not kept:
        raise UserError(
            f"'{folder}': all its images lie in one folder, '{'/'.join(above[0])}': a task needs a "
            "folder for each of several classes, or a table that has the labels"
        )
    alone = [names[0] for names in columns if len(set(names)) == 1 and names not in kept]
    notes = [f"all images lie in folders named '{printable(n)}', which is no class" for n in alone]
    return kept, notes


def _check_clear(folder: Path, columns: Sequence[Sequence[str]], splits: Sequence[int]) -> None:
    """Raise `UserError` where folders may be splits or not, or are more than can be read."""
    for at, names in enumerate(columns):
        said = sorted(name for name in set(names) if says_split(name))
        if at not in splits and len({SPLITS[name.casefold()] for name in said}) > 1:
            other = sorted(name for name in set(names) if not says_split(name))
            raise UserError(
                f"'{folder}': the folders {quoted(said)} are named after splits, and others are "
                f"not ({quoted(other)}): move these away, or say folder@folders=classes:… "
                "or folder@folders=domains:… if they are the classes or the domains at the top"
            )
    if len(splits) > 1:
        both = " and ".join(_shown(columns[at]) for at in splits)
        raise UserError(
            f"'{folder}': {both} are both named after splits: say which folders are at the top "
            "with folder@folders=splits:… or folder@folders=classes:…"
        )
    if len(columns) - len(splits) > 2:
        shown = "/".join(names[0] for names in columns)
        raise UserError(
            f"'{folder}' has {len(columns)} levels of folders, such as '{printable(shown)}': name "
            "a folder in it, or say what the folders at the top are with folder@folders=classes:… "
            "or folder@folders=domains:…"
        )


def _check_domains(folder: Path, domains: Sequence[str], classes: Sequence[str]) -> None:
    """Raise `UserError` where two levels are not clearly domains and classes."""
    places: dict[str, set[str]] = {}
    for domain, name in zip(domains, classes, strict=True):
        places.setdefault(name, set()).add(domain)
    shared = sum(len(each) > 1 for each in places.values())
    if shared < _SHARED * len(places) or len(set(domains)) > _MOST_DOMAINS:
        raise UserError(
            f"'{folder}' has two levels of folders, such as '{printable(domains[0])}/"
            f"{printable(classes[0])}', and {shared:,} of the {len(places):,} names of the second "
            "are in several folders of the first: say folder@folders=classes:… if the first are "
            "the classes, or folder@folders=domains:… if they are domains"
        )


def _check_name(folder: Path, name: str) -> None:
    if not nameable(name):
        raise UserError(
            f"'{folder}': the folder '{printable(name)}' would name a task: rename it without any "
            f"of {' '.join(RESERVED)}"
        )


#: Signs that a pair, a knob or the name of a pair gives a meaning to.
RESERVED = "+~:/\\,="


def nameable(text: str) -> bool:
    """Return whether this text may name a task, or a table, which gives tasks their names."""
    return text.isprintable() and not any(sign in text for sign in RESERVED)


def _counted(images: int) -> str:
    return "1 image lies" if images == 1 else f"{images:,} images lie"


def _last(above: Sequence[Sequence[str]]) -> str:
    return above[0][-1]


def _shown(names: Sequence[str]) -> str:
    return quoted(sorted(set(names)))


# ---------------------------------------------------------------------------------- classes


def _spelled(
    folder: Path, classes: Sequence[str], exact: bool, merge: bool
) -> tuple[Sequence[str], list[str]]:
    """Return the classes in one spelling each. Raises where some differ in case alone."""
    counts = Counter(classes)
    alike: dict[str, list[str]] = {}
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        alike.setdefault(folded(name), []).append(name)
    several = [names for names in alike.values() if len(names) > 1]
    if not several or exact:
        return classes, []
    if not merge:
        raise UserError(
            f"'{folder}': the folders {quoted(several[0])} differ in case or blanks alone: rename "
            f"one, or say folder@folded={CLASS}:… if they are one class, or folder@exact={CLASS}:… "
            "if they are not"
        )
    now: Mapping[str, str] = {name: names[0] for names in several for name in names}
    moved = [f"'{name}' is read as '{first}'" for name, first in now.items() if name != first]
    return [now.get(name, name) for name in classes], [", ".join(moved)]


def _ordered(classes: Sequence[str]) -> Sequence[str]:
    """Return the different classes in order, as numbers where all are numbers."""
    names = sorted(set(classes))
    if all(name.isascii() and name.isdecimal() for name in names):
        names.sort(key=int)
    return names

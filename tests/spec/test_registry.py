import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import nn

from bench.contracts import Weighting
from bench.errors import UserError
from bench.spec.registry import (
    _with_knobs,
    dataset_name,
    datasets,
    parse_dataset,
    parse_pairs,
    parse_strategy,
    single_task,
    spelling,
    strategy_components,
)
from bench.store.provenance import _with_siblings
from bench.tasks import Task


@dataclass(frozen=True)
class Knobs(Weighting):
    """A part with a knob of every sort."""

    name = "knobs"
    summary = "does nothing"
    paper = "none"

    limit: float | None = None
    times: "int | None" = 3
    flags: tuple[bool, ...] = (True,)

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        """Return nothing of use."""
        return nn.Identity()


@pytest.mark.parametrize(
    ("arguments", "values", "spelled"),
    [
        ("", (None, 3, (True,)), "knobs"),
        ("0.5", (0.5, 3, (True,)), "knobs@limit=0.5"),
        ("none,none", (None, None, (True,)), "knobs@times=none"),
        ("flags=false/true", (None, 3, (False, True)), "knobs@flags=false/true"),
    ],
)
def test_a_knob_may_be_none_or_many(
    arguments: str, values: tuple[object, ...], spelled: str
) -> None:
    part = _with_knobs(Knobs, arguments, "here")
    assert (part.limit, part.times, part.flags) == values
    assert spelling(part) == spelled
    assert _with_knobs(Knobs, spelled.partition("@")[2], "here") == part


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("half", "'half' is not a float"),
        ("times=0.5", "'0.5' is not a int"),
        ("flags=maybe", "neither true nor false"),
        ("flags=none", "neither true nor false"),
    ],
)
def test_a_knob_of_another_type_is_refused(arguments: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        _with_knobs(Knobs, arguments, "here")


def test_plugins_are_found_in_the_project_and_in_the_users_folder() -> None:
    assert {"hard", "cross-stitch", "pcgrad", "faulty"} <= strategy_components().found.keys()
    shipped = {"creatures", "mnist", "multimnist", "fashion-mnist", "multi-fashion", "multi-mixed"}
    shipped |= {"linear", "teachers", "blocks", "folder"}
    assert shipped | {"toy"} <= datasets().found.keys()


def test_a_broken_plugin_is_listed_with_its_reason_and_hurts_no_other() -> None:
    assert strategy_components().broken == {
        "broken": "ImportError: planted: this plugin is broken",
        "nameless": "TypeError: Nameless has no 'name'",
        "odd_knob": "TypeError: knob 'factors' of OddKnob: its type is none of bool, int, float, "
        "str, tuple[…, ...] of one, or one with | None",
    }
    with pytest.raises(UserError, match="is broken: ImportError: planted"):
        parse_strategy("broken")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hard", "hard"),
        ("pcgrad", "hard+pcgrad"),
        ("pcgrad+hard", "hard+pcgrad"),
        ("hard+uniform", "hard"),
        ("reconstruction", "hard+reconstruction"),
        ("hard+partner@0.3", "hard+partner"),
        ("hard+partner@weight=0.50", "hard+partner@weight=0.5"),
        ("cross-stitch@own=0.8+reconstruction@2", "cross-stitch@own=0.8+reconstruction@weight=2.0"),
    ],
)
def test_a_strategy_has_one_spelling_whatever_a_user_types(text: str, name: str) -> None:
    assert parse_strategy(text).name == name
    assert parse_strategy(name).name == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hrad", "did you mean 'hard'"),
        ("hard+pcgard", "did you mean 'pcgrad'"),
        ("hard+single", "both sharing components; choose one"),
        ("partner+finetune+frozen-probe", "both schedule components; choose one"),
        ("finetune", r"join one to it with \+ \(.*partner, .*rotation"),
        ("reconstruction+reconstruction", "names an auxiliary task twice"),
        ("partner@0.1,weight=0.2", "given twice"),
        ("partner@inf", "at least 0"),
        ("hard@3", "hard has no knobs"),
        ("partner@1,none,2", "takes at most 2"),
        ("partner@weigth=3", "did you mean 'weight'"),
        ("partner@weight=much", "not a float"),
        ("partner@-1", "at least 0"),
        ("cross-stitch@1.5", "between 0 and 1"),
        ("pcgrad+faulty", "choose one"),
    ],
)
def test_a_strategy_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_strategy(text)


def test_the_anchors_share_nothing() -> None:
    assert single_task().sharing.single_task


def test_a_data_set_alone_means_its_declared_pairs() -> None:
    assert [pair.name for pair in parse_pairs("toy")] == ["toy:row+column", "toy:row+low"]
    assert parse_pairs("toy:row+column")[0].expect == "positive"


def test_any_tasks_make_a_pair_and_placebos_are_expected_to_do_nothing() -> None:
    assert parse_pairs("toy:low+column")[0].expect is None
    assert parse_pairs("toy:column+row") == parse_pairs("toy:row+column")
    assert parse_pairs("toy:row+column~shuffled")[0].expect == "none"


def test_a_star_means_every_pair_of_the_tasks() -> None:
    names = ["toy:row+column", "toy:row+low", "toy:column+low"]
    assert [pair.name for pair in parse_pairs("toy:row*column*low")] == names
    assert parse_pairs("toy:row*column") == parse_pairs("toy:row+column")
    # One order however they are typed, and with knobs as any pair.
    assert {pair.name for pair in parse_pairs("toy:low*row*column")} == set(names)
    assert [p.name for p in parse_pairs("dial@0.25:b*a")] == ["dial@level=0.25:a+b"]
    assert [p.expect for p in parse_pairs("toy:row*column*low~shuffled")] == [
        "positive",
        "none",
        "none",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("toy:row*column+low", "not with both"),
        ("toy:row*row*low", "names a task twice"),
        ("toy:row*", "unknown task"),
        ("toi", "did you mean 'toy'"),
        ("toy:row+colum", "did you mean 'column'"),
        ("toy:row+column~shufled", "did you mean 'shuffled'"),
        ("toy:row+row", "names a task twice"),
        ("toy:row~none", "no real task"),
    ],
)
def test_a_pair_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_pairs(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("dial", "dial"),
        ("dial@0.5", "dial"),
        ("dial@0.25", "dial@level=0.25"),
        ("dial@even=True,level=.25", "dial@level=0.25,even=true"),
        ("dial@sides=24/32", "dial@sides=24/32"),
        ("shelf:a/b.txt", "shelf:a/b.txt"),
        ("shelf@wide=true:C:/b.txt", "shelf@wide=true:C:/b.txt"),
    ],
)
def test_a_data_set_has_one_spelling_whatever_a_user_types(text: str, name: str) -> None:
    assert dataset_name(parse_dataset(text)) == name
    assert parse_dataset(name) == parse_dataset(text)


def test_the_pairs_of_a_data_set_carry_its_knobs() -> None:
    for asked in ("a+b", "a+b~none"):
        assert [p.name for p in parse_pairs(f"dial@0.25:{asked}")] == [f"dial@level=0.25:{asked}"]
    assert [p.name for p in parse_pairs("dial@0.25")] == ["dial@level=0.25:a+b"]


@pytest.mark.parametrize("folder", ["shelf", "a:colon"])
def test_a_path_ends_before_the_tasks(tmp_path: Path, folder: str) -> None:
    path = tmp_path / folder / "tasks.txt"
    path.parent.mkdir()
    path.write_text("x y z")
    (pair,) = parse_pairs(f"shelf@wide=true:{path}:x+z~none")
    assert (pair.dataset, pair.tasks) == (f"shelf@wide=true:{path}", ("x", "z~none"))
    with pytest.raises(
        UserError, match=r"name its tasks, as in .*:x\+y, or \* for .*it has x: a word; "
    ):
        parse_pairs(f"shelf:{path}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dial@2:a+b", "level is between 0 and 1, not 2.0"),
        ("dial@levle=0.1", "did you mean 'level'"),
        ("dial@even=maybe", "'maybe' is neither true nor false"),
        ("dail@even=true", "did you mean 'dial'"),
        ("toy@1:row", "toy has no knobs"),
        ("shelf:x:a+b", "'x' is no file"),
        ("shelf", "shelf needs a path: shelf:PATH:TASK"),
    ],
)
def test_a_data_set_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_pairs(text)


PACKAGED = """
from dataclasses import dataclass
from collections.abc import Sequence
from torch import nn
from bench.contracts import Weighting
from bench.tasks import Task
from acme_sharing._rule import RULE

@dataclass(frozen=True)
class {name}(Weighting):
    name = "{plugin}"
    summary = paper = "installed"
    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        return nn.Identity()
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a package on the path that names a module, a class and what is missing as plugins."""
    package = tmp_path / "acme_sharing"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_rule.py").write_text("class Rule: pass\nRULE = Rule()\n")
    for name, plugin in (("One", "acme-one"), ("Two", "acme-two")):
        source = PACKAGED.format(name=name, plugin=plugin)
        (package / f"{name.lower()}.py").write_text(source)
    (tmp_path / "acme_sharing-1.0.dist-info").mkdir()
    (tmp_path / "acme_sharing-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-sharing\nVersion: 1.0\n"
    )
    (tmp_path / "acme_sharing-1.0.dist-info" / "entry_points.txt").write_text(
        "[mtl_sharing_bench]\n"
        "one = acme_sharing.one\n"
        "two = acme_sharing.two:Two\n"
        "gone = acme_sharing.gone\n"
        "odd = acme_sharing._rule:RULE\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.startswith("acme_sharing")]:
        del sys.modules[name]


@pytest.mark.usefixtures("installed")
def test_installed_packages_bring_plugins_as_entry_points() -> None:
    found = strategy_components.__wrapped__()
    assert {"acme-one", "acme-two", "hard"} <= found.found.keys()
    assert found.broken["gone"] == "ModuleNotFoundError: No module named 'acme_sharing.gone'"
    assert "neither a module nor a class" in found.broken["odd"]
    assert "acme-one" not in datasets.__wrapped__().found

    # The code of their package counts to a run's key.
    part = found.found["acme-one"]()
    modules = _with_siblings([type(part).__module__])
    assert modules == {"acme_sharing.one", "acme_sharing._rule"}

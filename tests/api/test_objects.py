"""Classes that a program hands as objects: how they are named, known by their code, and sent."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

import bench
from bench.api.objects import named
from bench.contracts import Weighting
from bench.launch import WorkerPool
from bench.spec import handed, registry
from bench.spec.handed import code_digest
from bench.tasks import Task
from tests.api.test_run import TINY

ROOT = Path(__file__).parents[2]
METHOD = '''
from dataclasses import dataclass
from torch import nn
from bench.contracts import Weighting

{before}

class Mean(nn.Module):
    def forward(self, losses, weights):
        return {rule}

@dataclass(frozen=True)
class Mine(Weighting):
    """A method."""

    name = "mine"
    summary = "mine"
    paper = "none"
    factor: float = {factor}

    def build(self, tasks, shared):  {comment}
        return Mean()
'''
RULE = "(losses * weights).sum() * half"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Forget the classes that a test has handed."""
    yield
    for known in (handed._classes, handed._digests, handed._received):
        known.clear()
    registry._forget()


class _Plain(nn.Module):
    def forward(self, losses: Tensor, weights: Tensor) -> Tensor:
        return (losses * weights).sum() / weights.sum()


@dataclass(frozen=True)
class Handed(Weighting):
    """A method of a module."""

    name = "handed"
    summary = "the mean"
    paper = "none"
    factor: float = 1.0

    def build(self, tasks: Sequence[Task], shared: Sequence[nn.Parameter]) -> nn.Module:
        return _Plain()


def _defined(
    before: str = "half = 0.5", rule: str = RULE, factor: float = 1.0, comment: str = ""
) -> Any:
    """Return the class of a program that a notebook could hold."""
    program = METHOD.format(before=before, rule=rule, factor=factor, comment=comment)
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(program, "<cell>", "exec"), scope)
    return scope["Mine"]


def test_objects_have_the_names_that_make_them() -> None:
    asked = {"strategy": [Handed(), ("branch", Handed(0.5)), "hard"], "seeds": 2, "budget": None}
    assert named(asked) == {
        "strategy": ("handed", "branch+handed@factor=0.5", "hard"),
        "seeds": 2,
    }
    assert named({"strategy": Handed})["strategy"] == ("handed",)
    strategy = registry.parse_strategy("branch+handed@factor=0.5")
    assert strategy.weighting == Handed(0.5)


def test_shipped_plugins_are_objects_too() -> None:
    lenet, toy = registry.parse_network("lenet"), registry.parse_dataset("toy")
    asked = {"network": lenet, "pair": [toy, (toy, "row+column")], "reference": None}
    assert named(asked) == {"network": "lenet", "pair": ("toy", "toy:row+column")}
    assert not handed.anything()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (3, "3 is no Component"),
        (nn.ReLU(), "is no Component"),
        (Weighting, "is not whole: it is abstract and has no name"),
    ],
)
def test_what_is_no_plugin_is_refused(value: Any, why: str) -> None:
    with pytest.raises(bench.UserError, match=why):
        named({"strategy": [value]})


def test_a_name_that_is_taken_is_refused() -> None:
    taken = type("Taken", (Handed,), {"name": "hard", "__module__": __name__})
    with pytest.raises(bench.UserError, match="the name 'hard' of Taken is taken"):
        named({"strategy": taken})


def test_an_object_that_is_more_than_its_knobs_is_refused() -> None:
    more = Handed()
    object.__setattr__(more, "table", [1, 2])
    with pytest.raises(bench.UserError, match="not the one that 'handed' makes"):
        named({"strategy": more})


def test_the_digest_is_that_of_the_code_and_of_all_it_uses() -> None:
    before = code_digest(_defined())
    assert code_digest(_defined()) == before
    assert code_digest(_defined(comment="# why")) == before
    changed = [
        _defined(before="half = 0.25"),
        _defined(rule=f"{RULE} + 1"),
        _defined(factor=2.0),
        _defined("def scaled(x): return 0.5 * x", "scaled((losses * weights).sum())"),
        _defined("def scaled(x): return 0.6 * x", "scaled((losses * weights).sum())"),
    ]
    assert len({before, *map(code_digest, changed)}) == 6


def test_a_value_without_a_digest_is_named_with_the_remedy() -> None:
    with pytest.raises(bench.UserError, match=r"uses half, a Tensor.*put the class in a module"):
        code_digest(_defined("import torch\nhalf = torch.ones(1)"))


def test_the_digest_is_the_same_in_another_process() -> None:
    # Sets of texts have another order there.
    before = 'words = {"a", "b", "c", "d"}'
    rule = 'losses.sum() * len(words | {"e", "f", "g"})'
    script = (
        "import sys; from tests.api.test_objects import _defined, code_digest; "
        f"print(code_digest(_defined({before!r}, {rule!r})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == code_digest(_defined(before, rule))


def test_a_class_of_a_notebook_is_run_by_workers_and_its_code_is_in_the_key(tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    asked = {**TINY, "seeds": 1, "results": tmp_path}
    del asked["strategy"]

    def keys(method: Any, workers: int) -> set[str]:
        report = bench.run(strategy=method, workers=workers, **asked)
        assert report.counts.ok == report.counts.planned
        runs = report.runs
        return set(runs[runs["strategy"] == "hard+mine"]["run"])

    first = keys(_defined(), 1)
    assert len(first) == 1
    assert keys(_defined(comment="# the same"), 0) == first
    assert keys(_defined(before="half = 0.25"), 0) != first


def test_a_class_of_a_module_is_sent_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mymethods.py").write_text(
        METHOD.format(before="half = 0.5", rule=RULE, factor=1.0, comment="")
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from mymethods import Mine  # type: ignore[import-not-found]

    registry.hand(Mine)
    (sent,) = handed.to_send()
    assert (sent.name, sent.digest) == ("mine", "")
    with WorkerPool() as pool:
        (strategy,) = pool.ask(registry.parse_strategy, "hard+mine@factor=0.5")
    assert strategy.weighting == Mine(0.5)


def test_a_launcher_that_takes_no_classes_says_so() -> None:
    registry.hand(Handed)
    with WorkerPool("odd") as pool, pytest.raises(bench.UserError, match="knows no classes"):
        list(pool.run((), 1))


def test_without_cloudpickle_the_command_to_install_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.hand(_defined())
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(bench.UserError, match=r"mtl-sharing-bench\[notebook\]"):
        handed.to_send()


def test_what_cannot_be_sent_is_told() -> None:
    pytest.importorskip("cloudpickle")
    method = _defined()
    registry.hand(method)
    method.build.__globals__["Mean"] = threading.Lock()
    with pytest.raises(bench.UserError, match="'mine' cannot be sent to workers"):
        handed.to_send()

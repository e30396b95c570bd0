import sys
from pathlib import Path

import pytest

from bench.contracts import UserError
from bench.spec.registry import parse_strategy, strategy_components
from bench.store.provenance import code_fingerprint


def test_a_missing_torchjd_is_reported_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(UserError, match=r"not installed: pip install 'torchjd\[quadprog"):
        strategy_components().found["torchjd"]("MGDA")


def test_a_missing_solver_is_reported_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    linalg = pytest.importorskip("torchjd._linalg")
    monkeypatch.setattr(linalg.QuadprogProjector, "_REQUIRED_DEPS", ["no_such_package"])
    with pytest.raises(UserError, match=r"no_such_package.*pip install 'torchjd\[quadprog"):
        strategy_components().found["torchjd"]("DualProj")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("torchjd@UPGard", "did you mean 'UPGrad'"),
        ("torchjd@Aggregator", "unknown aggregator of TorchJD"),
        ("torchjd@CAGrad", "CAGrad needs c, which cannot be given here"),
    ],
)
def test_an_aggregator_that_cannot_be_made_is_refused(text: str, message: str) -> None:
    pytest.importorskip("torchjd")
    with pytest.raises(UserError, match=message):
        parse_strategy(text)


def test_the_version_of_torchjd_counts_to_a_runs_key(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torchjd")
    strategies = [parse_strategy(name) for name in ("torchjd", "upgrad")]
    before = [code_fingerprint(strategy, "lenet") for strategy in strategies]
    monkeypatch.setattr("importlib.metadata.version", lambda package: "another")
    after = [code_fingerprint(strategy, "lenet") for strategy in strategies]
    assert before[0] != after[0]
    assert before[1] == after[1]


def test_the_plugin_does_not_hide_the_library() -> None:
    torchjd = pytest.importorskip("torchjd")
    assert Path(torchjd.__file__).parts[-2:] == ("torchjd", "__init__.py")

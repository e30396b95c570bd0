"""Amounts without a bound are refused or asked about before anything is loaded."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.cli.app import main
from bench.cli.session import Session
from bench.errors import UserError
from bench.spec.experiment import load_experiment

Said = tuple[object, str]
GOOD = 'pair = "toy:row+column"\nstrategy = "hard"\nbudget = "5steps"\n'
DIGITS = "9" * 5000


@pytest.fixture(name="said")
def _said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Run the command line in this process, where nothing may be loaded or started."""
    monkeypatch.chdir(tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("something was started")

    monkeypatch.setattr("bench.api.batch.early_pool", refuse)
    monkeypatch.setattr("bench.fork_server.start", refuse)
    monkeypatch.setattr("bench.spec.registry.parse_pairs", refuse)

    def call(*arguments: str) -> Said:
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        return end.value.code, capsys.readouterr().err

    return call


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seeds = 3_000_000", "this plans 27,000,000 runs, about 6 days of one core; --yes goes"),
        ("seeds = 2\ntune = 1_000_000_000", "even with --yes"),
        ("tune = 100\ntune-seeds = 1_000_000", "--yes goes on"),
        ("until-decided = true\nseeds = 900_000", "--yes goes on"),
        ("seeds = " + DIGITS, "is not valid TOML"),
        ("seeds = " + "9" * 400, "seeds: give 1000000000 or less"),
        ("batch-size = 1_000_000_000_000", "batch-size: give 65536 or less"),
        ("train-size = 1_000_000_000_000", "train-size: give"),
        ("validation-size = 1_000_000_000_000", "validation-size: give"),
        ("curve-points = 1_000_000_000", "curve-points: give 1000 or less"),
        ("learning-rate = 1e400", "learning-rate: give a finite number"),
        ("margin = inf", "margin: give a finite number"),
        ("warmup = nan", "warmup"),
        (f"name = '{'a' * 5000}'", "name: give at most 100 signs"),
        ("[[also]]\nstrategy = 'hard'\npair = [" + "'toy:row+column'," * 30_000 + "]", "--yes"),
        ("[[also]]\npair = 'toy:row'\nstrategy = [" + "'hard'," * 90_000 + "]", "--yes"),
        ("[[also]]\nstrategy = 'hard'\npair = 'toy:" + "*".join(["row"] * 900) + "'", "--yes"),
        ("x = " + "[" * 100_000, "nests values too deeply"),
        ("x = " + "[" * 9 + "]" * 9, "nests values too deeply"),
        ("x = " + "{a=" * 9 + "1" + "}" * 9, "nests values too deeply"),
        (".".join(["a"] * 100_000) + " = 1", "nests values too deeply"),
        (" . ".join(['"a"'] * 100_000) + " = 1", "nests values too deeply"),
        ("[" + ".".join(["a"] * 100_000) + "]", "nests values too deeply"),
        ("\n".join(f"x.k{n} = 1" for n in range(60_000)), "unknown key 'x'"),
        ("\n".join(f"k{n} = 1" for n in range(60_000)), "unknown key"),
        ("#" + "a" * 1_000_000, "larger than 1 MB"),
    ],
    ids=range(26),
)
def test_an_experiment_file_has_bounds(
    said: Callable[..., Said], tmp_path: Path, text: str, told: str
) -> None:
    # A top-level key must stand before a group.
    (tmp_path / "mine.toml").write_text(GOOD + text)
    code, err = said("run", "mine.toml")
    assert code == 2
    assert told in err
    assert err.count("\n") == 1
    assert len(err) < 2000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("run --seeds 3000000", "this plans 252,000,000 runs"),
        ("run --seeds 3000000 --dry-run", "--yes goes on"),
        ("run --seeds 30000000000", "seeds: give 1000000000 or less"),
        ("run --seeds 1000000000 --yes", "even with --yes"),
        ("fidelity --seeds 2000", "--yes goes on"),
        ("calibrate --seeds 900000", "--yes goes on"),
        ("run --workers 1000000000", "--workers 1000000000: give at most 1024"),
        (f"run --workers {DIGITS}", "give at most 1024"),
        ("run --budget 1e400flop", "up to 1e24flop"),
        ("run --budget 1e300flop", "up to 1e24flop"),
        ("run --budget 1e300s", "up to 1e9s"),
        ("run --budget 1e9steps", "up to 1e8steps"),
        (f"run --budget {DIGITS}steps", "is not an amount and a unit"),
        ("run --batch-size 1000000000000", "batch-size: give 65536 or less"),
        ("run --margin 1e400", "margin: give a finite number"),
        (f"run {'a' * 5000}", "File name too long"),
        (f"run -s {'a' * 50_000}", "unknown strategy"),
        (f"run -s {'+'.join(['hard'] * 10)} -p creatures:{'*'.join(['hue'] * 300)}", "--yes"),
        ("run /dev/zero.toml", "cannot read"),
        (f"speed --only {DIGITS}", "give numbers from 1 to 7"),
        ("power --detect 1e400", "--detect"),
        ("power --sd nan", "--sd"),
        ("power --sd 1 --rows 1000000000000", "--rows"),
        ("calibrate --group 1000000000000", "--group"),
    ],
    ids=range(24),
)
def test_a_flag_has_bounds(said: Callable[..., Said], arguments: str, told: str) -> None:
    code, err = said(*arguments.split())
    assert code == 2
    assert told in err
    assert len(err) < 2000


def test_ten_thousand_budgets_count_ten_thousand_times(said: Callable[..., Said]) -> None:
    budgets = [part for n in range(10_000) for part in ("--budget", f"{n + 1}steps")]
    code, err = said("run", *budgets)
    assert code == 2
    assert "--yes goes on" in err


def test_a_folder_or_a_pipe_is_no_experiment(said: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    code, err = said("run", "folder.toml")
    assert (code, "it is no file" in err) == (2, True)


def test_on_a_terminal_the_question_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    many = load_experiment("default", {"seeds": 5000})
    session = Session()
    answers: list[bool] = []
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)

    def confirm(*_: object, **__: object) -> bool:
        answers.append(len(answers) == 0)
        return answers[-1]

    monkeypatch.setattr("typer.confirm", confirm)
    session.agree(many)
    with pytest.raises(UserError, match="nothing was planned"):
        session.agree(many)
    assert answers == [True, False]
    session.agree(load_experiment("default", {}))
    Session(yes=True).agree(many)
    assert len(answers) == 2

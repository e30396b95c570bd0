"""The command line as a user meets it: a process of its own, exit codes, files and words."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import bench as bench_package
from bench import __version__
from bench.cli.app import app, main
from bench.files import write_atomically
from bench.spec.experiment import Experiment
from bench.spec.names import _classes, static_names
from bench.spec.registry import datasets, networks, strategy_components
from bench.store.records import Declaration, Row, SeedRuns
from bench.store.store import Store

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]


@dataclass(frozen=True)
class Said:
    """What a call in this process said."""

    returncode: object
    stdout: str
    stderr: str


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Run the command line in this process, for what needs no process of its own."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        return Said(end.value.code, *capsys.readouterr())

    return call


RUN_FILES = "runs/*/*/run.json"


def _gains(folder: Path) -> dict[str, Any]:
    """Return a report's numbers without what a clock has measured."""
    found: dict[str, Any] = json.loads((folder / "gains.json").read_text())
    return found


def _numbers(results: Path) -> dict[str, Any]:
    """Return of every record what must be the same wherever and however it was made."""
    found = {}
    for path in sorted(results.glob(RUN_FILES)):
        record = json.loads(path.read_text())
        found[record["key"]] = (record["scores"], record["curve"], record["examples"])
    return found


def test_help_is_quick_because_nothing_heavy_is_loaded() -> None:
    code = (
        "import sys; from bench.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    commands = "run status cancel report list new validate check compare baseline power calibrate"
    for command in [*commands.split(), "fidelity", "speed"]:
        assert command in done.stdout


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("pairs", "creatures:species+kin"),
        ("datasets", "creatures"),
        ("strategies", "cross-stitch"),
        ("networks", "resnet18"),
        ("experiments", "multimnist"),
        ("exporters", "tensorboard"),
    ],
)
def test_lists_are_tables_and_json(here: Callable[..., Said], what: str, expected: str) -> None:
    assert expected in here("list", what).stdout
    rows = json.loads(here("list", what, "--json").stdout)
    assert expected in [next(iter(row.values())) for row in rows]


@pytest.mark.parametrize("what", ["pairs", "datasets", "strategies"])
def test_a_narrow_terminal_cuts_nothing_off(
    here: Callable[..., Said], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = here("list", what).stdout
    assert "…" not in text
    rows = json.loads(here("list", what, "--json").stdout)
    told = {word for row in rows for value in row.values() for word in value.split()}
    assert {word for word in told if len(word) < 60} <= set(text.split())


def test_a_broken_plugin_is_listed_with_its_reason(here: Callable[..., Said]) -> None:
    done = here("list", "strategies")
    assert done.returncode == 0
    assert "broken plugin broken: ImportError: planted" in done.stderr


def test_validation_is_a_line_a_plugin_with_what_does_not_hold(here: Callable[..., Said]) -> None:
    done = here("validate", "broken", "dial", "mnist")
    assert done.returncode == 3
    assert "ImportError: planted" in done.stdout
    assert "3 plugins: 2 failed, 1 skipped." in done.stdout
    assert "3 of 3: mnist" in done.stderr
    assert here("validate", "mnist").returncode == 0
    wrong = here("validate", "hrad")
    assert wrong.returncode == 2
    assert "unknown plugin 'hrad': did you mean 'hard'?" in wrong.stderr


def test_an_experiment_runs_once_and_then_trains_nothing(
    bench: CommandLine, here: Callable[..., Said], toy_experiment: Path, tmp_path: Path
) -> None:
    first = bench("run", toy_experiment)
    assert first.returncode == 0, first.stderr
    assert "14 of 14 runs" in first.stderr
    assert "toy:row+column → row" in first.stdout
    report = tmp_path / "results" / "reports" / "toy"
    for name in ("table.md", "table.csv", "gains.json", "experiment.toml"):
        assert (report / name).is_file()
    for plot in ("gains", "curves", "heatmap", "audit"):
        assert str(Path("results/reports/toy") / f"{plot}.png") in first.stdout
        assert (report / f"{plot}.svg").is_file()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "results").glob(RUN_FILES)}
    assert len(before) == 14

    second = here("run", toy_experiment)
    assert second.returncode == 0
    assert "all 14 runs are finished already; nothing to train" in second.stderr
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "results").glob(RUN_FILES)} == before
    assert second.stdout == first.stdout

    gains, found = _gains(report), (report / "gains.json").read_bytes()
    again = here("report")
    assert again.returncode == 0
    assert again.stdout == first.stdout
    assert _gains(report) == gains

    # The records are the index: all else may be lost, and nothing is trained again.
    for room in ("experiments", "prices", "reports"):
        shutil.rmtree(tmp_path / "results" / room, ignore_errors=True)
    rebuilt = here("run", toy_experiment)
    assert "all 14 runs are finished already; nothing to train" in rebuilt.stderr
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "results").glob(RUN_FILES)} == before
    assert (report / "gains.json").read_bytes() == found

    fresh = bench("run", toy_experiment, "--fresh")
    assert "14 of 14 runs" in fresh.stderr
    assert fresh.stdout == first.stdout

    resolved = here("run", report / "experiment.toml")
    assert "nothing to train" in resolved.stderr
    assert resolved.stdout == first.stdout


def test_the_json_output_is_only_json(
    bench: CommandLine, here: Callable[..., Said], toy_experiment: Path
) -> None:
    found = json.loads(bench("run", toy_experiment, "--json").stdout)
    assert {row["target"] for row in found["rows"]} == {"row", "column"}
    assert json.loads(here("report", found["experiment"]["name"], "--json").stdout) == found
    assert json.loads(here("report", "--json").stdout) == {"experiments": [found]}


def test_a_record_says_what_it_is_what_it_cost_and_where_it_was_made(
    here: Callable[..., Said], toy_experiment: Path, tmp_path: Path
) -> None:
    here("run", toy_experiment)
    records = [json.loads(p.read_text()) for p in (tmp_path / "results").glob(RUN_FILES)]
    record = next(r for r in records if r["spec"]["strategy"] == "hard")
    assert record["status"] == "ok"
    assert record["schema_version"] == 1
    assert record["spec"]["recipe"]["batch_size"] == 16
    accuracy = record["scores"]["row"]["accuracy"]
    assert (accuracy["unit"], accuracy["higher_is_better"]) == ("%", True)
    assert [point["step"] for point in record["curve"]] == [6, 12]
    ledger = record["ledger"]
    assert ledger["used"]["steps"] == sum(ledger["steps"]) == 12
    assert ledger["used"]["flop"] == 12 * ledger["prices"][0]["flops"]
    assert ledger["used"]["samples"] == 12 * 16
    assert ledger["used"]["s"] > 0
    assert {"torch", "python", "processor", "device"} <= record["provenance"].keys()
    assert {"init/trunk", "order/toy", "subset/toy", "init/head/row"} <= record["streams"].keys()


def test_a_dry_run_prints_the_plan_and_leaves_nothing_behind(
    here: Callable[..., Said], toy_experiment: Path, tmp_path: Path
) -> None:
    done = here("run", toy_experiment, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "14 runs to train" in done.stdout
    assert not (tmp_path / "results").exists()
    plan = json.loads(here("run", toy_experiment, "--dry-run", "--json").stdout)
    assert plan["total"]["runs"] == 14
    assert {arm["phases"][0]["steps"] for arm in plan["arms"]} == {6, 12}


def _start(arguments: list[object], folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, arguments)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What a shell starts in the background ignores interrupts, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def _wait_for_records(folder: Path, count: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 600
    while len(list(folder.glob(RUN_FILES))) < count:
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def held(toy_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the experiment stand still in its second seed as long as the file exists."""
    text = toy_experiment.read_text().replace('"hard"', '["hard", "faulty@hold"]')
    toy_experiment.write_text(text.replace("12steps", "120steps"))
    path = tmp_path / "hold"
    path.touch()
    monkeypatch.setenv("BENCH_TEST_HOLD", str(path))
    return path


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_and_resumed_experiment_equals_an_undisturbed_one(
    bench: CommandLine, toy_experiment: Path, held: Path, tmp_path: Path, workers: int
) -> None:
    options = ["run", toy_experiment, "--workers", workers, "--results"]
    killed = _start([*options, "killed"], tmp_path)
    _wait_for_records(tmp_path / "killed", 3, killed)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    held.unlink()
    survived = _numbers(tmp_path / "killed")
    assert 3 <= len(survived) < 16

    resumed, undisturbed = bench(*options, "killed"), bench(*options, "undisturbed")
    assert f"({len(survived)} are finished already)" in resumed.stderr
    assert resumed.returncode == undisturbed.returncode == 0
    assert len(_numbers(tmp_path / "killed")) == 16
    assert _numbers(tmp_path / "killed") == _numbers(tmp_path / "undisturbed")
    folders = [str(tmp_path / name) for name in ("killed", "undisturbed")]
    said = [s.stdout.replace(f, "") for s, f in zip((resumed, undisturbed), folders, strict=True)]
    assert said[0] == said[1]


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(
    toy_experiment: Path, tmp_path: Path, workers: int
) -> None:
    process = _start(["run", toy_experiment, "--workers", workers], tmp_path)
    _wait_for_records(tmp_path / "results", 1, process)
    os.killpg(process.pid, signal.SIGINT)
    _, words = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Run the same command again to go on." in words
    assert "Traceback" not in words
    assert list((tmp_path / "results").glob(RUN_FILES))


def test_two_processes_on_one_folder_damage_nothing(
    bench: CommandLine, toy_experiment: Path, tmp_path: Path
) -> None:
    processes = [_start(["run", toy_experiment, "--workers", 1], tmp_path) for _ in range(2)]
    for process in processes:
        _, words = process.communicate(timeout=300)
        assert process.returncode == 0, words
    assert "nothing to train" in bench("run", toy_experiment).stderr
    assert not (tmp_path / "results" / "corrupt").exists()
    assert not list((tmp_path / "results").rglob("*.part"))


def test_a_corrupt_record_is_set_aside_said_so_and_made_again(
    here: Callable[..., Said], toy_experiment: Path, tmp_path: Path
) -> None:
    first = here("run", toy_experiment)
    victim = sorted((tmp_path / "results").glob(RUN_FILES))[0]
    before = _numbers(tmp_path / "results")
    victim.write_text(victim.read_text()[:100])
    done = here("run", toy_experiment)
    assert done.returncode == 0
    assert "corrupt record" in done.stderr
    assert "it runs again" in done.stderr
    assert "1 runs to train (13 are finished already)" in done.stderr
    assert _numbers(tmp_path / "results") == before
    assert done.stdout == first.stdout


def test_a_damaged_record_is_told_once_however_many_experiments_there_are(
    here: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cli.report.report_experiment", lambda *_: False)
    store = Store(tmp_path / "results")
    for name, key in (("first", "a1"), ("second", "b2")):
        runs = SeedRuns(seed=0, strategy=key, anchors={"full": {"t": key}})
        cell = Row(pair="d:t", strategy="s", target="t", expect=None, seeds=(runs,))
        asked = Experiment(name=name, pair=("d:t",), strategy=("s",), budget="5steps")
        store.declare(Declaration(experiment=asked, rows=(cell,)))
        write_atomically(tmp_path / f"results/runs/{key}/{key}/run.json", b"{")
    said = here("report").stderr
    assert said.count("corrupt record a1 ignored") == said.count("corrupt record b2 ignored") == 1


def test_failures_are_rows_and_exit_with_4(
    bench: CommandLine, here: Callable[..., Said], toy_experiment: Path
) -> None:
    text = toy_experiment.read_text().replace('"hard"', '["hard", "faulty", "faulty@diverge"]')
    toy_experiment.write_text(text.replace("12steps", "120steps").replace("seeds = 2", "seeds = 1"))
    done = bench("run", toy_experiment)
    assert done.returncode == 4
    assert "failed: hard+faulty on toy:row+column, seed 0: RuntimeError: planted" in done.stderr
    assert "diverged: hard+faulty@how=diverge on toy:row+column" in done.stderr
    (report,) = json.loads(here("report", "--json").stdout)["experiments"]
    rows = report["rows"]
    lost = next(row for row in rows if row["strategy"] == "hard+faulty")
    assert (lost["failed"], lost["verdict"]["name"]) == (1, "no result")
    assert "planted fault" in lost["reasons"][0]
    diverged = next(row for row in rows if row["strategy"] == "hard+faulty@how=diverge")
    assert (diverged["collapsed"], diverged["failed"]) == (1, 0)
    assert next(row for row in rows if row["strategy"] == "hard")["failed"] == 0
    again = here("run", toy_experiment)
    assert "1 runs to train" in again.stderr  # a failed run is tried again, a diverged one is not


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "defualt"], "did you mean 'default'"),
        (["run", "-p", "creaturs:species+kin"], "did you mean 'creatures'"),
        (["run", "-p", "creatures:specie+kin"], "did you mean 'species'"),
        (["run", "-p", "creatures:\x1b[31m\x9bm+kin"], "creatures '�[31m�m'"),
        (["run", "-s", "hrad"], "did you mean 'hard'"),
        (["run", "--network", "resnet88"], "did you mean 'resnet8'"),
        (["run", "--seeds", "0"], "seeds"),
        (["run", "--seeds", "-3"], "seeds"),
        (["run", "--budget", "12"], "write for example 2e12flop"),
        (["run", "--budget", "3flop"], "one step costs"),
        (["run", "--workers", "two"], "--workers two: give a number, or auto"),
        (["run", "-p", "mnist"], "--root"),
        (["run", "-p", "mnist", "--root", "nowhere"], "--download"),
        (["run", "--name", "a/b"], "name"),
        (["run", "--margin", "inf"], "margin"),
        (["run", "--learning-rate", "inf"], "learning-rate"),
        (["run", "x" * 5000], "xxx"),
        (["run", "--validation-size", "9000"], "--validation-size"),
        (["run", "--results", "toy.toml/below"], "cannot write"),
        (["report", "--results", "nowhere"], "run one first"),
    ],
)
def test_wrong_input_gets_one_line_with_the_mend_and_exit_2(
    here: Callable[..., Said], toy_experiment: Path, arguments: list[str], message: str
) -> None:
    done = here(*arguments)
    assert done.returncode == 2
    problem = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(problem) == 1
    assert message in problem[0]
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_an_unknown_flag_or_command_exits_with_2(here: Callable[..., Said]) -> None:
    assert here("run", "--sedes", "3").returncode == 2
    assert here("rnu").returncode == 2


def test_a_reference_strategy_has_a_table_of_its_own(
    here: Callable[..., Said], toy_experiment: Path, tmp_path: Path
) -> None:
    sizes = ["--also-against", "wide", "--also-against", "same-size"]
    strategies = ["-s", "hard", "-s", "pcgrad", "-s", "cross-stitch"]
    done = here("run", toy_experiment, *strategies, "--reference", "hard", *sizes)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    for rival in ("hard", "wide (single, width 1.55)", "same-size (hard, width 1.45)"):
        assert f"Against {rival}: " in shown
    (table,) = tmp_path.glob("results/reports/*/table.md")
    assert table.read_text("utf-8").count("<summary>Against ") == 3
    rows = json.loads((table.parent / "gains.json").read_text("utf-8"))["rows"]
    assert {row["strategy"]: list(row["references"]) for row in rows} == {
        "hard": [],
        "hard+pcgrad": ["reference", "wide"],
        "cross-stitch": ["reference", "wide", "same-size"],
    }
    for compared in (c for row in rows for c in row["references"].values()):
        unlearned = compared["nothing_learned"]  # by so few steps, on some machine
        assert compared["standing"] == ("nothing learned" if unlearned else "screen")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-s", "pcgard"], "unknown strategy 'pcgard': did you mean 'pcgrad'?"),
        (["-s", "hard+reconstuction@0.3"], "unknown strategy 'reconstuction'"),
        (["-p", "creatres"], "unknown data set 'creatres': did you mean 'creatures'?"),
        (["-p", "zzz"], "unknown data set 'zzz': known: blocks, celeba, cifar-both, cifar10, "),
        (["-p", "creatures:speices+kin"], "unknown task of creatures 'speices'"),
        (["-p", "creatures@shared=1:kin*speices"], "unknown task of creatures 'speices'"),
        (["--network", "lenat"], "unknown network 'lenat': did you mean 'lenet'?"),
        (["--network", "lenat@norm=group"], "unknown network 'lenat': did you mean 'lenet'?"),
        (["--network", "torchvision:resnet8"], "torchvision has no model 'resnet8': try resnet"),
        (["--launcher", "proceses"], "unknown launcher 'proceses': did you mean 'processes'?"),
        (["--seeds", "0"], "seeds: give 1 or more (given: 0)"),
    ],
)
def test_a_wrong_name_or_number_is_answered_before_torch_is_loaded(
    arguments: list[str], said: str
) -> None:
    code = (
        "import sys; from bench.cli.app import main\n"
        f"try: main({['run', *arguments]!r})\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == "False\n"


def test_names_that_no_source_tells_are_left_to_the_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "launch").mkdir()
    monkeypatch.setattr("bench.plugin_folders", [tmp_path])
    file = tmp_path / "launch" / "far.py"
    for source, known in (
        ("class Far:\n    name = 'far-away'\n", True),
        ("class Far:\n    name: str = 'far-away'\n", True),
        ("NAME = 'far-away'\nclass Far:\n    name = NAME\n", None),
        ("Far = type('Far', (), {'name': 'far-away'})\n", None),
        ("class Far(:\n", False),
    ):
        file.write_text(source)
        _classes.cache_clear()
        found = static_names("launch")
        assert (None if found is None else "far-away" in found) is known
        assert found is None or {"far", "local", "processes"} <= found.keys()
    _classes.cache_clear()


def test_every_plugin_that_is_found_by_import_is_known_from_its_source() -> None:
    for folder, plugins in (
        ("strategies", strategy_components()),
        ("networks", networks()),
        ("datasets", datasets()),
    ):
        names = static_names(folder)
        assert names is not None
        assert plugins.found.keys() | plugins.broken.keys() <= names.keys()
    for name, listed in (static_names("datasets") or {}).items():
        if listed:
            assert set(datasets().found[name]().tasks) == listed


def test_the_version_and_help_answer_to_their_usual_names(here: Callable[..., Said]) -> None:
    assert here("--version").stdout == f"bench {__version__}\n"
    assert here("-h").stdout == here("--help").stdout
    assert here("run", "-h").stdout == here("run", "--help").stdout


def test_every_field_of_an_experiment_is_a_flag_whose_help_is_its_docstring(
    here: Callable[..., Said],
) -> None:
    said = " ".join(here("run", "-h").stdout.replace("-\n", "-\n ").split()).replace("- ", "-")
    for name, field in Experiment.model_fields.items():
        if name in ("description", "also", "smaller_budgets", "smaller_train_sizes"):
            continue
        assert f"--{name.replace('_', '-')} " in said
        assert field.description
        assert " ".join(field.description.split()).replace("- ", "-") in said


@pytest.mark.parametrize(
    "name", [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
)
def test_a_command_has_an_example_and_shows_no_type_of_pythons(
    here: Callable[..., Said], name: str
) -> None:
    said = here(name, "-h").stdout
    assert f"Example: python -m bench {name}" in said
    assert not re.findall(r"<[a-z]+>", said)


def test_quiet_shows_results_only_and_verbose_every_run(
    here: Callable[..., Said], toy_experiment: Path
) -> None:
    quiet = here("run", toy_experiment, "-q", "--workers", 0)
    assert quiet.stderr == ""
    assert "toy:row+column → row" in quiet.stdout
    verbose = here("run", toy_experiment, "-v", "--workers", 0, "--fresh")
    assert len(re.findall(r"seed \d: .*row accuracy \d+ %", verbose.stderr)) >= 6
    assert verbose.stdout == quiet.stdout
    both = here("run", toy_experiment, "-q", "-v")
    assert (both.returncode, both.stderr) == (2, "error: give --quiet or --verbose, not both\n")


def test_a_list_is_narrowed_to_what_has_a_text(here: Callable[..., Said]) -> None:
    rows = json.loads(here("list", "strategies", "SENER", "--json").stdout)
    assert {row["strategy"] for row in rows} == {"mgda", "mgda-ub"}
    none = here("list", "networks", "zzz")
    assert none.returncode == 2
    assert "no entry of `list networks` has 'zzz': leave the text out" in none.stderr


def test_a_folder_of_plugins_that_is_none_is_an_error(
    here: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cli.app.plugin_folders", [tmp_path / "nowhere"])
    said = here("list", "networks")
    assert said.returncode == 2
    assert (
        said.stderr == f"error: BENCH_PLUGINS names '{tmp_path / 'nowhere'}', which is no folder\n"
    )


def test_one_experiment_of_a_folder_is_reported_by_its_name(
    here: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def report(store: Store, declaration: Declaration, *_: object) -> int:
        told.append(declaration.experiment.name)
        if declaration.experiment.name == "faulty":
            raise KeyError("planted")
        return 0

    monkeypatch.setattr("bench.cli.report.report_experiment", report)
    store = Store(tmp_path / "results")
    for name in ("faulty", "first", "second"):
        asked = Experiment(name=name, pair=("d:t",), strategy=("s",), budget="5steps")
        store.declare(Declaration(experiment=asked, rows=()))
    assert here("report", "second").returncode == 0
    assert told == ["second"]
    assert "did you mean 'second'?" in here("report", "secnd").stderr
    # One that cannot be reported costs no other its report, and is no success.
    told.clear()
    said = here("report")
    assert (said.returncode, told) == (70, ["faulty", "first", "second"])
    assert "'faulty' could not be reported, which is a defect of bench" in said.stderr


def test_whatever_a_plugin_raises_is_a_defect_and_no_regression(
    here: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaves(*_: object) -> None:
        raise GeneratorExit

    monkeypatch.setattr("bench.cli.list.listing", leaves)
    assert here("list", "networks").returncode == 70


@pytest.mark.parametrize("replaced", [False, True])
def test_another_package_of_the_same_name_over_this_one_is_one_clear_error(
    tmp_path: Path, replaced: bool
) -> None:
    package = Path(bench_package.__file__).parent
    ignored = shutil.ignore_patterns("__pycache__", "strategies", "datasets")
    shutil.copytree(package, tmp_path / "bench", ignore=ignored)
    metadata = tmp_path / "frappe_bench-5.25.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: frappe-bench\nVersion: 5.25\n")
    if replaced:  # whichever was installed last has written its own file
        (tmp_path / "bench" / "__init__.py").write_text("VERSION = '5.25'\n")
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--version"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: frappe-bench is installed in this environment")
    assert len(done.stderr.splitlines()) == 1

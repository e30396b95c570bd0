"""The measurements of speed have the shape they should have. No test here asserts a time."""

import importlib.util
import json
import math
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import pytest
import torch
from scipy import stats

from bench.cli.app import main
from bench.networks import Encoder
from bench.report.plots.canvas import style
from bench.speed import TABLES, loops, peak, peers
from bench.speed import growth as growth_module
from bench.speed import step as step_module
from bench.speed.growth import growth
from bench.speed.loops import Steps, Workload
from bench.speed.plots import PLOTS
from bench.speed.settings import Growth, Settings, load
from bench.speed.step import against_machine, against_peers, by_hand
from bench.speed.tables import Table, number
from bench.speed.turns import Ratio, in_turns, ratio

REAL = importlib.util.find_spec("LibMTL") is not None


class Here:
    """Stands for a process of its own and works in this one."""

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(call(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load("quick")


@pytest.fixture(scope="module")
def here() -> Any:
    return cast(Any, Here())


def finite(table: Table) -> list[float]:
    """Return all numbers of a table."""
    found: list[float] = []

    def visit(value: Any) -> None:
        if isinstance(value, dict):
            for part in value.values():
                visit(part)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append(value)

    for row in table.document()["rows"]:
        visit(row)
    return found


def test_a_ratio_is_that_of_the_paired_rounds_with_a_t_interval() -> None:
    longer, shorter = [2.0, 5.0, 3.0, 9.0], [1.0, 2.0, 1.6, 4.0]
    found = ratio(longer, shorter)
    logs = [math.log(a / b) for a, b in zip(longer, shorter, strict=True)]
    low, high = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    assert found.value == pytest.approx(stats.gmean([2.0, 2.5, 1.875, 2.25]))
    assert (found.low, found.high) == pytest.approx((math.exp(low), math.exp(high)))


def test_sides_take_turns_there_and_back_and_the_first_round_counts_for_nothing() -> None:
    calls: list[str] = []

    def block(name: str) -> Callable[[], float]:
        def take() -> float:
            calls.append(name)
            return len(calls)

        return take

    taken = in_turns({"a": block("a"), "b": block("b")}, seconds=0)
    assert "".join(calls) == "ab" + "abba" * 2
    assert taken["a"] == [3, 6, 7, 10]


def test_all_loops_take_as_many_steps_as_they_are_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Workload.of(settings, settings.networks[0], settings.methods[1], "fp32")
    sides = [loops.harness, loops.by_hand] + [peers.libmtl] * REAL
    if importlib.util.find_spec("torchjd"):
        sides.append(peers.torchjd)
    steps: list[int] = []

    def counted(pass_: Callable[[Encoder, torch.Tensor], Any]) -> Callable[..., Any]:
        def call(self: Encoder, images: torch.Tensor) -> Any:
            assert len(images) == settings.batch_size
            steps[-1] += 1
            return pass_(self, images)

        return call

    # Ours asks for the activations of all stages, the others for the last alone.
    for name in ("forward", "activations"):
        monkeypatch.setattr(Encoder, name, counted(getattr(Encoder, name)))
    for side in sides:
        steps.append(0)
        side(work)(5)
    assert steps == [5] * len(sides)


@pytest.mark.skipif(not REAL, reason="LibMTL is not installed")
def test_the_mended_trainer_of_libmtl_merges_gradients_as_our_method_does(
    settings: Settings,
) -> None:
    # What the fixes touch: with equal tasks PCGrad is the plain sum, which EW descends too.
    heads = {"a": torch.nn.Linear(50, 10), "b": torch.nn.Linear(50, 10)}
    heads["b"].load_state_dict(heads["a"].state_dict())
    work = Workload.of(settings, settings.networks[0], settings.methods[1], "fp32")
    encoder, images = work.encoder(), torch.randn(8, *work.image)
    labels = torch.arange(8)
    gradients = []

    def handed(head: torch.nn.Module, _: Encoder) -> torch.nn.Module:
        return head

    for method in ("EW", "PCGrad"):
        with peers.quiet():
            trainer = peers.libmtl_trainer(
                method,
                lambda: encoder,
                {task: partial(handed, head) for task, head in heads.items()},
            )
        out = trainer.model(images)
        trainer.optimizer.zero_grad()
        trainer.model.backward(trainer._compute_loss(out, dict.fromkeys(heads, labels)))
        gradients.append([p.grad.clone() for p in encoder.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(list(encoder.parameters()))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_a_step_is_measured_against_the_loop_by_hand(settings: Settings, here: Any) -> None:
    table = by_hand(settings, here)
    assert len(table.rows) == len(settings.networks) * len(settings.precisions)
    for row in table.rows:
        assert row["ratio"].low <= row["ratio"].value <= row["ratio"].high
        assert row["met"] == (row["ratio"].value <= 1.03)
    assert all(math.isfinite(x) and x > 0 for x in finite(table))


@pytest.mark.parametrize("clock", [0.0, 1.0])
def test_a_goal_is_never_met_by_a_peak_that_the_processor_does_not_confirm(
    settings: Settings, here: Any, monkeypatch: pytest.MonkeyPatch, clock: float
) -> None:
    known = peak.Processor(clock, "of a test", {"fp32": 32, "bf16": 32})
    monkeypatch.setattr(peak, "processor", lambda: known)
    table = against_machine(settings, here)
    assert {row["met"] for row in table.rows} == {"no valid peak"}
    assert all("No valid peak" in note for note in table.notes[: len(settings.precisions)])
    assert "| no valid peak |" in table.markdown()


def test_the_machine_is_measured_by_counted_work_over_the_fastest_loop(
    settings: Settings, here: Any
) -> None:
    table = against_machine(settings, here)
    for precision, note in zip(settings.precisions, table.notes, strict=False):
        told = note.partition("by loop: ")[2]
        rates = {float(part.split()[-1].strip(".").replace(",", "")) for part in told.split(", ")}
        shown = {row["peak"] for row in table.rows if row["precision"] == precision}
        assert {float(number(rate / 1e9).replace(",", "")) for rate in shown} == {max(rates)}
    for row in table.rows:
        assert row["share"] == pytest.approx(row["flops"] / row["seconds"] / row["peak"])
        assert row["share"] > 0
        assert row["bound"] > 0
    # A convolution of 10 and one of 20 channels, 50 features and two heads, thrice but for the
    # first layer's unneeded gradient of its input.
    macs = [24 * 24 * 25 * 10, 8 * 8 * 250 * 20, 320 * 50, 2 * 50 * 10]
    by_paper = 2 * settings.batch_size * (3 * sum(macs) - macs[0])
    assert table.rows[0]["flops"] == by_paper


def test_a_library_that_is_absent_is_a_note_with_the_command_and_no_row(
    settings: Settings, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LibMTL", "torchjd"):
        for module in [m for m in sys.modules if m.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, name, None)
    table = against_peers(settings, [here], here)
    assert not table.rows
    said = [note for note in table.notes if "pip install -e '.[peers]'" in note]
    assert [note.partition(":")[0] for note in said] == ["LibMTL", "TorchJD"]
    with style():
        PLOTS["peers"](table)


def test_a_library_that_fails_is_a_note_and_the_others_keep_their_rows(
    settings: Settings, here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Workload) -> Steps:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(peers, "found", lambda name: f"{name} 9.0")
    monkeypatch.setattr(step_module, "_LOOPS", {"LibMTL": broken, "TorchJD": loops.by_hand})
    table = against_peers(settings, [here], here)
    assert {row["library"] for row in table.rows} == {"TorchJD"}
    failed = [note for note in table.notes if "no such kernel" in note]
    assert len(failed) == len(settings.networks) * len(settings.methods)
    assert all(note.startswith("LibMTL fails at ") for note in failed)


@pytest.fixture
def old_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package called LibMTL that asks torchvision for what is gone, as the one on PyPI does."""
    (tmp_path / "LibMTL").mkdir()
    (tmp_path / "LibMTL" / "__init__.py").write_text(
        "from torchvision.models.utils import load_state_dict_from_url\n"
    )
    (tmp_path / "LibMTL-9.0.dist-info").mkdir()
    (tmp_path / "LibMTL-9.0.dist-info" / "METADATA").write_text("Name: LibMTL\nVersion: 9.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ours = "LibMTL", "torchvision.models.utils"
    before = {name: module for name, module in sys.modules.items() if name.startswith(ours)}
    for name in before:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.startswith(ours)]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.mark.usefixtures("old_package")
def test_a_package_that_needs_a_stub_to_be_imported_is_said_to() -> None:
    assert peers.found("LibMTL") == "LibMTL 9.0, imported with a stub"


@pytest.mark.parametrize(("power", "said"), [(1.0, "Nothing grows"), (1.5, "time of images")])
def test_what_grows_faster_than_the_work_is_named(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, power: float, said: str
) -> None:
    def one(_: Settings, grown: Growth, size: float) -> tuple[dict[str, float], float, str]:
        return {"seconds": 1e-3 * size**power, "bytes": 1e6 * size}, size, "images"

    monkeypatch.setattr(growth_module, "_one", one)
    planted = Growth(what="images", sizes=(10, 100, 1000))
    table = growth(settings.model_copy(update={"growth": (planted,), "growth_rounds": 2}))
    assert said in table.notes[0]
    assert [row.get("time exponent") for row in table.rows] == [
        None,
        *[pytest.approx(power)] * 2,
    ]


def test_what_grows_is_measured_in_processes_of_their_own(settings: Settings) -> None:
    table = growth(settings)
    work = {row["what"]: row["work"] for row in table.rows}
    # A shared run and three anchors, two of them of half the steps and one a task each.
    assert work["seeds"] == 32 * (5 + 2 * (5 + 2 + 2))
    assert work["images"] == 256
    # The same runs at each of two seeds, with two `slim` ones.
    assert work["seeds, planned"] == 2 * 7
    # Two strategies at each of three seeds, and the single-task networks that they need.
    assert work["pairs, reported"] == 3 * (2 + 2 * 4)
    assert "of 2 strategies at 3 seeds" in table.notes[0]
    assert {row["what"] for row in table.rows} == {grown.what for grown in settings.growth}
    # torch alone takes more than a tenth of a gigabyte.
    assert all(row["bytes"] > 1e8 and row["seconds"] > 0 for row in table.rows)


def test_the_command_writes_tables_plots_and_data(bench: Any, tmp_path: Path) -> None:
    done = bench("speed", "--quick", "--only", "1,5", timeout=600)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "reports" / "speed"
    names = {"speed.md", "speed.json", "step.png", "step.svg", "overhead.png", "overhead.svg"}
    assert {path.name for path in folder.iterdir()} == names
    document = json.loads((folder / "speed.json").read_text())
    assert {"command", "date", "cores", "processor", "torch"} <= document["made"].keys()
    step, overhead = document["tables"]
    *parts, whole = overhead["rows"]
    assert sum(row["share"] for row in parts) == pytest.approx(1)
    assert whole["share"] == pytest.approx(1 - parts[0]["share"])
    page = (folder / "speed.md").read_text()
    assert step["title"] in page
    assert "](step.png)" in page


@pytest.mark.parametrize("only", ["", "0", f"1,{TABLES + 1}", "one", "1,"])
def test_tables_that_do_not_exist_are_an_error(
    only: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["speed", "--only", only])
    assert end.value.code == 2
    assert f"give numbers from 1 to {TABLES}" in capsys.readouterr().err


def test_an_experiment_that_does_not_exist_is_told_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["speed", "--only", "5", "--experiment", "defualt"])
    assert end.value.code == 2
    assert "unknown experiment 'defualt'" in capsys.readouterr().err


def planted() -> list[Table]:
    """Return a table of each sort with rows as they are made."""
    found, names = Ratio(2.5, 2.1, 3.0), ("LeNet", "A network of 32 channels")
    rows: dict[str, list[dict[str, Any]]] = {
        "step": [
            {"network": n, "precision": "fp32", "ratio": found, "goal": 1.03, "met": False}
            for n in names
        ],
        "peers": [
            {"network": n, "method": "PCGrad", "precision": "bf16", "library": library}
            | {"cores": cores, "ratio": found, "goal": 3.5 if cores == "all" else None}
            for n in names
            for library in ("LibMTL", "TorchJD")
            for cores in ("one", "all")
        ],
        "matrix": [{"way": "harness, `bench run`", "seconds": 61.5}, {"way": "x", "seconds": 400}],
        "machine": [
            {"network": n, "precision": "fp32", "share": 0.4, "bound": 0.7, "goal": 0.5}
            for n in names
        ],
        "growth": [
            {"what": what, "unit": "images trained on", "work": w, "seconds": w / 9, "bytes": 1e8}
            for what in get_args(Growth.model_fields["what"].annotation)
            for w in (1e3, 1e4, 6e4)
        ],
        "overhead": [{"part": "training steps", "share": 0.9}, {"part": "waiting", "share": -0.01}],
        "verdict": [{"way": "paired seeds, own baselines", "core seconds": 900.0}],
        "photographs": [
            {"what": "decode 2400 × 1800", "rate": 9.0, "torchvision": found, "pillow": found}
            | {"goal": 1.0},
            {"what": "train", "stall": 0.01},
        ],
    }
    return [Table(name, f"A title of {name}", (), made) for name, made in rows.items()]


def test_plots_hold_all_their_texts() -> None:
    tables = planted()
    assert [table.name for table in tables] == list(PLOTS)
    for table in tables:
        with style():
            figure = PLOTS[table.name](table)
            box = figure.get_tightbbox()
        width, height = figure.get_size_inches()
        assert box.x0 >= 0, table.name
        assert box.y0 >= 0, table.name
        assert box.x1 <= width, table.name
        assert box.y1 <= height, table.name

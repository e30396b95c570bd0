"""The test plugins (data set `toy`, strategy `faulty`, one broken file) and small helpers."""

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLUGINS = Path(__file__).parent / "plugins"
os.environ["BENCH_PLUGINS"] = str(PLUGINS)  # before bench is imported, and for subprocesses

import pytest  # noqa: E402
import torch  # noqa: E402

from bench.contracts import DataSource  # noqa: E402
from bench.plan.plan import make_plan  # noqa: E402
from bench.report.plots import canvas  # noqa: E402
from bench.spec.budget import Axis, Budget, Ledger, Price  # noqa: E402
from bench.spec.experiment import Experiment, Recipe, RunSpec  # noqa: E402
from bench.store.records import Record, Score  # noqa: E402
from bench.store.store import Store  # noqa: E402
from bench.tasks import TaskData  # noqa: E402
from bench.train.job import Job  # noqa: E402
from bench.train.load import task_data  # noqa: E402
from tests.fake_accelerator import FakeAccelerator, forget, install  # noqa: E402

torch.set_num_threads(1)

#: Tests that look at plots. All others get blank ones, since drawing is most of a small report.
DRAWN = (
    "tests/report/",
    "tests/speed/",
    "tests/api/test_page.py",
    "tests/api/test_report.py",
    "tests/export/",
    "tests/cli/test_hostile_names.py",
    "tests/test_docs.py",
    "tests/test_group_study.py",
)
_picture = canvas.picture
BLANK = {
    "png": base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mP4DwABAQEAHLCMmQAAAABJRU5ErkJggg=="
    ),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt" viewBox="0 0 9 9"/>',
}


def _blank_elsewhere(figure: "Figure") -> dict[str, bytes]:
    """Return a figure's pictures where a test looks at them, and blank ones elsewhere."""
    if os.environ.get("PYTEST_CURRENT_TEST", "").startswith(DRAWN):
        return _picture(figure)
    return BLANK


canvas.picture = _blank_elsewhere

CommandLine = Callable[..., subprocess.CompletedProcess[str]]

TOY = ["-p", "toy:row+column", "-s", "hard", "--seeds", "2", "--budget", "12steps"]
TOY_EXPERIMENT = """
pair = "toy:row+column"
strategy = "hard"
seeds = 2
budget = "12steps"
train-size = 100
validation-size = 50
curve-points = 2
batch-size = 16
"""


@pytest.fixture(autouse=True)
def _normally_rounded() -> Iterator[None]:
    """Undo what a command leaves that a test calls in its own process: how floats are rounded,
    which hypothesis minds.
    """
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAccelerator]:
    """An accelerator that computes on the CPU, as the one that torch sees."""
    forget()
    yield install(monkeypatch)
    forget()


@pytest.fixture
def device() -> str:
    """The accelerator of this machine, which tests marked `device` need."""
    from bench import accelerator

    found, why = accelerator.seen()
    if not found:
        pytest.skip(f"needs an accelerator: {why or 'torch sees none'}")
    return found


def plain_spec(**values: Any) -> RunSpec:
    """Return the specification of a run that only ever stands in a record."""
    plain: dict[str, Any] = {
        "dataset": "d",
        "tasks": ("t",),
        "scored": ("t",),
        "strategy": "s",
        "width": 1.0,
        "budget": "10steps",
        "steps": (10,),
        "seed": 0,
        "device": "cpu",
        "recipe": Recipe(),
    }
    return RunSpec(**plain | values)


def plain_record(key: str, score: float | None, seconds: float, higher: bool = True) -> Record:
    """Return the record of a run of ten steps that only ever stands in a store or a lookup."""
    price = Price(flops=1.0, samples=1, peak_bytes=1, parameters=1)
    metric = Score(value=score, unit="%", higher_is_better=higher, primary=True)
    used: dict[Axis, float] = {"flop": 10.0, "steps": 10.0, "s": seconds}
    return Record(
        key=key,
        status="ok",
        spec=plain_spec(),
        data_fingerprint="",
        code_fingerprint="",
        scores={"t": {"accuracy": metric}},
        ledger=Ledger(Budget(10, "steps"), (price,), (10,), used, 0.0),
    )


def toy_jobs(folder: Path, strategy: str, pair: str, **how: object) -> tuple[Job, ...]:
    """Return the runs of one seed of 24 steps, anchors included."""
    values = {"train_size": 100, "validation_size": 50, "batch_size": 16, "curve_points": 2}
    experiment = Experiment.model_validate(
        {"pair": pair, "strategy": strategy, "seeds": 1, "budget": "24steps", "device": "cpu"}
        | values
        | how
    )
    return make_plan(experiment, DataSource(), Store(folder), lambda _: None).jobs


@pytest.fixture
def toy() -> Callable[[str], TaskData]:
    """Return the loader of the toy data set's tasks."""
    return lambda name: task_data("toy", name, DataSource())


@pytest.fixture
def recipe() -> Recipe:
    """A recipe for a few quick steps."""
    return Recipe(train_size=100, validation_size=50, batch_size=16, curve_points=2)


@pytest.fixture
def toy_experiment(tmp_path: Path) -> Path:
    """An experiment file on the toy data set: 8 tiny runs."""
    path = tmp_path / "toy.toml"
    path.write_text(TOY_EXPERIMENT)
    return path


@pytest.fixture
def bench(tmp_path: Path) -> CommandLine:
    """Run the command line in a process of its own, in an empty folder."""

    def call(*arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bench", *map(str, arguments)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return call

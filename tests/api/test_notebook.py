"""A notebook goes from `bench.run` to a frame, a plot and a LaTeX table, in a kernel of its own."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.api.test_run import TINY

nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")
pytest.importorskip("pandas")

ROOT = Path(__file__).parents[2]
METHOD = '''
from dataclasses import dataclass
from torch import nn
from bench.contracts import Weighting

class Mean(nn.Module):
    def forward(self, losses, weights):
        return (losses * weights).sum() / weights.sum()

@dataclass(frozen=True)
class Mine(Weighting):
    """The mean."""
    name = "mine"
    summary = "the mean"
    paper = "none"

    def build(self, tasks, shared):
        return Mean()
'''
RUN = f"report = bench.run({TINY!r}, seeds=1, strategy=['hard', Mine()], workers=1)"


@pytest.fixture(autouse=True)
def _checkout_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


def _outputs(cell: Any, kind: str) -> list[str]:
    found = (output.get("data", {}).get(kind) for output in cell.outputs)
    return [text for text in found if text is not None]


def test_a_notebook_goes_from_a_run_to_a_frame_a_plot_and_a_table(tmp_path: Path) -> None:
    pytest.importorskip("cloudpickle")
    sources = ["import bench", METHOD, RUN, "report", "report.runs", "report.plot('gains')"]
    cells = [nbformat.v4.new_code_cell(source) for source in [*sources, "print(report.to_latex())"]]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    _, _, run, report, frame, plot, table = notebook.cells
    (bar,) = _outputs(run, "text/html")  # one output, which was written again
    assert 'max="8" value="8"' in bar
    assert "8 of 8 runs" in bar
    assert not [output for output in run.outputs if output.output_type == "stream"]
    assert "<td>hard+mine</td>" in _outputs(report, "text/html")[0]
    assert "hard+mine" in _outputs(frame, "text/html")[0]
    assert _outputs(plot, "image/png")[0].startswith("iVBOR")
    assert r"\begin{tabular}" in table.outputs[0].text
    assert (tmp_path / "results/reports/tiny/table.md").is_file()


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield a kernel that is ready, and its client."""
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(kernel_name="python3", cwd=str(tmp_path))
    try:
        yield manager, client
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def _reply(client: Any, message: str) -> dict[str, Any]:
    while True:
        reply = client.get_shell_msg(timeout=300)
        if reply["parent_header"].get("msg_id") == message:
            content: dict[str, Any] = reply["content"]
            return content


def _workers(kernel: int) -> list[psutil.Process]:
    """Return the processes that are no children of a kernel but theirs: workers are forked so."""
    found = []
    for process in psutil.Process(kernel).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.ppid() != kernel:
                found.append(process)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers are not forked")
def test_an_interrupt_ends_the_workers_and_leaves_the_kernel_alive(kernel: Any) -> None:
    manager, client = kernel
    many = {**TINY, "seeds": 200, "budget": "200steps"}
    message = client.execute(f"import bench; bench.run({many!r}, workers=1)", stop_on_error=False)
    while True:  # until the first run is shown
        shown = client.get_iopub_msg(timeout=300)
        if "now hard" in str(shown["content"]) or "now single" in str(shown["content"]):
            break
    manager.interrupt_kernel()
    reply = _reply(client, message)
    assert (reply["status"], reply["ename"]) == ("error", "KeyboardInterrupt")
    assert "are finished and kept" in reply["evalue"]
    deadline = time.monotonic() + 60
    while _workers(manager.provisioner.pid):  # a killed process may be there for a moment
        assert time.monotonic() < deadline
        time.sleep(0.05)
    after = f"report = bench.run({TINY!r}, seeds=1, workers=1)"
    reply = _reply(client, client.execute(after))
    assert reply["status"] == "ok"

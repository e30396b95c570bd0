"""What `bench validate` finds: nothing in what ships, and each planted fault by the right check."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import DataSource
from bench.spec.registry import datasets, strategy_components
from bench.validation import selected, validate

PLANTED = Path(__file__).parents[1] / "planted"
#: Knobs that make another thing of a part.
VARIANTS = [
    "branch@0",
    "branch@2",
    "mmoe@experts=3,width=0.5",
    "mgda@l2",
    "mgda-ub@loss-l2",
    "creatures@disjoint=true",
]
FOUND = {**datasets().found, **strategy_components().found}
SHIPPED = sorted(
    name for name, plugin in FOUND.items() if "tests" not in Path(inspect.getfile(plugin)).parts
)


@pytest.mark.parametrize("name", [*SHIPPED, *VARIANTS])
def test_what_ships_keeps_the_contract(name: str) -> None:
    for report in validate(name, DataSource()):
        assert not report.failed, report.failed
        plugin = FOUND[name.partition("@")[0]]
        if getattr(plugin, "needs", "nothing") == "nothing" and report.outcome == "skipped":
            pytest.skip(report.findings[-1].reason)
        # Only data that are not here may keep a check from being tried.
        assert report.outcome == ("ok" if plugin not in _of_files() else "skipped")


def _of_files() -> list[type[Any]]:
    return [plugin for plugin in datasets().found.values() if plugin.needs != "nothing"]


@pytest.fixture(scope="module")
def planted() -> dict[str, Any]:
    """Return what the command line says of each planted plugin, with its exit code."""
    parts = "wrong-shape unshared keeps waits copies fetches mixes not-a-number mispriced unseeded"
    parts += " counts loud silent unreadable summed refuses grows sound unimportable"
    sets = "sound-data out-of-range leaky drifting missing-task misdeclared stray-pair unlabelled"
    sets += " keeps-one erased quits-loading exits-loading"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "validate", "--json", *parts.split(), *sets.split()],
        env={**os.environ, "BENCH_PLUGINS": str(PLANTED)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    return {report["plugin"]: report for report in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("name", "check", "words"),
    [
        ("wrong-shape", "builds", "the output of task 0 is [8, 1], not [8, 3]"),
        ("unshared", "shared", "2 of 2 tasks depend on it"),
        ("keeps", "independent", "training one network moves another"),
        ("waits", "prices", "must not wait for the device"),
        ("copies", "prices", "copy mixes tensors of the host and of the device"),
        ("fetches", "prices", "must not wait for the device"),
        ("mixes", "prices", "must not wait for the device"),
        ("not-a-number", "trains", "not finite in step 2"),
        ("mispriced", "costs", "and is priced at"),
        ("unseeded", "repeats", "draw from torch's global generator"),
        ("counts", "repeats", "keep no state outside"),
        ("loud", "null", "a partner of weight 0 changes the target"),
        ("silent", "documented", "has no summary, a docstring"),
        ("unreadable", "knobs", "'unreadable@level=0.5' is not read"),
        ("summed", "scale", "2 times as long"),
        ("refuses", "searches", "refuses a value of its own range for --tune"),
        ("grows", "searches", "search no knob that decides what is trained"),
        ("unimportable", "imports", "ImportError: planted"),
        ("out-of-range", "labels", "training labels of 'a' (classification) are out of range"),
        ("leaky", "images", "are the same"),
        ("drifting", "reloads", "fixed seed"),
        ("missing-task", "loads", "no task 'c'"),
        ("misdeclared", "listed", "on 1 sets of images, and images declares 2"),
        ("stray-pair", "declared", "a+z"),
        ("unlabelled", "labels", "no training image has a label of 'a'"),
        ("keeps-one", "reloads", "labels of 'a' were changed in place"),
        ("erased", "runs", "labels of 'a' were changed in place"),
        ("quits-loading", "loads", "its process ended with exit code 0"),
        ("exits-loading", "loads", "SystemExit: 0"),
    ],
)
def test_a_planted_fault_is_found_by_its_check(
    planted: dict[str, Any], name: str, check: str, words: str
) -> None:
    assert planted[name]["outcome"] == "failed"
    failed = {
        f["check"]: f["reason"] for f in planted[name]["findings"] if f["outcome"] == "failed"
    }
    assert words in failed[check]


def test_one_fault_fails_one_check_and_no_other_plugin(planted: dict[str, Any]) -> None:
    assert planted["sound"]["outcome"] == planted["sound-data"]["outcome"] == "ok"
    several = {"not-a-number": {"scale", "trains"}, "keeps": {"independent", "repeats", "null"}}
    several |= {name: {"scale", "null"} for name in ("loud", "summed")}
    for name, report in planted.items():
        failed = {f["check"] for f in report["findings"] if f["outcome"] == "failed"}
        assert len(failed) <= 1 or failed == several[name], name


def test_data_that_are_not_here_are_skipped_with_what_they_need() -> None:
    (report,) = validate("mnist", DataSource())
    assert report.outcome == "skipped"
    assert "needs --root DIR" in report.findings[-1].reason
    (report,) = validate("mnist", DataSource(root=Path("nowhere")))
    assert report.outcome == "skipped"


def test_a_path_that_is_named_and_not_there_is_a_fault() -> None:
    (report,) = validate("folder:nowhere.csv", DataSource())
    assert "there is no table 'nowhere.csv'" in report.failed[0].reason
    (report,) = validate("folder", DataSource())
    assert report.outcome == "skipped"


def test_every_plugin_is_selected_where_none_is_named() -> None:
    assert {"hard", "toy", "faulty", "broken", "nameless"} <= set(selected([]))

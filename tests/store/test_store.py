import errno
import hashlib
import json
import os
import pickle
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.cli.app import main
from bench.errors import UserError
from bench.files import write_atomically
from bench.spec.budget import Budget, Ledger, Price
from bench.spec.experiment import Experiment
from bench.store.records import Declaration, Record, Row, Score, SeedRuns, Status
from bench.store.store import Store
from tests.conftest import plain_record, plain_spec
from tests.damage import OTHERS, bounded_memory

KEY = "ab" + 38 * "0"
EXAMPLES: dict[str, np.ndarray] = {
    "row": np.array([0, 1, 1], dtype=np.uint8),
    "low": np.array([0.5, 0.25], dtype=np.float32),
}


PRICE = Price(flops=1, samples=1, peak_bytes=1, parameters=1)


def _record(key: str = KEY, status: Status = "ok") -> Record:
    spec = plain_spec(dataset="toy", tasks=("row",), scored=("row",), budget="5steps", steps=(5,))
    score = Score(value=50.0, unit="%", higher_is_better=True, primary=True)
    return Record(
        key=key,
        status=status,
        spec=spec,
        data_fingerprint="d",
        code_fingerprint="c",
        scores={"row": {"accuracy": score}},
        ledger=Ledger(Budget(5, "steps"), (PRICE,), (5,), {"steps": 5, "flop": 5}, 0.0),
    )


def test_a_record_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    store = Store(tmp_path)
    saved = store.save(_record(), EXAMPLES)
    assert store.load(KEY) == saved
    assert (tmp_path / "runs" / "ab" / KEY / "run.json").is_file()
    back = store.examples(saved)
    assert back.keys() == EXAMPLES.keys()
    for task, values in EXAMPLES.items():
        assert np.array_equal(back[task], values)
        assert back[task].dtype == values.dtype
    assert list(store.records()) == [saved]


def test_a_task_may_be_named_as_an_option_of_numpy(tmp_path: Path) -> None:
    store = Store(tmp_path)
    examples = {
        "file": np.arange(3.0),
        "allow_pickle": np.ones(2, np.uint8),
        "größe.x": np.zeros(1),
    }
    back = store.examples(store.save(_record(), examples))
    assert {name: array.tolist() for name, array in back.items()} == {
        name: array.tolist() for name, array in examples.items()
    }


def test_a_run_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.load(KEY) is None
    assert not store.damaged


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace(KEY, "cd" + KEY[2:]),
        lambda text: text.replace('"schema_version":1', '"schema_version":99').replace(
            '"schema_version": 1', '"schema_version": 99'
        ),
        lambda text: json.dumps(json.loads(text) | {"surprise": 1}),
        lambda text: text.replace("examples-", "../examples-"),
        lambda text: text.replace('"primary":true', '"primary":false').replace(
            '"primary": true', '"primary": false'
        ),
        lambda text: text.replace('"flop":5', '"flip":5').replace('"flop": 5', '"flip": 5'),
    ],
)
def test_a_damaged_record_is_set_aside_and_said_so(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    store = Store(tmp_path)
    store.save(_record(), EXAMPLES)
    path = tmp_path / "runs" / "ab" / KEY / "run.json"
    text = damage(path.read_text())
    assert text != path.read_text()
    path.write_text(text)
    assert store.load(KEY) is None
    assert len(store.damaged) == 1
    assert KEY[:12] in store.damaged[0]
    assert not path.exists()
    assert len(list((tmp_path / "corrupt").iterdir())) == 1
    store.save(_record(), EXAMPLES)
    assert store.load(KEY) is not None


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_record_without_its_examples_is_set_aside(tmp_path: Path, how: str) -> None:
    store = Store(tmp_path)
    saved = store.save(_record(), EXAMPLES)
    assert saved.examples is not None
    path = tmp_path / "runs" / "ab" / KEY / saved.examples.file
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-5] + b"xxxxx")
    assert store.load(KEY) is None
    assert len(store.damaged) == 1


def test_examples_never_unpickle(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.system, (f"touch {tmp_path}/owned",))

    store = Store(tmp_path)
    saved = store.save(_record(), {"row": np.array([Evil()], dtype=object)})
    assert store.examples(saved) == {}
    assert "it holds objects, which are pickles" in store.damaged[0]
    assert store.load(KEY) is None
    assert not (tmp_path / "owned").exists()


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device.*--results"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_found_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--results"):
        Store(tmp_path / "file").check_writable()


def test_a_declaration_comes_back_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    experiment = Experiment(name="e", pair=("a:b",), strategy=("hard",), budget="5steps")
    store.declare(Declaration(experiment=experiment, rows=()))
    assert [d.experiment for d in store.declarations()] == [experiment]
    (tmp_path / "experiments" / "e.json").write_text("{")
    with pytest.raises(UserError, match=r"e\.json cannot be read"):
        store.declarations()


def test_a_changed_family_is_counted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    seeds = (SeedRuns(seed=0, strategy="a", anchors={"full": {"row": "b"}}),)
    cell = Row(pair="a:b", strategy="hard", target="row", expect=None, seeds=seeds)
    experiment = Experiment(name="e", pair=("a:b",), strategy=("hard",), budget="5steps")
    few = experiment.model_copy(update={"seeds": 3})
    assert store.declare(Declaration(experiment=few, rows=())).changes == 0
    first = Declaration(experiment=experiment, rows=(cell,))
    assert store.declare(first).changes == 0
    assert store.declare(first).changes == 0
    other = Declaration(
        experiment=experiment, rows=(cell, cell.model_copy(update={"strategy": "other"}))
    )
    assert store.declare(other).changes == 1
    wider = experiment.model_copy(update={"margin": 2.0})
    assert store.declare(Declaration(experiment=wider, rows=other.rows)).changes == 2
    longer = wider.model_copy(update={"budget": "6steps"})
    assert store.declare(Declaration(experiment=longer, rows=other.rows)).changes == 3


@pytest.mark.parametrize("key", ["../up", "/etc", "a/b", ""])
def test_a_key_cannot_be_a_path(key: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        _record(key)
    with pytest.raises(ValueError, match="pattern"):
        SeedRuns(seed=0, strategy=key, anchors={})


def test_a_failure_never_replaces_a_result(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(_record(status="failed"), {})
    kept = store.save(_record(), EXAMPLES)
    store.save(_record(status="failed"), {})
    assert store.load(KEY) == kept


def test_a_read_only_store_moves_nothing(tmp_path: Path) -> None:
    Store(tmp_path).save(_record(), {})
    path = tmp_path / "runs" / "ab" / KEY / "run.json"
    path.write_text("{")
    store = Store(tmp_path, read_only=True)
    assert store.load(KEY) is None
    assert path.read_text() == "{"
    assert "ignored" in store.damaged[0]


def test_records_of_another_version_are_told_once_with_the_mend(tmp_path: Path) -> None:
    keys = [KEY, "cd" + KEY[2:]]
    for key in keys:
        Store(tmp_path).save(_record(key), {})
        path = tmp_path / "runs" / key[:2] / key / "run.json"
        record = json.loads(path.read_text())
        record["ledger"]["price"] = record["ledger"].pop("prices")[0]  # an earlier shape
        record["provenance"] = {"bench": "0.1.0", "commit": "1a2b3c4d" + 32 * "0"}
        path.write_text(json.dumps(record))
    store = Store(tmp_path, read_only=True)
    assert [store.load(key) for key in keys] == [None, None]
    (line,) = store.damaged
    assert "another version (bench 0.1.0, commit 1a2b3c4d0000) wrote" in line
    assert "run the experiment again, or read them with that version" in line


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    write_atomically(tmp_path / "ours", b"")
    assert (tmp_path / "ours").stat().st_mode == plain.stat().st_mode


def test_a_timing_is_frozen_until_it_is_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.timing("x") is None
    assert store.freeze_timing("x", 0.25, "hard on toy") == 0.25
    assert store.timing("x") == 0.25
    assert store.freeze_timing("x", 0.5, "hard on toy") == 0.25  # the first of two stands
    (tmp_path / "prices" / "x.json").write_text('{"seconds": "soon"}')
    assert store.timing("x") is None
    assert store.freeze_timing("x", 0.75, "hard on toy") == 0.75


def test_two_processes_that_time_at_once_freeze_one_timing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = Store(tmp_path), Store(tmp_path)
    read = ours.timing
    frozen: list[float] = []

    def overtaken(name: str) -> float | None:
        value = read(name)
        if not frozen:  # the other process freezes its timing right after our first look
            frozen.append(theirs.freeze_timing(name, 0.25, "hard on toy"))
        return value

    monkeypatch.setattr(ours, "timing", overtaken)
    assert [ours.freeze_timing("x", 0.5, "hard on toy")] == frozen


def test_a_link_stays_a_link_and_the_file_behind_it_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    behind, link = tmp_path / "kept" / "file.xml", tmp_path / "link.xml"
    behind.write_bytes(b"old")
    link.symlink_to(behind)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert behind.read_bytes() == b"new"
    assert [path.name for path in behind.parent.iterdir()] == ["file.xml"]


def test_a_link_to_nothing_yet_makes_its_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "made")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "made").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"through")
    reader.join()
    assert received == [b"through"]
    assert pipe.is_fifo()


def test_a_device_is_written_into_and_stays_a_device() -> None:
    write_atomically(Path("/dev/null"), b"gone")
    assert Path("/dev/null").is_char_device()


def test_a_store_stays_where_it_was_whatever_changes_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(Path("results"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.save(plain_record("ab12", 50.0, 1.0), {})
    assert (tmp_path / "results/runs/ab/ab12/run.json").is_file()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_declaration_of_another_version_says_so(tmp_path: Path) -> None:
    path = tmp_path / "experiments" / "old.json"
    write_atomically(path, b'{"schema_version": 1, "experiment": {}, "cells": []}')
    with pytest.raises(UserError, match="was written by another version of bench: delete it"):
        Store(tmp_path).declarations()


@pytest.mark.parametrize("key", ["../../x", "/tmp/x", "", "A", "ab\n", "x" * 65])
def test_a_key_that_is_none_names_no_file(tmp_path: Path, key: str) -> None:
    store = Store(tmp_path / "a/b/results")
    record = _record().model_copy(update={"key": key})
    with pytest.raises(ValueError, match="is no key of a run"):
        store.save(record, {})
    assert not list(tmp_path.iterdir())
    assert store.load(key) is None
    assert not store.has(key)
    store.save(_record(), {})
    assert store.has(KEY)
    (tmp_path / "a/b/results/runs/ab/No Key").mkdir()
    (tmp_path / "a/b/results/runs/ab/No Key/run.json").touch()
    assert [found.key for found in store.records()] == [KEY]


# --------------------------------------------------------------------------------- files that lie


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "1e300"])
def test_a_score_that_is_no_number_sets_the_record_aside(tmp_path: Path, value: str) -> None:
    store = Store(tmp_path)
    store.save(_record(), EXAMPLES)
    path = tmp_path / "runs" / "ab" / KEY / "run.json"
    path.write_text(path.read_text().replace('"value": 50.0', f'"value": {value}'))
    assert value in path.read_text()
    assert store.load(KEY) is None
    (line,) = store.news()
    assert "scores.row.accuracy.value" in line
    assert not store.news()


@pytest.mark.parametrize(
    "edit",
    [
        lambda d: d["ledger"].update(steps=[]),
        lambda d: d["ledger"].update(steps=[4]),
        lambda d: d["ledger"].update(prices=[]),
        lambda d: d["ledger"]["used"].update(flop=float("nan")),
        lambda d: d["ledger"]["used"].update(flop=-1),
        lambda d: d["ledger"]["prices"][0].update(flops=float("inf")),
        lambda d: d["ledger"]["prices"][0].update(parameters=10**40),
        lambda d: d["ledger"]["budget"].update(amount=float("inf")),
        lambda d: d["spec"].update(width=float("inf")),
        lambda d: d["scores"].update(other={}),
        lambda d: d.update(curve=[{"step": -1, "scores": {}, "losses": {}}]),
        lambda d: d.update(curve=[{"step": 1, "scores": {}, "losses": {"row": float("nan")}}]),
        lambda d: d.update(curve=[{"step": 1, "scores": {}, "losses": {}, "norms": {"row": -1}}]),
    ],
)
def test_a_record_whose_parts_disagree_is_set_aside(tmp_path: Path, edit: Any) -> None:
    store = Store(tmp_path)
    store.save(_record(), EXAMPLES)
    path = tmp_path / "runs" / "ab" / KEY / "run.json"
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    assert store.load(KEY) is None
    assert len(store.damaged) == 1


def _bomb(path: Path) -> None:
    """Half a gigabyte of zeros in half a megabyte."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("row.npy", "w", force_zip64=True) as file,
    ):
        header = {"descr": "|u1", "fortran_order": False, "shape": (2**29,)}
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(2**9):
            file.write(bytes(2**20))


def _lying(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive, archive.open("row.npy", "w") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (2**50,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(64))


LIES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "pickle": lambda path: path.write_bytes(pickle.dumps([1, 2])),
    "objects": lambda path: np.savez(path, row=np.array([{}, []], dtype=object)),
    "texts": lambda path: np.savez(path, row=np.array(["a", "b"])),
    "squares": lambda path: np.savez(path, row=np.zeros((3, 3))),
    "no array": lambda path: zipfile.ZipFile(path, "w").writestr("row.npy", b"junk"),
    "bomb": _bomb,
    "lying header": _lying,
    "other compression": lambda path: zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA).writestr(
        "row.npy", b"junk"
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("lie", LIES)
def test_scores_that_lie_set_their_record_aside_and_take_no_memory(
    tmp_path: Path, lie: str
) -> None:
    store = Store(tmp_path)
    saved = store.save(_record(), EXAMPLES)
    assert saved.examples is not None
    folder = tmp_path / "runs" / "ab" / KEY
    victim = folder / saved.examples.file
    LIES[lie](victim)
    sha256 = hashlib.sha256(victim.read_bytes()).hexdigest()
    path = folder / "run.json"
    path.write_text(path.read_text().replace(saved.examples.sha256, sha256))
    with bounded_memory(2**28):
        record = store.load(KEY)
        assert record is not None
        assert not store.examples(record)
    (line,) = store.damaged
    assert "holds no scores" in line
    assert store.load(KEY) is None
    store.save(_record(), EXAMPLES)
    assert store.load(KEY) is not None


def _declared(**changes: Any) -> dict[str, Any]:
    seeds = [{"seed": s, "strategy": "a", "anchors": {"full": {"t": "b"}}} for s in range(2)]
    row = {"pair": "d:t", "strategy": "s", "target": "t", "expect": None, "seeds": seeds}
    experiment = {"name": "e", "pair": ["d:t"], "strategy": ["s"], "budget": "5steps"}
    return {"experiment": experiment, "rows": [row | changes]}


@pytest.mark.parametrize(
    "document",
    [
        _declared(target="nobody"),
        _declared(seeds=[]),
        _declared(seeds=[{"seed": 0, "strategy": "a", "anchors": {}}]),
        _declared(seeds=[{"seed": 0, "strategy": "a", "anchors": {"split": {"t": "b"}}}]),
        _declared(seeds=2 * [{"seed": 0, "strategy": "a", "anchors": {"full": {"t": "b"}}}]),
        _declared(seeds=[{"seed": 0, "strategy": "a", "anchors": {"full": {"u": "b"}}}]),
        _declared(pair="nothing"),
        _declared() | {"experiment": _declared()["experiment"] | {"margin": float("inf")}},
        _declared() | {"experiment": _declared()["experiment"] | {"margin": 1e300}},
        _declared() | {"experiment": _declared()["experiment"] | {"budget": "5parsecs"}},
        _declared() | {"experiment": _declared()["experiment"] | {"name": "other"}},
    ],
    ids=range(11),
)
def test_a_declaration_that_lies_is_refused_by_readers_and_replaced_by_a_run(
    tmp_path: Path, document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "experiments" / "e.json"
    path.parent.mkdir()
    path.write_text(json.dumps(document))
    for command in ("report", "power"):
        with pytest.raises(SystemExit) as end:
            main([command, "--results", str(tmp_path)])
        assert end.value.code == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "e.json cannot be read" in line
    store = Store(tmp_path)
    store.declare(Declaration.model_validate(_declared()))
    assert "corrupt declaration e.json set aside" in store.damaged[0]
    assert [d.experiment.name for d in store.declarations()] == ["e"]


def test_a_damaged_declaration_costs_no_other_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store(tmp_path).declare(Declaration.model_validate(_declared()))
    (tmp_path / "experiments/b.json").write_text("[" * 10_000)
    with pytest.raises(SystemExit) as end:
        main(["power", "--results", str(tmp_path)])
    assert end.value.code == 0
    assert capsys.readouterr().err.count("b.json") == 1


def test_a_record_of_another_target_is_not_used_and_named_once(tmp_path: Path) -> None:
    store = Store(tmp_path, read_only=True)
    writer = Store(tmp_path)
    for key in ("aa", "ab"):
        writer.save(plain_record(key, 50.0, 1.0), {})
    seeds = [
        {"seed": s, "strategy": key, "anchors": {"full": {"u": key}}}
        for s, key in enumerate(("aa", "ab"))
    ]
    find = store.reader(Declaration.model_validate(_declared(target="u", seeds=seeds)))
    assert [find(key) for key in ("aa", "ab")] == [None, None]
    (line,) = store.damaged
    assert "aa" in line
    assert "'u'" in line


@pytest.mark.parametrize(
    "price",
    [
        *("[]", "[" * 10_000, "null", '{"seconds": true}', '{"seconds": Infinity}'),
        *('{"seconds": 1e999}', '{"seconds": 0}', '{"seconds": -1}', '{"seconds": 1e-300}'),
    ],
)
def test_a_price_that_lies_is_set_aside_and_taken_again(tmp_path: Path, price: str) -> None:
    path = tmp_path / "prices" / "x.json"
    write_atomically(path, price.encode())
    store = Store(tmp_path)
    assert store.freeze_timing("x", 0.5, "hard on toy") == 0.5
    (line,) = store.damaged
    assert "corrupt price x set aside" in line
    assert Store(tmp_path).timing("x") == 0.5


def test_a_price_that_is_a_folder_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "prices/x.json/deep").mkdir(parents=True)
    store = Store(tmp_path)
    assert store.freeze_timing("x", 0.5, "hard on toy") == 0.5
    assert len(store.damaged) == 1
    assert Store(tmp_path, read_only=True).timing("x") == 0.5


def test_a_folder_without_hard_links_or_locks_can_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", unsupported)
    if sys.platform != "win32":
        import fcntl

        monkeypatch.setattr(fcntl, "flock", unsupported)
    store = Store(tmp_path)
    store.check_writable()
    assert store.freeze_timing("x", 0.25, "hard on toy") == 0.25
    assert store.freeze_timing("x", 0.5, "hard on toy") == 0.25
    store.save(_record(), EXAMPLES)
    assert store.load(KEY) is not None


def test_the_next_start_sweeps_what_a_kill_left_everywhere(tmp_path: Path) -> None:
    left = [
        tmp_path / room / ".file-7-0123abcd.part"
        for room in (".", "runs/ab/abcd", "prices", "experiments", "reports/e", "cache")
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"half")
    (tmp_path / "mine").mkdir()
    other = tmp_path / "mine" / ".file-7-0123abcd.part"
    other.write_bytes(b"not ours")
    Store(tmp_path).check_writable()
    assert not [path for path in left if path.exists()]
    assert other.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux has them")
@pytest.mark.parametrize("what", ["pipe", "device", "loop", "folder", "sparse", "deep", "dangling"])
def test_a_record_that_is_no_file_is_set_aside_and_does_not_hang(tmp_path: Path, what: str) -> None:
    store = Store(tmp_path)
    store.save(_record(), {})
    OTHERS[what](tmp_path / "runs" / "ab" / KEY / "run.json")
    assert store.load(KEY) is None
    assert len(store.damaged) == 1
    store.save(_record(), {})
    assert store.load(KEY) is not None


def test_an_anchor_of_equal_steps_may_have_a_budget_in_steps(tmp_path: Path) -> None:
    record = plain_record("ab", 50.0, 1.0)  # of ten steps
    Store(tmp_path).save(record, {})
    seeds = [{"seed": 0, "strategy": "aa", "anchors": {"full": {"t": "ab"}}}]
    document = _declared(seeds=seeds)
    for budget, found in (("1tflop", True), ("5s", True), ("64samples", False)):
        document["experiment"]["budget"] = budget
        store = Store(tmp_path, read_only=True)
        find = store.reader(Declaration.model_validate(document))
        assert (find("ab") is not None) == found
        assert bool(store.damaged) != found
    seeds[0]["strategy"] = "ab"
    document = _declared(seeds=seeds)
    document["experiment"]["budget"] = "1tflop"
    assert Store(tmp_path).reader(Declaration.model_validate(document))("ab") is None


@pytest.mark.parametrize("name", ["run.json", "examples-*.npz"])
@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES])
def test_a_record_that_cannot_be_read_for_now_stays_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int
) -> None:
    store = Store(tmp_path)
    saved = store.save(_record(), EXAMPLES)
    (victim,) = tmp_path.glob(f"runs/ab/{KEY}/{name}")
    real = os.open

    def fail(path: Path, *how: Any) -> int:
        if Path(path) == victim:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *how)

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(UserError, match=rf"cannot read .*{victim.name}.*it stays where it is"):
        store.load(KEY)
    monkeypatch.undo()
    assert store.load(KEY) == saved
    assert not store.damaged

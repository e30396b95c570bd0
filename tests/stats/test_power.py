"""Planning: seeds against theory and simulation, costs against records that are written by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from bench.cli.app import main
from bench.spec.experiment import Experiment
from bench.stats.power import fewest_seeds, need, requirements
from bench.store.records import AnchorName, Declaration, Record, Row, Score, SeedRuns
from bench.store.store import Store
from tests.conftest import plain_record

SEEDS = 10
#: Gains of a spread of 3 points around 0.
GAINS = [3 * x for x in stats.zscore(np.arange(SEEDS), ddof=1)]


def _study() -> tuple[Declaration, dict[str, Record]]:
    """Two rows whose strategies cost 2 and 4 seconds a seed, with one anchor of 3 in common."""
    records = {}
    cells = []
    for name, seconds in (("a", 2.0), ("b", 4.0)):
        seeds = []
        for seed, gain in enumerate(GAINS):
            records[f"{name}{seed}"] = plain_record(f"{name}{seed}", 80 + gain, seconds)
            records[f"full{seed}"] = plain_record(f"full{seed}", 80, 3.0)
            anchors: dict[AnchorName, dict[str, str]] = {"full": {"t": f"full{seed}"}}
            seeds.append(SeedRuns(seed=seed, strategy=f"{name}{seed}", anchors=anchors))
        cells.append(Row(pair="d:t", strategy=name, target="t", expect=None, seeds=tuple(seeds)))
    experiment = Experiment(pair=("d:t",), strategy=("a", "b"), budget="10steps", name="study")
    return Declaration(experiment=experiment, rows=tuple(cells)), records


def test_the_seeds_are_those_of_the_noncentral_t_distribution() -> None:
    # d = 1/3, two-sided 5 %, 80 %: n = 73 by the noncentral t distribution, computed here anew.
    def power(n: int) -> float:
        critical = stats.t.isf(0.025, n - 1)
        return float(stats.nct.sf(critical, n - 1, math.sqrt(n) / 3))

    assert need(1.0, 3.0, 0.05).seeds == 73
    assert power(72) < 0.8 <= power(73)


def test_the_seeds_in_a_family_find_the_gain_after_holm() -> None:
    rows, seeds = 4, need(1.0, 1.0, 0.05 / 4).seeds
    assert seeds is not None
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4000, rows, seeds))
    draws[:, 0] += 1.0  # one true gain among nulls: what Holm asks at worst
    p = stats.ttest_1samp(draws, 0, axis=-1).pvalue
    smallest = p[:, 0] == p.min(-1)
    found = smallest & (p[:, 0] <= 0.05 / rows)
    assert found.mean() == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(("rows", "seeds"), [(1, 8), (6, 8), (7, 9), (25, 10), (26, 11)])
def test_no_gain_is_found_where_signs_have_too_few_patterns(rows: int, seeds: int) -> None:
    # docs/protocol.md: 8 seeds can reject for up to 6 rows, 10 for up to 25.
    assert fewest_seeds(0.05 / rows) == seeds
    assert need(100.0, 1.0, 0.05 / rows).seeds == seeds


def test_a_spread_that_is_too_wide_needs_more_seeds_than_are_looked_for() -> None:
    assert need(0.01, 3.0, 0.05, 10.0).seeds is None
    assert need(1.0, math.nan, 0.05).seeds is None


def test_a_run_that_two_rows_read_is_paid_once() -> None:
    declaration, records = _study()
    rows, total = requirements(declaration, records.get, 1.0)
    assert [row.seconds_per_seed for row in rows] == [5.0, 7.0]
    assert total.seconds_per_seed == 9.0
    for row in rows:
        assert (row.gain, row.rows, row.alone.seeds) == (1.0, 2, 73)
        assert row.sd == pytest.approx(3.0)
    assert rows[0].alone.hours == pytest.approx(73 * 5 / 3600)
    assert total.alone.hours == pytest.approx(73 * 9 / 3600)
    assert total.family.seeds == rows[1].family.seeds == need(1.0, 3.0, 0.025).seeds


def test_a_seed_that_lacks_a_run_says_nothing_of_the_cost() -> None:
    declaration, records = _study()
    del records["full0"], records["a1"]
    records["full2"] = plain_record("full2", 80, 13.0)
    rows, total = requirements(declaration, records.get, 1.0)
    assert rows[0].seconds_per_seed == pytest.approx(5 + 10 / 8)
    assert total.seconds_per_seed == pytest.approx(9 + 10 / 8)


def test_an_experiment_without_a_spread_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declaration, _ = _study()
    Store(tmp_path).declare(declaration)
    with pytest.raises(SystemExit) as end:
        main(["power", "--results", str(tmp_path)])
    assert end.value.code == 0
    said = capsys.readouterr()
    assert "no row of study has two seeds with a gain" in said.err
    assert not said.out


def test_a_row_of_a_score_of_0_has_no_hundredths_to_detect() -> None:
    declaration, records = _study()
    for key, record in records.items():
        value = 0.0 if key.startswith("full") else record.scores["t"]["accuracy"].value
        score = Score(value=value, unit="m", higher_is_better=False, primary=True)
        records[key] = record.model_copy(update={"scores": {"t": {"error": score}}})
    assert requirements(declaration, records.get, 1.0)[0] == []


def test_a_folder_is_shown_as_a_table_and_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    declaration, records = _study()
    store = Store(tmp_path)
    store.declare(declaration)
    for record in records.values():
        store.save(record, {})

    def call(*arguments: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["power", "--results", str(tmp_path), *arguments])
        assert end.value.code == 0
        return capsys.readouterr().out

    monkeypatch.setenv("COLUMNS", "80")
    shown = call("--detect", "2")
    assert "study: seeds that find a true gain of 2" in shown
    assert "all rows" in shown
    assert "…" not in shown
    found = json.loads(call("--json"))["experiments"][0]
    assert [row["alone"]["seeds"] for row in found["rows"]] == [73, 73]
    with pytest.raises(SystemExit) as end:
        main(["power", "--results", str(tmp_path), "--name", "stdy"])
    assert end.value.code == 2
    assert "unknown experiment 'stdy': did you mean 'study'?" in capsys.readouterr().err


def test_a_spread_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["power", "--sd", "3", "--rows", "4", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["alone"]["seeds"], found["family"]["level"]) == (73, 0.0125)

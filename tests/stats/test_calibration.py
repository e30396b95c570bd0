"""The harness put to itself: by hand-made scores, and once through the whole pipeline."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.cli.app import main
from bench.errors import UserError
from bench.spec.budget import Audit
from bench.spec.experiment import Experiment
from bench.stats.calibration import Rate, quality, run_ratios, timing
from bench.stats.tests import detectable_effect
from bench.store.records import Declaration, Record, Row, SeedRuns
from tests.conftest import plain_record

SEEDS, GROUP = 400, 10


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.stats.calibration._REGROUPED", 2)
    monkeypatch.setattr("bench.cli.calibrate._TIMED", 2)


def _study(
    gains: Sequence[float | None], ratio: float = 1.0, higher: bool = True
) -> tuple[Declaration, dict[str, Record]]:
    """An A/A experiment with these gains, whose two sides' seconds have this ratio."""
    records, seeds = {}, []
    for seed, gain in enumerate(gains):
        value = None if gain is None else 50 + (gain if higher else -gain)
        records[f"a{seed}"] = plain_record(f"a{seed}", value, ratio, higher)
        records[f"b{seed}"] = plain_record(f"b{seed}", 50.0, 1.0, higher)
        anchors = {"full": {"t": f"b{seed}"}}
        runs = {"seed": seed, "strategy": f"a{seed}", "anchors": anchors}
        seeds.append(SeedRuns.model_validate(runs))
    cell = Row(pair="d:t", strategy="s", target="t", expect=None, seeds=tuple(seeds))
    experiment = Experiment(
        pair=("d:t",), strategy=("s",), budget="10steps", seeds=len(seeds), margin=1e-9
    )
    return Declaration(experiment=experiment, rows=(cell,)), records


def _noise(seed: int, size: int = SEEDS) -> list[float]:
    return [float(x) for x in np.random.default_rng(seed).normal(0, 2, size)]


@pytest.mark.parametrize("higher", [True, False])
def test_noise_is_called_rarely_and_a_planted_gain_mostly(higher: bool) -> None:
    declaration, records = _study(_noise(0), higher=higher)
    found = quality(declaration, records.get, GROUP)
    assert found.verdicts.of == found.found.of == len(found.p_t) == SEEDS // GROUP
    low, high = found.verdicts.interval
    assert low < 0.05 < high
    assert found.regroupings == 2 * SEEDS // GROUP
    assert found.regrouped == pytest.approx(0.05, abs=0.05)
    assert found.verdicts.count <= min(found.by_t.count, found.by_sign_flip.count)
    assert found.planted == pytest.approx(detectable_effect(GROUP) * found.sd)
    low, high = found.found.interval
    assert low < 0.8 < high


def test_a_side_that_is_favoured_is_found_out() -> None:
    declaration, records = _study([gain + 1.5 for gain in _noise(1)])
    found = quality(declaration, records.get, GROUP)
    assert found.verdicts.interval[0] > 0.05
    assert found.regrouped > 0.3


def test_no_run_is_in_two_comparisons() -> None:
    gains = [float(i % GROUP == i // GROUP % GROUP) for i in range(SEEDS)]
    declaration, records = _study(gains)
    # Each group holds one gain of 1 and nine of 0, so all are the same comparison.
    assert len(set(quality(declaration, records.get, GROUP).p_t)) == 1


def test_the_interval_is_clopper_and_pearsons() -> None:
    # 0 of n: 1 − (α/2)^(1/n), in closed form.
    low, high = Rate(0, 40).interval
    assert low == 0
    assert high == pytest.approx(1 - 0.025 ** (1 / 40))
    assert Rate.among([True, False, True, False]) == Rate(2, 4)


@pytest.mark.parametrize(("ratio", "called"), [(1.04, 0), (1.06, 40), (0.94, 40)])
def test_a_clock_that_tells_equal_work_apart_is_found_out(ratio: float, called: int) -> None:
    declaration, records = _study(_noise(2), ratio)
    audits = run_ratios(declaration, records.get, GROUP)
    found = timing(audits, [Audit("s", 1.0, 1.0), Audit("s", 1.2, 1.0)])
    assert found.unequal == Rate(called, 40)
    assert found.runs[0] == pytest.approx(ratio)
    assert found.mispriced == Rate(1, 2)
    assert found.prices == pytest.approx((1.0, 1.2))


def test_what_cannot_be_calibrated_is_told() -> None:
    declaration, records = _study(_noise(3, 16))
    with pytest.raises(UserError, match="16 seeds make no two groups of 10: give --seeds 20"):
        quality(declaration, records.get, 10)
    with pytest.raises(UserError, match="--group 5: verdicts need 8 seeds"):
        quality(declaration, records.get, 5)
    two = declaration.model_copy(update={"rows": declaration.rows * 2})
    with pytest.raises(UserError, match="has one row"):
        quality(two, records.get, 8)
    declaration, records = _study([*_noise(3, 15), None])
    with pytest.raises(UserError, match="1 seeds lack a run with a score"):
        quality(declaration, records.get, 8)
    declaration, records = _study([0.0] * 16)
    with pytest.raises(UserError, match="all runs differ by 0 points"):
        quality(declaration, records.get, 8)
    declaration, records = _study(_noise(3, 16))
    looks = declaration.experiment.model_copy(update={"until_decided": True})
    with pytest.raises(UserError, match="take until-decided out"):
        quality(declaration.model_copy(update={"experiment": looks}), records.get, 8)


def test_a_network_goes_through_the_whole_pipeline_against_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "aa.toml"
    path.write_text(
        'pair = "toy:row"\nstrategy = "renamed"\nseeds = 16\nbudget = "6steps"\n'
        "train-size = 100\nvalidation-size = 0\ncurve-points = 1\nbatch-size = 16\n"
    )
    for expected in ("32 runs to train", ""):
        with pytest.raises(SystemExit) as end:
            main(["calibrate", str(path), "--group", "8", "--workers", "1"])
        assert end.value.code == 0
        said = capsys.readouterr()
        assert expected in said.err
        assert ("runs to train" in said.err) == bool(expected)
        assert "A/A: 2 comparisons of 8 seeds" in said.out
        assert all(len(line) <= 80 for line in said.out.splitlines())
    folder = tmp_path / "results/reports/aa"
    found = json.loads((folder / "calibration.json").read_text())
    # The two sides have the same data and start from different weights.
    assert found["quality"]["sd"] > 0
    assert found["quality"]["verdicts"]["of"] == len(found["timing"]["runs"]) == 2
    assert len(found["timing"]["prices"]) == 2
    assert all(math.isfinite(x) and x > 0 for x in found["timing"]["runs"])
    assert (folder / "calibration.png").is_file()

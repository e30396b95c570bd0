"""A race of strategies: its rule, how often it errs, and what it saves on committed gains."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.cli.app import main
from bench.errors import UserError
from bench.spec.experiment import Experiment, load_experiment
from bench.stats.comparison import Verdict
from bench.stats.group_sequential import schedule
from bench.stats.interim import analysed, extended, opening
from bench.stats.race import ERROR, leaving, overtaking
from bench.store.records import Declaration, Outcome, Row, SeedRuns

METHODS = Path(__file__).parents[2] / "results/reference/methods/gains.json"
RUN_FILES = "runs/*/*/run.json"


def _raced(scores: Mapping[str, Mapping[str, np.ndarray]], planned: int) -> dict[str, int]:
    """Return at how many seeds each strategy ends, of races for `[seeds]` scores by target."""
    names = dict.fromkeys(name for own in scores.values() for name in own)
    ends = dict.fromkeys(names, planned)
    analyses = schedule(planned)[:-1]
    for seen in analyses:
        running = {
            target: {name: s[:seen] for name, s in own.items() if ends[name] == planned}
            for target, own in scores.items()
        }
        if max(map(len, running.values())) > 1:
            gone = leaving(running, planned, len(names), len(analyses))
            ends |= dict.fromkeys(gone, seen)
    return ends


def test_the_chance_is_that_of_the_mean_over_all_seeds() -> None:
    # Half of the seeds are in, one strategy, so nothing is borrowed but the prior's eight degrees.
    behind = np.array([[1.0], [3.0], [2.0], [2.0]])
    spread = behind.std(ddof=1) * math.sqrt(4 / (4 * 8))
    assert overtaking(behind, 8) == pytest.approx([stats.t.sf(2 / spread, 8 + 3)])
    assert overtaking(behind, 4) == pytest.approx([0])
    assert overtaking(-behind, 4) == pytest.approx([1])
    assert overtaking(np.full((4, 1), 2.0), 8) == pytest.approx([0])
    assert overtaking(np.zeros((4, 1)), 8) == pytest.approx([1])


def test_a_spread_leans_on_the_others_as_far_as_they_agree() -> None:
    rng = np.random.default_rng(0)
    noise, wide = rng.normal(size=(6, 40)), 2 + 4 * np.array([-1.2, 1.2, -0.7, 0.7, 0.3, -0.3])
    alone = overtaking(wide[:, None], 12)[0]
    alike = overtaking(np.column_stack([wide, noise]), 12)[0]
    unlike = overtaking(np.column_stack([wide, noise * np.geomspace(0.05, 20, 40)]), 12)[0]
    # Beside many of spread 1, that of 4 is taken for chance; beside all kinds of spreads it is not.
    assert alike < 0.01 < alone < unlike


def test_a_strategy_stays_while_it_may_win_for_any_target() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.1, size=(2, 3, 6))
    level = np.array([[0.0, -5, -5], [-5, 0, -5]])[..., None]
    scores = {
        target: dict(zip("abc", level[i] + noise[i], strict=True)) for i, target in enumerate("uv")
    }
    gone = leaving(scores, 12, strategies=3, analyses=3)
    assert set(gone) == {"c"}
    assert {target: standing.leader for target, standing in gone["c"].items()} == {
        "u": "a",
        "v": "b",
    }
    assert gone["c"]["u"].behind == pytest.approx(5, abs=0.2)
    assert gone["c"]["u"].chance < 1e-6


def test_one_seed_and_one_strategy_judge_nobody() -> None:
    assert leaving({"t": {"a": np.array([9.0]), "b": np.array([0.0])}}, 12, 2, 3) == {}
    assert leaving({"t": {"a": np.array([9.0, 9.0])}}, 12, 1, 3) == {}


@pytest.mark.parametrize("strategies", [4, 41])
@pytest.mark.parametrize("apart", [0.0, 1.0])
@pytest.mark.parametrize("unequal", [0.0, 0.5, 1.0])
def test_all_seeds_would_rarely_have_named_another_best(
    strategies: int, apart: float, unequal: float
) -> None:
    """Spreads that differ by a factor of e and more are the hardest: there it borrows too much."""
    rng, races, planned = np.random.default_rng(3), 250, 12
    wrong = spent = 0.0
    for _ in range(races):
        spreads = np.exp(rng.normal(0, unequal, strategies))
        means = rng.normal(0, apart, strategies)
        scores = means + spreads * rng.normal(size=(planned, strategies))
        scores += rng.normal(0, 3, size=(planned, 1))  # seeds are easy or hard for all
        ends = _raced({"t": {str(i): scores[:, i] for i in range(strategies)}}, planned)
        left = [int(name) for name, end in ends.items() if end == planned]
        wrong += max(left, key=lambda i: scores[:, i].mean()) != scores.mean(0).argmax()
        spent += sum(ends.values()) / (planned * strategies)
    assert wrong / races <= ERROR + 2 * math.sqrt(ERROR * (1 - ERROR) / races)
    assert spent < races


@pytest.fixture(scope="module")
def methods() -> dict[str, Any]:
    """The committed report of 41 strategies."""
    found: dict[str, Any] = json.loads(METHODS.read_text("utf-8"))
    return found


def test_the_committed_strategies_need_less_than_half_of_their_seeds(
    methods: dict[str, Any],
) -> None:
    # Gains over one anchor are scores less what is common to all strategies of a seed.
    scores: dict[str, dict[str, np.ndarray]] = {}
    for row in methods["rows"]:
        gains = row["against"]["full"]["gains_by_seed"]
        values = np.array([gains[seed] for seed in sorted(gains, key=int)])
        scores.setdefault(row["target"], {})[row["strategy"]] = values
    planned = methods["experiment"]["seeds"]
    ends = _raced(scores, planned)
    assert sum(ends.values()) / (len(ends) * planned) < 0.5
    left = [name for name, end in ends.items() if end == planned]
    best = {q["target"]: q["ranked"][0]["strategy"] for q in methods["rankings"]["questions"]}
    assert left == ["mtan"]
    assert set(best.values()) == {"mtan"}
    (decided,) = methods["decisions"]["sets"]
    assert decided["strategy"] == "mtan"


# ------------------------------------------------------------------------- several pairs at once


def _seed(number: int) -> SeedRuns:
    return SeedRuns(seed=number, strategy=f"s{number}", anchors={"full": {"t": f"f{number}"}})


def test_who_has_left_stays_away_when_other_pairs_go_on() -> None:
    """A pair that ends when its last rival leaves has both at the same number of seeds."""
    pairs, names = ("d:t+soon", "d:t+late"), ("ahead", "behind")
    experiment = Experiment(pair=pairs, strategy=names, budget="1e9flop", seeds=12, race=True)
    seeds = tuple(map(_seed, range(12)))
    rows = tuple(
        Row(pair=pair, strategy=name, target="t", expect=None, seeds=seeds)
        for pair in pairs
        for name in names
    )
    whole = Declaration(experiment=experiment, rows=rows)

    def result(row: Row) -> Any:
        wobble = [0.5, -1.0, 0.5, 1.0, -0.5, -0.5] * 2
        gap = {("d:t+soon", "behind"): 1.0}.get((row.pair, row.strategy), 0.0)
        away = wobble if row.strategy == "behind" else [0.0] * 12
        n, decided = len(row.seeds), row.pair == "d:t+soon"
        undecided = Verdict(Outcome.INCONCLUSIVE, None, "")
        verdict = Verdict(Outcome.BETTER, None, "") if decided else undecided
        return SimpleNamespace(
            **{"pair": row.pair, "strategy": row.strategy, "target": row.target, "planned": n},
            **{"scores": {i: 50.0 - gap - away[i] for i in range(n)}, "higher_is_better": True},
            **{"verdict": verdict, "against": {}, "references": {}},
        )

    declared, further = opening(whole), None
    while True:
        found = [result(row) for row in declared.rows]
        declared = analysed(declared, found)
        further = extended(whole, declared, found)
        if further is None:
            break
        declared = further
    assert [[g.strategy for g in look.left] for look in declared.interim_analyses] == [
        [],
        ["behind"],
        [],
        [],
    ]
    assert declared.gone == {("d:t+soon", "behind")}
    assert [len(row.seeds) for row in declared.rows] == [6, 6, 12, 12]


# ---------------------------------------------------------------------- from the command line

STRATEGIES = ("hard", "partner+frozen-probe", "rotation+frozen-probe")


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    """Three strategies of one pair: features of something else are soon behind."""
    path = tmp_path / "race.toml"
    path.write_text(
        f'pair = "toy:row+column"\nstrategy = {json.dumps(STRATEGIES)}\nbudget = "32steps"\n'
        "train-size = 100\nvalidation-size = 0\ncurve-points = 1\nbatch-size = 16\n"
    )
    return ["run", str(path), "--race", "--seeds", "8", "--workers", "0", "--results"]


def test_seeds_are_spent_on_the_strategies_that_can_still_win(
    asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    with pytest.raises(SystemExit) as end:
        main([*asked, str(results)])
    assert end.value.code == 0
    text = (results / "experiments/race.json").read_bytes()
    declared = Declaration.model_validate_json(text)
    assert declared.experiment.race
    assert declared.experiment.until_decided
    seeds = {row.strategy: len(row.seeds) for row in declared.rows}
    left = {gone.strategy: gone.seeds for look in declared.interim_analyses for gone in look.left}
    assert left
    most = max(seeds.values())
    assert {name: n for name, n in seeds.items() if n < most} == {
        name: n for name, n in left.items() if n < most
    }
    said = capsys.readouterr()
    assert "of 3 strategies left the race of toy:row+column" in said.err
    told, running = " ".join(said.out.split()), [name for name in seeds if name not in left]
    if len(running) > 1:
        assert "are left in the race of toy:row+column after" in told
    else:
        assert f"{running[0]} has the best mean of 3 strategies on toy:row+column at" in told
    table = (results / "reports/race/table.md").read_text()
    assert "## Which strategy?" in table
    assert "<summary>The race</summary>" in table
    assert "This experiment was a race." in table
    page = (results / "reports/race/report.html").read_text()
    assert 'id="race-outcome"' in page
    looks = json.loads((results / "reports/race/gains.json").read_text())["interim_analyses"]
    assert {gone["strategy"] for look in looks for gone in look["left"]} == set(left)
    assert len(list(results.glob(RUN_FILES))) == len(declared.keys)

    with pytest.raises(SystemExit):
        main([*asked, str(results)])
    assert "nothing to train" in capsys.readouterr().err
    assert (results / "experiments/race.json").read_bytes() == text


def test_the_flag_means_analyses_and_twenty_seeds_at_most(toy_experiment: Path) -> None:
    def load(**flags: Any) -> Any:
        return load_experiment(str(toy_experiment), flags)

    assert load(race=True).seeds == 20
    assert load(race=True).until_decided
    assert load(race=True, seeds=12).seeds == 12
    assert not load().race
    text = toy_experiment.read_text()
    toy_experiment.write_text(text.replace("seeds = 2\n", "race = true\n"))
    assert (load().seeds, load().until_decided) == (20, True)
    toy_experiment.write_text(text + "race = 1\n")
    with pytest.raises(UserError, match="race: give true or false"):
        load()


def test_a_time_plans_no_race(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["run", "smoke", "--race", "--within", "5m", "--results", str(tmp_path)])
    assert end.value.code == 2
    assert "leave out tuning and analyses" in capsys.readouterr().err

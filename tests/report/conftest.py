"""Experiments made up in memory: declarations with records, as plausible as they are false."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from bench.spec.budget import Budget, Ledger, Price
from bench.spec.experiment import Experiment, RunSpec
from bench.stats.gains import Lookup
from bench.store.records import (
    AnchorName,
    CurvePoint,
    Declaration,
    Record,
    Row,
    Score,
    SeedRuns,
    Status,
)
from bench.tasks import Pair

BUDGET = 2e12
STRATEGIES = ("hard", "hard+reconstruction", "hard+partner", "cross-stitch", "hard+pcgrad")
#: Strategies whose steps cost more, so that the budget buys fewer.
DEAR = ("cross-stitch",)
#: Expectation and mean gain against the full anchor by pair.
PAIRS: Mapping[str, tuple[str, float]] = {
    "creatures:species+kin": ("positive", 2.2),
    "creatures:species+background": ("none", -0.1),
    "creatures:species+kin~shuffled": ("negative", -2.4),
    "multimnist:left+right": ("positive", 0.9),
}
#: Status and reason of runs that did not end well, by (pair, strategy) and seed.
Trouble = Mapping[tuple[str, str], Mapping[int, tuple[Status, str]]]
TROUBLE: Trouble = {
    ("creatures:species+background", "cross-stitch"): {
        3: ("diverged", "loss of 'species' is not finite after step 211"),
        7: ("failed", "RuntimeError: out of memory | tried to allocate 2 GiB"),
    },
    ("multimnist:left+right", "hard+pcgrad"): dict.fromkeys(
        range(100), ("failed", "ValueError: gradients of 'left' are None")
    ),
}


@dataclass(frozen=True)
class World:
    """A declaration, and the records by key."""

    declaration: Declaration
    records: dict[str, Record]

    @property
    def find(self) -> Lookup:
        return self.records.get


class Maker:
    """Makes a world; draws depend on names and seeds alone."""

    def __init__(self, seeds: int, metric: str, unit: str, trouble: Trouble) -> None:
        self.records: dict[str, Record] = {}
        self.seeds, self.metric, self.unit, self.trouble = seeds, metric, unit, trouble
        self.experiment: Experiment

    def run(
        self,
        kind: str,
        pair: str,
        tasks: tuple[str, ...],
        seed: int,
        lift: float,
        share: int = 1,
        dear: bool = False,
        state: tuple[Status, str] = ("ok", ""),
    ) -> str:
        """Add the record of a run and return its key; a step of a `dear` one costs 1.6 times."""
        dataset = pair.split(":")[0]
        key = f"{dataset}/{kind}/{'+'.join(tasks)}/{share}/{seed}/{'' if share == 1 else pair}"
        key += pair if kind not in ("single",) else ""
        key = hashlib.sha256(key.encode()).hexdigest()[:40]
        rng = np.random.default_rng(crc32(key.encode()))
        steps = 250 if dear else 400 // share
        flops = (
            BUDGET
            / (250 if kind in DEAR else 400)
            * (1 - crc32(f"{kind}{tasks}".encode()) % 100 / 5e4)
        )
        noise = {t: np.random.default_rng(crc32(f"{dataset}{t}{seed}".encode())) for t in tasks}
        final = {
            t: 78.0 + crc32(t.encode()) % 9 + noise[t].normal(0, 1.2) + rng.normal(lift, 0.8)
            for t in tasks
        }
        status, reason = state
        budget = Budget(BUDGET / share, "flop")
        used = steps * flops * (1.02 if kind == "hard+partner" and "background" in pair else 1)
        points = [steps * (i + 1) // 8 for i in range(8)]
        self.records[key] = Record(
            key=key,
            status=status,
            reason=reason,
            spec=RunSpec(
                dataset=dataset,
                tasks=tasks,
                scored=tasks,
                strategy=kind,
                width=1.0,
                budget=str(budget),
                steps=(steps,),
                seed=seed,
                device="cpu",
                recipe=self.experiment.recipe,
            ),
            data_fingerprint="data",
            code_fingerprint="code",
            scores={}
            if status == "failed"
            else {t: {self.metric: self._score(final[t], status)} for t in tasks},
            curve=()
            if status == "failed"
            else tuple(
                CurvePoint(
                    step=step,
                    scores={
                        t: final[t] - 45 * np.exp(-3.2 * step / 400) + rng.normal(0, 0.7)
                        for t in tasks
                    },
                    losses=dict.fromkeys(tasks, 0.5),
                )
                for step in points
            ),
            ledger=None
            if status == "failed"
            else Ledger(
                budget=budget,
                prices=(Price(flops=flops, samples=32, peak_bytes=10**7, parameters=61_706),),
                steps=(steps,),
                used={"flop": used, "steps": steps, "samples": 32.0 * steps, "s": 0.01 * steps},
                evaluation_seconds=0.1,
            ),
        )
        return key

    def _score(self, value: float, status: Status) -> Score:
        shown = None if status == "diverged" else value
        return Score(value=shown, unit=self.unit, higher_is_better=True, primary=True)

    def cell(self, pair: str, strategy: str, target: str) -> Row:
        names = pair.split(":")[1]
        tasks = tuple(task for task in names.split("+") if "~" not in task)
        auxiliary = "reconstruction" in strategy or "partner" in strategy or len(tasks) == 1
        expect, lift = PAIRS.get(pair, (None, 1.0))
        lift += crc32(strategy.encode()) % 7 * 0.3 - 0.9
        seeds = []
        for seed in range(self.seeds):
            state = self.trouble.get((pair, strategy), {}).get(seed, ("ok", ""))
            scored = (target,) if auxiliary else tasks
            full = {target: self.run("single", pair, (target,), seed, 0.0)}
            anchors: dict[AnchorName, dict[str, str]] = {"full": full, "same-steps": full}
            if strategy in DEAR:
                short = self.run("single-short", pair, (target,), seed, -2.0, dear=True)
                anchors["same-steps"] = {target: short}
            if not auxiliary:
                for name, lost in (("split", -3.0), ("slim", -3.6)):
                    anchors[name] = {  # type: ignore[index]
                        t: self.run(f"single-{name}", pair, (t,), seed, lost, share=len(tasks))
                        for t in tasks
                    }
            dear = strategy in DEAR
            key = self.run(strategy, pair, scored, seed, lift, dear=dear, state=state)
            seeds.append(SeedRuns(seed=seed, strategy=key, anchors=anchors))
        asked = {"pair": pair, "strategy": strategy, "target": target, "expect": expect}
        placebo = Pair("", tuple(pair.split(":")[1].split("+"))).placebo
        return Row.model_validate({**asked, "placebo": placebo, "seeds": seeds})


def make_world(
    pairs: Sequence[str] = tuple(PAIRS),
    strategies: Sequence[str] = STRATEGIES,
    seeds: int = 10,
    metric: str = "accuracy",
    unit: str = "%",
    trouble: Trouble = TROUBLE,
    name: str = "made-up",
) -> World:
    maker = Maker(seeds, metric, unit, trouble)
    maker.experiment = Experiment(
        name=name,
        pair=tuple(pairs),
        strategy=tuple(strategies),
        seeds=seeds,
        budget=f"{BUDGET:g}flop",
        train_size=2000,
    )
    cells = [
        maker.cell(pair, strategy, target)
        for pair in pairs
        for target in pair.split(":")[1].split("+")
        if "~" not in target
        for strategy in strategies
    ]
    return World(Declaration(experiment=maker.experiment, rows=tuple(cells)), maker.records)


@pytest.fixture(name="make_world", scope="session")
def _make_world() -> Callable[..., World]:
    return make_world


#: Names that Debian, Fedora and Chrome give it.
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra test)")
    program = os.environ.get("BENCH_CHROMIUM") or next(
        filter(None, map(shutil.which, _CHROMIUM)), None
    )
    if program is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        # In a container, root has no sandbox.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(name="axe_faults", scope="session")
def _axe_faults() -> Callable[[Any], list[Any]]:
    """Return what finds the serious faults of a page that bypasses its policy, all unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core")

    def faults(page: Any) -> list[Any]:
        for details in page.locator("details").all():
            details.evaluate("each => { each.open = true }")
        return [
            (rule["id"], [node["html"][:200] for node in rule["nodes"]][:3])
            for rule in axe.Axe().run(page).response["violations"]
            if rule["impact"] in ("serious", "critical")
        ]

    return faults

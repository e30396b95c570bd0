"""Compare the gains by a warmup-stable-decay schedule with those by a cosine.

With that schedule a shorter run could branch off a longer one, and several budgets would cost less
than their sum. Commit 41fc461 was measured, with this folder copied into a checkout of it:

    git apply results/reference/schedule/wsd.patch
    for name in creatures-cosine multimnist-cosine creatures-wsd multimnist-wsd; do
        python -m bench run results/reference/schedule/$name.toml --root MNIST --results RESULTS
    done
    python results/reference/schedule/compare.py RESULTS

writes `found.md` beside this file. MNIST is a folder with MNIST as torchvision lays it out.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.spec.budget import Budget
from bench.stats.tests import ALPHA, paired

#: The share of a run that decays, as the patch has it.
DECAY = 0.2
WORLDS = ("creatures", "multimnist")
#: A question: budget, pair, target.
Question = tuple[str, str, str]
Row = dict[str, Any]
HEAD = """# Several budgets for less than their sum?

A short run could branch off the stable part of a longer one, were the learning rate constant until
the last fifth (warmup-stable-decay, WSD). It rises for ten steps, so that runs of all lengths begin
alike; with a cosine it rises for 5 % of the steps. Are gains the same?
[compare.py](compare.py) says how this was measured. Hard sharing, 10 seeds, gains at equal steps,
95 % intervals of single differences.

"""
COLUMNS = (
    *("budget", "pair", "target", "alone, cosine", "alone, WSD"),
    *("gain, cosine", "gain, WSD", "difference", "same within a point"),
)


def reports(results: Path, name: str) -> Iterator[Row]:
    """Yield `gains.json` of an experiment at each of its budgets."""
    for path in sorted(results.glob(f"reports/{name}*/gains.json")):
        yield json.loads(path.read_text("utf-8"))


def rows(results: Path, name: str) -> dict[Question, Row]:
    """Return the rows of hard sharing by question."""
    return {
        (report["experiment"]["budget"], row["pair"], row["target"]): row
        for report in reports(results, name)
        for row in report["rows"]
        if row["strategy"] == "hard"
    }


def by_budget(question: Question) -> tuple[str, str, float]:
    """Return what questions are sorted by: budgets of a task stand together, the smallest first."""
    budget, pair, target = question
    return pair, target, Budget.parse(budget).amount


def line(question: Question, cosine: Row, wsd: Row) -> tuple[str, bool]:
    """Return a line of the table, and whether the gains are the same within a point."""
    one, other = (row["against"]["same-steps"] for row in (cosine, wsd))
    gains = other["gains_by_seed"]
    differences = [gains[seed] - gain for seed, gain in one["gains_by_seed"].items()]
    result = paired(differences, margin=1.0)
    mean, half, same = result.mean, result.high - result.mean, result.p_equivalence <= ALPHA
    figures = [one["anchor_mean"], other["anchor_mean"]]
    cells = [*question, *(f"{x:.1f}" for x in figures)]
    cells += [f"{one['mean']:+.1f}", f"{other['mean']:+.1f}", f"{mean:+.1f} ± {half:.1f}"]
    return " | ".join(["", *cells, "yes" if same else "not shown", ""]).strip(), same


def saving(specs: Iterable[Row]) -> float:
    """Return the steps of runs over those that would be taken if shorter ones branched off."""
    lengths: defaultdict[str, set[int]] = defaultdict(set)
    for spec in specs:
        apart = {key: each for key, each in spec.items() if key not in ("budget", "steps")}
        lengths[json.dumps(apart, sort_keys=True)].add(sum(spec["steps"]))
    alone = sum(map(sum, lengths.values()))
    branched = sum(max(each) + DECAY * (sum(each) - max(each)) for each in lengths.values())
    return alone / branched


def main(results: Path) -> None:
    """Write the page."""
    found = []
    for world in WORLDS:
        cosine, wsd = rows(results, f"{world}-cosine"), rows(results, f"{world}-wsd")
        found += [line(asked, cosine[asked], wsd[asked]) for asked in sorted(wsd, key=by_budget)]
    specs = [json.loads(p.read_text("utf-8"))["spec"] for p in results.glob("runs/*/*/run.json")]
    saved = saving(spec for spec in specs if "schedule" in spec["recipe"])
    same = sum(each for _, each in found)
    page = f"{HEAD}| {' | '.join(COLUMNS)} |\n{'| --- ' * len(COLUMNS)}|\n"
    page += "".join(f"{text}\n" for text, _ in found)
    page += f"\nThe same within a point is shown for {same} of {len(found)} gains. "
    page += f"Branching would take {saved:.2f} times fewer steps for these runs.\n"
    (Path(__file__).parent / "found.md").write_text(page, "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Measure how often each kind of affinities finds a grouping that is known to be right.

    python results/reference/groups/study.py RESULTS

trains networks on worlds of the data set `blocks` and writes `study.json`, `study.md` and
`recovery.png` beside this file. Runs go to the folder RESULTS and are trained once. Without RESULTS
the page and the plot are made again from `study.json`.
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats

from bench.api.groups import carried_out, group_prepared
from bench.api.session import Session
from bench.datasets.blocks import Blocks
from bench.decide.groupings import Grouping, named, used_flops
from bench.report.groups.wording import braced
from bench.report.plots.canvas import INK, Sheet, style
from bench.stats.affinities import Affinities, affinities
from bench.stats.gains import Lookup, value
from bench.stats.partitions import Proposal, Rules, members_gain, partitions, propose
from bench.stats.tests import paired
from bench.store.groupings import GroupDeclaration
from bench.store.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: What a method may say, and how the plot shows it.
OUTCOMES = {
    "planted": ("#009E73", ""),
    "another grouping": ("#CC79A7", "xx"),
    "one network": ("#E69F00", ".."),
    "separate": ("#D55E00", "//"),
    "undecided": ("#d9d9d9", ""),
}
RIGHT = "planted"
OTHERS = ("another grouping", "one network", "separate")


def in_words(grouping: Grouping) -> str:
    """Return a grouping as people write it: `{a, b} {c}`."""
    return " ".join(map(braced, grouping))


Row = dict[str, Any]
#: The scores of each task of a group `[S, k]`, by its tasks; higher is better.
Scores = Mapping[tuple[str, ...], np.ndarray]


@dataclass(frozen=True)
class Design:
    """How much is trained.

    `steps` are those of each network, by the budget's name. `seeds` measure affinities, as many as
    `bench group` takes by itself. In the first `exhaustive` worlds every group is trained.
    """

    worlds: int = 40
    steps: Mapping[str, int] = field(default_factory=lambda: {"short": 32, "long": 128})
    seeds: int = 5
    exhaustive: int = 10


def declared(results: Path, world: int, steps: int, affinity: str, seeds: int) -> GroupDeclaration:
    """Train what is missing of the runs that measure affinities in a world, and declare them."""
    planted = Blocks(world=world)
    flags = {
        "name": f"world{world}-{steps}steps-{affinity}-{seeds}",
        "pair": f"blocks@world={world}:{'+'.join(planted.tasks)}",
        "network": "mlp",
        "budget": f"{steps}steps",
        "batch_size": 64,
        "learning_rate": 1.2e-2,
        "validation_size": 2000,
        "curve_points": 2,
        "affinity": affinity,
        "affinity_seeds": seeds,
        "propose_only": True,
    }
    session = Session(results=results, workers="0")
    with group_prepared("default", flags, session) as prepared:
        return carried_out(prepared)


def outcome(proposal: Proposal, tasks: Sequence[str], planted: Blocks) -> str:
    """Return what a proposal says, with the planted grouping in mind."""
    chosen = named(proposal.chosen.partition, tasks)
    if not proposal.stable:
        return "undecided"
    if chosen == planted.grouping:
        return RIGHT
    return {1: "one network", len(tasks): "separate"}.get(len(chosen), "another grouping")


def scores_of(higher: GroupDeclaration, joint: GroupDeclaration, find: Lookup) -> Scores:
    """Return the scores of every group of tasks, from the runs that measure affinities.

    The joint network is that of all tasks: looking ahead changes nothing that it learns.
    """
    assert joint.affinity.joint is not None
    networks = (*higher.affinity.networks, joint.affinity.joint)
    return {
        network.tasks: np.array(
            [[value(find(run.key), task) for task in network.tasks] for run in network.runs],
            dtype=float,
        )
        for network in networks
    }


def gains_of(scores: Scores, seeds: Sequence[int]) -> dict[tuple[str, ...], np.ndarray]:
    """Return what the tasks of each group of two or more gained, in percent of their own score."""
    own = {group[0]: each[seeds, 0] for group, each in scores.items() if len(group) == 1}
    return {
        group: np.array(
            [
                100 * (each[seeds, t] - own[task]).mean() / abs(own[task].mean())
                for t, task in enumerate(group)
            ]
        )
        for group, each in scores.items()
        if len(group) > 1
    }


def rank_correlation(found: Affinities, scores: Scores, fewest: int) -> float:
    """Return Spearman's ρ of predicted and trained gains, over groups of `fewest` tasks or more.

    Three of five seeds predict and the others are what is predicted; the mean of all splits.
    """
    place, seeds = {task: t for t, task in enumerate(found.tasks)}, range(len(found.values))
    each = []
    for picks in combinations(seeds, (len(seeds) + 1) // 2):
        mean = found.values[list(picks)].mean(0)
        gains = gains_of(scores, [seed for seed in seeds if seed not in picks])
        groups = [group for group in gains if len(group) >= fewest]
        predicted = [members_gain(mean, [place[task] for task in group]) for group in groups]
        trained = [gains[group] for group in groups]
        each.append(stats.spearmanr(np.concatenate(predicted), np.concatenate(trained)).statistic)
    return float(np.mean(each))


def best_as_trained(scores: Scores, tasks: Sequence[str]) -> Grouping:
    """Return the grouping whose tasks gained most in total, over all seeds."""
    gains = gains_of(scores, range(len(scores[tuple(tasks)])))
    groupings = (named(partition, tasks) for partition in partitions(len(tasks)))
    return max(groupings, key=lambda groups: sum(gains[g].sum() for g in groups if len(g) > 1))


def studied(results: Path, design: Design, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return all that was found, as JSON-able data, training what is missing."""
    proposals, gains, trained = list[Row](), list[Row](), list[Row]()
    flops = dict[str, dict[str, float]]()
    for world in range(design.worlds):
        planted = Blocks(world=world)
        for budget, steps in design.steps.items():
            here = {"world": world, "budget": budget}
            pairs = declared(results, world, steps, "pairs", design.seeds)
            joint = declared(results, world, steps, "joint", design.seeds)
            find, tasks = Store(results).load, pairs.tasks
            measured = (*affinities(pairs, find), *affinities(joint, find))
            for each in measured:
                found = propose(each.values, Rules())
                two = next(p for p in found.best if p.networks == planted.blocks)
                proposals.append(
                    here
                    | {
                        "method": each.method,
                        "grouping": in_words(named(found.chosen.partition, tasks)),
                        "frequency": found.frequency,
                        "outcome": outcome(found, tasks, planted),
                        "in two": in_words(named(two.partition, tasks)),
                    }
                )
            block = np.array([task[0] for task in tasks])
            same, table = block[:, None] == block, measured[0].mean
            within, across = np.nanmean(table[same]), table[~same].mean()
            gains.append(here | {"within": float(within), "across": float(across)})
            costs = flops.setdefault(budget, {})
            costs |= {"pairs": measured[0].flops, "joint": measured[1].flops}
            costs["every group"] = pairs.every_group
            if world < design.exhaustive:
                higher = declared(results, world, steps, "higher-order", design.seeds)
                scores = scores_of(higher, joint, find)
                costs["higher-order"] = used_flops(higher.affinity.networks, find)
                best = in_words(best_as_trained(scores, tasks))
                rhos = {
                    each.method: [rank_correlation(each, scores, fewest) for fewest in (2, 3)]
                    for each in measured
                }
                trained.append(here | {"best": best, "rhos": rhos})
        tell(f"world {world + 1} of {design.worlds}")
    return {
        "design": asdict(design),
        "planted": in_words(Blocks().grouping),
        "proposals": proposals,
        "gains": gains,
        "trained": trained,
        "flops": flops,
    }


# ------------------------------------------------------------------------------------- in words


def share(count: int, of: int) -> str:
    """Return a count with its share and Wilson's 95 % interval, in percent."""
    low, high = stats.binomtest(count, of).proportion_ci(0.95, method="wilson")
    return f"{count} of {of} ({count / of:.0%}; {100 * low:.0f} to {100 * high:.0f})"


def mean_of(values: Sequence[float], digits: int) -> str:
    """Return a mean over worlds with its 95 % t interval."""
    found = paired(values)
    return f"{found.mean:+.{digits}f} [{found.low:+.{digits}f}, {found.high:+.{digits}f}]"


def _at(rows: Sequence[Mapping[str, Any]], **where: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if all(row[key] == wanted for key, wanted in where.items())]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def mixed(grouping: str) -> bool:
    """Return whether some network of a grouping in words has tasks of two blocks."""
    groups = grouping.strip("{}").split("} {")
    return any(len({task[0] for task in group.split(", ")}) > 1 for group in groups)


def verdict(rows: Sequence[Mapping[str, Any]], method: str, budget: str) -> str:
    """Return what a method does at a budget, in a few sentences."""
    counts = Counter(row["outcome"] for row in rows)
    others = [row["grouping"] for row in rows if row["outcome"] in OTHERS]
    said = f"`{method}`, {budget}: planted {share(counts[RIGHT], len(rows))}, "
    said += f"others {share(len(others), len(rows))}, "
    said += f"undecided {share(counts['undecided'], len(rows))}."
    if others:
        told = ", ".join(f"{each} {times}" for each, times in Counter(others).most_common())
        said += f" The others are {told}; tasks of two blocks share in {sum(map(mixed, others))}."
    if counts["undecided"] > len(rows) / 2:
        said += " It mostly does not decide."
    return said


def in_markdown(found: Mapping[str, Any]) -> str:
    """Return the page."""
    design, budgets = found["design"], list(found["design"]["steps"])
    methods = list(dict.fromkeys(row["method"] for row in found["proposals"]))
    steps = ", ".join(f"{name} {count} steps" for name, count in design["steps"].items())
    cells = [(budget, method) for budget in budgets for method in methods]

    def of(rows: str, budget: str, method: str) -> list[Mapping[str, Any]]:
        return _at(found[rows], budget=budget, method=method)

    lines = [
        "# Is the right grouping found?",
        "",
        "`python results/reference/groups/study.py RESULTS`",
        "",
        f"{design['worlds']} worlds of the data set `blocks`, in which {found['planted']} is "
        "planted: tasks of one block read the same features, tasks of two blocks have none in "
        f"common. Network `mlp`, 600 training images, affinities at {design['seeds']} seeds. "
        f"Budgets: {steps}. Intervals are of 95 %: of shares Wilson's, of means Student's over "
        "worlds. Of the 15 groupings of four tasks chance finds the planted one in 7 %.",
        "",
        "![What each method proposes, by budget](recovery.png)",
        "",
        "## What sharing does",
        "",
        "Gain of a task by sharing a network with one other, in percent of its own validation "
        "error, which has the noise of its labels in it.",
        "",
    ]
    rows = []
    for budget in budgets:
        gains, best = (_at(found[each], budget=budget) for each in ("gains", "trained"))
        ranked = Counter(row["best"] for row in best).most_common()
        rows.append(
            [
                budget,
                mean_of([row["within"] for row in gains], 1),
                mean_of([row["across"] for row in gains], 1),
                ", ".join(f"{grouping} in {times}" for grouping, times in ranked),
            ]
        )
    head = ["budget", "of one block", "of two blocks", "best as trained"]
    lines += _table(head, rows)
    lines += [
        "",
        f"The last column is by training every group of tasks, in {design['exhaustive']} worlds: "
        "the grouping with the highest total, and in how many worlds. Where sharing has not begun "
        "to pay, the planted grouping is not the best.",
        "",
        "## What is proposed",
        "",
        "`undecided`: fewer than 80 % of the draws of the seeds came to the grouping, or another "
        "number of networks may bring much more. The last column is the best grouping into two "
        "networks, stable or not.",
        "",
    ]
    rows = []
    for budget, method in cells:
        each = of("proposals", budget, method)
        counts = Counter(row["outcome"] for row in each)
        told = sum(row["in two"] == found["planted"] for row in each)
        rows.append(
            [
                budget,
                f"`{method}`",
                *(str(counts[word]) for word in OUTCOMES),
                share(told, len(each)),
            ]
        )
    lines += _table(
        ["budget", "affinities", *OUTCOMES, "planted, if told that there are two networks"], rows
    )
    lines += ["", *(f"- {verdict(of('proposals', *cell), cell[1], cell[0])}" for cell in cells)]
    lines += [
        "",
        "`higher-order` proposes what `pairs` proposes: its triples check pairs and choose "
        "nothing. `look-ahead` and `cosine` are read from the same joint runs. Both are no gains "
        "over a network of one's own, so their zero does not say where sharing begins to pay.",
        "",
        "## Do affinities predict what is trained?",
        "",
        "Spearman's ρ between what is predicted for the tasks of a group and what they gained. "
        f"Three of {design['seeds']} seeds predict and the others are what is predicted; the mean "
        f"of all such splits, over {design['exhaustive']} worlds.",
        "",
    ]
    rows = []
    for budget, method in cells:
        rhos = [row["rhos"][method] for row in _at(found["trained"], budget=budget)]
        columns = zip(*rhos, strict=True)
        rows.append([budget, f"`{method}`", *(mean_of(each, 2) for each in columns)])
    lines += _table(["budget", "affinities", "all 11 groups", "the 5 of three tasks or more"], rows)
    lines += [
        "",
        "## What it costs",
        "",
        f"Training FLOPs in one world, at {design['seeds']} seeds. Every group means that all 15 "
        "are trained.",
        "",
    ]
    rows = []
    for budget, costs in found["flops"].items():
        for what, amount in sorted(costs.items(), key=lambda each: each[1]):
            rows.append(
                [budget, what, f"{amount / 1e9:.2f} GFLOP", f"{amount / costs['every group']:.0%}"]
            )
    lines += _table(["budget", "affinities", "cost", "share of every group"], rows)
    return "\n".join(lines) + "\n"


def recovery(found: Mapping[str, Any]) -> "Figure":
    """Draw how often each method says what, a bar per budget and method."""
    from matplotlib.patches import Patch

    budgets = list(found["design"]["steps"])
    methods = list(dict.fromkeys(row["method"] for row in found["proposals"]))
    looks: dict[str, dict[str, Any]] = {
        word: {"facecolor": colour, "hatch": hatch, "edgecolor": INK, "linewidth": 0.6}
        for word, (colour, hatch) in OUTCOMES.items()
    }
    worlds = found["design"]["worlds"]
    with style():
        sheet = Sheet(
            7.6,
            0.5 * len(budgets) * len(methods) + 0.5,
            "Is the planted grouping found?",
            f"{worlds} worlds, {found['design']['seeds']} seeds each. Undecided: the draws of the "
            "seeds do not agree, or another number of networks may bring much more.",
            [(Patch(**look), word) for word, look in looks.items()],
        )
        axes = sheet.axes(1.9, 0.0, 5.5, 0.5 * len(budgets) * len(methods))
        labels: list[str] = []
        for budget in budgets:
            for method in methods:
                rows = _at(found["proposals"], budget=budget, method=method)
                counts, left = Counter(row["outcome"] for row in rows), 0
                for word, look in looks.items():
                    axes.barh(len(labels), counts[word], left=left, height=0.7, **look)
                    left += counts[word]
                labels.append(f"{method}, {budget} budget")
        axes.set_yticks(range(len(labels)), labels)
        axes.invert_yaxis()
        axes.set_xlim(0, worlds)
        axes.set_xlabel("worlds")
        return sheet.figure


def main(folder: Path, results: Path | None = None, design: Design | None = None) -> None:
    """Write the three files into a folder, from runs or from its `study.json`."""
    document = folder / "study.json"
    if results is not None:
        torch.set_num_threads(1)
        found = studied(results, design or Design(), lambda line: print(line, flush=True))
        document.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    found = json.loads(document.read_text("utf-8"))
    (folder / "study.md").write_text(in_markdown(found), "utf-8")
    with style():
        recovery(found).savefig(folder / "recovery.png")


if __name__ == "__main__":
    main(Path(__file__).parent, Path(sys.argv[1]) if sys.argv[1:] else None)

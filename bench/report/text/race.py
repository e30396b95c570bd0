"""The outcome of a race: who is left and is ahead, in sentences and as a table."""

from collections.abc import Mapping, Sequence

from bench.report.text.decision import listed
from bench.report.text.wording import MOST_NAMED, NOTHING, amount, chance, number
from bench.spec.budget import Budget
from bench.stats.comparison import RowResult
from bench.stats.ranking import rankings
from bench.store.records import Declaration, Leaver

COLUMNS = ("pair", "strategy", "left after", "behind the leader", "chance of the best mean")


def race_lines(declaration: Declaration, results: Sequence[RowResult]) -> list[str]:
    """Return a sentence or two for each pair of a race: who is left, and who is ahead.

    A strategy stays while it may win for any target, so the last one is ahead for all.
    """
    if not declaration.experiment.race:
        return []
    chances = {
        (ranking.pair, ranking.target): {r.strategy: r.probability_best for r in ranking.ranked}
        for ranking in rankings(results)
    }
    where = f"at {amount(Budget.parse(declaration.experiment.budget))}"
    lines, pairs, gone = list[str](), dict[str, list[RowResult]](), declaration.gone
    for row in results:
        pairs.setdefault(row.pair, []).append(row)
    for pair, own in pairs.items():
        running = [row for row in own if (pair, row.strategy) not in gone]
        most, began = running[0].planned, len({row.strategy for row in own})
        left = list(dict.fromkeys(row.strategy for row in running))
        if began == 1:
            continue
        if len(left) == 1:
            last = max(row.planned for row in own if row.strategy != left[0])
            lines.append(
                f"{left[0]} has the best mean of {began} strategies on {pair} {where}: all others "
                f"left the race, the last of them after {last} seeds."
            )
            continue
        names = listed(left) if len(left) <= MOST_NAMED else f"{len(left)} strategies"
        targets = dict.fromkeys(row.target for row in running)
        ahead = [_ahead([r for r in running if r.target == t], chances) for t in targets]
        after = f"{most} seeds" if most > 1 else "one seed"
        lines.append(
            f"Of {began} strategies {where}, {names} are left in the race of {pair} after {after}. "
            f"Ahead: {listed(ahead)}."
        )
    return lines


def _ahead(
    rows: Sequence[RowResult], chances: Mapping[tuple[str, str], Mapping[str, float]]
) -> str:
    """Return who has the best mean for the target of some rows."""
    target, scored = rows[0].target, [row for row in rows if row.scores]
    if not scored:
        return f"nobody for {target}"
    first = max(scored, key=lambda r: r.score_mean if r.higher_is_better else -r.score_mean)
    known = chances.get((first.pair, target), {}).get(first.strategy)
    sure = "" if known is None else f" (P(best) = {chance(known)})"
    return f"{first.strategy} for {target}{sure}"


def race_table(
    declaration: Declaration, results: Sequence[RowResult]
) -> list[tuple[str, str, str, str, str]]:
    """Return a line for each strategy that left a race, those that left last first."""
    units = {(row.pair, row.target): row.unit for row in results}
    left = [leaver for analysis in declaration.interim_analyses for leaver in analysis.left]
    return [
        (
            leaver.pair,
            leaver.strategy,
            f"{leaver.seeds} seeds" if leaver.seeds > 1 else "one seed",
            _behind(leaver, units),
            chance(leaver.chance),
        )
        for leaver in sorted(left, key=lambda each: (each.pair, -each.seeds, -each.chance))
    ]


def _behind(leaver: Leaver, units: dict[tuple[str, str], str]) -> str:
    """Return how far a strategy lay behind for each target, and behind whom."""
    parts = [
        f"{target}: {number(gap, units.get((leaver.pair, target), ''))} ({leaver.leader[target]})"
        for target, gap in leaver.behind.items()
    ]
    return ", ".join(parts) or NOTHING

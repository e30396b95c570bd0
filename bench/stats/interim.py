"""An experiment that goes on until it is decided: who gets more seeds. Pure functions.

Without a race these are pairs: all rows of one that has a row without a verdict. In a race they are
strategies: those that can still end best, and the last one while it has no verdict.
"""

import math
from collections.abc import Mapping, Sequence

from bench.stats.comparison import RowResult
from bench.stats.group_sequential import schedule, stage
from bench.stats.race import leavers
from bench.store.records import Declaration, InterimAnalysis, InterimRow, Leaver, Row

#: A strategy on a pair: what gets seeds together.
_Entry = tuple[str, str]


def opening(whole: Declaration) -> Declaration:
    """Return a declaration as it stands before its first analysis: all of it, unless it goes on."""
    if not whole.experiment.until_decided:
        return whole
    first = schedule(whole.experiment.seeds)[0]
    return _narrowed(whole, dict.fromkeys(map(_entry, whole.rows), first))


def analysed(declaration: Declaration, rows: Sequence[RowResult]) -> Declaration:
    """Return a declaration with an interim analysis added: the rows that have new seeds."""
    known = {
        _name(row): row.seeds for analysis in declaration.interim_analyses for row in analysis.rows
    }
    fresh = tuple(
        InterimRow(
            pair=row.pair,
            strategy=row.strategy,
            target=row.target,
            seeds=row.planned,
            bound=stage(declaration.experiment, row.planned).bound(),
            p={
                name: None if math.isnan(rival.result.p) else rival.result.p
                for name, rival in {**row.against, **row.references}.items()
            },
            pay_off=row.verdict.pay_off,
            transfer=row.verdict.transfer,
        )
        for row in rows
        if known.get(_name(row)) != row.planned
    )
    analysis = InterimAnalysis(rows=fresh, left=_left(declaration, rows))
    return declaration.model_copy(
        update={"interim_analyses": (*declaration.interim_analyses, analysis)}
    )


def _left(declaration: Declaration, rows: Sequence[RowResult]) -> tuple[Leaver, ...]:
    """Return who leaves the race of each pair now."""
    if not declaration.experiment.race:
        return ()
    planned, found = schedule(declaration.experiment.seeds), list[Leaver]()
    pairs, gone = dict[str, list[RowResult]](), declaration.gone
    for row in rows:
        pairs.setdefault(row.pair, []).append(row)
    for own in pairs.values():
        racing = [row for row in own if _entry(row) not in gone]
        if racing[0].planned < planned[-1]:
            began = len({row.strategy for row in own})
            found += leavers(racing, planned[-1], began, len(planned) - 1)
    return tuple(found)


def extended(
    whole: Declaration, declaration: Declaration, rows: Sequence[RowResult]
) -> Declaration | None:
    """Return a declaration with more seeds for whoever is to have them, see above.

    None where nobody is, or none of them has seeds left.
    """
    if not whole.experiment.until_decided:
        return None
    planned = schedule(whole.experiment.seeds)
    now = {_entry(row): len(row.seeds) for row in declaration.rows}
    undecided = {_entry(row) for row in rows if row.verdict.undecided}
    running = dict[str, set[_Entry]]()
    for entry in now.keys() - declaration.gone:
        running.setdefault(entry[0], set()).add(entry)
    open_ = set[_Entry]()
    for entries in running.values():
        racing = whole.experiment.race and len(entries) > 1
        if racing or entries & undecided:
            open_ |= entries
    then = {
        entry: planned[planned.index(seeds) + 1]
        if entry in open_ and seeds < planned[-1]
        else seeds
        for entry, seeds in now.items()
    }
    if then == now:
        return None
    return _narrowed(whole, then).model_copy(
        update={"interim_analyses": declaration.interim_analyses}
    )


def narrowed(whole: Declaration, seeds: int) -> Declaration:
    """Return a declaration of the first so many seeds."""
    experiment = whole.experiment.model_copy(update={"seeds": seeds})
    rows = _narrowed(whole, dict.fromkeys(map(_entry, whole.rows), seeds)).rows
    return whole.model_copy(update={"experiment": experiment, "rows": rows})


def _name(row: RowResult | InterimRow) -> tuple[str, str, str]:
    return row.pair, row.strategy, row.target


def _entry(row: RowResult | Row) -> _Entry:
    return row.pair, row.strategy


def _narrowed(whole: Declaration, seeds: Mapping[_Entry, int]) -> Declaration:
    """Return a declaration whose strategies have so many seeds on each pair."""
    rows = (row.model_copy(update={"seeds": row.seeds[: seeds[_entry(row)]]}) for row in whole.rows)
    return whole.model_copy(update={"rows": tuple(rows)})

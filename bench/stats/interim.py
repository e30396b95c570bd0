"""An experiment that goes on until it is decided: which pairs get more seeds. Pure functions."""

import math
from collections.abc import Mapping, Sequence

from bench.stats.comparison import RowResult
from bench.stats.group_sequential import schedule, stage
from bench.store.records import Declaration, InterimAnalysis, InterimRow


def opening(whole: Declaration) -> Declaration:
    """Return a declaration as it stands before its first analysis: all of it, unless it goes on."""
    if not whole.experiment.until_decided:
        return whole
    first = schedule(whole.experiment.seeds)[0]
    return _narrowed(whole, {row.pair: first for row in whole.rows})


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
    return declaration.model_copy(
        update={"interim_analyses": (*declaration.interim_analyses, InterimAnalysis(rows=fresh))}
    )


def extended(
    whole: Declaration, declaration: Declaration, rows: Sequence[RowResult]
) -> Declaration | None:
    """Return a declaration with more seeds for each pair that has a row without a verdict.

    None where there is no such pair, or none that has seeds left.
    """
    if not whole.experiment.until_decided:
        return None
    planned = schedule(whole.experiment.seeds)
    now = {row.pair: len(row.seeds) for row in declaration.rows}
    open_ = {row.pair for row in rows if row.verdict.undecided}
    then = {
        pair: planned[planned.index(seeds) + 1] if pair in open_ and seeds < planned[-1] else seeds
        for pair, seeds in now.items()
    }
    if then == now:
        return None
    return _narrowed(whole, then).model_copy(
        update={"interim_analyses": declaration.interim_analyses}
    )


def narrowed(whole: Declaration, seeds: int) -> Declaration:
    """Return a declaration of the first so many seeds."""
    experiment = whole.experiment.model_copy(update={"seeds": seeds})
    rows = _narrowed(whole, {row.pair: seeds for row in whole.rows}).rows
    return whole.model_copy(update={"experiment": experiment, "rows": rows})


def _name(row: RowResult | InterimRow) -> tuple[str, str, str]:
    return row.pair, row.strategy, row.target


def _narrowed(whole: Declaration, seeds: Mapping[str, int]) -> Declaration:
    """Return a declaration whose pairs have so many seeds."""
    rows = (row.model_copy(update={"seeds": row.seeds[: seeds[row.pair]]}) for row in whole.rows)
    return whole.model_copy(update={"rows": tuple(rows)})

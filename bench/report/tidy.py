"""The runs and curves of an experiment as tidy rows, and as a Parquet file.

A column has one type, whatever is in it: text, whole number, number, or true and false. What is
missing is None.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from bench.clean import printable
from bench.errors import readable
from bench.stats.gains import Lookup
from bench.store.records import Declaration, Record

#: A column's type, by the name that pandas has for it.
Type = Literal["string", "Int64", "float64", "boolean"]
TEXT: Type = "string"
INT: Type = "Int64"
FLOAT: Type = "float64"
BOOL: Type = "boolean"
Columns = Mapping[str, Type]

#: What says which run a row is of.
_RUN: Columns = {
    "run": TEXT,
    "pair": TEXT,
    "strategy": TEXT,
    "width": FLOAT,
    "seed": INT,
}
#: A row for each run, target and metric.
RUN_COLUMNS: Columns = {
    "experiment": TEXT,
    **_RUN,
    "network": TEXT,
    "device": TEXT,
    "status": TEXT,
    "reason": TEXT,
    "budget": TEXT,
    "steps": INT,
    "flops": FLOAT,
    "device_seconds": FLOAT,
    "wall_seconds": FLOAT,
    "parameters": INT,
    "peak_bytes": INT,
    "target": TEXT,
    "metric": TEXT,
    "unit": TEXT,
    "higher_is_better": BOOL,
    "primary": BOOL,
    "score": FLOAT,
    "floor": FLOAT,
}
#: A row for each run, target and point of its curve.
CURVE_COLUMNS: Columns = {
    "experiment": TEXT,
    **_RUN,
    "target": TEXT,
    "step": INT,
    "flops": FLOAT,
    "score": FLOAT,
    "loss": FLOAT,
    "weight": FLOAT,
}


def cleaned(columns: Columns, rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values of each column. Texts are without control characters."""
    values: dict[str, list[Any]] = {name: [] for name in columns}
    texts: dict[str, str] = {}  # most occur in many rows
    for row in rows:
        for name, column in values.items():
            value = row.get(name)
            if isinstance(value, str):
                if value not in texts:
                    texts[value] = printable(readable(value))
                value = texts[value]
            column.append(value)
    return values


def _runs(declaration: Declaration, find: Lookup) -> list[Record]:
    """Return the records that the rows read, in an order that is that of no hash."""
    found = filter(None, map(find, declaration.keys))
    return sorted(found, key=lambda run: (run.spec.label, run.spec.budget, run.spec.seed, run.key))


def _of(declaration: Declaration, run: Record) -> dict[str, Any]:
    spec = run.spec
    return {
        "experiment": declaration.experiment.name,
        "run": run.key,
        "pair": f"{spec.dataset}:{'+'.join(spec.tasks)}",
        "strategy": spec.strategy,
        "width": spec.width,
        "seed": spec.seed,
    }


def run_rows(declaration: Declaration, find: Lookup) -> Iterator[dict[str, Any]]:
    """Yield a row for each run, target and metric. A run without scores has a row a target."""
    for run in _runs(declaration, find):
        yield from _scores(_facts(declaration, run), run)


def _facts(declaration: Declaration, run: Record) -> dict[str, Any]:
    spec, ledger = run.spec, run.ledger
    used = ledger.used if ledger else {}
    steps = used.get("steps")
    return {
        **_of(declaration, run),
        "network": spec.recipe.network,
        "device": spec.device,
        "status": run.status,
        "reason": run.reason,
        "budget": spec.budget,
        "steps": None if steps is None else round(steps),
        "flops": used.get("flop"),
        "device_seconds": used.get("s"),
        "wall_seconds": run.seconds,
        "parameters": ledger.parameters if ledger else None,
        "peak_bytes": max(price.peak_bytes for price in ledger.prices) if ledger else None,
    }


def _scores(facts: Mapping[str, Any], run: Record) -> Iterator[dict[str, Any]]:
    for target in run.spec.scored:
        metrics = run.scores.get(target, {})
        for metric, score in metrics.items():
            yield {
                **facts,
                "target": target,
                "metric": metric,
                "unit": score.unit,
                "higher_is_better": score.higher_is_better,
                "primary": score.primary,
                "score": score.value,
                "floor": score.floor,
            }
        if not metrics:
            yield {**facts, "target": target}


def curve_rows(declaration: Declaration, find: Lookup) -> Iterator[dict[str, Any]]:
    """Yield a row for each run, target and point of its curve, on the validation split."""
    for run in _runs(declaration, find):
        facts = _of(declaration, run)
        for point in run.curve:
            flops = run.ledger.allotted("flop", point.step) if run.ledger else None
            for target, score in point.scores.items():
                yield {
                    **facts,
                    "target": target,
                    "step": point.step,
                    "flops": flops,
                    "score": score,
                    "loss": point.losses.get(target),
                    "weight": point.weights.get(target),
                }


def runs_parquet(declaration: Declaration, find: Lookup) -> bytes | None:
    """Return the runs as a Parquet file, whose bytes repeat; None where pyarrow is missing."""
    try:
        import pyarrow
        from pyarrow.parquet import write_table
    except ImportError:
        return None
    types = {
        TEXT: pyarrow.string(),
        INT: pyarrow.int64(),
        FLOAT: pyarrow.float64(),
        BOOL: pyarrow.bool_(),
    }
    values = cleaned(RUN_COLUMNS, run_rows(declaration, find))
    arrays = {name: pyarrow.array(values[name], types[kind]) for name, kind in RUN_COLUMNS.items()}
    buffer = io.BytesIO()
    write_table(pyarrow.table(arrays), buffer)
    return buffer.getvalue()

"""Tidy rows as pandas frames and as HTML. pandas is imported where a frame is asked for."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from bench.clean import printable
from bench.errors import missing_package
from bench.report.tidy import BOOL, FLOAT, INT, TEXT, Columns, cleaned

if TYPE_CHECKING:
    import pandas as pd

#: The columns of `Report.gains`, which are those of `table.csv`: a row for each row and anchor.
GAIN_COLUMNS: Columns = {
    "experiment": TEXT,
    "pair": TEXT,
    "strategy": TEXT,
    "target": TEXT,
    "expected": TEXT,
    "anchor": TEXT,
    "anchor_strategy": TEXT,
    "anchor_width": FLOAT,
    "anchor_parameters": INT,
    "metric": TEXT,
    "unit": TEXT,
    "seeds": INT,
    "score_mean_units": FLOAT,
    "score_sd_units": FLOAT,
    "anchor_mean_units": FLOAT,
    "floor_units": FLOAT,
    "gain_mean_points": FLOAT,
    "gain_sd_points": FLOAT,
    "gain_low95_points": FLOAT,
    "gain_high95_points": FLOAT,
    "relative_gain_percent": FLOAT,
    "p_t": FLOAT,
    "p_sign_flip": FLOAT,
    "p_holm": FLOAT,
    "p_equivalence": FLOAT,
    "p_equivalence_holm": FLOAT,
    "minimum_detectable_gain_points": FLOAT,
    "minimum_detectable_gain_in_family_points": FLOAT,
    "population_low95_points": FLOAT,
    "population_high95_points": FLOAT,
    "steps": INT,
    "parameters": INT,
    "collapsed_runs": INT,
    "failed_runs": INT,
    "audit_passed": BOOL,
    "audit_deviation_percent": FLOAT,
    "row_verdict": TEXT,
    "row_sentence": TEXT,
    "reasons": TEXT,
}


def data_frame(columns: Columns, rows: Iterable[Mapping[str, Any]]) -> "pd.DataFrame":
    """Return rows as a frame whose columns have these types, also if there is no row.

    Raises `UserError` without pandas.
    """
    try:
        import pandas as pd
    except ImportError:
        raise missing_package("a frame", "pandas") from None
    values = cleaned(columns, rows)
    return pd.DataFrame(
        {name: pd.Series(values[name], dtype=kind) for name, kind in columns.items()}
    )


def html_table(
    title: str, columns: Iterable[str], rows: Sequence[Mapping[str, Any]], lines: Sequence[str] = ()
) -> str:
    """Return a title, some lines and a table as HTML, in which nothing is markup."""

    def cell(value: Any) -> str:
        text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
        return escape(printable(text))

    head = "".join(f"<th>{cell(name)}</th>" for name in columns)
    body = "".join(
        f"<tr>{''.join(f'<td>{cell(row.get(name))}</td>' for name in columns)}</tr>" for row in rows
    )
    told = "".join(f"<p>{cell(line)}</p>" for line in lines)
    return (
        f"<div><strong>{cell(title)}</strong>{told}"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )

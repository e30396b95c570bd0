"""The measurements as files: Markdown, JSON, one plot per table, the machine and the versions."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

from bench.clean import json_text, printable
from bench.files import write_files
from bench.speed.tables import Table
from bench.store.provenance import provenance


def circumstances(command: str, cores: int, left_out: Sequence[str] = ()) -> dict[str, str]:
    """Return where, when and with which software it was measured.

    `left_out` are precisions that were not, as the processor has no instructions for them.
    """
    made = dict(provenance("cpu"))
    memory = psutil.virtual_memory().total / 2**30
    return {
        "command": command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": f"{cores}, {memory:.0f} GiB of memory",
        "load before": f"{psutil.getloadavg()[0]:.1f}",
        **made,
        **dict.fromkeys(left_out, "not measured: the processor has no instructions for it"),
    }


def document(tables: Sequence[Table], where: Mapping[str, str]) -> dict[str, object]:
    """Return the measurements as JSON-able data."""
    return {"made": dict(where), "tables": [table.document() for table in tables]}


def show(tables: Sequence[Table], out: Console) -> None:
    """Print the tables on a console."""
    for table in tables:
        lines = [[cell.replace("**", "") for cell in cells] for cells in table.cells()]
        drawn = RichTable(
            title=table.title, box=box.SIMPLE_HEAD, title_justify="left", padding=0, pad_edge=False
        )
        for i, column in enumerate(table.columns):
            texts = [column.heading, *(line[i] for line in lines)]
            # A narrow terminal breaks texts at spaces, not words.
            least = max(len(word) for text in texts for word in text.split())
            drawn.add_column(column.heading, min_width=least, overflow="fold")
        for line in lines:
            drawn.add_row(*line)
        out.print(drawn)
        for note in table.notes:
            out.print(note, soft_wrap=False)


def write(tables: Sequence[Table], where: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """Write the report and return its files by name.

    Raises `UserError` where the folder cannot be written.
    """
    from bench.report.plots.canvas import picture, style
    from bench.speed.plots import PLOTS

    contents = {"speed.json": json_text(document(tables, where)).encode()}
    parts = ["# Speed, measured side by side"]
    parts.append("\n".join(f"- {key}: {printable(value)}" for key, value in where.items()))
    for table in tables:
        parts.append(table.markdown())
        if draw := PLOTS.get(table.name):
            with style():
                pictures = picture(draw(table))
            contents |= {f"{table.name}.{suffix}": data for suffix, data in pictures.items()}
            parts.append(f"![{table.title}]({table.name}.png)")
    contents["speed.md"] = ("\n\n".join(parts) + "\n").encode()
    return write_files(folder, contents)

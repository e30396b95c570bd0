"""Table 5: a whole command's work besides training steps, from its records and its wall time."""

from bench.speed.settings import Settings
from bench.speed.tables import Column, Table, met, number, percent
from bench.speed.whole import WholeRun
from bench.store.store import Store


def overhead(settings: Settings, cores: int, run: WholeRun, called: str) -> Table:
    """Measure a command, and the same command again once all its runs are finished."""
    wall, again = run.seconds, run.seconds_again
    records = list(Store(run.results, read_only=True).records())
    ledgers = [record.ledger for record in records if record.ledger]
    steps = sum(ledger.used["s"] for ledger in ledgers)
    evaluation = sum(ledger.evaluation_seconds for ledger in ledgers)
    runs = sum(record.seconds for record in records)
    parts = {
        "training steps": steps,
        "evaluation, looks at gradients": evaluation,
        "data, network and audit of each run": runs - steps - evaluation,
        "start, planning, report": cores * again,
        "start of workers, records, waiting": cores * (wall - again) - runs,
    }
    share = 1 - steps / (cores * wall)
    rows: list[dict[str, object]] = [
        {"part": name, "seconds": seconds, "share": seconds / (cores * wall)}
        for name, seconds in parts.items()
    ]
    rows.append(
        {"part": "**all but training steps**", "seconds": cores * wall - steps, "share": share}
        | {"goal": settings.overhead_goal, "met": share <= settings.overhead_goal}
    )
    return Table(
        "overhead",
        "5. Overhead of a whole command",
        [
            Column("part", "part"),
            Column("seconds", "core-seconds", number),
            Column("share", "share", percent),
            Column("goal", "at most", percent),
            Column("met", "met", met),
        ],
        rows,
        (
            f"{called} with no result yet: {len(records)} runs in {wall:.1f} s on {cores} workers, "
            f"which is {cores} × {wall:.1f} core-seconds. Start, planning and report are the wall "
            "time of the same command when all runs are finished, "
            f"{again:.1f} s; all cores count in it, though most of them idle. Steps are in process "
            "time, so other work on the machine makes their share too small.",
        ),
    )

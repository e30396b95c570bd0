"""Carries out the commands that train, and shows what comes of it."""

from bench.api.carry_out import carried_out, planned
from bench.api.preview import plan_json
from bench.api.weights import save_weights as save
from bench.api.within import Deadline
from bench.cli.console import show_json
from bench.cli.dry_run import show_plan
from bench.cli.report import report_experiment
from bench.cli.session import Session
from bench.errors import EXIT_OK, EXIT_RUNS_FAILED, note
from bench.launch import WorkerPool
from bench.spec.experiment import Experiment
from bench.store.store import Store


def run_experiment(
    experiment: Experiment,
    session: Session,
    pool: WorkerPool,
    *,
    dry_run: bool = False,
    fresh: bool = False,
    as_json: bool = False,
    deadline: Deadline | None = None,
    save_weights: bool = False,
) -> int:
    """Run an experiment at each of its levels and show the report of the largest.

    With a `deadline` the clock decides how many seeds there are in the end. With `save_weights` the
    networks that it recommends are kept. Returns the exit code of the command.
    """
    if dry_run:
        return _show_plans(experiment, session, pool, fresh, as_json)
    store, code = Store(session.results), EXIT_OK
    for level in carried_out(experiment, session, pool, fresh=fresh, deadline=deadline):
        lost = EXIT_RUNS_FAILED if level.lost else EXIT_OK
        shown = report_experiment(
            store, level.declaration, level.records, as_json, shown=level.last
        )
        code = max(code, lost, shown)
        if save_weights and level.last:
            tell = note if as_json else print
            whole = save(store, level.declaration, level.records, session, pool, tell, fresh=fresh)
            code = max(code, EXIT_OK if whole else EXIT_RUNS_FAILED)
    return code


def _show_plans(
    experiment: Experiment, session: Session, pool: WorkerPool, fresh: bool, as_json: bool
) -> int:
    """Show the plan at each level."""
    levels = planned(experiment, session, pool, fresh=fresh)
    if as_json:
        show_json(plan_json(levels))
    else:
        for level in levels:
            show_plan(level)
    return EXIT_OK

"""From what was asked to an experiment that is ready to run. Heavy modules load when needed."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.api.session import Session
from bench.spec.experiment import Asked, Experiment, asked_for, free_fields
from bench.spec.names import check_names

if TYPE_CHECKING:
    from bench.api.within import Deadline
    from bench.launch import WorkerPool


def checked(
    experiment: Asked, overrides: Mapping[str, Any], session: Session, times: int = 1
) -> Experiment:
    """Return the experiment that is meant, with its flags laid over it, which runs `times`.

    Every name in it is looked up in the sources of the plugins, before any of them is imported.
    Raises `UserError`.
    """
    asked = asked_for(Experiment, experiment, overrides)
    session.agree(asked, times)
    check_names(asked, session.launcher)
    return asked


def pool_beside(experiment: Experiment, session: Session, dry_run: bool) -> "WorkerPool":
    """Return a pool whose workers load torch while this process does; see `early_pool`.

    Whether a launcher that is named needs worker processes is known only once torch is loaded.
    """
    if session.launcher is None and session.worker_count != 0:
        from bench import fork_server

        fork_server.start()
    from bench.api.batch import early_pool

    return early_pool(experiment, session, dry_run)


@contextmanager
def prepared(
    experiment: Asked,
    overrides: Mapping[str, Any],
    session: Session,
    within: str | None = None,
    *,
    fresh: bool = False,
    dry_run: bool = False,
    weights: bool = False,
) -> Iterator[tuple[Experiment, "Deadline | None", "WorkerPool"]]:
    """Choose what a user has not said. Yield what runs, its deadline if any, and where it runs.

    The workers live as long as the block. Raises `UserError`; what can be refused at once is.
    """
    asked = checked(experiment, overrides, session)
    free = free_fields(experiment, overrides)
    deadline = None
    if within is not None:
        from bench.api.within import check_within

        # What the time decides is not chosen by a rule.
        deadline, free = check_within(asked, overrides, within), free - {"budget", "seeds"}
    if weights:
        from bench.weights.file import check_package

        check_package()

    with pool_beside(asked, session, dry_run) as pool:
        # It takes a second, and so does the start of the pool's first worker.
        from bench.api.configure import configure
        from bench.api.within import plan_within
        from bench.store.provenance import forget_sources

        forget_sources()  # in a notebook files are edited between two calls
        if free:
            asked = configure(asked, free, session, pool)
        if deadline is not None:
            asked, deadline = plan_within(
                asked, overrides.get("seeds"), deadline, session, pool, fresh=fresh, dry_run=dry_run
            )
        yield asked, deadline, pool

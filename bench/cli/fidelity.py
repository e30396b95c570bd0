"""Carries out `fidelity`: an experiment in both precisions, and what the reduced one changes."""

from bench.api.batch import early_pool
from bench.cli.console import console
from bench.cli.run import run_experiment
from bench.cli.session import Session
from bench.errors import EXIT_OK, UserError
from bench.files import write_atomically
from bench.report import fidelity_markdown, fidelity_table
from bench.spec.budget import Budget
from bench.spec.experiment import Experiment
from bench.stats.fidelity import fidelity
from bench.store.store import Store


def check_fidelity(experiment: Experiment, session: Session) -> int:
    """Run an experiment in both precisions and show what the reduced one changes.

    Returns the exit code of the command. The budget buys both the same steps.
    Raises `UserError` for a budget in seconds, which does not, and for an experiment that is tuned,
    since each precision would choose for itself.
    """
    if experiment.tune:
        raise UserError(
            "fidelity compares equal runs, and tuning may choose others in each precision: take "
            f"tune = {experiment.tune} out of the experiment"
        )
    if Budget.parse(experiment.budget).axis == "s":
        raise UserError(
            "fidelity compares equal steps, and seconds buy each precision others: give --budget "
            "in flop, steps or samples"
        )
    # Of several levels the largest answers.
    alone = experiment.model_copy(update={"smaller_budgets": (), "smaller_train_sizes": ()})
    whole = alone.model_copy(update={"precision": "fp32"})
    reduced = alone.model_copy(update={"precision": "bf16", "name": f"{experiment.name}-bf16"})
    code = EXIT_OK
    with early_pool(whole, session) as pool:
        for asked in (whole, reduced):
            code = max(code, run_experiment(asked, session, pool))
    store = Store(session.results, read_only=True)
    sides = [store.experiment(asked.name) for asked in (whole, reduced)]
    readers = [store.reader(side) for side in sides]
    rows = fidelity(sides[0], sides[1], lambda key: readers[0](key) or readers[1](key))
    path = store.root / "reports" / reduced.name / "fidelity.md"
    write_atomically(path, fidelity_markdown(rows).encode())
    console().print(fidelity_table(rows))
    print(f"the table is {path}")
    return code

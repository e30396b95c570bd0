"""The command line. Heavy modules load inside the commands, so that `--help` is quick.

What a command finds goes to standard output; progress, warnings and errors go to standard error.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from bench import __version__, plugin_folders
from bench.api.prepare import checked, prepared
from bench.clean import CleanStream
from bench.cli.interrupts import STOPPED
from bench.cli.messages import shown
from bench.cli.options import EVERY, GROUPS, Command, ExperimentName, takes
from bench.cli.session import Results, Root, Session
from bench.errors import (
    EXIT_DEFECT,
    EXIT_INTERRUPTED,
    EXIT_INVALID,
    EXIT_OK,
    EXIT_USAGE,
    OUTSIDE,
    UserError,
    note,
    say,
    shortened,
)
from bench.spec.experiment import load_experiment
from bench.spec.grouping import GroupExperiment
from bench.spec.limits import MOST

app = typer.Typer(
    name="bench",
    help="Does sharing help these two vision tasks, at this compute budget? "
    "Trains single-task, shared and auxiliary variants under one budget and tabulates the gains.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"bench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


Margin = Annotated[
    float | None,
    typer.Option(
        help="What may be lost, in points; the experiment's margin if not given.", metavar="X"
    ),
]
OnInconclusive = Annotated[
    Literal["warn", "fail"],
    typer.Option(help="Whether checks that are not decided exit with 3 (fail) or 0 (warn)."),
]
Junit = Annotated[
    Path | None, typer.Option("--junit", help="Write the findings as JUnit XML.", metavar="FILE")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Train again what is finished already.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


_VERBOSITY = ("quiet", "verbose")
_DATA = ("results", "root", "download", "skip_bad_images", "resident")
_RUNS = ("workers", "launcher", "yes", *_VERBOSITY)


def command(
    example: str, name: str | None = None, of: typer.Typer = app
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a command whose `--help` shows its options in groups and ends in an example."""
    add = of.command(name, cls=Command, epilog=f"Example: python -m bench {example}")
    return lambda function: add(_unexited(function))


def _unexited(function: Callable[..., None]) -> Callable[..., None]:
    """Return a command that no `sys.exit` of foreign code ends, with 0 for example.

    Commands themselves end by `typer.Exit`.
    """

    @functools.wraps(function)
    def call(*arguments: Any, **values: Any) -> None:
        try:
            function(*arguments, **values)
        except KeyboardInterrupt as error:
            say(str(error) or STOPPED)
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except SystemExit as error:
            raise RuntimeError(f"code of a plugin called sys.exit({error.code!r})") from error

    return call


Within = Annotated[
    str | None,
    typer.Option(
        help="Plan seeds and budget so that all ends in about this time, such as 30m or 2h.",
        metavar="TIME",
        rich_help_panel="Experiment",
    ),
]


@command("run -p creatures:species+kin -s hard -s hard+pcgrad --seeds 8")
@takes(*EVERY, session=(*_DATA, *_RUNS))
def run(
    overrides: Mapping[str, Any],
    session: Session,
    experiment: ExperimentName = "default",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print runs, prices, steps and time, and stop.")
    ] = False,
    fresh: Fresh = False,
    within: Within = None,
    save_weights: Annotated[
        bool,
        typer.Option(
            "--save-weights", help="Keep the networks that are recommended, for use elsewhere."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Train what is missing of an experiment, then show its table and plots.

    Run the same command again to go on after an interruption: finished runs are kept. What is not
    said of your own images is chosen from them, as `plan` shows.
    """
    raise typer.Exit(
        _train(
            experiment,
            overrides,
            session,
            within,
            dry_run=dry_run,
            fresh=fresh,
            as_json=as_json,
            save_weights=save_weights,
        )
    )


def _train(
    experiment: str,
    overrides: Mapping[str, Any],
    session: Session,
    within: str | None,
    *,
    dry_run: bool = False,
    fresh: bool = False,
    as_json: bool = False,
    save_weights: bool = False,
    leaves: bool = False,
) -> int:
    """Choose what a user has not said, and carry the experiment out; return the exit code.

    All settings are left in a file, if it `leaves` one.
    """
    with prepared(
        experiment, overrides, session, within, fresh=fresh, dry_run=dry_run, weights=save_weights
    ) as (asked, deadline, pool):
        from bench.api.configure import leave
        from bench.cli.run import run_experiment

        code = run_experiment(
            asked,
            session,
            pool,
            dry_run=dry_run,
            fresh=fresh,
            as_json=as_json,
            deadline=deadline,
            save_weights=save_weights,
        )
        if leaves:
            leave(asked, session.results)
    return code


@command("plan photos/labels.csv")
@takes(*EVERY, session=(*_DATA, *_RUNS))
def plan(
    overrides: Mapping[str, Any],
    session: Session,
    experiment: ExperimentName = "default",
    within: Within = None,
    as_json: Json = False,
) -> None:
    """Show what `run` would do, and leave it as an experiment file. Nothing is trained.

    For your own images it says how every setting follows from them.
    """
    raise typer.Exit(
        _train(experiment, overrides, session, within, dry_run=True, as_json=as_json, leaves=True)
    )


@command("group -p labels.csv:species+coat+sex+age --at-most-networks 2")
@takes(*GROUPS, session=(*_DATA, *_RUNS), of=GroupExperiment)
def group(
    overrides: Mapping[str, Any],
    session: Session,
    experiment: ExperimentName = "default",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print networks, runs, prices and time, and stop.")
    ] = False,
    fresh: Fresh = False,
    within: Within = None,
    as_json: Json = False,
) -> None:
    """Say which of several tasks should share a network, and verify it at fresh seeds.

    Affinities of the tasks propose a grouping. It is compared with one network for all tasks and
    with networks of their own, at one total training budget. Run the same command again to go on.
    """
    from bench.api.groups import group_prepared

    with group_prepared(
        experiment, overrides, session, within, fresh=fresh, dry_run=dry_run
    ) as ready:
        from bench.cli.group import group_experiment

        code = group_experiment(ready, dry_run=dry_run, as_json=as_json)
    raise typer.Exit(code)


@command("status")
def status(results: Results = Path("results"), as_json: Json = False) -> None:
    """Show the jobs that a cluster has for a results folder: what runs where."""
    from bench.cli.jobs import show_jobs

    show_jobs(results, as_json)


@command("cancel")
def cancel(results: Results = Path("results")) -> None:
    """End all jobs that a cluster has for a results folder. What is finished is kept."""
    from bench.cli.jobs import end_jobs

    end_jobs(results)


@command("fidelity -p creatures:species+kin -s hard --seeds 8")
@takes("pair", "strategy", "seeds", "budget", session=("results", "root", *_RUNS))
def fidelity(
    overrides: Mapping[str, Any], session: Session, experiment: ExperimentName = "default"
) -> None:
    """Run an experiment in fp32 and in bf16, and compare their gains."""
    asked = checked(experiment, overrides, session, times=2)

    from bench.cli.fidelity import check_fidelity

    raise typer.Exit(check_fidelity(asked, session))


@command("report default")
def report(
    name: Annotated[
        str | None,
        typer.Argument(help="One experiment of the folder; all if none is named.", metavar="NAME"),
    ] = None,
    results: Results = Path("results"),
    opens: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    as_json: Json = False,
) -> None:
    """Make the tables and plots of finished experiments again, from their records."""
    from bench.cli.report import report_all

    raise typer.Exit(report_all(results, name, as_json, opens))


@command("export default --to csv")
def export(
    name: Annotated[str, typer.Argument(help="An experiment of the folder.", metavar="NAME")],
    to: Annotated[
        str, typer.Option(help="An exporter, as `list exporters` names it.", metavar="EXPORTER")
    ],
    results: Results = Path("results"),
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write to DIR/NAME/EXPORTER; beside the report if not given.", metavar="DIR"
        ),
    ] = None,
) -> None:
    """Write a finished experiment for another program: a tracker, a paper or a spreadsheet.

    Nothing is sent anywhere. An earlier export in the same place is replaced.
    """
    from bench.spec.names import check_exporter

    check_exporter(to)  # before torch loads

    from bench.cli.export import export

    raise typer.Exit(export(results, name, to, out))


@command("power --detect 2")
def power(
    results: Results = Path("results"),
    name: Annotated[
        str | None,
        typer.Option(help="One experiment of the folder; all if none is named.", metavar="NAME"),
    ] = None,
    detect: Annotated[
        float,
        typer.Option(help="The true gain to find, in points.", min=1e-9, max=MOST, metavar="X"),
    ] = 1.0,
    sd: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of paired gains, in place of that of a folder.",
            min=1e-9,
            max=MOST,
            metavar="X",
        ),
    ] = None,
    rows: Annotated[
        int,
        typer.Option(
            help="With --sd: rows compared with one anchor.", min=1, max=MOST, metavar="N"
        ),
    ] = 1,
    as_json: Json = False,
) -> None:
    """Say how many seeds, and hours of device time, would find a gain of a given size."""
    from bench.cli import power as planning

    if sd is not None:
        planning.power_of(sd, rows, detect, as_json)
    else:
        planning.power(results, name, detect, as_json)


@command("calibrate -p creatures:species --seeds 200", "calibrate")
@takes("seeds", "budget", session=("results", "root", *_RUNS))
def calibrate_(
    overrides: Mapping[str, Any],
    session: Session,
    experiment: Annotated[
        str,
        typer.Argument(
            help="An A/A experiment: one task, one strategy without a true gain.",
            metavar="EXPERIMENT",
        ),
    ] = "calibration",
    pair: Annotated[
        str | None,
        typer.Option("-p", "--pair", help="DATASET:TASK, to try your own data.", metavar="PAIR"),
    ] = None,
    group: Annotated[
        int, typer.Option(help="Seeds of one comparison.", min=1, max=MOST, metavar="N")
    ] = 10,
    as_json: Json = False,
) -> None:
    """Measure how often a difference is found where there is none, and where one is planted.

    Trains single-task networks against themselves (A/A), and judges groups of seeds as tables are.
    """
    asked = load_experiment(experiment, overrides)
    if pair is not None:
        asked = asked.model_copy(update={"pair": (pair,), "description": ""})
    session.agree(asked)

    from bench.cli.calibrate import calibrate

    calibrate(asked, session, group=group, as_json=as_json)


@command("list pairs creatures", "list")
def list_(
    what: Annotated[
        Literal[
            "pairs", "datasets", "strategies", "networks", "experiments", "launchers", "exporters"
        ],
        typer.Argument(
            help="pairs, datasets, strategies, networks, experiments, launchers or exporters.",
            metavar="WHAT",
        ),
    ],
    containing: Annotated[
        str | None, typer.Argument(help="Show only entries with this text.", metavar="TEXT")
    ] = None,
    as_json: Json = False,
) -> None:
    """List what can be run."""
    from bench.cli.list import filtered, listing, show

    rows, broken = listing(what)
    show(what, filtered(what, rows, containing), as_json)
    for module, reason in broken.items():
        say(f"broken plugin {module}: {reason}")


@command("new strategy my-method --component aggregation")
def new(
    what: Annotated[
        Literal["strategy", "network", "dataset"],
        typer.Argument(help="What to begin: strategy, network or dataset.", metavar="WHAT"),
    ],
    name: Annotated[str, typer.Argument(help="Its name, as users will type it.", metavar="NAME")],
    component: Annotated[
        Literal["sharing", "weighting", "aggregation", "schedule", "auxiliary"] | None,
        typer.Option(help="Component of a strategy to begin; weighting if not given."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Folder of plugins; else the first that BENCH_PLUGINS names, else the checkout.",
            metavar="DIR",
        ),
    ] = None,
) -> None:
    """Begin a plugin: write a commented file that passes `validate` as it stands."""
    from bench.cli.new import begin, next_steps

    path = begin(what, name, component, folder)
    print(f"wrote {path}")
    for line in next_steps(what, name, path).split("\n"):
        say(line)


@command("validate pcgrad")
def validate(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Components, networks or data sets, knobs allowed; all if none is named.",
            metavar="NAME",
        ),
    ] = None,
    root: Root = None,
    limit: Annotated[
        float,
        typer.Option(help="End a check that takes longer, as one that hangs.", min=1, metavar="S"),
    ] = 600,
    as_json: Json = False,
) -> None:
    """Check plugins against the contract and explain how to fix failures.

    Without --root, data sets of files are skipped.
    """
    from bench.cli.list import show_validation
    from bench.contracts import DataSource
    from bench.launch import WorkerPool
    from bench.validation import PluginReport, selected, validate

    reports: list[PluginReport] = []
    with WorkerPool(f"processes@pricing={limit:g}") as pool:
        pool.begin_answering()
        for number, name in enumerate(chosen := selected(names or []), 1):
            note(f"{number} of {len(chosen)}: {name}")
            reports += validate(name, DataSource(root), pool.ask)
    show_validation(reports, as_json)
    raise typer.Exit(EXIT_INVALID if any(r.failed for r in reports) else EXIT_OK)


@command("check --baseline main")
@takes(session=("results", "root", *_VERBOSITY))
def check(
    session: Session,
    baseline: Annotated[
        str,
        typer.Option(help="A file, or a name as `baseline show` lists it.", metavar="NAME|FILE"),
    ],
    margin: Margin = None,
    on_inconclusive: OnInconclusive = "fail",
    time: Annotated[
        Literal["off", "advise", "gate"],
        typer.Option(help="Time a step of each network: not at all, to tell, or to fail."),
    ] = "advise",
    junit: Junit = None,
    as_json: Json = False,
) -> None:
    """Compare the runs of an experiment with a baseline; the exit code is the result.

    0 pass, 1 regression, 2 wrong usage, 3 inconclusive, 4 runs failed, 5 no baseline, or one of
    something else.
    """
    from bench.cli.check import Options, check_results

    options = Options(margin, on_inconclusive == "fail", time, junit, as_json)
    raise typer.Exit(check_results(baseline, session, options))


@command("compare main HEAD")
def compare(
    a: Annotated[
        str, typer.Argument(help="Results folder, baseline (.json) or git revision.", metavar="A")
    ],
    b: Annotated[str, typer.Argument(help="What is compared with it.", metavar="B")],
    experiment: Annotated[
        str | None, typer.Option(help="Which experiment, if there are several.", metavar="NAME")
    ] = None,
    results: Results = Path("results"),
    margin: Margin = None,
    on_inconclusive: OnInconclusive = "fail",
    junit: Junit = None,
    as_json: Json = False,
) -> None:
    """Compare the runs of two versions, with the statistics and exit codes of `check`."""
    from bench.cli.check import Options, compare

    options = Options(margin, on_inconclusive == "fail", "off", junit, as_json)
    raise typer.Exit(compare(a, b, experiment, results, options))


baselines = typer.Typer(
    help="Make and show baselines, which `check` compares runs with.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(baselines, name="baseline")


@command("baseline set main --experiment default", "set", baselines)
@takes(session=("results", "root", *_VERBOSITY))
def baseline_set(
    session: Session,
    name: Annotated[
        str, typer.Argument(help="The baseline: results/baselines/NAME.json.", metavar="NAME")
    ],
    experiment: Annotated[
        str | None, typer.Option(help="The experiment, if it has another name.", metavar="NAME")
    ] = None,
    time: Annotated[bool, typer.Option(help="Time a step of each network too.")] = True,
) -> None:
    """Write the finished runs of an experiment as a baseline. Commit the file."""
    from bench.cli.check import set_baseline

    print(f"wrote {set_baseline(name, experiment or name, session, time)}")


@command("baseline show", "show", baselines)
def baseline_show(
    name: Annotated[
        str | None, typer.Argument(help="One baseline; all if none is named.", metavar="NAME")
    ] = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """List the baselines, or show what one holds."""
    from bench.cli.check import show_baselines

    show_baselines(name, results, as_json)


@command("speed --only 1,3")
def speed(
    only: Annotated[
        str, typer.Option(help="Tables to measure, of 1 to 7.", metavar="1,2,...")
    ] = "1,2,3,4,5,6,7",
    quick: Annotated[
        bool, typer.Option("--quick", help="A few minutes, to see that it works: no figures.")
    ] = False,
    experiment: Annotated[
        str | None,
        typer.Option(
            help="Experiment, by name or file, that table 5 is about; else that of table 6.",
            metavar="NAME",
        ),
    ] = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Measure the harness side by side with a loop by hand, other libraries and the machine.

    It takes about 25 minutes on two cores, on the CPU. Let nothing else run beside it.
    """
    from bench.cli.console import console
    from bench.launch import usable_cores
    from bench.spec.experiment import load_experiment
    from bench.speed import TABLES, measure
    from bench.speed.peak import computes
    from bench.speed.report import circumstances, show, write
    from bench.speed.settings import load

    numbers = {str(number): number for number in range(1, TABLES + 1)}
    wanted = {numbers[part.strip()] for part in only.split(",") if part.strip() in numbers}
    if only.count(",") + 1 != len(wanted):
        raise UserError(f"--only {shortened(only)}: give numbers from 1 to {TABLES}, such as 1,3")
    cores, settings = usable_cores(), load("quick" if quick else "full")
    precisions = tuple(filter(computes, settings.precisions))
    left_out = [each for each in settings.precisions if each not in precisions]
    command = f"bench speed --only {only}" + (" --quick" if quick else "")
    if experiment is not None:
        load_experiment(experiment, {})  # a misspelt one is told at once
        command += f" --experiment {experiment}"
    where = circumstances(command, cores, left_out)
    for each in left_out:
        note(f"note: {each} is {where[each]}")
    tables = []
    settings = settings.model_copy(update={"precisions": precisions})
    for table in measure(settings, wanted, cores, note, experiment):
        tables.append(table)  # a failure costs only the tables that follow
        files = write(tables, where, results / "reports" / "speed")
    if as_json:
        print(files["speed.json"].read_text("utf-8"), end="")
    else:
        show(tables, console())
        print(f"tables, data and plots in {files['speed.md'].parent}")


@command("devices")
def devices(as_json: Json = False) -> None:
    """List the devices of this machine: memory, precision, and what they compute in no fixed order.

    Each is tried in a process of its own. `auto` takes the last of them once it is proven.
    """
    from bench.cli.devices import list_devices

    raise typer.Exit(list_devices(as_json))


@command("selftest --device auto")
@takes(session=("results", "workers", *_VERBOSITY))
def selftest(
    session: Session,
    device: Annotated[
        str, typer.Option(help="auto, cpu, or as `devices` names it.", metavar="DEVICE")
    ] = "auto",
    experiment: ExperimentName = "default",
    as_json: Json = False,
) -> None:
    """Test whether a device trains as the CPU does, and how fast, and leave a page of it.

    It compares steps with the CPU's, tries the null, determinism, clocks, memory and processes
    side by side, and runs an experiment. The exit code is 3 where a check fails.
    """
    asked = load_experiment(experiment, {})

    from bench.cli.devices import try_device

    raise typer.Exit(try_device(device, asked, session, as_json))


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and exit with its code."""
    # Whatever is printed, by a library too, is clean; tables and bars get at the streams behind.
    with (
        redirect_stdout(CleanStream(sys.stdout)),
        redirect_stderr(CleanStream(sys.stderr)),
        shown(),
    ):
        _run(arguments)


def _run(arguments: list[str] | None) -> None:
    try:
        for folder in plugin_folders:
            if not folder.is_dir():
                raise UserError(f"BENCH_PLUGINS names '{folder}', which is no folder")
        app(arguments)
    except UserError as error:
        first, *more = error.lines
        for line in (f"error: {first}", *more):
            say(line)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        say(STOPPED)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except OSError as error:
        if error.errno not in OUTSIDE:
            raise _defect() from None
        where = f" '{error.filename}'" if error.filename else ""
        say(
            f"error: cannot go on: {error.strerror}{where}; nothing finished is lost. "
            "Run the same command again"
        )
        raise SystemExit(EXIT_USAGE) from None
    except SystemExit:  # of typer, or of a command that has ended
        raise
    except BaseException:
        raise _defect() from None


def _defect() -> SystemExit:
    """Print the traceback of what was raised, and return how the command ends for it."""
    import traceback

    traceback.print_exc()
    return SystemExit(EXIT_DEFECT)

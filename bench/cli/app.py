"""The command line. Heavy modules load inside the commands, so that `--help` is quick.

What a command finds goes to standard output; progress, warnings and errors go to standard error.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from bench import __version__, plugin_folders
from bench.errors import (
    EXIT_DEFECT,
    EXIT_INTERRUPTED,
    EXIT_INVALID,
    EXIT_OK,
    UserError,
    say,
)

if TYPE_CHECKING:
    from bench.spec.experiment import Experiment as Asked

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


Results = Annotated[Path, typer.Option(help="Folder of records and reports.", metavar="DIR")]
Root = Annotated[
    Path | None, typer.Option(help="Folder of real data, in torchvision's layout.", metavar="DIR")
]
Experiment = Annotated[
    str, typer.Argument(help="A shipped experiment (see `list experiments`) or a TOML file.")
]
Pairs = Annotated[
    list[str] | None,
    typer.Option("-p", "--pair", help="DATASET or DATASET:TASK+TASK. May be repeated."),
]
Strategies = Annotated[
    list[str] | None,
    typer.Option("-s", "--strategy", help="As `list strategies` names it. May be repeated."),
]
Launcher = Annotated[
    str | None,
    typer.Option(
        help="Where runs execute: 'list launchers' has them; else what suits the workers.",
        metavar="NAME[@KNOBS]",
        show_default=False,
    ),
]
Workers = Annotated[
    str,
    typer.Option(
        help="Processes, or auto: one a physical core; 0 is this process, for debugging.",
        metavar="N|auto",
    ),
]
Margin = Annotated[
    float | None,
    typer.Option(help="What may be lost, in points; the experiment's margin if not given."),
]
OnInconclusive = Annotated[
    Literal["warn", "fail"],
    typer.Option(help="Whether checks that are not decided exit with 3 (fail) or 0 (warn)."),
]
Junit = Annotated[
    Path | None, typer.Option("--junit", help="Write the findings as JUnit XML.", metavar="FILE")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


@app.command()
def run(
    context: typer.Context,
    experiment: Experiment = "default",
    pair: Pairs = None,
    strategy: Strategies = None,
    seeds: Annotated[
        int | None, typer.Option(help="Paired seeds; fewer than 8 give no verdict.")
    ] = None,
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided",
            help="Analyse after each quarter of --seeds (20 if not given), and go on with pairs "
            "without a verdict only.",
        ),
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Compute for a shared run: 2e12flop, 30s (device-seconds), 500steps, 64000samples."
        ),
    ] = None,
    network: Annotated[str | None, typer.Option(help="As `list networks` names it.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak rate of AdamW.")] = None,
    precision: Annotated[
        Literal["fp32", "bf16"] | None,
        typer.Option(help="Of the networks' passes, the same for all arms."),
    ] = None,
    train_size: Annotated[
        int | None, typer.Option(help="Images that each seed draws to train on.")
    ] = None,
    validation_size: Annotated[
        int | None, typer.Option(help="Images held out for the learning curve.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="Half width of equivalence, in points.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="A strategy that the others are compared with too.")
    ] = None,
    also_against: Annotated[
        list[str] | None,
        typer.Option(
            help="wide: one bigger single-task network at the same FLOPs a step; same-size: plain "
            "sharing with as many parameters. May be repeated."
        ),
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            help="Trials of every arm, scored on the validation split; 0 is one recipe for all."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the report.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"] | None, typer.Option()] = None,
    results: Results = Path("results"),
    root: Root = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch missing data into --root.")
    ] = False,
    skip_bad_images: Annotated[
        bool, typer.Option("--skip-bad-images", help="Leave out images that cannot be read.")
    ] = False,
    resident: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(help="Images on the device: where they fit, always, or read by the batch."),
    ] = "auto",
    workers: Workers = "auto",
    launcher: Launcher = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print runs, prices, steps and time, and stop.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train again what is finished already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train what is missing of an experiment, then show its table and plots.

    Run the same command again to go on after an interruption: finished runs are kept.
    """
    count = _workers(workers)
    asked = _asked(context, launcher)

    from bench.cli.batch import early_pool
    from bench.contracts import DataSource

    with early_pool(asked, count, launcher, dry_run) as pool:
        # It takes a second, and so does the start of the pool's first worker.
        from bench.cli.run import run_experiment

        code = run_experiment(
            asked,
            results=results,
            source=DataSource(root, download, results / "cache", skip_bad_images, resident),
            pool=pool,
            dry_run=dry_run,
            fresh=fresh,
            as_json=as_json,
        )
    raise typer.Exit(code)


def _asked(context: typer.Context, launcher: str | None) -> "Asked":
    """Return the experiment of a command, with all its options that are fields of one laid over it.

    Every name in it is looked up in the sources of the plugins, before any of them is imported.
    """
    from bench.spec.experiment import Experiment, load_experiment
    from bench.spec.names import check_names

    options = {name: context.params.get(name) for name in Experiment.model_fields}
    # What is not given is None, or an empty list or an unset switch.
    given = {k: None if v is False or v in ([], ()) else v for k, v in options.items()}
    asked = load_experiment(context.params["experiment"], given)
    check_names(asked, launcher)
    return asked


def _workers(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise UserError(f"--workers {text}: give a number, or auto")
    return int(text)


@app.command()
def fidelity(
    context: typer.Context,
    experiment: Experiment = "default",
    pair: Pairs = None,
    strategy: Strategies = None,
    seeds: Annotated[int | None, typer.Option(help="Paired seeds.")] = None,
    budget: Annotated[str | None, typer.Option(help="In flop, steps or samples.")] = None,
    results: Results = Path("results"),
    root: Root = None,
    workers: Workers = "auto",
    launcher: Launcher = None,
) -> None:
    """Run an experiment in fp32 and in bf16, and say what the reduced precision changes."""
    count = _workers(workers)
    asked = _asked(context, launcher)

    from bench.cli.fidelity import check_fidelity
    from bench.contracts import DataSource

    source = DataSource(root, cache=results / "cache")
    code = check_fidelity(asked, results=results, source=source, workers=count, launcher=launcher)
    raise typer.Exit(code)


@app.command()
def report(
    name: Annotated[
        str | None, typer.Argument(help="One experiment of the folder; all if none is named.")
    ] = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Make the tables and plots of finished experiments again, from their records."""
    from bench.cli.run import report_all

    raise typer.Exit(report_all(results, name, as_json))


@app.command()
def power(
    results: Results = Path("results"),
    name: Annotated[
        str | None, typer.Option(help="One experiment of the folder; all if none is named.")
    ] = None,
    detect: Annotated[
        float, typer.Option(help="The true gain to find, in points.", min=1e-9)
    ] = 1.0,
    sd: Annotated[
        float | None,
        typer.Option(help="A spread of paired gains, in place of what a folder shows.", min=1e-9),
    ] = None,
    rows: Annotated[
        int, typer.Option(help="With --sd: rows that are compared with one anchor.", min=1)
    ] = 1,
    as_json: Json = False,
) -> None:
    """Say how many seeds, and hours of device time, would find a gain of a given size."""
    from bench.cli import power as planning

    if sd is not None:
        planning.power_of(sd, rows, detect, as_json)
    else:
        planning.power(results, name, detect, as_json)


@app.command("calibrate")
def calibrate_(
    experiment: Annotated[
        str, typer.Argument(help="An A/A experiment: one task, one strategy without a true gain.")
    ] = "calibration",
    pair: Annotated[
        str | None, typer.Option("-p", "--pair", help="DATASET:TASK, to try your own data.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds in all, two runs each.")] = None,
    group: Annotated[int, typer.Option(help="Seeds of one comparison.")] = 10,
    budget: Annotated[str | None, typer.Option(help="Compute for a run, as for `run`.")] = None,
    results: Results = Path("results"),
    root: Root = None,
    workers: Workers = "auto",
    launcher: Launcher = None,
    as_json: Json = False,
) -> None:
    """Say how often a difference is found where none is, and a planted one where it is.

    Trains single-task networks against themselves (A/A), and judges groups of seeds as tables are.
    """
    from bench.spec.experiment import load_experiment

    count = _workers(workers)
    overrides: dict[str, Any] = {"seeds": seeds, "budget": budget}
    asked = load_experiment(experiment, overrides)
    if pair is not None:
        asked = asked.model_copy(update={"pair": (pair,), "description": ""})

    from bench.cli.calibrate import calibrate
    from bench.contracts import DataSource

    calibrate(
        asked,
        group=group,
        results=results,
        source=DataSource(root, False, results / "cache"),
        workers=count,
        launcher=launcher,
        as_json=as_json,
    )


@app.command("list")
def list_(
    what: Annotated[
        Literal["pairs", "datasets", "strategies", "networks", "experiments", "launchers"],
        typer.Argument(help="What to list."),
    ],
    as_json: Json = False,
) -> None:
    """List what can be run."""
    from bench.cli.list import listing, show

    rows, broken = listing(what)
    show(what, rows, as_json)
    for module, reason in broken.items():
        say(f"broken plugin {module}: {reason}")


@app.command()
def new(
    what: Annotated[Literal["strategy", "dataset"], typer.Argument(help="What to begin.")],
    name: Annotated[str, typer.Argument(help="Its name, as users will type it.")],
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
    say(next_steps(what, name, path))


@app.command()
def validate(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Parts of strategies or data sets, with knobs if you like; all if none is named.",
            metavar="[NAME]...",
        ),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder of real data; without it, data sets of files are skipped."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check plugins against the contract and explain how to fix failures."""
    from bench.cli.list import show_validation
    from bench.contracts import DataSource
    from bench.validation import Report, selected, validate

    reports: list[Report] = []
    for name in (chosen := selected(names or [])):
        say(f"{len(reports) + 1} of {len(chosen)}: {name}")
        reports += validate(name, DataSource(root))
    show_validation(reports, as_json)
    raise typer.Exit(EXIT_INVALID if any(r.failed for r in reports) else EXIT_OK)


@app.command()
def check(
    baseline: Annotated[
        str,
        typer.Option(help="A file, or a name as `baseline show` lists it.", metavar="NAME|FILE"),
    ],
    results: Results = Path("results"),
    margin: Margin = None,
    on_inconclusive: OnInconclusive = "fail",
    time: Annotated[
        Literal["off", "advise", "gate"],
        typer.Option(help="Time a step of each network: not at all, to tell, or to fail."),
    ] = "advise",
    junit: Junit = None,
    root: Root = None,
    as_json: Json = False,
) -> None:
    """Hold the runs of an experiment against a baseline; the exit code says what came of it.

    0 pass, 1 regression, 2 wrong usage, 3 inconclusive, 4 runs failed, 5 no baseline, or one of
    something else.
    """
    from bench.cli.check import Options, check_results
    from bench.contracts import DataSource

    options = Options(margin, on_inconclusive == "fail", time, junit, as_json)
    source = DataSource(root, False, results / "cache")
    raise typer.Exit(check_results(baseline, results, source, options))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="Results folder, baseline (.json) or git revision.")],
    b: Annotated[str, typer.Argument(help="What is compared with it.")],
    experiment: Annotated[
        str | None, typer.Option(help="Which experiment, where there are several.")
    ] = None,
    results: Results = Path("results"),
    margin: Margin = None,
    on_inconclusive: OnInconclusive = "fail",
    junit: Junit = None,
    as_json: Json = False,
) -> None:
    """Hold one version's runs against another's, with the statistics and exit codes of `check`."""
    from bench.cli.check import Options, compare

    options = Options(margin, on_inconclusive == "fail", "off", junit, as_json)
    raise typer.Exit(compare(a, b, experiment, results, options))


baselines = typer.Typer(
    help="Make and show what `check` holds runs against.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(baselines, name="baseline")


@baselines.command("set")
def baseline_set(
    name: Annotated[str, typer.Argument(help="Name of the baseline: results/baselines/NAME.json.")],
    experiment: Annotated[
        str | None, typer.Option(help="The experiment, where it has another name.")
    ] = None,
    results: Results = Path("results"),
    time: Annotated[bool, typer.Option(help="Time a step of each network too.")] = True,
    root: Root = None,
) -> None:
    """Write the finished runs of an experiment as a baseline. Commit the file."""
    from bench.cli.check import set_baseline
    from bench.contracts import DataSource

    source = DataSource(root, False, results / "cache")
    print(f"wrote {set_baseline(name, experiment or name, results, source, time)}")


@baselines.command("show")
def baseline_show(
    name: Annotated[str | None, typer.Argument(help="One baseline; all if none is named.")] = None,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """List the baselines, or show what one holds."""
    from bench.cli.check import show_baselines

    show_baselines(name, results, as_json)


@app.command()
def speed(
    only: Annotated[
        str, typer.Option(help="Tables to measure, of 1 to 5.", metavar="1,2,...")
    ] = "1,2,3,4,5",
    quick: Annotated[
        bool, typer.Option("--quick", help="Under a minute, to see that it works: no figures.")
    ] = False,
    results: Results = Path("results"),
    as_json: Json = False,
) -> None:
    """Measure the harness side by side with a loop by hand, other libraries and the machine.

    Takes about thirteen minutes on two cores, on the CPU; let nothing else run beside it.
    """
    from bench.cli.console import console
    from bench.launch import usable_cores
    from bench.speed import TABLES, measure
    from bench.speed.report import circumstances, show, write
    from bench.speed.settings import load

    wanted = {int(part) for part in only.split(",") if part.strip().isdecimal()}
    if not wanted <= set(range(1, TABLES + 1)) or only.count(",") + 1 != len(wanted):
        raise UserError(f"--only {only}: give numbers from 1 to {TABLES}, such as 1,3")
    cores, chosen = usable_cores(), "quick" if quick else "full"
    command = f"bench speed --only {only}" + (" --quick" if quick else "")
    where = circumstances(command, cores)
    tables = []
    try:
        for table in measure(load(chosen), wanted, cores, say):
            tables.append(table)
    finally:  # a failure costs only the tables that follow
        if tables:
            files = write(tables, where, results / "reports" / "speed")
    if as_json:
        print(files["speed.json"].read_text("utf-8"), end="")
    else:
        show(tables, console())
        print(f"tables, data and plots in {files['speed.md'].parent}")


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line and exit with its code."""
    try:
        for folder in plugin_folders:
            if not folder.is_dir():
                raise UserError(f"BENCH_PLUGINS names '{folder}', which is no folder")
        app(arguments)
    except UserError as error:
        say(f"error: {error}")
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(EXIT_INTERRUPTED) from None
    except SystemExit:
        raise
    except BaseException:
        import traceback

        traceback.print_exc()
        raise SystemExit(EXIT_DEFECT) from None

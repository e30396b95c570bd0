"""Flags that are written once: those of experiments in `bench.spec`, those of sessions beside it.

A command asks for them with `takes` and gets an experiment and a `Session`.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand

from bench.cli.messages import Verbosity, set_verbosity
from bench.cli.session import FLAGS, Session
from bench.cli.terminal import Terminal
from bench.spec.experiment import Experiment, Recipe
from bench.spec.grouping import GroupExperiment

#: Fields of an experiment that only its file has.
_FILE_ONLY = ("description", "also", "smaller_budgets", "smaller_train_sizes")
#: All fields of an experiment that are flags.
EVERY = tuple(name for name in Experiment.model_fields if name not in _FILE_ONLY)
#: All fields of a question of groups that are flags.
GROUPS = tuple(
    name
    for name in GroupExperiment.model_fields
    if name not in (*_FILE_ONLY, *GroupExperiment.unused, "tune_seeds")
)
#: Fields of one value whose flag may be repeated.
_REPEATED = ("budget", "train_size")
_SHORT = {"pair": "-p", "strategy": "-s"}

ExperimentName = Annotated[
    str,
    typer.Argument(
        help="A shipped experiment (see `list experiments`), a TOML file, or a table of labels.",
        metavar="EXPERIMENT",
    ),
]


class Command(TyperCommand):
    """A command whose `--help` shows its options in groups."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then each group of options in the order of its first one."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panel = getattr(parameter, "rich_help_panel", None) or "Options"
                if parameter.param_type_name == "argument":
                    panel, record = "Arguments", (parameter.metavar or record[0], record[1])
                groups.setdefault(panel, []).append(record)
        for title, records in sorted(groups.items(), key=lambda group: group[0] == "Options"):
            with formatter.section(title):
                formatter.write_dl(records)


def takes(
    *fields: str, session: Sequence[str] = (), of: type[Experiment] = Experiment
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of these fields of an experiment, of a kind, and of a session.

    The command gets what was given as `overrides`, by field, and the `session`.
    """

    def wrap(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command)
        shared = {**_experiment_parameters(of, fields), **_session_parameters(session)}

        @functools.wraps(command)
        def call(**values: Any) -> None:
            if fields:
                values["overrides"] = {name: _given(values.pop(name)) for name in fields}
            if session:
                given = {name: values.pop(name) for name in session}
                chosen = Session(**given, progress=Terminal())
                set_verbosity(Verbosity.of(chosen.quiet, chosen.verbose))
                values["session"] = chosen
            command(**values)

        arguments: list[inspect.Parameter] = []
        options: list[inspect.Parameter] = []
        for parameter in own.parameters.values():
            if parameter.name not in ("overrides", "session"):
                (arguments if _is_argument(parameter) else options).append(parameter)
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [p.replace(kind=keyword) for p in (*arguments, *shared.values(), *options)]
        call.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        return call

    return wrap


def _is_argument(parameter: inspect.Parameter) -> bool:
    hints = getattr(parameter.annotation, "__metadata__", ())
    return any(isinstance(hint, typer.models.ArgumentInfo) for hint in hints)


def _given(value: Any) -> Any:
    """Return what was given: a switch that is not set and an empty list are nothing."""
    return None if value is False or value in ([], ()) else value


def _experiment_parameters(
    of: type[Experiment], fields: Sequence[str]
) -> Mapping[str, inspect.Parameter]:
    """Return a parameter per field, whose help is the docstring of the field."""
    found = {}
    hints = get_type_hints(of)
    for name in fields:
        kind, repeated, shown = _plain(hints[name])
        repeated = repeated or name in _REPEATED
        flags = [flag for flag in (_SHORT.get(name), f"--{name.replace('_', '-')}") if flag]
        option = typer.Option(
            *flags,
            help=of.model_fields[name].description,
            metavar=name.upper() if shown == "" else shown,
            rich_help_panel=_panel(name),
            show_default=False,
        )
        hint = kind if kind is bool else list[kind] | None if repeated else kind | None  # type: ignore[valid-type]
        default = False if kind is bool else None
        found[name] = _parameter(name, Annotated[hint, option], default)
    return found


def _panel(field: str) -> str:
    if field in Recipe.model_fields:
        return "Recipe"
    if field not in Experiment.model_fields:
        return "Groups"
    return "Tuning" if field.startswith("tune") else "Experiment"


#: What stands for a value of these types in a help text.
_SHOWN: Mapping[Any, str | None] = {int: "N", float: "X", bool: None}


def _plain(hint: Any) -> tuple[Any, bool, str | None]:
    """Return the type of one value of a field, whether it takes several, and how it is shown.

    It is shown by the name of the field if nothing else is said.
    """
    if get_origin(hint) in (Union, UnionType):
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    repeated = get_origin(hint) is tuple
    if repeated:
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        # Typer takes no list of choices: the experiment refuses what is none.
        return (str if repeated else hint), repeated, "|".join(get_args(hint))
    return hint, repeated, _SHOWN.get(hint, "")


def _session_parameters(fields: Sequence[str]) -> Mapping[str, inspect.Parameter]:
    hints = get_type_hints(Session)
    return {
        name: _parameter(name, Annotated[hints[name], FLAGS[name]], getattr(Session, name))
        for name in fields
    }


def _parameter(name: str, hint: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=default, annotation=hint)

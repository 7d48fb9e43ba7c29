"""How options are declared: one by one, or in groups that a command takes as one parameter; those that many share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_budget.cli.options.completion import DEVICES, complete_preset, complete_trained, one_of
from nas_budget.cli.options.presets import preset as preset_file
from nas_budget.cli.options.presets import presets
from nas_budget.cli.options.runs import find_trained, run_named
from nas_budget.errors import UsageError
from nas_budget.records.run_folder import is_file

BUDGET, INT8, NETWORK, OUTPUT, SEARCH, TRAINING = "Budget", "int8", "Network", "Output", "Search", "Training"
"""Panels of the help."""
STORAGE = "NAS_BUDGET_STORAGE"
"""Variable of the environment with the address of a database: what is typed, every user of a machine can read."""


def option(
    text: str, panel: str | None, default: str = "", flag: str = "", choices: Sequence[str] = (),
    offers: Callable[..., list[str]] | None = None, least: int | None = None, variable: str = "",
) -> Any:  # fmt: skip
    """An option of a command.

    Args:
        text: Its help.
        panel: Panel of the help that lists it; None for the first one.
        default: Its default in words; "value" where the value itself says it; empty where there is nothing to say.
        flag: Its flags, where they are not made from the name of the parameter.
        choices: Values that the shell offers.
        offers: Completes its value in the shell instead.
        least: The smallest number allowed.
        variable: Of the environment, that has its value where the option is not given.
    """
    shown = True if default == "value" else default or False
    offers = offers or (one_of(*choices) if choices else None)
    return typer.Option(
        *flag.split(),
        help=text,
        rich_help_panel=panel,
        autocompletion=offers,
        show_default=shown,
        min=least,
        envvar=variable or None,
        show_envvar=False,
    )


def expand(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a parameter for each option, in the place of those that are groups.

    A group is what makes the value that the command gets, called with its options: a dataclass, or a `StudyKeys`.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[Callable[..., Any], list[str]]] = {}
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        options = {name: parameter}
        if group := _group(parameter.annotation):
            options = {**inspect.signature(group, eval_str=True).parameters}
            groups[name] = group, [*options]
        parameters += [made.replace(kind=inspect.Parameter.KEYWORD_ONLY) for made in options.values()]

    @functools.wraps(command)
    def call(**given: Any) -> None:
        for name, (group, options) in groups.items():
            given[name] = group(**{option: given.pop(option) for option in options})
        command(**given)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def study_file(file: Path | None, preset: str | None) -> Path | None:
    """The study file that was given, by path or as a preset.

    Raises:
        UsageError: Both were given, there is no such preset, or the file is a preset or a study by its name.
    """
    if file and preset:
        raise UsageError(f"two study files are given, {file} and --preset {preset}; give one")
    if file and not is_file(file):
        if str(file) in presets():
            raise UsageError(f"{file}: no such file; the study file that comes with nas-budget is --preset {file}")
        if found := run_named(file):
            raise UsageError(f"{found}: is no study file but a study or run; see it with nas-budget show {file}")
    return preset_file(preset) if preset else file


def _group(kind: Any) -> Callable[..., Any] | None:
    """The group that a parameter of this type is; None where it is a single option."""
    if is_dataclass(kind) and isinstance(kind, type):
        return kind
    return next((about for about in getattr(kind, "__metadata__", ()) if callable(about)), None)


Source = Annotated[
    Path,
    typer.Argument(
        help="Run folder of nas-budget train, its name in runs, or a model.safetensors.",
        autocompletion=complete_trained, callback=find_trained,
    ),
]  # fmt: skip
AnyTrained = Annotated[
    Path,
    typer.Argument(
        help="Run folder of nas-budget train, its name in runs, a model.safetensors or an exported .onnx.",
        autocompletion=complete_trained, callback=find_trained,
    ),
]  # fmt: skip
Preset = Annotated[
    str | None,
    option("A study file that comes with nas-budget (nas-budget init lists them).", SEARCH, offers=complete_preset),
]
Ema = Annotated[bool, option("Use the EMA weights.", NETWORK, flag="--ema")]
Device = Annotated[str, option(f"{', '.join(DEVICES)} or cuda:1.", TRAINING, "value", choices=DEVICES)]
DataDir = Annotated[str | None, option("Folder of the data sets.", TRAINING, "NAS_BUDGET_DATA, or the user's cache")]
RunsDir = Annotated[Path, option("Folder of the runs.", OUTPUT, "value")]
Database = Annotated[
    str | None, option("Look into this database, not into a run folder.", OUTPUT, STORAGE, variable=STORAGE)
]
DryRun = Annotated[bool, option("Print the plan and leave.", OUTPUT, flag="--dry-run")]
AsJson = Annotated[bool, option("Print JSON.", OUTPUT, flag="--json")]
Quiet = Annotated[bool, option("Print only what went wrong, and the result.", OUTPUT, flag="--quiet -q")]

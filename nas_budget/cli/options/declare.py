"""How options are declared: one by one, or in groups that a command takes as one parameter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Protocol, get_type_hints, runtime_checkable

import typer

BUDGET, NETWORK, OUTPUT, SEARCH, TRAINING = "Budget", "Network", "Output", "Search", "Training"
"""Panels of the help."""

Offer = Callable[..., list[str]]
"""Completes what is typed, in the shell."""


def option(
    text: str, panel: str | None, default: str = "", flag: str = "", offers: Offer | None = None,
    least: int | None = None, most: int | None = None,
) -> Any:  # fmt: skip
    """An option of a command.

    Args:
        text: Its help.
        panel: Panel of the help that lists it; None for the first one.
        default: Its default in words; "value" where the value itself says it; empty where there is nothing to say.
        flag: Its flags, where they are not made from the name of the parameter.
        offers: Completes its value in the shell.
        least: The smallest number allowed.
        most: The largest number allowed.
    """
    shown = True if default == "value" else default or False
    return typer.Option(
        *flag.split(), help=text, rich_help_panel=panel, autocompletion=offers, show_default=shown, min=least, max=most
    )


@runtime_checkable
class Group(Protocol):
    """Several options of the command line that a command takes as one parameter."""

    def parameters(self) -> list[inspect.Parameter]:
        """A keyword parameter for each option."""

    def collect(self, given: Mapping[str, Any]) -> Any:
        """What the command gets, from the value of each option."""


@dataclass(frozen=True)
class Fields:
    """The group of options that the fields of a dataclass declare; the command gets the dataclass."""

    kind: type

    def parameters(self) -> list[inspect.Parameter]:
        """A keyword parameter for each field."""
        hints = get_type_hints(self.kind, include_extras=True)
        return [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
            for f in fields(self.kind)
        ]

    def collect(self, given: Mapping[str, Any]) -> Any:
        """The dataclass."""
        return self.kind(**given)


def expand(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a parameter for each option, in the place of those that are groups."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Group] = {}
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        if group := _group(hints[name]):
            groups[name] = group
            parameters += group.parameters()
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name]))

    @functools.wraps(command)
    def call(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group.collect({p.name: given.pop(p.name) for p in group.parameters()})
        command(**given)

    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def _group(kind: Any) -> Group | None:
    """The group that a parameter of this type is; None where it is a single option."""
    if is_dataclass(kind) and isinstance(kind, type):
        return Fields(kind)
    return next((about for about in getattr(kind, "__metadata__", ()) if isinstance(about, Group)), None)

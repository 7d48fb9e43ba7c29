"""How a command shows its help: options in panels, without the types that typer writes beside them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from nas_budget.cli.options.declare import OUTPUT

FEW = 8
"""So many options stand in one panel."""


class Command(TyperCommand):
    """A command of `nas-budget`."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        options = [param for param in self.params if isinstance(param, TyperOption)]
        for option in options if len(options) <= FEW else []:
            option.rich_help_panel = None

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters, as its help shows them."""
        return _plainer(super().get_params(ctx))


class Group(TyperGroup):
    """`nas-budget` itself."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters, as its help shows them."""
        return _plainer(super().get_params(ctx))


def _plainer(params: list[Any]) -> list[Any]:
    """The options without types, which their texts say; --help stands in the panel of the output if there is one."""
    options = [param for param in params if isinstance(param, TyperOption)]
    panels = {param.rich_help_panel for param in options}
    for option in options:
        option.metavar = ""
        if option.name == "help" and OUTPUT in panels:
            option.rich_help_panel = OUTPUT
    return params


def examples(*commands: str) -> str:
    """Examples of a command, for the end of its help."""
    return "\n".join(["Examples:", *(f"  nas-budget {command}" for command in commands)])

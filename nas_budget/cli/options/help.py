"""How a command shows its help: in panels, and without the types that typer writes beside every option."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

OUTPUT = "Output"


class Command(TyperCommand):
    """A command of `nas-budget`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters, as its help is to show them."""
        return _plainer(super().get_params(ctx))


class Group(TyperGroup):
    """`nas-budget` itself."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its parameters, as its help is to show them."""
        return _plainer(super().get_params(ctx))


def _plainer(params: list[Any]) -> list[Any]:
    """The options without types, which their texts say; --help stands with the output where others do."""
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

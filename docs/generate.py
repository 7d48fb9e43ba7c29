"""Write reference/commands.md, the reference of every command and option, from the commands themselves.

    python docs/generate.py

A test compares the file with the output of this program.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from nas_budget import errors
from nas_budget.cli.app import app

PAGE = Path(__file__).parent / "reference" / "commands.md"
OUTPUTS = PAGE.parent / "outputs"
"""What commands print, written by docs/examples.py."""
OPENING = """\
# Commands

<!-- Written by `python docs/generate.py`: edit the help texts of the commands instead. -->

This page lists every command and option. `nas-budget --help` and `nas-budget search --help` print the same. Newcomers
start with the [tutorial](../tutorial.md).

## Exit codes

{exit_codes}

**Output**: results go to stdout, messages to stderr. `--json` prints results for programs. An error is one line.
`nas-budget --debug` with any command adds the traceback.

**Figures below**: these commands printed the outputs, in an empty folder, with torch 2.14.1 on two virtual cores of an
AMD EPYC (`python docs/examples.py` runs them again). Those of `count`, `fit`, `explore`, `init` and `data` are the same
everywhere: a test compares. Trainings differ. The same seed gives the same accuracies on the same processor with the
same versions. Elsewhere they differ as seeds do: the three seeds under `train` show by how much, and accuracies on
1,000 validation images are uncertain by two to three points in both directions. Seconds depend on the machine and its
other work: here they varied by a factor of four.
"""


def commands() -> str:
    """The page as Markdown."""
    group: Any = typer.main.get_command(app)
    names = ", ".join(f"[`{name}`](#nas-budget-{name})" for name in group.commands)
    own = "\n".join(["## nas-budget", "", group.help, "", f"Commands: {names}.", "", *_tables(group)])
    opening = OPENING.format(exit_codes=exit_codes())
    return "\n".join(
        [
            opening,
            own,
            *(_command(name, command) for name, command in group.commands.items()),
        ]
    )


def exit_codes() -> str:
    """The table of exit codes, which the docstring of `nas_budget.errors` holds."""
    return "\n".join(line for line in (errors.__doc__ or "").splitlines() if line.startswith("|"))


def _command(name: str, command: Any) -> str:
    arguments = [parameter for parameter in _shown(command) if parameter.param_type_name == "argument"]
    usage = [f"nas-budget {name} [OPTIONS]", *map(_argument, arguments)]
    lines = [f"## nas-budget {name}", "", f"`{' '.join(usage)}`", "", command.help.strip(), "", *_tables(command)]
    if command.epilog:
        examples = re.findall(r"^ *(nas-budget .*)$", command.epilog, re.MULTILINE)
        lines += ["```sh", *examples, "```", ""]
    if (output := OUTPUTS / f"{name}.txt").exists():
        lines += ["What it prints:", "", "```console", output.read_text(encoding="utf-8").rstrip(), "```", ""]
    return "\n".join(lines)


def _shown(command: Any) -> list[Any]:
    return [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]


def _tables(command: Any) -> Iterator[str]:
    """Tables of the arguments and of each panel of options, line by line, in the order of the help."""
    panels: dict[str, list[Any]] = {}
    for parameter in _shown(command):
        given = _text(parameter.rich_help_panel) or "Options"
        panels.setdefault("Arguments" if parameter.param_type_name == "argument" else given, []).append(parameter)
    for panel, parameters in panels.items():
        defaults = [*map(_default, parameters)]
        columns = [panel, *(["default"] if any(defaults) else []), ""]
        yield from [_row(columns), _row(["---"] * len(columns))]
        for parameter, default in zip(parameters, defaults, strict=True):
            yield _row([_name(parameter), *([default] if any(defaults) else []), parameter.help or ""])
        yield ""


def _row(cells: list[str]) -> str:
    text = " | ".join(cell.replace("|", r"\|") for cell in cells)
    return f"| {text} |".replace("  ", " ")


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{_argument(parameter)}`"
    return ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))


def _argument(parameter: Any) -> str:
    name = parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if said := _text(parameter.show_default):
        return said if " " in said else f"`{said}`"
    if parameter.secondary_opts:
        return f"`{(parameter.opts if parameter.default else parameter.secondary_opts)[0]}`"
    return "" if parameter.default in (None, "", False) or callable(parameter.default) else f"`{parameter.default}`"


def _text(value: Any) -> str:
    """The value if it is a text, else an empty text: typer has placeholders where no text was given."""
    return value if isinstance(value, str) else ""


if __name__ == "__main__":
    PAGE.write_text(commands(), encoding="utf-8")

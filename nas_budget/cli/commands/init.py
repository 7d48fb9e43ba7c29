"""`nas-budget init`: a study file to edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas_budget.cli.console.output import command, out, show, table
from nas_budget.cli.options.completion import complete_preset
from nas_budget.cli.options.declare import OUTPUT, option
from nas_budget.cli.options.presets import preset, presets
from nas_budget.errors import StorageError, UsageError


def init(
    name: Annotated[
        str, typer.Argument(help="Preset to begin with; left out, they are listed.", autocompletion=complete_preset)
    ] = "",
    *,
    output: Annotated[Path | None, option("File to write.", OUTPUT, "NAME.toml here", flag="--output -o")] = None,
) -> None:
    """Write a study file to edit, or list the presets.

    A file that is there already is not overwritten.
    """
    if not name:
        if output:
            raise UsageError(f"--output goes with a preset; there are {', '.join(presets())}")
        show(table(("preset", "what it is"), [(name, _about(path)) for name, path in presets().items()], left=(0, 1)))
        out("\nnext: nas-budget init quickstart")
        return
    text, path = preset(name).read_text(encoding="utf-8"), output or Path(f"{name}.toml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path}: is there already; give another --output, or remove it") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from None
    out(f"{path}: {_about(path)}\nnext: {command('search', path)}")


def _about(path: Path) -> str:
    """The first sentence of a study file's first comment."""
    comment = path.read_text(encoding="utf-8").partition("\n#\n")[0]
    words = " ".join(line.lstrip("# ") for line in comment.splitlines())
    return words.split(". ")[0].rstrip(".")

"""The `nas-budget` command, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence

import typer

from nas_budget.cli.commands import (
    count,
    dashboard,
    data,
    doctor,
    evaluate,
    export,
    fit,
    init,
    predict,
    report,
    search,
    show,
    train,
)
from nas_budget.cli.console.output import log, out
from nas_budget.cli.console.progress import set_up_downloads
from nas_budget.cli.options.declare import expand
from nas_budget.cli.options.help import Command, Group, examples
from nas_budget.errors import NasBudgetError
from nas_budget.train.engine.process import own_process

INTERRUPTED = 130

app = typer.Typer(
    name="nas-budget",
    cls=Group,
    help="Find the most accurate neural network under a hard budget.",
    epilog=examples("count --channels 32,64,96,128,185", "search --trials 20", "show quickstart"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _add(panel: str, command: Callable[..., None], *commands: str) -> None:
    """Add a command under the name of its function, with a panel of the help and examples."""
    app.command(command.__name__, cls=Command, rich_help_panel=panel, epilog=examples(*commands))(expand(command))


_add("Budget", count.count, "count --channels 32,64,96,128,185 --explain", "count runs/quickstart/best.json")
_add("Budget", fit.fit, "fit --shape 1:2:4 --budget 5M", "fit --channels 32,64,128 --budget 250k --max-macs 30M")
_add("Budget", fit.explore, "explore --budget 250k", "explore studies/quickstart.toml --sample 5")
_add("Search", search.search, "search --trials 20", "search studies/quickstart.toml --budget 250k --workers 2")
_add("Search", search.worker, "worker quickstart --storage postgresql+psycopg://user@host/name")
_add("Search", init.init, "init", "init cifar10-5m --output mine.toml")
_add("Search", show.ls, "ls", "ls --json")
_add("Search", show.show, "show quickstart", "show quickstart 7")
_add("Search", report.report, "report runs/quickstart runs/mine", "report runs/quickstart --watch")
_add("Search", dashboard.dashboard, "dashboard runs/quickstart")
_add("Search", doctor.doctor, "doctor runs/quickstart", "doctor runs/quickstart --fix")
_add("Network", train.train, "train --study runs/quickstart", "train --channels 32,64,96,128,185 --recipe paper")
_add("Network", evaluate.evaluate, "evaluate runs/quickstart-best-strong")
_add("Network", predict.predict, "predict runs/quickstart-best-strong cat.png --top 3")
_add("Network", export.export, "export runs/quickstart-best-strong --format onnx --format python")
_add("Data", data.data, "data", "data cifar10")


@app.callback(invoke_without_command=True)
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
    debug: bool = typer.Option(False, "--debug", help="Print a traceback with an error."),  # noqa: ARG001 - see main
) -> None:
    if version:
        from importlib.metadata import version as installed

        out(installed("nas-budget"))
        raise typer.Exit


def _replace_unknown() -> None:
    """Print "?" for characters that the terminal cannot show, such as ±."""
    for stream in sys.stdout, sys.stderr:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _lacks_memory(error: Exception) -> bool:
    if isinstance(error, RuntimeError) and "torch" in sys.modules:
        from nas_budget.train.engine.device import is_out_of_memory

        return is_out_of_memory(error)
    return isinstance(error, MemoryError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code, one of those listed in `nas_budget.errors`."""
    own_process()
    _replace_unknown()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    set_up_downloads(quiet=bool({"--quiet", "-q"} & {*arguments}))
    try:
        result = app(arguments, standalone_mode=False, prog_name="nas-budget")
    except NasBudgetError as error:
        if debug:
            raise
        for line in str(error).splitlines():
            log(f"error: {line}")
        return error.exit_code
    except typer.TyperException as error:
        if message := " ".join(error.format_message().split()):
            log(f"error: {message} (nas-budget --help shows what is allowed)")
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        first = next(iter(str(error).splitlines()), "")
        if _lacks_memory(error):
            from nas_budget.memory import free_bytes  # with psutil, slow to import

            what = f": {first}" if first else ""
            log(f"error: not enough memory{what}; {free_bytes() / 1e9:,.1f} GB are left here")
        else:
            log(f"error: unexpected {type(error).__name__}: {first} (add --debug for the traceback)")
        return 1
    if result == INTERRUPTED:  # typer turns Ctrl-C into this code, without a message
        log("interrupted")
    return result if isinstance(result, int) else 0

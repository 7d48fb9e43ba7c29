"""The `nas-budget` command, and the one place where errors become a line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from nas_budget.cli import count, dashboard, data, evaluate, explore, export, fit, predict, report, search, train
from nas_budget.cli.output import say
from nas_budget.errors import NasBudgetError

INTERRUPTED = 130

app = typer.Typer(
    name="nas-budget",
    help="Find the most accurate neural network under a hard budget.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("count")(count.count)
app.command("fit")(fit.fit)
app.command("explore")(explore.explore)
app.command("search")(search.search)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("report")(report.report)
app.command("export")(export.export)
app.command("dashboard")(dashboard.dashboard)
app.command("data")(data.data)


@app.callback(invoke_without_command=True)
def _options(
    version: bool = typer.Option(False, "--version", help="Print the version and leave.", is_eager=True),
    debug: bool = typer.Option(False, "--debug", help="Print a traceback with an error."),  # noqa: ARG001 - see main
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("nas-budget"))  # noqa: T201
        raise typer.Exit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code.

    0 is done, 1 failed, 2 wrong usage, 3 over budget or nothing fits, 130 interrupted.
    """
    # NumPy's small matrix products are faster on one thread, and many times so beside other work; read when it loads.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    arguments = [a for a in arguments if a != "--debug"]
    try:
        result = app(arguments, standalone_mode=False, prog_name="nas-budget")
    except NasBudgetError as error:
        if debug:
            raise
        for line in str(error).splitlines():
            say(f"error: {line}")
        return error.exit_code
    except typer.TyperException as error:
        if message := " ".join(error.format_message().split()):
            say(f"error: {message} (nas-budget --help shows what is allowed)")
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            raise
        first = next(iter(str(error).splitlines()), "")
        say(f"error: unexpected {type(error).__name__}: {first} (add --debug for the traceback)")
        return 1
    if result == INTERRUPTED:  # typer turns Ctrl-C into this code and says nothing
        say("interrupted")
    return result if isinstance(result, int) else 0

"""The command line: one file a command, each thin: parse, call, print."""

from nas_budget.cli.app import main

__all__ = ["main"]

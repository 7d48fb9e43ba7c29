"""A function in a process of its own."""

from __future__ import annotations

import os

import pytest

from nas_budget.errors import TrainingError, UsageError
from nas_budget.search.workers.apart import apart


def number() -> int:
    """The number of the process."""
    return os.getpid()


def nothing() -> None:
    """Nothing."""


def refuses(what: str) -> None:
    """Raise an error of the project's."""
    raise UsageError(what)


def test_a_function_runs_in_another_process_which_then_is_gone() -> None:
    other = apart(number)
    assert other != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(other, 0)
    assert apart(nothing) is None


def test_its_error_comes_through_and_a_process_that_dies_is_an_error() -> None:
    with pytest.raises(UsageError, match="a device"):
        apart(refuses, "a device")
    with pytest.raises(TrainingError, match="3 workers were lost in a row, the last ended with exit code 3"):
        apart(os._exit, 3)

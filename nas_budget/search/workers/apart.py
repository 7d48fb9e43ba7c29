"""`apart`: a function called in a process of its own, so that nothing it did to a GPU stays in this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from nas_budget.search.workers.process_pool import run_processes

Result = TypeVar("Result")


@dataclass(frozen=True)
class _Call:
    """A function and what it is given, as a worker's job."""

    function: Callable[..., Any]
    given: tuple[Any, ...]

    def __call__(self, *_: Any) -> Iterator[Any]:
        """The result, in a tuple: a worker that is gone sends None."""
        yield (self.function(*self.given),)


def apart(function: Callable[..., Result], *given: Any) -> Result:
    """What a function gives in a process of its own, which ends with it. One that is killed is tried again.

    A process that has used a GPU once keeps some hundred megabytes there, the CUDA context, until it ends. Function,
    arguments and result have to be picklable.

    Raises:
        NasBudgetError: What the function raised.
        TrainingError: The process ended without a result.
    """
    events: Iterator[Any] = run_processes(_Call(function, given), 1, lambda: False)
    found = [event for event in events if isinstance(event, tuple)]  # all are taken: the process then is gone
    (result,) = found[0]
    return result  # type: ignore[no-any-return]

"""The long forms of the tests of faults.

    python benchmarks/faults.py fuzz 100000
    python benchmarks/faults.py storm 60
    python benchmarks/faults.py storm 60 --storage postgres

`fuzz` tries so many damaged inputs, spread over everything that is read from outside, and names those that were not
refused in few words, soon, and without much memory. `storm` searches so many trials with two workers, while a process
is killed some seconds after each sign of progress. Over PostgreSQL, which it starts itself, it ends the server in the
middle and starts it again. Exit codes: 0 no fault, 1 some.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests import postgres
from tests.faults.folders import targets
from tests.faults.fuzzing import Target, check
from tests.faults.storm import Database, storm

EACH = 200
"""Inputs of a kind in a round, where they take no longer than usual."""
GONE_S = 5.0
"""For how long the database is gone."""
LONGEST = 3_000
"""Characters that are shown of a fault, its end."""


def fuzz(n: int, first: int = 0, only: Sequence[str] = ()) -> int:
    """Try so many inputs in all, from a round on, of all kinds or of some; the exit code.

    Each round tries other inputs, so a run that was ended goes on with the next one as `first`.
    """
    seen = Seen()
    with tempfile.TemporaryDirectory() as made:
        found = {name: target for name, target in targets(Path(made)).items() if not only or name in only}
        start, number = time.monotonic(), first - 1
        while seen.inputs < n:
            number += 1
            for name, target in found.items():
                seen.note(name, number, target)
            print(f"round {number}: {seen.inputs:,} inputs in {time.monotonic() - start:.0f} s", flush=True)
    for name in found:
        inputs, refused, slowest = seen.inputs_of[name], seen.refused[name], seen.slowest.get(name, 0.0)
        print(f"{name}: {inputs:,} inputs, {refused:,} refused, slowest {slowest:.2f} s")
    print(f"{seen.inputs:,} inputs of {len(found)} kinds, {seen.faults} faults")
    return int(bool(seen.faults))


class Seen:
    """What came of the inputs so far, by kind."""

    def __init__(self) -> None:
        self.inputs = self.faults = 0
        self.inputs_of: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.slowest: dict[str, float] = {}

    def note(self, name: str, number: int, target: Target) -> None:
        """Try one round of a kind."""
        n, checks = max(1, EACH // target.cost), [*HealthCheck]

        @seed(number)
        @settings(max_examples=n, deadline=None, database=None, suppress_health_check=checks)
        @given(st.data())
        def try_one(data: st.DataObject) -> None:
            value = data.draw(target.values)
            self.inputs += 1
            self.inputs_of[name] += 1
            with tempfile.TemporaryDirectory() as folder:
                outcome = check(target, Path(folder), value)
            self.refused[name] += outcome.refused
            self.slowest[name] = max(self.slowest.get(name, 0.0), outcome.seconds)

        try:
            try_one()
        except Exception as error:  # hypothesis has made the input small, and tells it in a note
            self.faults += 1
            print(f"FAULT in {name}, round {number}")
            print("".join(traceback.format_exception(error))[-LONGEST:], flush=True)


def fly_apart(n: int, every_s: float, storage: str) -> int:
    """Search so many trials under kills; the exit code."""
    with tempfile.TemporaryDirectory() as made, _database(storage) as database:
        outcome = storm(Path(made), n, every_s, database=database)
    print("\n".join([*outcome.problems, f"{n} trials over {storage}: {outcome}"]))
    return int(bool(outcome.problems))


@contextmanager
def _database(storage: str) -> Iterator[Database | None]:
    """A PostgreSQL of its own, which can be started again; None for a journal."""
    if storage == "journal":
        yield None
        return
    with postgres.running() as server:
        os.environ["PGPASSWORD"] = postgres.PASSWORD

        def restart() -> None:
            server.stop()
            time.sleep(GONE_S)
            server.start()

        yield Database(server.url("storm"), restart)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    inputs = commands.add_parser("fuzz", help="damaged inputs")
    inputs.add_argument("n", type=int, help="how many in all")
    inputs.add_argument("--first", type=int, default=0, help="round to begin with; a run prints which it has done")
    inputs.add_argument("--only", action="append", default=[], help="a kind of input; may be given several times")
    kills = commands.add_parser("storm", help="killed processes")
    kills.add_argument("n", type=int, help="trials")
    kills.add_argument("--every", type=float, default=3.0, help="seconds from progress to a kill, in the mean")
    kills.add_argument("--storage", default="journal", choices=["journal", "postgres"], help="where the study lies")
    asked = parser.parse_args()
    if asked.command == "fuzz":
        sys.exit(fuzz(asked.n, asked.first, asked.only))
    sys.exit(fly_apart(asked.n, asked.every, asked.storage))

"""The long forms of the tests of faults.

    python benchmarks/faults.py fuzz 100000
    python benchmarks/faults.py storm 60

`fuzz` tries so many damaged inputs, spread over everything that is read from outside, and names those that were not
refused in few words, soon, and without much memory. `storm` searches so many trials with two workers, while a process
is killed some seconds after each sign of progress. Exit codes: 0 no fault, 1 some.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.fuzzing import Target, check, targets
from tests.faults.storm import storm


def fuzz(n: int) -> int:
    """Try so many inputs in all; the exit code."""
    failed = []
    with tempfile.TemporaryDirectory() as made:
        found = targets(Path(made))
        each = -(-n // len(found))
        for name, target in found.items():
            start = time.monotonic()
            try:
                _try(target, each)
            except Exception as error:
                failed.append(name)
                print(f"FAILED {name}: {type(error).__name__}: {str(error)[:500]}")
                print("\n".join(note[:500] for note in getattr(error, "__notes__", [])))
            print(f"{name}: {each:,} inputs in {time.monotonic() - start:.0f} s", flush=True)
    print(f"{each * len(found):,} inputs, {len(failed)} of {len(found)} kinds failed")
    return int(bool(failed))


def fly_apart(n: int, every_s: float) -> int:
    """Search so many trials under kills; the exit code."""
    with tempfile.TemporaryDirectory() as made:
        outcome = storm(Path(made), n, every_s)
    print("\n".join([*outcome.problems, f"{n} trials: {outcome}"]))
    return int(bool(outcome.problems))


def _try(target: Target, n: int) -> None:
    @settings(max_examples=n, deadline=None, database=None, derandomize=False, suppress_health_check=[*HealthCheck])
    @given(st.data())
    def try_one(data: st.DataObject) -> None:
        with tempfile.TemporaryDirectory() as folder:
            check(target, Path(folder), data.draw(target.values))

    try_one()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fuzz", help="damaged inputs").add_argument("n", type=int, help="how many in all")
    kills = commands.add_parser("storm", help="killed processes")
    kills.add_argument("n", type=int, help="trials")
    kills.add_argument("--every", type=float, default=3.0, help="seconds from progress to a kill, in the mean")
    given = parser.parse_args()
    sys.exit(fuzz(given.n) if given.command == "fuzz" else fly_apart(given.n, given.every))

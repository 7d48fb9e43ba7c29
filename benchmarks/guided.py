"""Damaged inputs that the code itself guides: what reaches new lines of ours is changed further (Atheris, libFuzzer).

    pip install -c constraints.txt --group fuzz     # Linux and macOS
    python benchmarks/guided.py 20000       # so many inputs of each parser
    python benchmarks/guided.py 20000 --only "study file"

The inputs are those of `faults.py fuzz`, drawn by hypothesis from bytes that libFuzzer chooses; so are the limits on
time, memory and words. Exit codes: 0 no fault, 1 some, 2 Atheris is not installed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

PARSERS = (
    "spec", "values of a spec", "study file", "values of a study", "trials table", "bytes of a trials table",
    "bytes of an npz", "arrays of an npz",
)  # fmt: skip
LONGEST = 4_096
"""Bytes from which an input is drawn, at most."""
SHOWN = 3_000
"""Characters that are shown of a fault, its end."""


def guide(kind: str, n: int) -> None:
    """Try so many inputs of a kind; libFuzzer ends this process, with another exit code where one fails."""
    import atheris

    with atheris.instrument_imports(include=["nas_budget"]):
        from tests.faults.folders import targets
        from tests.faults.fuzzing import check
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    folder = Path(tempfile.mkdtemp())
    target = targets(folder)[kind]

    @settings(deadline=None, database=None, suppress_health_check=[*HealthCheck])
    @given(st.data())
    def try_one(data: st.DataObject) -> None:
        value = data.draw(target.values)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            check(target, Path(place), value)

    atheris.Setup(["guided", f"-runs={n}", f"-max_len={LONGEST}", "-seed=1", f"-artifact_prefix={folder}/"],
                  try_one.hypothesis.fuzz_one_input)  # fmt: skip
    atheris.Fuzz()


def main(n: int, kinds: list[str]) -> int:
    """Try each kind in a process of its own; the exit code."""
    n_faults = 0
    for kind in kinds:
        ran = subprocess.run([sys.executable, __file__, str(n), "--here", kind], capture_output=True, text=True)
        reached = re.findall(r"cov: (\d+)", ran.stderr)
        done = re.search(r"Done (\d+) runs in (\d+) second", ran.stderr)
        if ran.returncode or not done:
            n_faults += 1
            print(f"FAULT in {kind}\n{ran.stderr[-SHOWN:]}", flush=True)
            continue
        print(
            f"{kind}: {int(done[1]):,} inputs in {done[2]} s, {reached[0]} places of the code reached at first, "
            f"{reached[-1]} in the end", flush=True,
        )  # fmt: skip
    print(f"{n:,} inputs of each of {len(kinds)} kinds, {n_faults} faults")
    return int(bool(n_faults))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n", type=int, help="inputs of each kind")
    parser.add_argument("--only", action="append", default=[], choices=PARSERS, help="a kind; may be given again")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        print("error: Atheris is not installed; pip install -c constraints.txt --group fuzz", file=sys.stderr)
        sys.exit(2)
    if asked.here:
        guide(asked.here, asked.n)
    sys.exit(main(asked.n, asked.only or [*PARSERS]))

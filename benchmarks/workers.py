"""The quickstart study by one worker of one thread against two workers, in turn.

    python benchmarks/workers.py [runs] [trials]

Both train every trial to its end, so that both do the same work, on the data the quickstart finds (`NAS_BUDGET_DATA`).
"""

from __future__ import annotations

import csv
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

STUDY = Path(__file__).parents[1] / "studies" / "quickstart.toml"


def search(n_workers: int, n_trials: int) -> tuple[float, int]:
    """Seconds of a whole search from the command line, and the epochs it trained."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--trials", n_trials, "--workers", n_workers, "--pruner", "none", "--sampler", "random"]
        settings = ["--set", "search.threads=1", "--runs-dir", folder, "--quiet"]
        command = [sys.executable, "-m", "nas_budget", "search", STUDY, *options, *settings]
        start = time.perf_counter()
        subprocess.run([*map(str, command)], check=True, capture_output=True)
        seconds = time.perf_counter() - start
        rows = csv.DictReader((Path(folder) / "quickstart" / "trials.csv").open(newline=""))
        return seconds, sum(int(row["epochs"]) for row in rows)


def main() -> None:
    """Print the comparison."""
    n_runs, n_trials = (int(value) for value in [*sys.argv[1:], "3", "20"][:2])
    pairs = [(search(1, n_trials), search(2, n_trials)) for _ in range(n_runs)]
    ratios = [one[0] / two[0] for one, two in pairs]
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {version('torch')}, {n_trials} trials, {n_runs} runs")
    for name, results in zip(("one worker", "two workers"), zip(*pairs, strict=True), strict=True):
        seconds = [result[0] for result in results]
        print(
            f"{name:12} {statistics.median(seconds):8.1f} s ({min(seconds):.1f} to {max(seconds):.1f}), "
            f"{results[0][1]} epochs"
        )
    print(f"two are {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()

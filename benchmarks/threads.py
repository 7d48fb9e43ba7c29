"""Small trainings on a CPU: one thread against every core, and one search worker against two.

    python benchmarks/threads.py [--parts threads workers] [--rounds 5] [--trials 8]

Threads: images a second of small networks, alone and beside a busy process, each figure from a process of its own.
Workers: seconds of the quickstart study with each trial trained to its end on one thread.
"""

from __future__ import annotations

from nas_budget.train.engine.process import own_process

own_process()  # before torch is imported

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from harness import Worker, in_turn, machine, print_table

from nas_budget import ResNetSpec, build
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import split_images
from nas_budget.train.engine.loop import train
from nas_budget.train.optim.recipe import RECIPES

NETWORKS = {
    "8-12-16-24, 1.1 M MACs": ResNetSpec((8, 12, 16, 24), (1, 1, 2, 1), strides=(2, 2, 2, 2)),
    "16-32-64, 4.6 M MACs": ResNetSpec((16, 32, 64), (1, 1, 1), strides=(2, 2, 2)),
}
STUDY = Path(__file__).parents[1] / "studies" / "quickstart.toml"


def best_speed(n_threads: int, spec: ResNetSpec) -> Iterator[float]:
    """Images trained a second, of the best of three epochs."""
    torch.set_num_threads(n_threads)
    images = split_images(open_dataset("shapes"), torch.device("cpu"), 1_000, 200)
    yield 1_000 / min(result.seconds for result in train(build(spec), images, replace(RECIPES["brief"], epochs=3)))


def in_new_process(n_threads: int, spec: ResNetSpec) -> float:
    """The same in a process of its own."""
    with Worker(best_speed, n_threads, spec) as worker:
        return float(worker.answer())


@contextmanager
def beside(n_busy: int) -> Iterator[None]:
    """Processes that never rest."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_busy)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def print_threads(arguments: argparse.Namespace) -> None:
    """Images a second on one thread and on every core."""
    n_cores, rows = os.cpu_count() or 1, []
    for name, spec in NETWORKS.items():
        for n_busy, words in enumerate(("nothing", "a busy process")):
            ways: dict[str, Callable[[], float]] = {
                "one": lambda spec=spec: in_new_process(1, spec),
                "all": lambda spec=spec: in_new_process(n_cores, spec),
            }
            with beside(n_busy):
                one, every = (row["median"] for row in in_turn(ways, arguments.rounds).values())
            rows.append((name, words, f"{one:.0f}", f"{every:.0f}", f"{one / every:.2f}"))
    print_table(("images a second", "beside", "1 thread", f"{n_cores} threads", f"1 / {n_cores}"), rows)


def search_s(n_workers: int, n_trials: int) -> float:
    """Seconds of a whole search from the command line."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--trials", n_trials, "--workers", n_workers, "--pruner", "none", "--sampler", "random"]
        settings = ["--set", "search.threads=1", "--runs-dir", folder, "--quiet"]
        command = [sys.executable, "-m", "nas_budget", "search", STUDY, *options, *settings]
        start = time.perf_counter()
        subprocess.run([*map(str, command)], check=True, capture_output=True)
        return time.perf_counter() - start


def print_workers(arguments: argparse.Namespace) -> None:
    """Seconds of a search by one worker and by two."""
    ways = {f"{n} worker{'s' * (n > 1)}": lambda n=n: search_s(n, arguments.trials) for n in (1, 2)}
    found = in_turn(ways, arguments.rounds)
    first = next(iter(found.values()))["median"]
    rows = [
        (name, *(f"{row[key]:.1f}" for key in ("median", "min", "max")), f"{first / row['median']:.2f}")
        for name, row in found.items()
    ]
    print_table((f"{arguments.trials} trials", "seconds", "min", "max", "times as fast"), rows)


PARTS = {"threads": print_threads, "workers": print_workers}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=8, help="of a search")
    arguments = parser.parse_args()
    print(f"{machine('torch')}, medians of {arguments.rounds} rounds in turn")
    for part in arguments.parts:
        PARTS[part](arguments)


if __name__ == "__main__":
    main()

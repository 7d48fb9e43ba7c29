"""Training speed of small networks on one thread against every core, alone and beside a busy process.

    python benchmarks/threads.py [runs]

Each figure comes from processes of its own, in turn, so that a drift of the machine's speed hits both.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version

NETWORKS = {
    "8-12-16-24 (1.1 M MACs)": ((8, 12, 16, 24), (1, 1, 2, 1)),
    "16-32-64 (4.6 M MACs)": ((16, 32, 64), (1, 1, 1)),
}
WORKER = """
import sys
from dataclasses import replace
from nas_budget.train.engine.process import own_process
own_process()
import torch
from nas_budget import ResNetSpec, build
from nas_budget.train.data.dataset import open_dataset
from nas_budget.train.data.split import split_images
from nas_budget.train.engine.loop import train
from nas_budget.train.optim.recipe import RECIPES

torch.set_num_threads(int(sys.argv[1]))
channels, blocks = eval(sys.argv[2])
spec = ResNetSpec(channels, blocks, strides=(2,) * len(channels))
images = split_images(open_dataset("shapes"), torch.device("cpu"), 1000, 200)
results = train(build(spec), images, replace(RECIPES["brief"], epochs=3))
print(1000 / min(result.seconds for result in results))
"""


def images_per_second(n_threads: int, network: object) -> float:
    """Images trained a second, of the best of three epochs in a fresh process."""
    command = [sys.executable, "-c", WORKER, str(n_threads), repr(network)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def compare(network: object, n_runs: int, busy: int) -> tuple[float, float]:
    """Median images a second on one thread and on every core, beside `busy` processes that never rest."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        pairs = [[images_per_second(n, network) for n in (1, os.cpu_count() or 1)] for _ in range(n_runs)]
    finally:
        for other in others:
            other.kill()
            other.wait()
    one, every = (statistics.median(values) for values in zip(*pairs, strict=True))
    return one, every


def main() -> None:
    """Print the comparison as a table."""
    n_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {version('torch')}, medians of {n_runs} runs")
    print(f"{'network':24} {'beside':>14} {'1 thread':>10} {'all':>8} {'1 / all':>8}   images a second")
    for name, network in NETWORKS.items():
        for busy in (0, 1):
            one, every = compare(network, n_runs, busy)
            beside = "nothing" if not busy else "a busy process"
            print(f"{name:24} {beside:>14} {one:10.0f} {every:8.0f} {one / every:8.2f}")


if __name__ == "__main__":
    main()

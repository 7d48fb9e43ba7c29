"""What counting costs: one network by six tools, millions in a table, a space by halves; ratios of one run.

python benchmarks/counting.py [runs]
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from importlib.metadata import version

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy loads

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from torchinfo import summary

from nas_budget import Budget, ResNetSpec, SearchSpace, build, cost, cost_table, count_fitting, count_networks, sample

REFERENCE = ResNetSpec((32, 64, 96, 128, 185))
N_ROWS = 1_000_000
SPACE = SearchSpace(
    stages=(5, 5), blocks=(1, 6), kernels=(3,), pool=(2,), shortcut_kernel=(3,), width=(16, 256), width_step=16,
    growth=(0.01, 100.0),
)  # fmt: skip
HUGE = SearchSpace(stages=(3, 5), blocks=(1, 6), kernels=(3, 5, 7), width=(8, 1024), growth=(0.1, 10.0))


def seconds(work: Callable[[], object], times: int = 1) -> float:
    """Seconds of one call, the mean of some in a row."""
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def on_meta() -> torch.nn.Module:
    """The reference without weights."""
    with torch.device("meta"):
        return build(REFERENCE).eval()


def ways_to_count() -> dict[str, tuple[Callable[[], object], int, int]]:
    """What counts, how often in a row, and how many networks at once."""
    chance = np.random.default_rng(0)
    widths, blocks = chance.integers(16, 257, (N_ROWS, 5)), chance.integers(1, 7, (N_ROWS, 5))
    meta, image = on_meta(), torch.empty(1, 3, 32, 32, device="meta")

    def flops() -> None:
        with FlopCounterMode(display=False), torch.no_grad():
            meta(image)

    return {
        "cost_table, params": (lambda: cost_table(widths, blocks, columns=["params"]), 1, N_ROWS),
        "cost_table, params, blocks alike": (lambda: cost_table(widths, 4, columns=["params"]), 1, N_ROWS),
        "cost_table, params and MACs": (lambda: cost_table(widths, blocks, columns=["params", "macs"]), 1, N_ROWS),
        "cost_table, all four columns": (lambda: cost_table(widths, blocks), 1, N_ROWS),
        "cost, every figure": (lambda: cost.__wrapped__(REFERENCE), 20, 1),
        "build on meta + numel": (lambda: sum(p.numel() for p in on_meta().parameters()), 2, 1),
        "build + numel": (lambda: sum(p.numel() for p in build(REFERENCE).parameters()), 2, 1),
        "torchinfo": (lambda: summary(on_meta(), (1, 3, 32, 32), depth=1, verbose=0, device="meta"), 2, 1),
        "FlopCounterMode (built before)": (flops, 2, 1),
    }


def compare(n_runs: int) -> dict[str, float]:
    """Print microseconds a network of each way, and the ratio to the table; gives the medians."""
    ways = ways_to_count()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(n_runs + 1):  # the first warms up
        for name, (work, times, n) in ways.items():
            taken[name].append(1e6 * seconds(work, times) / n)
    medians = {name: statistics.median(values[1:]) for name, values in taken.items()}
    first = next(iter(medians.values()))
    print(f"{'one five-stage network':34} {'microseconds':>14} {'min':>12} {'max':>12} {'ratio':>10}")
    for name, values in taken.items():
        low, high = min(values[1:]), max(values[1:])
        print(f"{name:34} {medians[name]:14.3f} {low:12.3f} {high:12.3f} {medians[name] / first:10,.1f}")
    return medians


def memory() -> None:
    """Print what a table of four million rows holds beside its input and its result."""
    widths = np.random.default_rng(1).integers(16, 257, (4_000_000, 5))
    tracemalloc.start()
    counted = cost_table(widths)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    beside = peak - sum(column.nbytes for column in counted.values())
    print(f"\n4,000,000 rows, all columns: {beside / 2**20:.1f} MiB beside {widths.nbytes / 2**20:.0f} MiB of input "
          "and the result")  # fmt: skip


def spaces(n_runs: int, per_network_us: float) -> None:
    """Print what counting and drawing from a space takes."""
    print(f"\n{'a space':64} {'seconds':>9} {'min':>7} {'max':>7}")
    jobs: dict[str, Callable[[], object]] = {
        f"{count_networks(SPACE):,} networks, within 5 M parameters": lambda: count_fitting(SPACE, Budget()),
        "the same, and within 500 M MACs": lambda: count_fitting(SPACE, Budget(macs=500_000_000)),
        "10,000 draws within 50,000 parameters, of networks up to 1,024 wide": lambda: sample(
            HUGE, 10_000, Budget(50_000)
        ),
    }
    for name, work in jobs.items():
        taken = [seconds(work) for _ in range(n_runs)]
        print(f"{name:64} {statistics.median(taken):9.3f} {min(taken):7.3f} {max(taken):7.3f}")
    one_by_one = count_networks(SPACE) * per_network_us / 1e6
    print(f"{'the first one by one in cost_table would take':64} {one_by_one:9.0f}")
    fitting, with_macs = (count_fitting(SPACE, budget) for budget in (Budget(), Budget(macs=500_000_000)))
    print(f"\nfit: {fitting:,}, and {with_macs:,} with the MACs")


def main() -> None:
    """Print the comparison."""
    n_runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    torch.set_num_threads(1)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "torchinfo"))
    print(f"{platform.machine()}, one core, Python {platform.python_version()}, {packages}, medians of {n_runs} runs\n")
    medians = compare(n_runs)
    per_network = medians["cost_table, params"]
    print(f"\n{1 / per_network:.1f} million networks a second for params, blocks of each stage given")
    print(f"{1 / medians['cost_table, params, blocks alike']:.1f} million with blocks alike")
    memory()
    spaces(n_runs, per_network)
    print(f"\npeak memory of all this: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB")


if __name__ == "__main__":
    main()

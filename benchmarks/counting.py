"""What counting costs: one network by six tools, millions in a table, a whole space.

python benchmarks/counting.py [--rounds 5] [--rows 1000000]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tracemalloc
from collections.abc import Callable

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # read when NumPy loads

import numpy as np
import torch
from harness import in_turn, machine, print_table, seconds_of
from torch.utils.flop_counter import FlopCounterMode
from torchinfo import summary

from nas_budget import Budget, ResNetSpec, SearchSpace, build, cost, cost_table, count_fitting, count_networks, sample

REFERENCE = ResNetSpec((32, 64, 96, 128, 185))
SPACE = SearchSpace(
    stages=(5, 5), blocks=(1, 6), kernels=(3,), pool=(2,), shortcut_kernel=(3,), width=(16, 256), width_step=16,
    growth=(0.01, 100.0),
)  # fmt: skip
HUGE = SearchSpace(stages=(3, 5), blocks=(1, 6), kernels=(3, 5, 7), width=(8, 1024), growth=(0.1, 10.0))
LARGE_TABLE = 4


def on_meta() -> torch.nn.Module:
    """The reference without weights."""
    with torch.device("meta"):
        return build(REFERENCE).eval()


def ways_to_count(n_rows: int) -> dict[str, Callable[[], float]]:
    """Microseconds a network, by what counts."""
    rng = np.random.default_rng(0)
    widths, blocks = rng.integers(16, 257, (n_rows, 5)), rng.integers(1, 7, (n_rows, 5))
    meta, image = on_meta(), torch.empty(1, 3, 32, 32, device="meta")

    def flops() -> None:
        with FlopCounterMode(display=False), torch.no_grad():
            meta(image)

    tables: dict[str, Callable[[], object]] = {
        "cost_table, params": lambda: cost_table(widths, blocks, columns=["params"]),
        "cost_table, params, blocks alike": lambda: cost_table(widths, 4, columns=["params"]),
        "cost_table, params and MACs": lambda: cost_table(widths, blocks, columns=["params", "macs"]),
        "cost_table, all four columns": lambda: cost_table(widths, blocks),
    }
    single: dict[str, Callable[[], object]] = {
        "cost, every figure": lambda: cost.__wrapped__(REFERENCE),
        "build on meta + numel": lambda: sum(p.numel() for p in on_meta().parameters()),
        "build + numel": lambda: sum(p.numel() for p in build(REFERENCE).parameters()),
        "torchinfo": lambda: summary(on_meta(), (1, 3, 32, 32), depth=1, verbose=0, device="meta"),
        "FlopCounterMode (built before)": flops,
    }
    ways = {name: lambda work=work: 1e6 * seconds_of(work) / n_rows for name, work in tables.items()}
    return ways | {name: lambda work=work: 1e6 * seconds_of(work, 3) for name, work in single.items()}


def print_ways(n_rounds: int, n_rows: int) -> float:
    """Print microseconds a network of each way; gives those of the table for parameters."""
    found = in_turn(ways_to_count(n_rows), n_rounds)
    first, alike = (found[name]["median"] for name in ("cost_table, params", "cost_table, params, blocks alike"))
    rows = [
        (name, *(f"{row[key]:,.3f}" for key in ("median", "min", "max")), f"{row['median'] / first:,.1f}")
        for name, row in found.items()
    ]
    print_table(("what counts", "microseconds a network", "min", "max", "ratio"), rows)
    print(f"\n{1 / first:.1f} million networks a second for params, {1 / alike:.1f} million with blocks alike")
    return float(first)


def print_memory(n_rows: int) -> None:
    """Print what a large table holds beside its input and its result."""
    widths = np.random.default_rng(1).integers(16, 257, (n_rows, 5))
    tracemalloc.start()
    counted = cost_table(widths)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    beside = peak - sum(column.nbytes for column in counted.values())
    print(
        f"{n_rows:,} rows, four columns: {beside / 2**20:.1f} MiB beside result and input ({widths.nbytes >> 20} MiB)"
    )


def print_spaces(n_rounds: int, per_network_us: float) -> None:
    """Print what counting and drawing from a space takes."""
    jobs: dict[str, Callable[[], object]] = {
        "networks within 5 M parameters": lambda: count_fitting(SPACE, Budget()),
        "the same, and within 500 M MACs": lambda: count_fitting(SPACE, Budget(macs=500_000_000)),
        "draws within 50,000 parameters, up to 1,024 wide": lambda: len(sample(HUGE, 10_000, Budget(50_000))),
    }
    rows = []
    for name, work in jobs.items():
        seconds = [seconds_of(work) for _ in range(n_rounds)]
        rows.append((f"{work():,} {name}", *(f"{of(seconds):.3f}" for of in (statistics.median, min, max))))
    print_table(("a space", "seconds", "min", "max"), rows)
    one_by_one = count_networks(SPACE) * per_network_us / 1e6
    print(f"\nthe {count_networks(SPACE):,} networks of the first space one by one in cost_table: {one_by_one:.0f} s")


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=1_000_000, help="networks in a table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine('torch', 'numpy', 'torchinfo')}, one core, medians of {arguments.rounds} rounds in turn")
    per_network = print_ways(arguments.rounds, arguments.rows)
    print_memory(LARGE_TABLE * arguments.rows)
    print_spaces(arguments.rounds, per_network)
    print(f"peak memory of all this: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


if __name__ == "__main__":
    main()

"""How far predicted latencies are from measured ones on this device, over random networks that keep a limit.

    python benchmarks/latency.py [--latency 2ms] [--block basic,inverted] [--networks 30]

Layers of the space are timed, a model is fitted, and networks near the limit that had no part in that are timed as a
whole. Of each network the least time counts: other work on the machine only adds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.latency import parse_latency
from nas_budget.arch.latency_table import fit_errors, fit_latency
from nas_budget.search.config.latency import Timing, measured_table
from nas_budget.space.sampling import sample
from nas_budget.space.space import SearchSpace
from nas_budget.train.engine.device import choose_device
from nas_budget.train.profile.layer_timing import network_s

ROUNDS = 3


def main() -> None:
    """Print the relative deviations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--latency", default="2ms")
    parser.add_argument("--block", default="basic")
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    space = SearchSpace(block=tuple(given.block.split(",")), width_step=8, pool=("global",))
    timing = Timing(choose_device(given.device))
    limit = parse_latency(given.latency)
    table = measured_table(space, {"params": 5_000_000, "latency": limit}, timing)
    model = fit_latency(table)
    print(f"{table.source}\n{fit_errors(table, model)}")
    budget = Budget(latency_ns=limit, latency_model=model)
    near = [replace(budget, latency_ns=limit // 2), budget]
    specs = [spec for each in near for spec in sample(space, given.networks // 2, each, seed=7)]
    measured = np.array([min(network_s(spec, timing.device) for _ in range(ROUNDS)) for spec in specs])
    predicted = np.array([model.network_ns(cost(spec).timed) / 1e9 for spec in specs])
    off = measured / predicted - 1
    low, middle, high = np.quantile(off, (0.05, 0.5, 0.95))
    ranks = [np.argsort(np.argsort(values)) for values in (measured, predicted)]
    print(f"{len(specs)} networks of {1e3 * measured.min():.2f} to {1e3 * measured.max():.2f} ms")
    print(f"measured against predicted: {middle:+.1%} in the median, nine in ten from {low:+.1%} to {high:+.1%}")
    print(f"mean absolute deviation {np.abs(off).mean():.1%}, rank correlation {np.corrcoef(*ranks)[0, 1]:.3f}")


if __name__ == "__main__":
    main()

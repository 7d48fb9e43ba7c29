"""Which pruner metric ranks networks early as their whole training does, from the trainings in `trainings.csv`.

    python benchmarks/pruner_metrics.py

A network counts when its whole training, its second one and its short runs are in the table. A figure is Spearman's
rank correlation over networks, of a metric at an epoch with another seed's accuracy after the last epoch, which
includes the noise of seeds. Both seeds use the same validation images. "Without size" means what a linear fit on log
parameters and log MACs, made for each resample, leaves of both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from harness import print_table
from trainings import SHORT, TABLE

RUNS = ("full", "again", *(f"short {epochs}" for epochs in SHORT))
N_RESAMPLES = 2_000


class Metric(NamedTuple):
    """One number a network by epoch, of the training with a seed; more is better."""

    seed: int
    values: dict[int, np.ndarray]


def complete_networks() -> pd.DataFrame:
    """One row a network whose runs are all there; the columns are pairs (what, run)."""
    rows = pd.read_csv(TABLE)
    run = rows["part"].where(rows["part"] != "short", "short " + rows["epochs"].astype(str))
    wide = rows.assign(run=run).pivot(index=["channels", "blocks"], columns="run")
    return wide.loc[wide["accuracy"][[*RUNS]].dropna().index]


def curves(networks: pd.DataFrame, what: str, run: str) -> np.ndarray:
    """One curve of every network, shape (epochs, networks)."""
    return np.array([str(curve).split() for curve in networks[what, run]], dtype=float).T


def logs_of_size(networks: pd.DataFrame) -> np.ndarray:
    """Log parameters and log MACs, shape (2, networks)."""
    return np.log(np.stack([networks[what, "full"].to_numpy(float) for what in ("params", "macs")]))


def metrics_of(networks: pd.DataFrame) -> dict[str, Metric]:
    """The metrics by name."""
    accuracy, full = curves(networks, "accuracy", "again"), curves(networks, "accuracy", "full")
    params, macs = logs_of_size(networks)
    short = {epochs: curves(networks, "accuracy", f"short {epochs}")[-1] for epochs in SHORT}
    return {
        "log parameters": Metric(1, {0: params}),
        "log MACs": Metric(1, {0: macs}),
        "accuracy (seed 1)": Metric(1, dict(enumerate(accuracy, 1))),
        "best accuracy so far": Metric(1, dict(enumerate(np.maximum.accumulate(accuracy), 1))),
        "mean of the last two": Metric(1, dict(enumerate((accuracy[1:] + accuracy[:-1]) / 2, 2))),
        "validation loss": Metric(1, dict(enumerate(-curves(networks, "validation_loss", "again"), 1))),
        "training loss": Metric(1, dict(enumerate(-curves(networks, "train_loss", "again"), 1))),
        "EMA weights": Metric(1, dict(enumerate(curves(networks, "ema_accuracy", "again"), 1))),
        "accuracy (seed 0)": Metric(0, dict(enumerate(full, 1))),
        "short run (seed 0)": Metric(0, short),
    }


def resamples(n_networks: int) -> np.ndarray:
    """Indices of networks, shape (1 + resamples, networks); the first row is the sample itself."""
    drawn = np.random.default_rng(0).integers(n_networks, size=(N_RESAMPLES, n_networks))
    return np.concatenate([np.arange(n_networks)[None], drawn])


def size_basis(networks: pd.DataFrame, picks: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what a constant and size explain, shape (resamples, networks, 3)."""
    logs = logs_of_size(networks).T
    design = np.column_stack([np.ones(len(logs)), (logs - logs.mean(axis=0)) / logs.std(axis=0)])
    return np.linalg.qr(design[picks])[0]


def standard_ranks(values: np.ndarray, picks: np.ndarray, basis: np.ndarray | None) -> np.ndarray:
    """Ranks of a metric in every resample, standardized, so that a product of two is their correlation."""
    picked = values[picks]
    if basis is not None:
        fitted = basis @ (basis.transpose(0, 2, 1) @ picked[..., None])
        picked = (picked - fitted[..., 0]).round(9)  # a network drawn twice ties with itself again
    ranks = pd.DataFrame(picked).rank(axis=1).to_numpy() - (len(values) + 1) / 2
    return ranks / np.linalg.norm(ranks, axis=1, keepdims=True)


def with_interval(values: np.ndarray, rival: np.ndarray) -> str:
    """The estimate, where 95 % of its resamples lie, and a mark where 95 % lie on one side of the rival's."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    least, most = np.percentile((values - rival)[1:], [2.5, 97.5])
    mark = "+" if least > 0 else "-" if most < 0 else ""
    return f"{values[0]:.2f} ({low:.2f}, {high:.2f}) {mark}".rstrip()


def print_correlations(metrics: dict[str, Metric], picks: np.ndarray, basis: np.ndarray | None) -> None:
    """Print a line for each metric; sizes are left out where their effect is removed."""
    ends = [standard_ranks(metrics[f"accuracy (seed {seed})"].values[8], picks, basis) for seed in (0, 1)]
    found = {
        name: {epoch: (standard_ranks(v, picks, basis) * ends[1 - metric.seed]).sum(axis=1) for epoch, v in at.items()}
        for name, metric in metrics.items()
        if 0 not in (at := metric.values) or basis is None
    }
    epochs = range(int(basis is not None), 9)
    rows = []
    for name, at in found.items():
        rivals = found[f"accuracy (seed {metrics[name].seed})"]
        cells = {epoch: with_interval(values, rivals.get(epoch, values)) for epoch, values in at.items()}
        rows.append((name, *(cells.get(epoch, "") for epoch in epochs)))
    print_table(("metric, by epoch", *map(str, epochs)), rows)


def print_noise(metrics: dict[str, Metric], picks: np.ndarray, basis: np.ndarray) -> None:
    """Print how far apart two seeds of one network end, and how well one ranks the other."""
    ends = [metrics[f"accuracy (seed {seed})"].values[8] for seed in (0, 1)]
    one, two = (100 * end[picks] for end in ends)
    plain, left = (np.prod([standard_ranks(end, picks, b) for end in ends], axis=0).sum(axis=1) for b in (None, basis))
    figures = {
        "mean accuracy, %": ((one + two) / 2).mean(axis=1),
        "sd between networks, both seeds averaged, points": ((one + two) / 2).std(axis=1, ddof=1),
        "sd between seeds, points": (one - two).std(axis=1, ddof=1) / np.sqrt(2),
        "rank correlation of the two seeds: the most to expect": plain,
        "the same, without size": left,
    }
    print_table(("final accuracy", "figure"), ((name, with_interval(v, v)) for name, v in figures.items()))


def main() -> None:
    """Print the correlations, the same without size, and the noise of seeds."""
    networks = complete_networks()
    metrics, picks = metrics_of(networks), resamples(len(networks))
    basis = size_basis(networks, picks)
    made_by = "; ".join(", ".join(sorted(set(networks[what].to_numpy().ravel()))) for what in ("device", "versions"))
    print(f"{len(networks)} networks. {made_by}. 95 % intervals over networks, {N_RESAMPLES:,} resamples.")
    print("+ or -: above or below the same seed's accuracy at that epoch, by the interval of the difference.")
    print_correlations(metrics, picks, None)
    print("\nWithout size:")
    print_correlations(metrics, picks, basis)
    print_noise(metrics, picks, basis)


if __name__ == "__main__":
    main()

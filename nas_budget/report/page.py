"""One self-contained page from a trials table; it opens without a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined

from nas_budget.errors import TableError
from nas_budget.files import write_whole
from nas_budget.finalist_table import FinalistRun, standings
from nas_budget.ledger import ledger
from nas_budget.report.figures import REFERENCE, tradeoff
from nas_budget.report.table import best, front, network
from nas_budget.trial_table import COLUMNS, TrialRecord

PLOTLY_CONFIG = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
}


SPENDING = {
    "complete": "Time on complete trials",
    "pruned": "On trials stopped early",
    "failed": "On failed trials",
    "duplicate": "On networks trained before",
    "repeated": "Repeated after interruptions",
    "finalists": "On finalists",
    "saved": "Saved by stopping early",
}
RECIPE = {"optimizer": "", "learning_rate": "learning rate ", "weight_decay": "weight decay ", "batch_size": "batch "}


def write_page(table: pd.DataFrame, path: Path, finalists: Sequence[FinalistRun] = ()) -> None:
    """Write the page of a table to `path`, all of it or nothing.

    Raises:
        TableError: The file cannot be written.
    """
    try:
        write_whole(path, page(table, finalists))
    except OSError as error:
        raise TableError(f"{path}: cannot be written ({error.strerror or error})") from None


def page(table: pd.DataFrame, finalists: Sequence[FinalistRun] = ()) -> str:
    """The page of a table, and of the runs of its finalists, as HTML; every text from them is escaped."""
    table = table.assign(recipe=_searched(table))
    template = files("nas_budget.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(count="{:,.0f}".format, percent="{:.2%}".format, network=network)
    leading, winner = front(table), best(table)
    return environment.from_string(template).render(
        study=table["study"].iloc[0],
        first=table.iloc[0],
        budget=budget_in_words(table.iloc[0]),
        winner=None if winner is None else winner.to_dict(),
        share=None if winner is None else _share(winner),
        facts=list(_facts(table, finalists)),
        finalists=standings(finalists),
        front=leading.iloc[::-1].to_dict("records"),
        trials=table.sort_values(["state", "accuracy"], ascending=[True, False]).to_dict("records"),
        has_points=table["accuracy"].notna().any(),
        has_reference=(table["data"] == REFERENCE["data"]).all(),
        figure=_html(tradeoff(table)),
    )


def budget_in_words(trial: pd.Series[Any]) -> str:
    """The limits that were set, such as "5,000,000 parameters, 6,000,000 MACs"."""
    words = {
        "budget_params": "parameters",
        "budget_macs": "MACs",
        "budget_weight_bytes": f"bytes of {trial['weight_format']} weights",
        "budget_activation_bytes": "bytes of activations",
    }
    return ", ".join(f"{trial[key]:,.0f} {word}" for key, word in words.items() if pd.notna(trial[key])) or "no limit"


def _share(winner: pd.Series[Any]) -> float | None:
    limit = winner["budget_params"]
    return winner["params"] / limit if pd.notna(limit) else None


def _searched(table: pd.DataFrame) -> list[str]:
    """What of the recipe differs between trials, in words, for each of them."""
    varied = [name for name in RECIPE if table[name].nunique() > 1]
    return [", ".join(f"{RECIPE[name]}{row[name]}" for name in varied) for row in table.to_dict("records")]


def _spending(table: pd.DataFrame, finalists: Sequence[FinalistRun]) -> Iterable[tuple[str, str]]:
    rows = [TrialRecord(**{name: row[name] for name in COLUMNS}) for row in table.to_dict("records")]
    spent = ledger(rows, sum(run.seconds for run in finalists), sum(run.repeated_seconds for run in finalists))
    yield "Time in all", _duration(spent.spent)
    for name, words in SPENDING.items():
        if seconds := getattr(spent, name):
            yield words, _duration(seconds)


def _facts(table: pd.DataFrame, finalists: Sequence[FinalistRun]) -> Iterable[tuple[str, str]]:
    first, states = table.iloc[0], table["state"].value_counts()
    yield "Trials", f"{states.get('complete', 0)} complete, {states.get('pruned', 0)} stopped early"
    if "failed" in states:
        yield "Failed", f"{states['failed']}"
    yield "Networks trained twice", f"{int(table['spec'].duplicated().sum())}"
    yield from _spending(table, finalists)
    yield "Data", f"{first['data']}: {first['images']:,} images trained on, {first['held_out']:,} held out"
    yield "Epochs of a trial", f"{first['max_epochs']}"
    yield "Device", ", ".join(d for d in table["device"].unique() if d)
    yield "Precision, seed", f"{first['precision']}, {first['seed']}"
    yield "Versions", ", ".join(v for v in table["versions"].unique() if v)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _html(figure: go.Figure) -> str:
    html: str = figure.to_html(
        full_html=False, include_plotlyjs=True, div_id="tradeoff", config=PLOTLY_CONFIG, default_height="540px"
    )
    return html

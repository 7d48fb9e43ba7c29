"""Where the time went: the ledger as a bar, and what each worker did when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from nas_budget.records.formatting import duration
from nas_budget.records.time_ledger import TimeLedger
from nas_budget.records.workers import WorkerRecord
from nas_budget.report.figures.style import ACCENT, FAINT, INK, LOST, WIDER, lay_out, plain
from nas_budget.report.tables.trials import ladder

Times = NDArray[np.float64]

ENTRIES = {
    "complete": ("complete trials", ACCENT, ""),
    "pruned": ("pruned trials", FAINT, ""),
    "ladder": ("the best again, wider", WIDER, ""),
    "finalists": ("finalists", INK, ""),
    "failed": ("failed trials", LOST, ""),
    "duplicate": ("networks trained before", LOST, "."),
    "repeated": ("repeated after interruptions", LOST, "x"),
    "saved": ("saved by pruning", FAINT, "/"),
}
"""Of the time ledger: words, colour, pattern."""
AGAIN = ENTRIES["ladder"][0]
STATES = {"complete": ACCENT, AGAIN: WIDER, "pruned": FAINT, "failed": LOST}
"""What became of trials, in the colours of the time ledger."""
MARGIN = {"l": 8, "r": 12, "t": 56, "b": 44}
MINUTE, HOUR = 60.0, 3600.0
LONGEST_PAUSE, PAUSE_SHARE = 60.0, 0.05
"""A time in which nothing was trained is cut to this share of the rest, where it is longer than that and a minute."""


def ledger_figure(ledgers: Mapping[str, TimeLedger]) -> go.Figure:
    """Draw a bar for each study: device time by what became of it, and what pruning saved."""
    figure = go.Figure()
    most = max((asdict(spent)["saved"] + spent.spent for spent in ledgers.values()), default=0.0)
    unit, words = unit_of(most)
    for entry, (name, colour, pattern) in ENTRIES.items():
        seconds = [getattr(spent, entry) for spent in ledgers.values()]
        if any(seconds):
            figure.add_bar(
                x=[s / unit for s in seconds], y=[*map(plain, ledgers)], orientation="h", name=name,
                marker={"color": colour, "pattern": {"shape": pattern, "fgcolor": colour}},
                text=[duration(s) for s in seconds], textposition="none",
                hovertemplate=f"{name}: %{{text}}<extra></extra>",
            )  # fmt: skip
    lay_out(figure, height=130 + 34 * len(ledgers), barmode="stack", margin=MARGIN)
    figure.update_xaxes(title_text=f"device {words}")
    figure.update_yaxes(type="category", automargin=True, showgrid=False, autorange="reversed")
    figure.update_yaxes(showticklabels=len(ledgers) > 1)
    return figure


def timeline_figure(
    table: pd.DataFrame, places: Mapping[str, Sequence[WorkerRecord]] | None = None
) -> go.Figure | None:
    """Draw when each worker trained which trial; long pauses are cut short. None where the table has no times.

    Args:
        table: Trials of one study or several.
        places: The workers of each study by its name, where they are known; else the table's numbers tell them apart.
    """
    known = {name: pd.to_datetime(table[name], errors="coerce", utc=True) for name in ("started", "finished")}
    times = table.assign(**known).dropna(subset=[*known])
    resumed = times["repeated_seconds"] > 0  # it started long before the epochs that count
    times["started"] = times["started"].where(~resumed, times["finished"] - pd.to_timedelta(times["seconds"], unit="s"))
    if times.empty:
        return None
    seconds = (times[[*known]] - times["started"].min()) / pd.Timedelta(seconds=1)
    starts, ends, pauses = _without_pauses(seconds["started"].to_numpy(float), seconds["finished"].to_numpy(float))
    unit, words = unit_of(float(ends.max()))
    drawn = times.assign(start=starts / unit, end=ends / unit, row=_rows(times, places or {}))
    drawn["became"] = drawn["state"].mask(drawn.index.isin(ladder(drawn).index), AGAIN)
    figure = go.Figure()
    for state in STATES:
        _add_bars(figure, drawn[drawn["became"] == state], state)
    for at, length in pauses:
        figure.add_vline(x=at / unit, line={"color": FAINT, "width": 1.5, "dash": "dot"})
        figure.add_annotation(x=at / unit, y=1, yref="paper", yanchor="bottom", text=duration(length), showarrow=False)
    rows = [*drawn["row"].unique()]
    lay_out(figure, height=130 + 40 * len(rows), hovermode="closest", barmode="overlay", margin=MARGIN)
    if pauses:  # their lengths stand between the legend and the bars
        figure.update_layout(legend_y=1.0 + 24 / (30 + 40 * len(rows)), margin_t=76, height=150 + 40 * len(rows))
    figure.update_xaxes(title_text=f"{words} since the start{', pauses cut' if pauses else ''}")
    figure.update_yaxes(automargin=True, showgrid=False, type="category", categoryorder="array")
    return figure.update_yaxes(categoryarray=rows[::-1], range=[-0.5, len(rows) - 0.5])


def unit_of(seconds: float) -> tuple[float, str]:
    """A unit of time in which so many seconds are a number one can read, and its name."""
    return (HOUR, "hours") if seconds > 2 * HOUR else (MINUTE, "minutes") if seconds > 2 * MINUTE else (1.0, "seconds")


def _rows(times: pd.DataFrame, places: Mapping[str, Sequence[WorkerRecord]]) -> list[str]:
    """The row of each trial: which worker trained it, with machine and study where there are several."""
    names = {(study, number): name for study in places for number, name in _named(places[study]).items()}
    several = times["study"].nunique() > 1
    rows = []
    for study, number, worker in zip(times["study"], times["number"], times["worker"], strict=True):
        name = names.get((study, number), f"worker {worker}")
        rows.append(plain(f"{study}, {name}" if several else name))
    return rows


def _named(workers: Sequence[WorkerRecord]) -> dict[int, str]:
    """What the worker of each trial is called; those of one number on one machine are told apart by their ids."""
    has_hosts = len({worker.host for worker in workers}) > 1
    names = [worker.place if has_hosts else f"worker {worker.index}" for worker in workers]
    return {
        number: name if names.count(name) == 1 else f"{name} ({worker.id})"
        for worker, name in zip(workers, names, strict=True)
        for number in worker.numbers
    }


def _without_pauses(starts: Times, ends: Times) -> tuple[Times, Times, list[tuple[float, float]]]:
    """Times with long pauses cut short, and where each was, with its length in seconds."""
    order = np.argsort(starts, kind="stable")
    reached = np.maximum.accumulate(ends[order])
    gaps = np.maximum(0.0, starts[order][1:] - reached[:-1])
    busy = float(reached[-1] - gaps.sum())
    allowed = max(LONGEST_PAUSE, PAUSE_SHARE * busy)
    cut = np.where(gaps > allowed, gaps - PAUSE_SHARE * busy, 0.0)
    shift = np.zeros(len(starts))
    shift[order] = so_far = np.concatenate([[0.0], np.cumsum(cut)])
    pauses = [(float(reached[i] - so_far[i] + PAUSE_SHARE * busy / 2), float(gaps[i])) for i in np.flatnonzero(cut)]
    return starts - shift, ends - shift, pauses


def _add_bars(figure: go.Figure, trials: pd.DataFrame, state: str) -> None:
    if trials.empty:
        return
    words = [
        f"trial {number}, {state}: {duration(seconds)}"
        for number, seconds in zip(trials["number"], trials["seconds"], strict=True)
    ]
    figure.add_bar(
        x=[*(trials["end"] - trials["start"])], base=[*trials["start"]], y=[*trials["row"]], orientation="h",
        width=0.5, customdata=[*map(int, trials.index)], marker={"color": STATES[state], "opacity": 0.75},
        name=state, text=words, textposition="none", hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip

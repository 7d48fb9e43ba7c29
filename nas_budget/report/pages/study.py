"""One self-contained page of one study, or of several side by side; it opens without a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs_version

from nas_budget.arch.budget import shown
from nas_budget.records.finalists import summarize_finalists
from nas_budget.records.formatting import decimals, duration, percent
from nas_budget.records.statistics import half_width
from nas_budget.records.time_ledger import trained_before
from nas_budget.report.figures.axes import SHARE_OF_FP32
from nas_budget.report.figures.curves import MOST_CURVES
from nas_budget.report.figures.importance import MOST_LINES
from nas_budget.report.figures.predictions import predicted_trials
from nas_budget.report.figures.tradeoff import MOST_BARS
from nas_budget.report.pages import templates as rendering
from nas_budget.report.pages.next_steps import export_command, known_spec, train_command
from nas_budget.report.pages.page_data import figures_of_studies, page_data
from nas_budget.report.pages.templates import plotly_script, render
from nas_budget.report.pages.workers import workers_table
from nas_budget.report.tables.importance import LEAST_TRIALS
from nas_budget.report.tables.known import known_networks
from nas_budget.report.tables.studies import StudyTable, together
from nas_budget.report.tables.trials import complete, halved, knee, network, pareto_trials, proposed, trained_as

SAME = {
    "data": "data",
    "images": "images trained on",
    "validation_images": "validation images",
    "max_epochs": "epochs",
    "seeds": "seeds of a trial",
    "proxy": "width at which networks are trained",
    "precision": "precision",
    "device": "device",
}
"""What must be alike for accuracies to be compared."""


def write_page(studies: Sequence[StudyTable], path: Path) -> None:
    """Write the page of studies to `path`, all of it or nothing.

    Raises:
        StorageError: The file cannot be written.
    """
    rendering.write_page(path, page(studies))


def page(studies: Sequence[StudyTable], live: str = "") -> str:
    """The page of studies as HTML; every text from them is escaped.

    Args:
        studies: One or more.
        live: Where it is served and renewed, the stamp of what it shows; plotly.js is then a file of the server, and
            the page asks for news.
    """
    table = together(studies)
    only = studies[0] if len(studies) == 1 else None
    best = only.best_network if only else None
    figures = figures_of_studies(studies)
    return render(
        "page.html", {"network": network, "budget": budget_in_words, "trained_as": trained_as}, SCRIPTS,
        title=_listed([study.name for study in studies]), first=table.iloc[0], only=only, best=best,
        studies=[_summary(study) for study in studies],
        margins=list(_margins(best.trial)) if best else [], found=_found(only) if only else "",
        commands=_commands(only) if only else {}, finalists=summarize_finalists(only.finalists) if only else [],
        smaller=_smaller_networks(pareto_trials(table)) if only else "", differences=_differences(table),
        facts=list(_facts(only)) if only else [], n_complete=len(complete(table)), n_trials=len(table),
        known=[k for k in known_networks(table["data"].iloc[0]) if table["data"].nunique() == 1],
        has_points=bool((table["accuracy"].notna() & table["state"].isin(["complete", "pruned"])).any()),
        predicted=predicted_trials(table), has_expected=bool(only and only.expected),
        problems=[study.problem for study in studies if study.problem],
        trained_for=_trained_for(studies), completed="" if only else _completed(studies),
        least_judged=LEAST_TRIALS,
        most_bars=MOST_BARS, most_curves=MOST_CURVES, most_lines=MOST_LINES, live=live,
        plotly=f'<script src="plotly.js?v={get_plotlyjs_version()}"></script>' if live else plotly_script(),
        workers=workers_table(only.workers, bool(live)) if only and only.workers else "",
        figures=figures, data=page_data(studies, table, figures),
    )  # fmt: skip


SCRIPTS = ("common.js", "figures.js", "trial.js", "tradeoff.js", "trials.js", "page.js")


def _listed(names: list[str]) -> str:
    """Names in a sentence: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def budget_in_words(trial: pd.Series[Any]) -> str:
    """The limits that were set, such as "5,000,000 parameters, 6,000,000 MACs"."""
    return ", ".join(f"{shown(name, limit)} {words}" for name, _, limit, words in _limits(trial)) or "no limit"


def _limits(trial: pd.Series[Any]) -> Iterable[tuple[str, int, int, str]]:
    """Each limit that is set: its name, what a trial uses of it, the limit, and what it is of."""
    uses = {
        "budget_params": (trial["params"], "parameters"),
        "budget_macs": (trial["macs"], "MACs"),
        "budget_weight_bytes": (
            trial["weight_bytes"] * SHARE_OF_FP32.get(trial["weight_format"], 1),
            f"bytes of {trial['weight_format']} weights",
        ),
        "budget_activation_bytes": (
            trial["activation_bytes"] * SHARE_OF_FP32.get(trial["activation_format"], 1),
            f"bytes of {trial['activation_format']} activations".replace("fp32 ", ""),
        ),
        "budget_latency_ns": (trial["predicted_latency_s"] * 1e9, "ms of predicted latency"),
    }
    for column, (use, words) in uses.items():
        if pd.notna(trial[column]):
            yield column.removeprefix("budget_"), round(use), round(trial[column]), words


def _margins(trial: pd.Series[Any]) -> Iterable[str]:
    for name, use, limit, words in _limits(trial):
        left = f"{shown(name, limit - use)} of {shown(name, limit)} {words} to spare"
        yield f"{left} ({use / limit:.1%} used)"


def _found(study: StudyTable) -> str:
    """What it cost to find, such as "Found in 12 min of training: 60 trials, 20 pruned, which saved 6 min."."""
    spent, base = study.ledger, proposed(study.table)
    parts = [f"{len(base)} trial{'' if len(base) == 1 else 's'}"]
    if pruned := int((base["state"] == "pruned").sum()):
        parts.append(f"{pruned} pruned, which saved {duration(spent.saved)}")
    if wider := len(study.table) - len(base):
        parts.append(f"{wider} trained again, wider")
    if study.finalists:
        parts.append(f"{len(study.finalists)} runs of finalists")
    return f"Found in {duration(spent.spent)} of training: {', '.join(parts)}."


def _commands(study: StudyTable) -> dict[str, str]:
    """The commands that train the best network and export what they train, by what they do."""
    if (best := study.best_network) is None:
        return {}
    train = train_command(str(best.trial["spec"]), str(best.trial["data"]), study.folder)
    trained = f"runs/{Path(study.folder).resolve().name}-best-strong"
    export = study.folder and export_command(trained, known_spec(str(best.trial["spec"])))
    commands = {"Train it in full": train, "Then export it": export}
    return {words: command for words, command in commands.items() if command}


def _smaller_networks(pareto: pd.DataFrame) -> str:
    """What fewer parameters would cost, in a sentence or two; empty where the front does not tell."""
    half, bend = halved(pareto), knee(pareto)
    found = []
    if half is not None:
        whole, images = pareto.iloc[-1], int(half["validation_images"])
        lost = float(whole["accuracy"] - half["accuracy"])
        chance = half_width(float(half["accuracy"]), images)
        maybe = ", which may be chance" if lost < chance else ""
        share = f"{half['params'] / whole['params']:.0%} of the parameters of trial {whole['number']}"
        points = f"{100 * lost:.{decimals(images)}f} points"
        found.append(f"With {share} accuracy is {points} lower{maybe}: {_in_words(half)}.")
    if bend is not None:
        same = half is not None and half["number"] == bend["number"]
        found.append(f"The knee, beyond which more buys less, is {'the same' if same else _in_words(bend)}.")
    return " ".join(found)


def _in_words(trial: pd.Series[Any]) -> str:
    return f"trial {trial['number']}, {percent(trial['accuracy'], trial['validation_images'])} with {trial['params']:,}"


def _differences(table: pd.DataFrame) -> list[str]:
    """What is not alike between the studies and makes their accuracies hard to compare."""
    return [words for name, words in SAME.items() if table.groupby("study")[name].first().nunique() > 1]


def _summary(study: StudyTable) -> dict[str, Any]:
    """A study's row of the comparison."""
    first = study.table.iloc[0]
    return {
        "name": study.name, "best": study.best_network, "budget": budget_in_words(first), "data": first["data"],
        **{name: first[name] for name in ("images", "validation_images", "max_epochs")},
        "trials": len(proposed(study.table)), "complete": len(complete(study.table)), "spent": study.ledger.spent,
    }  # fmt: skip


def _trained_for(studies: Sequence[StudyTable]) -> str:
    """Epochs and images of the trials, of each study where they differ: "6 epochs on 4,000 images (one)"."""
    of = {study.name: "{max_epochs} epochs on {images:,} images".format(**study.table.iloc[0]) for study in studies}
    if len({*of.values()}) == 1:
        return next(iter(of.values()))
    return ", ".join(f"{words} ({name})" for name, words in of.items())


def _completed(studies: Sequence[StudyTable]) -> str:
    return ", ".join(f"{len(complete(study.table)):,} of {study.name}" for study in studies)


def _facts(study: StudyTable) -> Iterable[tuple[str, str]]:
    table, first = study.table, study.table.iloc[0]
    base = proposed(table)
    states = base["state"].value_counts()
    yield "Trials", f"{states.get('complete', 0)} complete, {states.get('pruned', 0)} pruned"
    if "failed" in states:
        yield "Failed", f"{states['failed']}"
    if wider := len(table) - len(base):
        yield "Trained again, wider", f"{wider}"
    yield "Networks trained twice", f"{sum(again for _, again in trained_before(study.records))}"
    images = f"{first['images']:,} images trained on, {first['validation_images']:,} for validation"
    yield "Data", f"{first['data']}: {images}"
    if n_split := int((table["micro_batches"] > 1).sum()):
        yield "Split into micro-batches", f"{n_split} trial{'' if n_split == 1 else 's'}, as memory did not suffice"
    if first["proxy"] < 1:
        yield "Trained", f"{trained_as(first)}: full-size networks are compared by narrow copies"
    yield "Epochs of a trial", f"{first['max_epochs']}"
    yield "Device", ", ".join(d for d in table["device"].unique() if d)
    yield "Precision, seed", f"{first['precision']}, {first['seed']}"
    yield "Versions", ", ".join(v for v in table["versions"].unique() if v)

"""A study in the terminal: its best network, Pareto front, time, and the commands to run next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.text import Text

from nas_budget.arch.budget import Budget
from nas_budget.arch.latency import LatencyModel
from nas_budget.arch.spec import spec_from_dict, spec_from_json
from nas_budget.cli.console.costs import print_verdict
from nas_budget.cli.console.output import command, commands, field, line_width, log, out, out_json, show, table
from nas_budget.cli.console.text_plot import Point, characters, plot
from nas_budget.cli.console.workers import print_workers
from nas_budget.errors import QuantityError, TableError
from nas_budget.records.finalists import FinalistSummary, read_finalists, summarize_finalists
from nas_budget.records.formatting import percent, percent_with_interval, width_in_words
from nas_budget.records.paths import BEST_SPEC, FINALISTS_TABLE, STUDY_SETTINGS, TRIALS_TABLE, WORKERS_TABLE
from nas_budget.records.run_folder import RUN, folders, has_weights, kind_of
from nas_budget.records.statistics import half_width
from nas_budget.records.time_ledger import TimeLedger, ledger
from nas_budget.records.training_run import read_result
from nas_budget.records.trials import STATES, TrialRecord, best_of, pareto_front_of, proposed_of, read_trials
from nas_budget.records.workers import WorkerRecord, read_workers
from nas_budget.untrusted import read_json, read_text

INDENT = 7


def show_study(folder: Path, as_json: bool, named: Sequence[str] = ()) -> None:
    """Print a study.

    Args:
        folder: With its tables.
        as_json: Whether to print JSON.
        named: How commands name it, where that is not the folder: its name, then options.
    """
    records = read_trials(folder) if (folder / TRIALS_TABLE).exists() else []
    runs = read_finalists(folder / FINALISTS_TABLE)
    ranked = summarize_finalists(runs)
    workers = _workers_in(folder)
    spent = ledger(records, sum(run.seconds for run in runs), sum(run.repeated_seconds for run in runs))
    if as_json:
        about = _json(folder, records, ranked, spent) | {"workers": [asdict(worker) for worker in workers]}
        out_json(about | ({"folder": named[0]} if named else {}))
        return
    if not records:
        out(f"{folder.name}: no trial has ended yet")
        if workers:
            print_workers(workers)
        return
    counts = ", ".join(f"{n} {state}" for state, n in counts_of(records).items() if n)
    n = len(proposed_of(records))
    n_trials = f"{n} trial{'' if n == 1 else 's'} ({counts})"
    field("", f"{folder.name}: {n_trials} on {records[0].data}", indent=0)
    if best := best_of(records):
        _print_best(folder, best, ranked)
        _print_front(records)
    if workers:
        print_workers(workers)
    out("")
    field("time", spent.in_words(), INDENT)
    commands(_next(folder, best, named), INDENT)


def _workers_in(folder: Path) -> list[WorkerRecord]:
    """The workers of a study; none where their table is damaged, which is said."""
    try:
        return read_workers(folder / WORKERS_TABLE)
    except TableError as error:
        log(f"{error}; a search that resumes writes it anew")
        return []


def _print_best(folder: Path, best: TrialRecord, ranked: Sequence[FinalistSummary]) -> None:
    """The best finalist, or else the best trial: accuracy, network, margins."""
    number, spec, what = best.number, spec_from_json(best.spec), accuracy_in_words(best)
    if ranked:
        leading = ranked[0]
        number, spec = leading.trial, spec_from_json(leading.spec)
        runs = "one more training" if leading.n_runs == 1 else f"mean of {leading.n_runs} more trainings"
        what = _measured_in_words(leading.mean, best.validation_images, runs)
    out("")
    field("best", what, INDENT)
    field("", f"trial {number}: {spec}", INDENT)
    print_verdict(budget_of(best, folder).check(spec), before=" " * INDENT)
    if ranked:
        out("")
        print_finalists(ranked, best.validation_images)


def accuracy_in_words(record: TrialRecord) -> str:
    """Accuracy with half of its 95 % interval: "47.90% ± 2.19% of 2,000 validation images, ..."."""
    if record.accuracy is None:
        return "no accuracy"
    trainings = "one training" if record.seeds <= 1 else f"mean of {record.seeds} trainings"
    if record.proxy < 1:
        trainings += f" of its proxy ({width_in_words(record.proxy)}, {record.proxy_params:,} parameters)"
    return _measured_in_words(record.accuracy, record.validation_images, trainings)


def _measured_in_words(accuracy: float, n_images: int, trainings: str) -> str:
    return f"{percent_with_interval(accuracy, n_images)} (95 %) of {n_images:,} validation images, {trainings}"


def print_finalists(finalists: Sequence[FinalistSummary], n_images: int) -> None:
    """Print the finalists as a table, and which of them are ties; accuracies are of so many validation images."""
    times = "once more" if finalists[0].n_runs == 1 else f"{finalists[0].n_runs} more times"
    out(f"finalists, each trained {times}; ± is half of the 95 % interval that the images leave:")
    rows = [
        (str(f.trial), percent_with_interval(f.mean, n_images),
         "" if f.deviation is None else percent(f.deviation, n_images), f"{f.params:,}", _rank_in_words(f, n_images))
        for f in finalists
    ]  # fmt: skip
    show(table(("trial", "mean accuracy", "deviation of seeds", "params", ""), rows, left=(4,)))
    ties = [f for f in finalists if f.tie]
    if len(ties) > 1:
        smallest = min(ties, key=lambda f: f.params)
        out(f"{len(ties)} are ties: no more apart than seeds; the smallest is trial {smallest.trial}")


def _rank_in_words(f: FinalistSummary, n_images: int) -> str:
    """How far a finalist is from the best."""
    if not f.gap_to_best:
        return "best"
    gap = percent(f.gap_to_best, n_images)
    return f"tie ({gap} behind)" if f.tie else f"behind by {gap}"


def _print_front(records: Sequence[TrialRecord]) -> None:
    """Print the Pareto front as a table and as a plot."""
    leading = pareto_front_of(records)
    of = f" (accuracies of proxies at {width_in_words(leading[0].proxy)})" if leading and leading[0].proxy < 1 else ""
    out(f"\nPareto front: no other trial is as small and as accurate{of}")
    rows = [
        (
            str(r.number),
            percent(r.accuracy or 0.0, r.validation_images),
            f"{r.params:,}",
            f"{r.macs:,}",
            spec_from_json(r.spec).brief,
        )
        for r in reversed(leading)
    ]
    show(
        table(
            ("trial", "accuracy", "params", "MACs", "widths x blocks" if records[0].channels else "network"),
            rows,
            left=(4,),
        )
    )
    complete = [r for r in proposed_of(records) if r.state == "complete"]
    points = [Point(r.params, r.accuracy, r in leading) for r in complete if r.accuracy is not None]
    if len(points) < 2:
        return
    draw = characters()
    lines = plot(points, records[0].budget_params, line_width())
    limit = f", {draw['limit']} limit" if any(draw["limit"] in line for line in lines) else ""
    out(f"\naccuracy against parameters: {draw['lead']} Pareto front, {draw['other']} other complete trials{limit}")
    for line in lines:
        text = Text(line)
        text.highlight_words([draw["lead"]], "bold green")
        show(text)


def _next(folder: Path, best: TrialRecord | None, named: Sequence[str]) -> list[str]:
    """The commands to run next."""
    lines = []
    name, *options = named or [str(folder)]
    if (folder / BEST_SPEC).exists() and not named:
        lines.append(command("train", "--study", folder))
        if run := run_of(folder):
            lines.append(command("export", run, "--format", "onnx"))
    lines.append(command("report", name, *options))
    if best:
        lines.append(command("show", name, best.number, *options))
    return lines


def run_of(folder: Path) -> Path | None:
    """A finished run, beside a study, of its best network."""
    try:
        best = spec_from_json(read_text(folder / BEST_SPEC))
        runs = [path for path in folders(folder.parent) if kind_of(path) == RUN and has_weights(path)]
        return next((run for run in sorted(runs) if spec_from_dict(read_result(run).spec) == best), None)
    except (OSError, ValueError):
        return None


def budget_of(record: TrialRecord, folder: Path) -> Budget:
    """The limits of the study of a trial, which lies in a folder."""
    model = _latency_model(folder) if record.predicted_latency_s else None
    return Budget(
        record.budget_params, record.budget_macs, record.budget_weight_bytes, record.budget_activation_bytes,
        record.weight_format or "fp32", record.activation_format or "fp32",
        record.budget_latency_ns if model else None, model,
    )  # fmt: skip


def _latency_model(folder: Path) -> LatencyModel | None:
    """The model of latencies in the settings of a study; None where they are not there."""
    try:
        return LatencyModel.from_dict(read_json(read_text(folder / STUDY_SETTINGS))["budget"]["latency_model"])
    except (OSError, ValueError, KeyError, TypeError, QuantityError):
        return None


def counts_of(records: Iterable[TrialRecord]) -> dict[str, int]:
    """How many trials are in each state, and how many trained one of them again, wider."""
    base = proposed_of(every := [*records])
    states = [record.state for record in base]
    counts = {state: states.count(state) for state in STATES}
    return counts | ({"wider": len(every) - len(base)} if len(every) > len(base) else {})


def _json(
    folder: Path, records: Sequence[TrialRecord], ranked: Sequence[FinalistSummary], spent: TimeLedger
) -> dict[str, Any]:
    best = next((r for r in records if ranked and r.number == ranked[0].trial), best_of(records))
    about: dict[str, Any] = {"folder": str(folder), "kind": "study", "trials": counts_of(records)}
    if best:
        spec = spec_from_json(ranked[0].spec if ranked else best.spec)
        accuracy = ranked[0].mean if ranked else best.accuracy or 0.0
        half = half_width(accuracy, best.validation_images)
        about |= {"accuracy": accuracy, "half_width": half, "best": asdict(best), "best_spec": spec.to_dict()}
        about |= budget_of(best, folder).check(spec).to_dict()
    about |= {"front": [asdict(record) for record in pareto_front_of(records)]}
    return about | {"finalists": [asdict(finalist) for finalist in ranked], "seconds": spent.to_dict()}

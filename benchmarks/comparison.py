"""This package's search against the usual Optuna recipe (usual_study.py), on the same device for the same time.

    python benchmarks/comparison.py STUDY.toml --device-time 20m [--seeds 3] [--name NAME] [--device cuda]
        [--data NAME] [--images N] [--set section.key=value ...] [--runs-dir runs/comparison]

Ours is `nas-budget search STUDY.toml --device-time ...` as anyone would give it, but that no network is queued, as the
usual recipe has none to begin with. The methods take turns, seed by seed. When it is stopped or killed the same command
resumes, and nothing that has ended is trained again. Each run is a study of its own in the folder of runs, which
`nas-budget report` reads too, and what has ended is in comparison.json there. A comparison that was started on one
device resumes on no other, since equal seconds would not compare. Finished runs are printed anywhere.

Time is that of trials: building, training and evaluating; ours pays for measuring latency besides. A trial that ends
after the time is over does not count. Accuracy is that of complete trials on validation images. The area is that under
the front: the mean over sizes, on a log scale from the least share of the budget the study asks for up to the budget,
of the best accuracy of at most that size, above guessing.

Exit codes: 0 done, 1 failed, 2 wrong usage or another device, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness import print_table
from outcomes import FIGURES, SHARES, Outcome, Scale, means, outcome_of, reached, scale_of
from usual_study import OnTrial, run_usual, spent

from nas_budget.cli.options.study import parse_assignment, toml_value
from nas_budget.cli.serve.signals import signals
from nas_budget.errors import NasBudgetError, StoppedError, UsageError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.paths import trials_table
from nas_budget.records.trials import TrialRecord, read_trials
from nas_budget.search.config.study_file import read_study_file
from nas_budget.search.open_study import Opened, open_search
from nas_budget.search.storage.storage import existing_study
from nas_budget.search.workers.events import TrialFinished
from nas_budget.search.workers.search_runner import Search
from nas_budget.space.spec_factory import smallest_specs
from nas_budget.train.engine.device import describe_device

LOG_EVERY_S = 30.0
OURS: dict[str, Any] = {
    "search.trials": 1_000_000, "search.finalists": 0, "search.workers": 1, "search.storage": "journal",
    "search.queue": [], "search.timeout": "none", "search.patience": "none", "search.target": "none",
}  # fmt: skip
"""Nothing but the time ends a run, and one process trains."""
USUAL = {**OURS, "search.sampler": "tpe", "search.pruner": "median"}
"""The last two are what its files say of it."""


def run_ours(search: Search, on_trial: OnTrial) -> None:
    """Start or resume this package's search."""
    with closing(search.events()) as events:
        for event in events:
            if isinstance(event, TrialFinished):
                on_trial(event.record)


METHODS: dict[str, tuple[Callable[[Search, OnTrial], None], dict[str, Any]]] = {
    "ours": (run_ours, OURS), "usual": (run_usual, USUAL),
}  # fmt: skip
"""What runs a method, and the keys of the study file that it sets."""


def settings_given(arguments: argparse.Namespace, method: str, seed: int) -> dict[str, Any]:
    """The keys of the study file that a run sets."""
    named = {"data.name": arguments.data, "data.images": arguments.images, "search.device": arguments.device}
    asked = {key: toml_value(text) for key, text in named.items() if text is not None}
    asked |= dict(map(parse_assignment, arguments.set))
    return {**METHODS[method][1], **asked, "search.device_time": arguments.device_time, "search.seed": seed}


def run_name(arguments: argparse.Namespace, method: str, seed: int) -> str:
    """The name of a run's study and folder."""
    return f"{arguments.name or arguments.study.stem}-{method}-seed{seed}"


def runs(arguments: argparse.Namespace) -> list[tuple[str, int]]:
    """Method and seed of each run, in their order."""
    return [(method, seed) for seed in range(arguments.seeds) for method in METHODS]


def rows_of(arguments: argparse.Namespace, method: str, seed: int) -> list[TrialRecord]:
    """The trials of a run that have ended; none where it has not begun."""
    folder = arguments.runs_dir / run_name(arguments, method, seed)
    return read_trials(folder) if trials_table(folder).exists() else []


def compare(arguments: argparse.Namespace, should_stop: Callable[[], bool]) -> None:
    """Run what is left to run, write what has ended, and at the end print the comparison.

    Raises:
        StoppedError: `should_stop` was true; the same call resumes.
        UsageError: There is something left to run, and another device has run some of it.
    """
    sections = read_study_file(arguments.study, settings_given(arguments, "ours", 0))
    outcomes: list[Outcome] = []
    for method, seed in runs(arguments):
        rows = rows_of(arguments, method, seed)
        if spent(rows) < sections["search"]["device_time"]:
            resume(arguments, method, seed, should_stop)
            rows = rows_of(arguments, method, seed)
        outcomes.append(outcome_of(method, seed, rows, sections["search"]["device_time"]))
        scale = scale_of(sections, outcomes[0].rows)
        found = result(arguments, outcomes, scale)
        write_whole(arguments.runs_dir / "comparison.json", json.dumps(found, indent=1) + "\n")
    print_result(found)


def resume(arguments: argparse.Namespace, method: str, seed: int, should_stop: Callable[[], bool]) -> None:
    """Start or resume a run, to its end.

    Raises:
        StoppedError: `should_stop` was true.
        UsageError: Another device has run some of the comparison.
    """
    if should_stop():
        raise StoppedError("stopped between two runs")
    name, given = run_name(arguments, method, seed), settings_given(arguments, method, seed)
    opened = open_search(arguments.study, given, name, arguments.runs_dir, on_message=log)
    check_device(arguments, opened)
    search = opened.search(should_stop)
    search.trainer.latency_s(smallest_specs(search.settings.space)[0])  # the first use of a device is no method's cost
    METHODS[method][0](search, progress(name, search))


def check_device(arguments: argparse.Namespace, opened: Opened) -> None:
    """Make sure that nothing of the comparison was trained on another device than the present one.

    Raises:
        UsageError: Something was.
    """
    here = describe_device(opened.device)
    there = {row.device for run in runs(arguments) for row in rows_of(arguments, *run)} | devices_of(opened)
    if others := sorted(there - {here, ""}):  # a network over the budget needs no device
        raise UsageError(
            f"{arguments.runs_dir}: has trials of {', '.join(others)}, and this is {here}; equal times of different "
            "devices do not compare: use the same device, or give another --runs-dir"
        )


def devices_of(opened: Opened) -> set[str]:
    """Where the trials of a run were trained, those too that have not ended and are in no table yet."""
    study = existing_study(opened.settings, opened.folder, "") if opened.exists else None
    return {trial.user_attrs.get("device", "") for trial in study.get_trials(deepcopy=False)} if study else set()


def progress(name: str, search: Search) -> OnTrial:
    """A function that logs every half minute how far a run is."""
    rows, last = search.tables.rows(), time.monotonic()
    log(f"{name}: {spent(rows):.0f} of {search.settings.device_time:.0f} s done, in {search.folder}")

    def on_trial(row: TrialRecord) -> None:
        nonlocal last
        rows.append(row)
        if time.monotonic() - last >= LOG_EVERY_S:
            last = time.monotonic()
            best = max((row.accuracy or 0.0 for row in rows if row.state == "complete"), default=0.0)
            log(f"{name}: {spent(rows):.0f} s, {len(rows):,} proposals, best {best:.2%}")

    return on_trial


def log(text: str) -> None:
    """Write a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def result(arguments: argparse.Namespace, outcomes: Sequence[Outcome], scale: Scale) -> dict[str, Any]:
    """Settings, figures and means of the runs that have ended."""
    rows = [row for outcome in outcomes for row in outcome.rows if row.epochs]
    about = rows[0]
    return {
        "study": arguments.name or arguments.study.stem,
        "file": arguments.study.name,
        "settings": settings_given(arguments, "ours", 0),
        "device_time_s": scale.device_time_s,
        "devices": sorted({row.device for row in rows}),
        "versions": sorted({row.versions for row in rows}),
        "date": max(row.finished for row in rows),
        **{name: getattr(about, name) for name in ("precision", "data", "images", "validation_images", "max_epochs")},
        **{name: getattr(about, name) for name in ("budget_params", "budget_macs")},
        "scale": asdict(scale),
        "runs": [{**o.to_dict(scale), "found": [[*asdict(f).values()] for f in o.found]} for o in outcomes],
        "methods": means(outcomes, scale),
        "reached": reached(outcomes, scale),
    }


def print_result(found: Mapping[str, Any]) -> None:
    """The runs, what they found in the course of time, and how they compare, as Markdown."""
    print(f"{found['study']}: {found['device_time_s']:.0f} s each on {', '.join(found['devices'])}")
    print(
        f"{found['data']}, {found['images']:,} images, {found['validation_images']:,} for validation; "
        f"{'; '.join(found['versions'])}"
    )
    head = [name for name in found["runs"][0] if name != "found" and not name.startswith((*FIGURES,))]
    print_table(
        [name.replace("_", " ") for name in head], ([cell(name, run[name]) for name in head] for run in found["runs"])
    )
    for name in FIGURES:
        columns = [f"{name}_{share}" for share in SHARES]
        rows = ([method, *(cell(c, figures[c]) for c in columns)] for method, figures in found["methods"].items())
        print_table([f"{name}, %", *(f"after {share} % of the time" for share in SHARES)], rows)
    for name, there in found["reached"].items():
        by_seed = ", ".join(map(share_in_words, there["share_by_seed"].values()))
        print(
            f"\nours has the usual recipe's last {name}, {there['goal']:.2%}, after {share_in_words(there['share'])} "
            f"of the time (by seed: {by_seed})"
        )


def cell(name: str, value: Any) -> str:
    """A value as the table shows it: accuracies and areas in percent, a mean with its range."""
    if isinstance(value, Mapping):
        mean, *ends = (cell(name, value[key]) for key in ("mean", "least", "most"))
        return f"{mean} ({' to '.join(ends)})"
    if value is None or isinstance(value, str):
        return value or "-"
    return f"{100 * value:.2f}" if name.startswith((*FIGURES, "best_accuracy")) else f"{value:,.0f}"


def share_in_words(share: float | None) -> str:
    """A share of the time."""
    return "more than all" if share is None else f"{share:.0%}"


def parsed() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("study", type=Path, help="a study file")
    parser.add_argument("--device-time", required=True, help="of each run, such as 20m")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/comparison"))
    parser.add_argument("--name", help="what the names of the runs begin with; the file's unless given")
    parser.add_argument("--device")
    parser.add_argument("--data")
    parser.add_argument("--images", help="to train on, or all")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    if arguments.device_time == "none":
        parser.error("--device-time none: without an end there is nothing to compare; give a time such as 20m")
    return arguments


def main() -> int:
    """Start or resume the comparison; the exit code."""
    try:
        with signals() as interrupt:
            arguments = parsed()
            interrupt.wait_for_step = True
            compare(arguments, interrupt.stop.is_set)
    except (StoppedError, KeyboardInterrupt):
        log("interrupted; the same command resumes")
        return StoppedError.exit_code
    except NasBudgetError as error:
        log(str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Write the tables of results.md from what lies under studies/results/.

    python docs/results.py

What stands between `<!-- name -->` and `<!-- end -->` is made here, the rest of the page by hand. A test compares.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from nas_budget import ResNetSpec
from nas_budget.records import formatting as written
from nas_budget.records.finalists import read_finalists, summarize_finalists
from nas_budget.records.formatting import factor_in_words, in_short, seconds_in_words, width_in_words
from nas_budget.records.paths import FINALISTS_TABLE
from nas_budget.records.run_folder import RUN, STUDY, kind_of
from nas_budget.records.time_ledger import ledger
from nas_budget.records.training_run import RunResult, read_result
from nas_budget.records.trials import TrialRecord, best_of, pareto_front_of, proposed_of, read_trials
from nas_budget.report.tables.known import known_networks

STUDIES = Path(__file__).parents[1] / "studies"
RESULTS = STUDIES / "results"
PLAN = STUDIES / "evidence" / "gpu.toml"

PAGE = Path(__file__).with_name("results.md")
DONE = "done.json"
BENCHMARKS = ("comparison", "gpu", "training")
SHAPES = "shapes-"
"""How the studies are called that spend one budget in different ways."""
GRIDS: dict[str, tuple[tuple[str, str], dict[str, str]]] = {
    "5m": (("paper", "strong"), {"the paper's network": "reference", "the best found": "best-5m"}),
    "150k": (
        ("paper", "fast"),
        {
            "the paper's shape": "papers-shape-150k",
            "the best of a search under 6 M MACs": "cifar10-150k-best",
            "the best of twelve shapes": "shapes-150k-best",
        },
    ),
}
"""Recipe against architecture: two recipes, and the runs of some networks by what to call them."""
TOGETHER = re.compile(r"(?<=\d) (?=[%±M] |[%±]|min)|(?<=±) (?=\d)")
"""Blanks at which no line of a cell is to break: before a unit, and around a deviation."""
GOALS = (
    ("images a second", 60_000),
    ("seconds of 150 epochs, by the speed of steps", 120),
    ("eight-epoch trials an hour", 400),
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int, texts: int = 0) -> str:
    """A table whose last columns are numbers, but for some texts at the end; a line instead where it is empty."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if not lines:
        return "Nothing yet."
    rule = ["---"] * (len(head) - numbers - texts) + ["---:"] * numbers + ["---"] * texts
    return "\n".join([f"| {' | '.join(head)} |", f"| {' | '.join(rule)} |", *lines])


def percent(accuracy: float | None, images: int = 10_000) -> str:
    """An accuracy on so many images."""
    return "-" if accuracy is None else written.percent(accuracy, images).replace("%", " %")


def measured(accuracy: float | None, images: int) -> str:
    """An accuracy with half of the 95 % interval that so many images leave."""
    return "-" if accuracy is None else written.percent_with_interval(accuracy, images).replace("%", "") + " %"


def spread(result: RunResult) -> str:
    """The standard deviation between the seeds of a training."""
    deviation = result.deviation()
    return "" if deviation is None else percent(deviation, result.test_images)


def runs() -> list[RunResult]:
    """Every training, the most accurate first."""
    found = [read_result(folder) for folder in sorted(RESULTS.iterdir()) if kind_of(folder) == RUN]
    return sorted(found, key=lambda result: -(result.mean() or 0.0))


def studies() -> dict[str, list[TrialRecord]]:
    """The trials of every search."""
    folders = [folder for folder in sorted(RESULTS.iterdir()) if kind_of(folder) == STUDY]
    return {folder.name: read_trials(folder) for folder in folders}


def spent(name: str, trials: list[TrialRecord]) -> float:
    """Device seconds of a search, with its finalists."""
    finals = read_finalists(RESULTS / name / FINALISTS_TABLE)
    return ledger(trials, sum(run.seconds for run in finals), sum(run.repeated_seconds for run in finals)).spent


def waiting() -> str:
    """The steps of the evidence that wait for a GPU."""
    steps = tomllib.loads(PLAN.read_text())["step"]
    done = json.loads((RESULTS / DONE).read_text()) if (RESULTS / DONE).exists() else []
    left = [step for step in steps if step["name"] not in done]
    if not left:
        return "Every step of `studies/evidence/gpu.toml` has been run; what it gave is below."
    rows = [(f"`{step['name']}`", step["shows"]) for step in left]
    return f"Of the {len(steps)} steps at full size {len(left)} wait for a CUDA GPU:\n\n" + table(("step", ""), rows, 0)


def networks() -> str:
    """The trainings beside the known networks, by accuracy on test images."""
    rows = [(result.mean() or 0.0, _trained(result)) for result in runs()]
    for known in known_networks("cifar10"):
        cells = (known.name, f"{known.params:,}", percent(known.accuracy), "", "", known.source)
        rows.append((known.accuracy, cells))
    head = ("network", "parameters", "test accuracy", "deviation of seeds", "mirrored too", "how")
    return table(head, [cells for _, cells in sorted(rows, key=lambda row: -row[0])], 4, texts=1)


def _trained(result: RunResult) -> tuple[str, ...]:
    seeds, recipe = result.seeds, result.recipe
    minutes = sum(seed.seconds for seed in seeds) / len(seeds) / 60
    times = f"{len(seeds)} seeds of {minutes:.0f} min" if len(seeds) > 1 else f"{minutes:.0f} min"
    return (
        f"**`{result.name}`**: {ResNetSpec.from_dict(result.spec)}", f"{result.params:,}",
        f"**{measured(result.mean(), result.test_images)}**", spread(result),
        measured(result.mean("flipped"), result.test_images),
        f"`{recipe['name']}`, {recipe['epochs']} epochs; {times} on {result.device}, {result.precision}",
    )  # fmt: skip


def searches() -> str:
    """The searches: what each tried, found and took."""
    rows = [_searched(name, trials) for name, trials in studies().items() if best_of(trials)]
    head = ("study", "budget", "trials", "to their end", "best, set aside for validation", "parameters", "device time")
    return table(head, rows, 5)


def _searched(name: str, trials: list[TrialRecord]) -> tuple[str, ...]:
    best, finals = best_of(trials), summarize_finalists(read_finalists(RESULTS / name / FINALISTS_TABLE))
    images = trials[0].validation_images
    accuracy = measured(finals[0].mean if finals else best and best.accuracy, images)
    params = finals[0].params if finals else best.params if best else 0
    if best and best.proxy < 1:
        accuracy += f" (proxy, {factor_in_words(best.proxy)})"
    proposed = proposed_of(trials)
    complete = sum(trial.state == "complete" for trial in proposed)
    took = seconds_in_words(spent(name, trials))
    given = trials[0].budget_params
    limit = f"{in_short(given)} parameters" if given else "[bytes and MACs](how-to/device-budget.md)"
    return f"`{name}`", limit, str(len(proposed)), str(complete), accuracy, f"{params:,}", took


def fronts() -> str:
    """The front of every search that goes over sizes."""
    parts = []
    for name, trials in studies().items():
        if name.startswith(SHAPES):
            continue
        rows = [
            (
                trial.channels,
                trial.blocks,
                trial.kernels,
                f"{trial.params:,}",
                f"{trial.macs:,}",
                percent(trial.accuracy, trial.validation_images),
            )
            for trial in reversed(pareto_front_of(trials))
        ]
        head = ("channels", "blocks", "kernels", "parameters", "MACs", "validation accuracy")
        proxy = proposed_of(trials)[0].proxy
        of = f"single trainings of proxies at {width_in_words(proxy)}" if proxy < 1 else "single trainings"
        parts.append(f"`{name}`, {of}:\n\n" + table(head, rows, 3))
    return "\n\n".join(parts)


def shapes() -> str:
    """One budget spent in different ways: each network beside the first."""
    parts = []
    for name, trials in studies().items():
        if name.startswith(SHAPES):
            words = shape_words(RESULTS / name / "study.toml")
            known = [trial for trial in trials if trial.channels in words and trial.state == "complete"]
            base = next(trial for trial in known if trial.channels == next(iter(words)))
            ranked = sorted(known, key=lambda trial: -(trial.accuracy or 0.0))
            rows = [_shaped(words[trial.channels], trial, base) for trial in ranked]
            head = (
                "how it is spent",
                "channels",
                "depth",
                "MACs",
                "validation accuracy",
                "to the base",
                "s a training",
            )
            parts.append(f"{_conditions(name, trials[0])}:\n\n" + table(head, rows, 5))
    return "\n\n".join(parts) or "Nothing yet."


def shape_words(study: Path) -> dict[str, str]:
    """What a study file says of each network of its queue, by its channels, which no two share."""
    queue = re.findall(r"^  \{ channels = \[(.*?)\].*\}, # (.*)$", study.read_text(), re.MULTILINE)
    return {channels.replace(", ", "-"): words for channels, words in queue}


def _shaped(words: str, trial: TrialRecord, base: TrialRecord) -> tuple[str, ...]:
    behind = 100 * ((trial.accuracy or 0.0) - (base.accuracy or 0.0))
    gap = f"{behind:+.{written.decimals(trial.validation_images)}f}"
    macs, took = f"{trial.macs / 1e6:,.1f} M", f"{trial.seconds / trial.seeds:.0f}"
    return words, trial.channels, str(trial.depth), macs, percent(trial.accuracy, trial.validation_images), gap, took


def _conditions(name: str, trial: TrialRecord) -> str:
    return (
        f"`{name}`: each network the largest of its shape under {trial.budget_params:,} parameters, mean of "
        f"{trial.seeds} seeds; {trial.images:,} images, {trial.max_epochs} epochs, "
        f"{trial.validation_images:,} for validation; {trial.device}"
    )


def recipes() -> str:
    """Recipe against architecture: some networks under two recipes, on test images."""
    parts = []
    for size, (names, _) in GRIDS.items():
        cells = [
            (words, f"{results[0].params:,}", *map(_with_epochs, results)) for words, results in grid(size).items()
        ]
        if len(cells) > 1:
            parts.append(table(("network", "parameters", *(f"recipe `{name}`" for name in names)), cells, 3))
    return "\n\n".join(parts) or "Nothing yet."


def grid(size: str) -> dict[str, list[RunResult]]:
    """The networks that were trained by both recipes, with the results in the order of the recipes."""
    names, networks = GRIDS[size]
    known = {result.name: result for result in runs()}
    rows = {words: [known.get(f"{run}-{name}") for name in names] for words, run in networks.items()}
    return {words: [r for r in row if r] for words, row in rows.items() if all(row)}


def _with_epochs(result: RunResult) -> str:
    return f"{measured(result.mean(), result.test_images)}, {result.recipe['epochs']} epochs"


def comparison() -> str:
    """This package's search beside the usual recipe, after equal device seconds."""
    parts = [_compared(json.loads(path.read_text())) for path in sorted(RESULTS.glob("*/comparison.json"))]
    return "\n\n".join(parts) or "Nothing yet."


def _compared(found: dict[str, Any]) -> str:
    runs = {method: [*by_seed.values()] for method, by_seed in found["runs"].items()}
    means = {
        method: {name: fmean(run[name] for run in of_method) for name in of_method[0] if name != "found"}
        for method, of_method in runs.items()
    }
    shares = (25, 50, 75, 100)
    head = ("after", *(f"{share} % of the time" for share in shares))
    rows = [
        (f"{words}, {figure}", *(percent(means[method][f"{figure}_{share}"]) for share in shares))
        for figure in ("accuracy", "area")
        for method, words in (("ours", "ours"), ("usual", "the usual recipe"))
    ]
    about, ours, usual = found["about"], means["ours"], means["usual"]
    return (
        f"`{about['study']}`, {about['images']:,} images, {about['epochs']} epochs, "
        f"{seconds_in_words(about['device_time_s'])} of {about['device']} each, mean of "
        f"{len(runs['ours'])} seeds. Ours proposed {ours['proposals']:.0f} networks and trained "
        f"{ours['complete']:.0f} to the end; the usual recipe proposed {usual['proposals']:.0f}, of which "
        f"{usual['over_budget']:.0f} were over budget, and trained {usual['complete']:.0f} to the end.\n\n"
    ) + table(head, rows, 4)


def speed() -> str:
    """Speed on a GPU against the goals, at the fastest way and batch."""
    path = RESULTS / "gpu" / "gpu.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    steps = [
        (figure["median"], f"{mode}, {at.removeprefix('reference, ')}")
        for at, modes in found.get("steps", {}).items()
        for mode, figure in modes.items()
        if at.startswith("reference") and "median" in figure
    ]
    trials = [
        (figure["trials_per_hour"], f"{mode}, {at}")
        for at, modes in found.get("trials", {}).items()
        for mode, figure in modes.items()
        if "trials_per_hour" in figure
    ]
    if not steps or not trials:
        return "Nothing yet."
    fastest, how = max(steps)
    figures = ((fastest, how), (150 * 45_000 / fastest, how), max(trials))
    rows = [
        (words, how, f"{value:,.0f}", f"{goal:,}") for (words, goal), (value, how) in zip(GOALS, figures, strict=True)
    ]
    return f"{found['about']['device']}, torch {found['about']['torch']}:\n\n" + table(
        ("", "how", "is", "goal"), rows, 2
    )


def total() -> str:
    """Device time of all of it, by device."""
    seconds: dict[str, float] = defaultdict(float)
    for result in runs():
        seconds[result.device] += sum(seed.seconds + seed.repeated_seconds for seed in result.seeds)
    for name, trials in studies().items():
        seconds[trials[0].device] += spent(name, trials)
    for path in sorted(path for name in BENCHMARKS for path in RESULTS.glob(f"*/{name}.json")):
        found = json.loads(path.read_text())
        seconds[found["about"]["device"]] += found["seconds"]
    return table(("device", "time"), [(name, seconds_in_words(spent)) for name, spent in sorted(seconds.items())], 1)


PARTS: tuple[Callable[[], str], ...] = (
    waiting, networks, recipes, shapes, searches, fronts, comparison, speed, total,
)  # fmt: skip


def filled(text: str) -> str:
    """The page with every part made anew."""
    for part in PARTS:
        block = re.compile(rf"(<!-- {part.__name__} -->\n).*?(<!-- end -->)", re.DOTALL)
        made = TOGETHER.sub("\u00a0", part())
        text, n = block.subn(lambda found, made=made: f"{found[1]}\n{made}\n{found[2]}", text)  # type: ignore[misc]
        if n != 1:
            raise SystemExit(f"{PAGE}: <!-- {part.__name__} --> ... <!-- end --> is there {n} times; once is expected")
    return text


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

"""`nas-budget search`: train networks that fit, keep the best."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_budget.cli.console.output import folded, logger, out, out_json, terminal_width
from nas_budget.cli.options import network as options
from nas_budget.cli.options.completion import complete_pruner, complete_recipe, complete_sampler
from nas_budget.cli.options.help import OUTPUT
from nas_budget.cli.options.network import BUDGET_PANEL, SEARCH_PANEL, TRAINING_PANEL, option
from nas_budget.cli.serve.signals import signals
from nas_budget.errors import UsageError

KEYS = {
    "trials": "search.trials",
    "budget": "budget.params",
    "max_macs": "budget.macs",
    "data": "data.name",
    "images": "data.images",
    "epochs": "recipe.epochs",
    "recipe": "recipe.name",
    "sampler": "search.sampler",
    "pruner": "search.pruner",
    "workers": "search.workers",
    "timeout": "search.timeout",
    "device_time": "search.device_time",
    "patience": "search.patience",
    "target": "search.target",
    "finalists": "search.finalists",
    "seeds": "search.finalist_seeds",
    "seed": "search.seed",
    "device": "search.device",
    "precision": "search.precision",
    "storage": "search.storage",
}
"""The key of a study file that each option sets."""


def search(
    file: Annotated[Path | None, typer.Argument(help="A study file, such as studies/quickstart.toml.")] = None,
    budget: Annotated[str | None, option("Most parameters, such as 5M or 250k.", BUDGET_PANEL, "5M")] = None,
    max_macs: Annotated[
        str | None, option("Most multiply-accumulates for one image, or none.", BUDGET_PANEL, "by device")
    ] = None,
    fill: Annotated[
        str | None, option("Share of the budget that networks use, such as 0.9:1 for near it.", BUDGET_PANEL, "0.02:1")
    ] = None,
    trials: Annotated[
        str | None, option("Trials in all; the command run again goes on up to them.", SEARCH_PANEL, "50")
    ] = None,
    sampler: Annotated[
        str | None, option("tpe, gp, nsga2, cmaes, evolution or random.", SEARCH_PANEL, "tpe", offers=complete_sampler)
    ] = None,
    pruner: Annotated[
        str | None, option("front, halving, hyperband, median or none.", SEARCH_PANEL, "front", offers=complete_pruner)
    ] = None,
    workers: Annotated[str | None, option("Processes that train at once.", SEARCH_PANEL, "1")] = None,
    seed_spec: Annotated[
        list[str] | None,
        option("A network to train first: a spec.json, or channels. Again for more.", SEARCH_PANEL, "auto"),
    ] = None,
    finalists: Annotated[str | None, option("Best trials to train again with other seeds.", SEARCH_PANEL, "0")] = None,
    seeds: Annotated[str | None, option("Seeds of each finalist.", SEARCH_PANEL, "3")] = None,
    timeout: Annotated[
        str | None, option("Time after which no trial begins, such as 2h.", SEARCH_PANEL, "none")
    ] = None,
    device_time: Annotated[
        str | None, option("Time of all trials together after which none begins.", SEARCH_PANEL, "none")
    ] = None,
    patience: Annotated[
        str | None, option("Trials without progress after which none begins.", SEARCH_PANEL, "none")
    ] = None,
    target: Annotated[str | None, option("Accuracy that ends the search, such as 0.95.", SEARCH_PANEL, "none")] = None,
    storage: Annotated[
        str | None, option("journal, or a database address of Optuna's.", SEARCH_PANEL, "journal")
    ] = None,
    set_: Annotated[
        list[str] | None, option("Any key of the study file, as section.key=value.", SEARCH_PANEL, flag="--set")
    ] = None,
    data: options.Data = None,
    images: Annotated[str | None, option("Images to train on, or all.", TRAINING_PANEL, "by device")] = None,
    epochs: Annotated[str | None, option("Epochs of a trial.", TRAINING_PANEL, "by recipe")] = None,
    recipe: Annotated[
        str | None,
        option("How to train: fast, brief, paper or strong.", TRAINING_PANEL, "by device", offers=complete_recipe),
    ] = None,
    seed: Annotated[str | None, option("Of proposals and training.", TRAINING_PANEL, "0")] = None,
    device: options.Device = None,
    precision: options.Precision = None,
    data_dir: options.DataDir = None,
    name: Annotated[str | None, option("Name of the study.", OUTPUT, "that of the file")] = None,
    runs_dir: options.RunsDir = Path("runs"),
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Train networks that fit the budget, and report the best.

    Hopeless ones are stopped early. Run the same command again to go on with a study.
    """
    given = dict(locals())
    from nas_budget.cli.jobs.search import open_run, plan_json, plan_lines, run_search
    from nas_budget.cli.jobs.search_result import tell_result

    overrides = {key: toml_value(given[option]) for option, key in KEYS.items() if given[option] is not None}
    if fill is not None:
        overrides["space.fill"] = parse_fill(fill)
    if seed_spec:
        overrides["search.queue"] = list(map(parse_seed_spec, seed_spec))
    overrides.update(map(parse_assignment, set_ or []))
    log = logger(quiet)
    with signals() as asked:
        run = open_run(file, overrides, name, runs_dir, data_dir)
        lines = plan_lines(run)
        if dry_run:
            out_json(plan_json(run)) if as_json else out(folded("\n".join(lines), terminal_width()))
            return
        log("\n".join(lines))
        asked.wait_for_step = True
        finished = run_search(run, asked.asked.is_set, live=not quiet and sys.stderr.isatty(), log=log)
        asked.wait_for_step = False
        tell_result(run, finished, as_json)


def toml_value(text: str) -> Any:
    """A command-line text as TOML reads it: 3, 0.5, [3, 5], true; anything else is the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def parse_fill(text: str) -> list[float]:
    """Least and most of "0.9:1"; a single number is the least.

    Raises:
        UsageError: It is neither.
    """
    least, _, most = text.partition(":")
    try:
        return [float(least), float(most or 1)]
    except ValueError:
        raise UsageError(f"--fill {text}: write least:most as shares of the budget, such as 0.9:1") from None


def parse_seed_spec(text: str) -> dict[str, Any]:
    """The network of a JSON file, or of channels such as "32,64,96".

    Raises:
        UsageError: It is neither.
    """
    try:
        return {"channels": [int(width) for width in text.split(",")]}
    except ValueError:
        pass
    try:
        values: Any = json.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"--seed-spec {text}: {getattr(error, 'strerror', None) or 'not JSON'}; "
            "give a file such as runs/quickstart/best.json, or channels such as 32,64,96"
        ) from None
    if not isinstance(values, dict):
        raise UsageError(f"--seed-spec {text}: holds no network; give a file such as runs/quickstart/best.json")
    return values


def parse_assignment(text: str) -> tuple[str, Any]:
    """Key and value of "section.key=value".

    Raises:
        UsageError: It has no "=".
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text}: write section.key=value, such as --set space.kernels=[3,5]")
    return key.strip(), toml_value(value.strip())

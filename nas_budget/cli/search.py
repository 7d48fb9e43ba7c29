"""`nas-budget search`: train networks that fit, keep the best."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_budget.cli.output import out, out_json, say
from nas_budget.cli.signals import signals
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
    trials: Annotated[
        str | None, typer.Option(help="Trials in all; the command run again goes on up to them.", show_default="50")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Most parameters, such as 5M or 250k.", show_default="5M")] = None,
    max_macs: Annotated[
        str | None, typer.Option(help="Most multiply-accumulates for one image, or none.", show_default="by device")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="auto, cifar10, cifar100, fashion-mnist, svhn, shapes or an .npz file.", show_default="auto"),
    ] = None,
    images: Annotated[str | None, typer.Option(help="Images to train on, or all.", show_default="by device")] = None,
    epochs: Annotated[str | None, typer.Option(help="Epochs of a trial.", show_default="by recipe")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="How to train: fast, brief, paper or strong.", show_default="by device")
    ] = None,
    fill: Annotated[
        str | None,
        typer.Option(help="Share of the budget that networks use, such as 0.9:1 for near it.", show_default="0.02:1"),
    ] = None,
    seed_spec: Annotated[
        list[str] | None,
        typer.Option(help="A network to train first: a spec.json, or channels. Again for more.", show_default="auto"),
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="tpe, gp, nsga2, cmaes, evolution or random.", show_default="tpe")
    ] = None,
    pruner: Annotated[
        str | None, typer.Option(help="front, halving, hyperband, median or none.", show_default="front")
    ] = None,
    workers: Annotated[str | None, typer.Option(help="Processes that train at once.", show_default="1")] = None,
    timeout: Annotated[
        str | None, typer.Option(help="Time after which no trial begins, such as 2h.", show_default="none")
    ] = None,
    device_time: Annotated[
        str | None, typer.Option(help="Time of all trials together after which none begins.", show_default="none")
    ] = None,
    patience: Annotated[
        str | None, typer.Option(help="Trials without progress after which none begins.", show_default="none")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Accuracy that ends the search, such as 0.95.", show_default="none")
    ] = None,
    finalists: Annotated[
        str | None, typer.Option(help="Best trials to train again with other seeds.", show_default="0")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds of each finalist.", show_default="3")] = None,
    seed: Annotated[str | None, typer.Option(help="Of proposals and training.", show_default="0")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:1.", show_default="auto")] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.", show_default="auto")] = None,
    storage: Annotated[
        str | None, typer.Option(help="journal, or a database address of Optuna's.", show_default="journal")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any key of the study file, as section.key=value.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the study.", show_default="that of the file")] = None,
    runs_dir: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    data_dir: Annotated[
        str | None, typer.Option(help="Folder of the data sets.", show_default="NAS_BUDGET_DATA, or the user's cache")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong, and the result.")] = False,
) -> None:
    """Train networks that fit the budget, stop hopeless ones early, report the best.

    Run the same command again to go on with a study.
    """
    given = dict(locals())
    from nas_budget.cli.search_result import tell_result
    from nas_budget.cli.search_run import open_run, plan_json, plan_lines, run_search

    overrides = {key: toml_value(given[option]) for option, key in KEYS.items() if given[option] is not None}
    if fill is not None:
        overrides["space.fill"] = parse_fill(fill)
    if seed_spec:
        overrides["search.queue"] = list(map(parse_seed_spec, seed_spec))
    overrides.update(map(parse_assignment, set_ or []))
    talk = _silent if quiet else say
    with signals() as asked:
        run = open_run(file, overrides, name, runs_dir, data_dir)
        lines = plan_lines(run)
        if dry_run:
            out_json(plan_json(run)) if as_json else out("\n".join(lines))
            return
        talk("\n".join(lines))
        asked.wait_for_step = True
        finished = run_search(run, asked.asked.is_set, live=not quiet and sys.stderr.isatty(), talk=talk)
        asked.wait_for_step = False
        tell_result(run, finished, as_json)


def _silent(text: str) -> None:
    """Say nothing."""


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

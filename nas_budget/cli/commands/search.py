"""`nas-budget search`: train networks that fit a budget, and report the best."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from nas_budget.cli.console.output import folded, logger, out, out_json, terminal_width
from nas_budget.cli.options.cluster import ClusterOptions
from nas_budget.cli.options.declare import (
    OUTPUT,
    SEARCH,
    AsJson,
    DataDir,
    DryRun,
    Preset,
    Quiet,
    RunsDir,
    option,
    study_file,
)
from nas_budget.cli.options.study import StudyKeys
from nas_budget.cli.serve.signals import signals
from nas_budget.errors import UnfinishedError

Keys = Annotated[
    dict[str, Any],
    StudyKeys(
        "budget", "max_macs", "max_weight_bytes", "weight_format", "max_activation_bytes", "activation_format",
        "max_latency", "latency_table", "fill", "family", "block", "activation",
        "trials", "time", "proxy", "sampler", "aim", "pruner", "workers", "seed_spec",
        "finalists",
        "seeds", "timeout", "device_time", "patience", "target", "storage", "data", "images", "epochs", "recipe",
        "seed", "device", "precision", set_panel=SEARCH,
    ),
]  # fmt: skip


def search(
    file: Annotated[Path | None, typer.Argument(help="A study file, such as studies/quickstart.toml.")] = None,
    *,
    keys: Keys,
    cluster: ClusterOptions,
    preset: Preset = None,
    data_dir: DataDir = None,
    name: Annotated[str | None, option("Name of the study.", OUTPUT, "that of the file")] = None,
    runs_dir: RunsDir = Path("runs"),
    dry_run: DryRun = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train networks that fit the budget, and report the best.

    Trials that fall behind are pruned. Run the same command again to resume a study.
    Exit code 4 when trials are missing that no stop rule left out.
    """
    from nas_budget.cli.jobs.search import plan_json, plan_lines, plan_search, print_result, run_search

    with signals() as interrupt:
        planned = plan_search(study_file(file, preset), keys, name, runs_dir, data_dir, quiet)
        text = "\n".join(plan_lines(planned))
        if dry_run:
            out_json(plan_json(planned)) if as_json else out(folded(text, terminal_width()))
            return
        logger(quiet)(text)
        interrupt.wait_for_step = True
        found, missing, has_page = run_search(planned, interrupt.stop.is_set, quiet, **asdict(cluster))
        interrupt.wait_for_step = False
        print_result(planned, found, has_page, as_json)
    if missing:
        raise UnfinishedError(f"the search has ended, and {missing}; run the same command again for what is missing")

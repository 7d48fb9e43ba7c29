"""`nas-budget search`: train networks that fit a budget, and report the best; `worker`: train for such a search."""

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
    STORAGE,
    AsJson,
    DataDir,
    Device,
    DryRun,
    Preset,
    Quiet,
    RunsDir,
    option,
    study_file,
)
from nas_budget.cli.options.study import StudyKeys
from nas_budget.cli.serve.signals import signals
from nas_budget.errors import UnfinishedError, UsageError
from nas_budget.untrusted import read_text

Keys = Annotated[
    dict[str, Any],
    StudyKeys(
        "budget", "max_macs", "max_weight_bytes", "weight_format", "max_activation_bytes", "activation_format",
        "max_latency", "latency_table", "fill", "family", "block", "activation",
        "trials", "time", "proxy", "sampler", "aim", "pruner", "workers", "seed_spec",
        "finalists",
        "seeds", "timeout", "device_time", "patience", "target", "storage", "checkpoints",
        "data", "images", "epochs", "recipe", "seed", "device", "precision", set_panel=SEARCH,
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
    from nas_budget.search.storage.storage import check_alone

    with signals() as interrupt:
        planned = plan_search(study_file(file, preset), keys, name, runs_dir, data_dir, quiet)
        text = "\n".join(plan_lines(planned))
        if dry_run:
            out_json(plan_json(planned)) if as_json else out(folded(text, terminal_width()))
            return
        check_alone(planned.opened.folder)
        logger(quiet)(text)
        interrupt.wait_for_step = True
        found, missing, has_page = run_search(planned, interrupt.stop.is_set, quiet, **asdict(cluster))
        interrupt.wait_for_step = False
        print_result(planned, found, has_page, as_json)
    if missing:
        raise UnfinishedError(f"the search has ended, and {missing}; run the same command again for what is missing")


def worker(
    study: Annotated[str, typer.Argument(help="Name of a study in the database, or its study file.")],
    *,
    storage: Annotated[
        str | None,
        option("The database, such as postgresql+psycopg://user@host/name.", SEARCH, STORAGE, variable=STORAGE),
    ] = None,
    storage_file: Annotated[
        Path | None, option("A file that holds the address of the database, in place of --storage.", SEARCH)
    ] = None,
    workers: Annotated[int, option("Processes that train at once.", SEARCH, "value", least=1)] = 1,
    device: Device = "auto",
    any_version: Annotated[
        bool, option("Train with other versions than those the study has.", SEARCH, flag="--any-version")
    ] = False,
    checkpoints: Annotated[
        str, option("Where this machine has the shared folder of checkpoints.", SEARCH, "that of the study")
    ] = "",
    data_dir: DataDir = None,
    runs_dir: RunsDir = Path("runs"),
    quiet: Quiet = False,
) -> None:
    """Train trials of a study that a search has begun in a database.

    It ends when all trials have ended. SIGTERM and Ctrl-C give its trials to other workers.
    Give the password of a database in PGPASSWORD or in ~/.pgpass, not in the address.
    """
    from nas_budget.cli.jobs.worker import run_worker

    with signals() as interrupt:
        interrupt.wait_for_step = True
        run_worker(
            study, _address(storage, storage_file), interrupt.stop.is_set, quiet, runs_dir=runs_dir, data_dir=data_dir,
            device=device, workers=workers, any_version=any_version, checkpoints=checkpoints,
        )  # fmt: skip


def _address(storage: str | None, file: Path | None) -> str:
    """The address of a database as it was given, or as a file has it.

    Raises:
        UsageError: None was given, or the file cannot be read.
    """
    if file:
        try:
            storage = next(iter(read_text(file).split()), None)
        except (OSError, ValueError) as error:
            raise UsageError(f"--storage-file {file}: {getattr(error, 'strerror', None) or 'is no text'}") from None
    if not storage or storage == "journal":
        raise UsageError(
            f"a worker joins a study of a database; give its address by --storage, by {STORAGE}, or by --storage-file"
        )
    return storage

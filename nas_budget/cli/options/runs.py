"""Run folders as commands take them: by path, or by their name in `runs`; an error names the command that is right."""

from __future__ import annotations

from pathlib import Path

import typer

from nas_budget.cli.options.completion import RUNS
from nas_budget.errors import UsageError
from nas_budget.records.paths import BEST_SPEC, SPEC, TRIALS_TABLE, WEIGHTS
from nas_budget.records.run_folder import RUN, STUDY, folders, is_file, kind_of

N_NAMED = 8
OTHERS = {
    STUDY: "is a run of train, not a study; see it with nas-budget show {0}, or name the study it came from",
    RUN: "is a study, not a trained network; train its best one first: nas-budget train --study {0}",
}
"""What to do where a folder of the other kind is needed, by the kind that is needed."""


def run_named(folder: Path) -> Path | None:
    """The run folder of this path, or of this name in `runs`; None where there is none."""
    return next((place for place in (folder, RUNS / folder) if kind_of(place)), None)


def database_of(ctx: typer.Context, source: Path, storage: str | None) -> tuple[str, bool] | None:
    """The database in which a source is the name of a study, and whether its address was typed; None for a run folder.

    A run folder comes before a database that the environment names, but not before one that was typed. What has a
    folder before it is a path.
    """
    if not storage or storage == "journal" or len(source.parts) > 1:
        return None
    is_typed = getattr(ctx.get_parameter_source("storage"), "name", "") == "COMMANDLINE"
    return (storage, is_typed) if is_typed or not (source.exists() or run_named(source)) else None


def find_run(folder: Path, kind: str = "") -> Path:
    """The folder itself, that of a trials table, or the one of this name in `runs`.

    Args:
        folder: As it was given.
        kind: The kind it must be of: "study" or "run"; empty takes both.

    Raises:
        UsageError: There is none, with what there is; or it is of the other kind, with the command that is right.
    """
    if folder.name == TRIALS_TABLE and folder.is_file():
        folder = folder.parent
    found = run_named(folder)
    if found is None:
        raise UsageError(
            f"{folder}: {'holds no study or run' if folder.is_dir() else 'no such folder'}; {_known(folder, kind)}"
        )
    if kind and kind_of(found) != kind:
        raise UsageError(f"{found} {OTHERS[kind].format(found)}")
    return found


def find_trained(source: Path) -> Path:
    """A file of weights or a folder that holds one as it is, or else the run folder of a training (`find_run`)."""
    return source if is_file(source) or is_file(source / WEIGHTS) else find_run(source, RUN)


def find_spec(source: Path) -> Path:
    """The file of a network: the one that was given, or in a run folder that of the run, or of the study's best."""
    if source.suffix == ".json" or is_file(source):
        return source
    folder = find_run(source)
    return folder / (BEST_SPEC if kind_of(folder) == STUDY else SPEC)


def _known(folder: Path, kind: str) -> str:
    """The folders of this kind beside the one that was given, or in `runs`."""
    wanted = {kind} if kind else {STUDY, RUN}
    around = ([p for p in folders(place) if kind_of(p) in wanted] for place in (folder.parent, RUNS) if place.is_dir())
    names = sorted(map(str, next(filter(None, around), [])))
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    make = "train" if kind == RUN else "search"
    return f"there are {', '.join(names[:N_NAMED])}{more}" if names else f"make one with nas-budget {make}"

"""The folder of runs in one file, to go on with on another machine."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from plan import NOTES, Notes

from nas_budget.errors import NasBudgetError
from nas_budget.records.atomic_write import write_whole

LEFT_OUT = (".lock", ".html", ".draft", ".tar.gz")
"""Ends of names of files that do not travel: those that are made again from the rest."""
WEIGHTS = ("model", "ema")
"""Beginnings of names of files of weights, which nothing goes on from."""
MIB = 1 << 20
TRIES = 5


def pack(runs: Path, state: Path, largest_mib: float) -> list[str]:
    """Write the files of the folder of runs into one, whole or not at all; the checkpoints that were left out.

    Weights of finished trainings are left out, and checkpoints larger than `largest_mib`: such a training begins the
    seed that was under way again elsewhere.

    Raises:
        OSError: It cannot be written.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    draft = state.with_name(state.name + ".draft")
    for attempt in range(TRIES):
        try:
            left_out = _write(runs, draft, largest_mib)
        except FileNotFoundError:  # a step has ended a training meanwhile: what it wrote instead is to come along
            if attempt == TRIES - 1:
                raise
        else:
            draft.replace(state)
            return left_out
    return []


def _write(runs: Path, draft: Path, largest_mib: float) -> list[str]:
    left_out = []
    with tarfile.open(draft, "w:gz", compresslevel=4) as archive:
        for path in sorted(_travelling(runs), key=lambda path: path.name == NOTES):  # the notes last
            name = path.relative_to(runs).as_posix()
            if path.suffix == ".safetensors" and path.stat().st_size > largest_mib * MIB:
                left_out.append(name)
                continue
            content = path.read_bytes()  # a step may be writing it: what is there now, whole or cut at its end
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, BytesIO(content))
    return left_out


def _travelling(runs: Path) -> Iterator[Path]:
    """The files that go on somewhere else; those whose names begin with a dot are drafts and locks."""
    for path in runs.rglob("*"):
        weights = path.suffix == ".safetensors" and path.name.startswith(WEIGHTS)
        if path.is_file() and not (weights or path.name.startswith(".") or path.name.endswith(LEFT_OUT)):
            yield path


def unpack(state: Path, runs: Path) -> None:
    """Bring the folder of runs to where the packed one is, unless it is there or further.

    What the packed one does not have goes, but for weights: files of two states do not fit together.

    Raises:
        NasBudgetError: The file is damaged, or both have gone on since they were one.
    """
    if not state.exists():
        return
    try:
        with tarfile.open(state) as archive:
            files = {member.name: archive.extractfile(member) for member in archive.getmembers()}
            contents = {name: file.read() for name, file in files.items() if file}
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise NasBudgetError(
            f"{state}: cannot be unpacked ({error}); bring it again, or give another --state"
        ) from None
    theirs = Notes.read(contents[NOTES], state).history if NOTES in contents else []
    ours = Notes.of_runs(runs).history
    if theirs == ours[: len(theirs)]:
        return
    if ours != theirs[: len(ours)]:
        raise NasBudgetError(
            f"{state} and {runs} have both gone on since they were one: give another --runs-dir, or another --state"
        )
    _replace(runs, contents)


def _replace(runs: Path, contents: dict[str, bytes]) -> None:
    """Put these files in the place of those that are there; the notes go first and come last."""
    for path in sorted(_travelling(runs), key=lambda path: path.name != NOTES):
        path.unlink()
    for name, content in contents.items():
        if not (runs / name).resolve().is_relative_to(runs.resolve()):
            raise NasBudgetError(f"{name}: leads out of the folder of runs; this is no state of ours")
        write_whole(runs / name, content)

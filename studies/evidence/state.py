"""The folder of runs in one file, to go on with on another machine."""

from __future__ import annotations

import json
import tarfile
import zlib
from io import BytesIO
from pathlib import Path

from plan import NOTES

from nas_budget.errors import NasBudgetError

LEFT_OUT = (".lock", ".html", ".draft")
"""Ends of names of files that do not travel: those that are made again from the rest."""
WEIGHTS = ("model", "averaged")
"""Beginnings of names of files of weights, which nothing goes on from."""
MIB = 1 << 20


def pack(runs: Path, state: Path, largest_mib: float) -> None:
    """Write the files of the folder of runs into one, whole or not at all.

    Weights of finished trainings are left out, and whatever is larger than `largest_mib`: the checkpoint of a large
    network, whose training then begins its seed again elsewhere.
    """
    state.parent.mkdir(parents=True, exist_ok=True)
    draft = state.with_name(state.name + ".draft")
    with tarfile.open(draft, "w:gz", compresslevel=4) as archive:
        for path in sorted(filter(_travels, runs.rglob("*")), key=lambda path: path.name == NOTES):  # notes at the end
            try:
                if path.stat().st_size > largest_mib * MIB:
                    continue
                content = path.read_bytes()  # a step may be writing it: what is there now, whole or cut at its end
            except FileNotFoundError:
                continue
            entry = tarfile.TarInfo(path.relative_to(runs).as_posix())
            entry.size = len(content)
            archive.addfile(entry, BytesIO(content))
    draft.replace(state)


def _travels(path: Path) -> bool:
    weights = path.suffix == ".safetensors" and path.name.startswith(WEIGHTS)
    return path.is_file() and not path.name.startswith(".") and not weights and not path.name.endswith(LEFT_OUT)


def unpack(state: Path, runs: Path) -> None:
    """Bring the folder of runs to where the packed one is, unless it is there or further.

    Raises:
        NasBudgetError: The file is damaged, or both have gone on since they were one.
    """
    if not state.exists():
        return
    try:
        with tarfile.open(state) as archive:
            notes = archive.extractfile(NOTES) if NOTES in archive.getnames() else None
            theirs = _calls(notes.read() if notes else b"{}")
            ours = _calls((runs / NOTES).read_bytes() if (runs / NOTES).exists() else b"{}")
            behind, ahead = _fewer(ours, theirs), _fewer(theirs, ours)
            if behind and ahead:
                raise NasBudgetError(
                    f"{state} and {runs} have both gone on since they were one ({behind[0]} here, {ahead[0]} there): "
                    "give another --runs-dir, or another --state"
                )
            if behind:
                runs.mkdir(parents=True, exist_ok=True)
                archive.extractall(runs, filter="data")
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise NasBudgetError(
            f"{state}: cannot be unpacked ({error}); bring it again, or give another --state"
        ) from None


def _calls(notes: bytes) -> dict[str, int]:
    """How often each step was gone on with."""
    return {name: note["calls"] for name, note in json.loads(notes).items()}


def _fewer(some: dict[str, int], others: dict[str, int]) -> list[str]:
    """The steps that were gone on with less often in the first."""
    return [name for name, calls in others.items() if some.get(name, 0) < calls]

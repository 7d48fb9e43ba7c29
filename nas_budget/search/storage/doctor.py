"""What is wrong with a run folder, and what of it can be repaired with certainty."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial
from safetensors import SafetensorError, safe_open

from nas_budget.arch.spec import spec_from_dict, spec_from_json
from nas_budget.errors import ModelError, NasBudgetError, StudyError
from nas_budget.records import paths
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.run_folder import STUDY, is_file, kind_of
from nas_budget.records.training_run import read_epoch, read_result
from nas_budget.records.trials import TrialRecord, read_trials
from nas_budget.search.config.build import build_config, read_config
from nas_budget.search.config.sections import FROM_DATA
from nas_budget.search.config.settings import FORMAT, StudyConfig, write_config
from nas_budget.search.storage.journal import Journal
from nas_budget.search.storage.rebuild import Rebuild, missing_rows, read_lines
from nas_budget.search.storage.tables import StudyTables, candidate_of, versions
from nas_budget.train.engine.checkpoint import FORMAT as CHECKPOINT_FORMAT
from nas_budget.train.engine.run_config import read_settings
from nas_budget.train.engine.weights import load_tensors

SIDE_FILE = re.compile(r"\..+-[a-z0-9_]{8}")
"""What `write_whole` names a file before it is whole."""
CHECKPOINTS = "checkpoint*.safetensors"
DAMAGED = ".damaged"
"""What is added to the name of a damaged file that is kept."""
ROUNDS = 3
"""The tables can only be compared with a journal that was repaired before."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong in a run folder.

    Attributes:
        path: The file.
        problem: What is wrong with it.
        remedy: What the repair does, or, where nothing certain can be done, what a person can do.
        repair: Repairs it; None where nothing certain can be done.
    """

    path: Path
    problem: str
    remedy: str
    repair: Callable[[], None] | None = None


def examine(folder: Path) -> list[Finding]:
    """What is wrong with the folder of a search or of a full training; empty for a healthy one. Nothing is written.

    Raises:
        StudyError: Another process works in it.
    """
    with _alone(folder):
        return _findings(folder)


def repair(folder: Path) -> tuple[list[Finding], list[Finding]]:
    """Repair what is certain; what was repaired, and what is left.

    A damaged file is kept beside the new one, as `study.journal.damaged`. A healthy folder is left as it is.

    Raises:
        StudyError: Another process works in the folder, or it cannot be written. Files are then as they were, or
            repaired.
    """
    done: list[Finding] = []
    with _alone(folder):
        for _ in range(ROUNDS):
            found = _findings(folder)
            certain = [finding for finding in found if finding.repair]
            for finding in certain:
                _apply(finding)
            done += certain
            if not certain:
                break
        return done, _findings(folder)


def _apply(finding: Finding) -> None:
    try:
        if finding.repair:
            finding.repair()
    except OSError as error:
        raise StudyError(f"{finding.path}: cannot be written ({error.strerror or error})") from None


def _alone(folder: Path) -> Any:
    """Keeps searches and trainings out of the folder; where there is no lock file none was ever there."""
    lock = folder / paths.LOCK
    if not lock.exists():
        return nullcontext()
    try:
        return FileLock(lock).acquire(timeout=0)
    except Timeout:
        raise StudyError(f"{folder}: another process works in it; wait until that has ended") from None
    except OSError as error:
        if error.errno == errno.EROFS:  # nobody works there, and to look needs no lock
            return nullcontext()
        raise StudyError(f"{lock}: cannot be opened ({error.strerror or error})") from None


def _findings(folder: Path) -> list[Finding]:
    of_kind = _of_search if kind_of(folder) == STUDY else _of_training
    return [*_side_files(folder), *of_kind(folder)]


def _side_files(folder: Path) -> Iterator[Finding]:
    """Files that were being written when a process was killed; whatever they would have replaced is whole."""
    for path in sorted((*folder.glob(".*"), *folder.glob(f"{paths.TRIAL_FOLDERS}/*/.*"))):
        if SIDE_FILE.fullmatch(path.name) and path.is_file():
            yield Finding(path, "half written", "removed", path.unlink)


def _replaced(path: Path, content: bytes) -> Callable[[], None]:
    """What writes a file anew and keeps the one of before."""

    def replace() -> None:
        _keep(path)
        write_whole(path, content)

    return replace


def _keep(path: Path) -> None:
    """Keep a copy of a damaged file under another name."""
    if path.exists() and (content := path.read_bytes()):
        names = (path.with_name(f"{path.name}{DAMAGED}{n}") for n in ("", *(f"-{i}" for i in range(2, 1_000))))
        write_whole(next(name for name in names if not name.exists()), content)


def _set_aside(path: Path) -> Callable[[], None]:
    def move() -> None:
        _keep(path)
        path.unlink()

    return move


# A search.

READERS: dict[str, Callable[[Path], Any]] = {
    paths.TRIALS_TABLE: lambda folder: read_trials(folder / paths.TRIALS_TABLE),
    paths.STUDY_SETTINGS: lambda folder: read_config(folder).to_dict(),
}
"""What reads files that gained columns or keys from version to version."""


def _of_search(folder: Path) -> Iterator[Finding]:
    rows, table_problem = _rows(folder)
    journal = folder / paths.JOURNAL
    if not journal.exists():
        if table_problem:
            yield Finding(
                folder / paths.TRIALS_TABLE, table_problem, "the same search writes it anew from its database"
            )
        return
    settings, problem = _settings(folder)
    if settings is None:
        yield Finding(folder / paths.STUDY_SETTINGS, problem, "start another study with --name")
        return
    finding, study = _journal(folder, settings, rows)
    if finding:
        yield finding
    if study:
        yield from _files(folder, settings, study)
        yield from _trial_folders(folder, settings, study)


def _rows(folder: Path) -> tuple[list[TrialRecord], str]:
    """The rows of the table, and why it cannot be read."""
    path = folder / paths.TRIALS_TABLE
    if not path.exists():
        return [], ""
    try:
        rows = read_trials(path)
        for row in rows:
            spec_from_json(row.spec)  # the last row of a table that was cut may have half of it
        return rows, ""
    except NasBudgetError as error:
        return [], _without(path, error)


def _without(path: Path, error: Exception) -> str:
    return " ".join(str(error).split()).removeprefix(f"{path}: ")


def _settings(folder: Path) -> tuple[StudyConfig | None, str]:
    """The settings of a study: those in its journal, or, where they cannot be read there, those of its file."""
    recorded = None
    for record in read_lines(folder / paths.JOURNAL).records:
        if record and "settings" in record.get("user_attr", {}) and record.get("study_id") == 0:
            recorded = record["user_attr"]["settings"]
    try:
        if recorded is None:
            return read_config(folder), ""
        if recorded.get("format") != FORMAT:
            return None, f"the study was written by another version; this one reads {FORMAT!r}"
        sections = {name: values for name, values in recorded.items() if name != "format"}
        images = {key: sections["space"][key] for key in FROM_DATA}
        return build_config(_name(folder), sections, images), ""
    except (NasBudgetError, ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"the settings of the study cannot be read here or in {paths.JOURNAL} ({error})"


def _name(folder: Path) -> str:
    """The name of a study: that of its first record, or else of its folder."""
    records = read_lines(folder / paths.JOURNAL).records
    return next((str(record["study_name"]) for record in records if record and "study_name" in record), folder.name)


def _journal(
    folder: Path, settings: StudyConfig, rows: list[TrialRecord]
) -> tuple[Finding | None, optuna.Study | None]:
    """What is wrong with the journal, and the study where it can be read."""
    path = folder / paths.JOURNAL
    lines = read_lines(path)
    problem, study = "", None
    if lines.damaged:
        shown = ", ".join(map(str, lines.damaged[:5])) + (", ..." if len(lines.damaged) > 5 else "")
        problem = f"line{'s' if len(lines.damaged) > 1 else ''} {shown} of {len(lines.records)} damaged"
    elif not path.read_bytes().endswith(b"\n") and lines.records:
        problem = "its last line has no end"
    else:
        try:
            study = optuna.load_study(study_name=settings.name, storage=JournalStorage(Journal(path)))
            if missing := [row.number for row in missing_rows(study, rows)]:
                problem, study = f"lacks {_trials(missing)} of {paths.TRIALS_TABLE}", None
        except (KeyError, TypeError, ValueError, AssertionError):
            problem = "holds no whole study"
    if not problem:
        return None, study
    try:
        content = Rebuild(folder, settings, rows).content(lines)
    except (NasBudgetError, ValueError, KeyError, TypeError, IndexError, AssertionError) as error:
        why = f"cannot be rebuilt with certainty ({error}); put back a copy, or use another --name"
        return Finding(path, problem, why), None
    n_kept = len(lines.records) - len(lines.damaged)
    source = f"rebuilt from {n_kept} good lines" + (f" and {paths.TRIALS_TABLE}" if rows else "")
    return Finding(path, problem, source, _replaced(path, content)), None


def _trials(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    return f"trial{'s' if len(numbers) > 1 else ''} {shown}"


def _files(folder: Path, settings: StudyConfig, study: optuna.Study) -> Iterator[Finding]:
    """Files that are derived from the study, and differ from what it gives."""
    with TemporaryDirectory() as place:
        fresh = Path(place)
        tables = StudyTables(settings, study, folder, versions(), read_only=True)
        tables.folder = fresh
        tables.write()
        write_config(settings, fresh)
        for name in paths.TRIALS_TABLE, paths.BEST_SPEC, paths.FINALISTS_TABLE, paths.STUDY_SETTINGS:
            here, there = folder / name, fresh / name
            content = there.read_bytes() if there.exists() else None
            if content is None:
                if here.exists():
                    yield Finding(here, "is of no trial of the study", "set aside", _set_aside(here))
            elif not here.exists():
                yield Finding(here, "missing", "written from the study", _replaced(here, content))
            elif here.read_bytes() != content:
                problem = "is not what the study holds: damaged, or of before the last trials"
                if name in READERS and _read_alike(READERS[name], folder, fresh):
                    problem = "says what the study holds, as an earlier version wrote it"
                yield Finding(here, problem, "written from the study", _replaced(here, content))


def _read_alike(read: Callable[[Path], Any], folder: Path, fresh: Path) -> bool:
    """Whether a file of a folder is read as the same that was written from the study."""
    try:
        return bool(read(folder) == read(fresh))
    except NasBudgetError:
        return False


def _trial_folders(folder: Path, settings: StudyConfig, study: optuna.Study) -> Iterator[Finding]:
    """Checkpoints that are damaged, or of trials that have ended; settings of trials that cannot be read."""
    for trial in study.get_trials(deepcopy=False):
        place = paths.trial_folder(folder, trial.number)
        for path in sorted(place.glob(CHECKPOINTS)):
            if trial.state.is_finished():
                yield Finding(path, "of a trial that has ended", "removed", path.unlink)
            elif problem := _tensor_problem(path):
                yield Finding(path, problem, "set aside; the trial starts anew", _set_aside(path))
        about = place / paths.TRIAL_SETTINGS
        if about.exists() and not _is_json(about) and candidate_of(trial):
            yield Finding(about, "cannot be read", "written from the study", _replaced(about, _about(trial, settings)))


def _about(trial: FrozenTrial, settings: StudyConfig) -> bytes:
    """What a runner writes of a trial when it begins."""
    known, candidate = trial.user_attrs, candidate_of(trial)
    seeds = range(settings.seed, settings.seed + settings.trial_seeds)
    about = {
        **(candidate.to_dict() if candidate else {}), "proxy": known.get("proxy", 1.0), "seeds": [*seeds],
        "device": known.get("device", ""), "precision": settings.precision, "versions": known.get("versions", ""),
    }  # fmt: skip
    return (json.dumps(about, indent=2) + "\n").encode()


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError, RecursionError):
        return False


def _tensor_problem(path: Path) -> str:
    """Why a file of tensors cannot be used, of those that this version wrote; empty where it can."""
    try:
        with safe_open(path, "pt") as file:
            kind = (file.metadata() or {}).get("format", "")
        load_tensors(path, kind)
    except (SafetensorError, OSError):
        return "no whole file"
    except ModelError as error:
        return _without(path, error)
    return ""


# A full training.


def _of_training(folder: Path) -> Iterator[Finding]:
    again = "train again, under another --name"
    held, problem = _read(lambda: read_settings(folder))
    if problem:
        yield Finding(folder / paths.RUN_SETTINGS, _without(folder / paths.RUN_SETTINGS, problem), again)
    result, problem = _read(lambda: read_result(folder)) if is_file(folder / paths.RESULT) else (None, None)
    if problem:
        yield Finding(folder / paths.RESULT, _without(folder / paths.RESULT, problem), again)
        return
    yield from _spec(folder, held)
    done = {seed.seed for seed in result.seeds} if result else set()
    lost = yield from _metrics(folder)
    for path in sorted(folder.glob(CHECKPOINTS)):
        seed = path.stem.rpartition("seed")[2]
        if seed in map(str, done):
            yield Finding(path, "of a seed that has ended", "removed", path.unlink)
        elif problem_of := _tensor_problem(path) or _gap_before(path, seed, lost):
            yield Finding(path, problem_of, "set aside; this seed starts anew", _set_aside(path))
    for path in sorted({*folder.glob("*.safetensors")} - {*folder.glob(CHECKPOINTS)}):
        if problem_of := _tensor_problem(path):
            yield Finding(path, problem_of, again)


def _read(read: Callable[[], Any]) -> tuple[Any, NasBudgetError | None]:
    try:
        return read(), None
    except NasBudgetError as error:
        return None, error


def _spec(folder: Path, held: dict[str, Any] | None) -> Iterator[Finding]:
    """The file of the network, which the settings hold too."""
    path = folder / paths.SPEC
    values = {key.removeprefix("spec."): value for key, value in (held or {}).items() if key.startswith("spec.")}
    try:
        content = f"{spec_from_dict(values).to_json()}\n".encode()
    except (NasBudgetError, KeyError, TypeError):
        return
    if path.exists() and not _is_json(path):
        yield Finding(path, "cannot be read", f"written from {paths.RUN_SETTINGS}", _replaced(path, content))


def _metrics(folder: Path) -> Any:
    """Lines that are no epochs; gives the epochs that are left, by seed, where there are such lines."""
    path = folder / paths.METRICS
    if not path.exists():
        return None
    lines = path.read_bytes().split(b"\n")
    rows = [read_epoch(line) for line in lines[:-1]]
    good = b"".join(line + b"\n" for line, row in zip(lines[:-1], rows, strict=True) if row)
    if not (bad := [str(number) for number, row in enumerate(rows, 1) if row is None]):
        return None
    problem = f"line{'s' if len(bad) > 1 else ''} {', '.join(bad[:5])}{', ...' if len(bad) > 5 else ''} damaged"
    yield Finding(path, problem, f"the {len(rows) - len(bad)} good lines kept", _replaced(path, good))
    return {(row.seed, row.epoch) for row in rows if row}


def _gap_before(path: Path, seed: str, known: set[tuple[int, int]] | None) -> str:
    """Why a training cannot resume from its checkpoint: an epoch before it is lost."""
    if known is None:
        return ""
    _tensors, values = load_tensors(path, CHECKPOINT_FORMAT)
    last, held = values.get("epoch"), {row_epoch for row_seed, row_epoch in known if str(row_seed) == seed}
    if not isinstance(last, int):
        return "does not say after which epoch it was written"
    # As many different epochs from 1 to the last as there are: a number of 10^15 is compared, not counted up to.
    is_whole = len([epoch for epoch in held if 1 <= epoch <= last]) == last
    return "" if is_whole else f"epochs before it are lost in {paths.METRICS}"

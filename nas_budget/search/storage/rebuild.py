"""A damaged journal rebuilt: its good lines as they are, and what the others held from the files beside it."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_budget.arch.spec import spec_from_json
from nas_budget.errors import StudyError
from nas_budget.records.paths import JOURNAL, TRIAL_SETTINGS, trial_folder
from nas_budget.records.trials import TrialRecord
from nas_budget.search.config.proxy import levels
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.pruners.front import loss_key
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.storage.journal import Journal, is_record
from nas_budget.search.storage.optuna_adapter import JournalOperation, live_trial
from nas_budget.search.storage.storage import FINALISTS_STUDY
from nas_budget.search.storage.tables import STATES, figures_of, is_ours
from nas_budget.search.storage.trial_store import NOBODY
from nas_budget.untrusted import read_json

LOST = "its record was lost when the journal was damaged"
START = b'{"op_code"'
"""How every record begins."""


@dataclass
class Lines:
    """The lines of a journal: each record, or None where a line is none; and as they were written."""

    records: list[dict[str, Any] | None] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)

    @property
    def damaged(self) -> list[int]:
        """Numbers of the lines that are no records, from 1."""
        return [number for number, record in enumerate(self.records, 1) if record is None]


def read_lines(path: Path) -> Lines:
    """The lines of a journal. What a crash left of a record before a whole one, on the same line, is left out."""
    lines = Lines()
    for text in path.read_bytes().split(b"\n"):
        start = text.rfind(START)
        if text and start > 0 and is_record(text[start:]):
            lines.records += [None, json.loads(text[start:])]
            lines.texts += [text[:start], text[start:]]
        elif text:
            lines.records.append(json.loads(text) if is_record(text) else None)
            lines.texts.append(text)
    return lines


class _Memory(BaseJournalBackend):
    """A journal in memory, which Optuna writes records to."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        """The records from this one on."""
        yield from self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Take records."""
        self.logs += json.loads(json.dumps(logs))


def _record_of(study_id: int, template: FrozenTrial) -> dict[str, Any]:
    """The record that makes a trial."""
    memory = _Memory()
    storage = JournalStorage(memory)
    storage.create_new_trial(storage.create_new_study([StudyDirection.MAXIMIZE], "any"), template)
    return {**memory.logs[-1], "study_id": study_id}


class Rebuild:
    """Writes a journal anew.

    Records name trials by their place in the journal, so a lost record that made a trial is replaced by another: the
    trial as the table has it; or, unfinished, as its folder has it, to be trained again; or a failed one. Whether
    such a record was lost shows in the trials that later records name. Trials of the table that are missing, or had
    not ended in the good lines, are added.

    Args:
        folder: Run folder of the study.
        settings: Of the study.
        rows: Of its table; empty where that cannot be read.
    """

    def __init__(self, folder: Path, settings: StudyConfig, rows: Sequence[TrialRecord]) -> None:
        self.folder, self.settings = folder, settings
        self.rows = {row.number: row for row in rows}
        self.names = (settings.name, settings.name + FINALISTS_STUDY)
        self.out: list[bytes] = []
        self.studies: list[str] = []
        self.trials: list[int] = []
        """Study of each trial."""

    def content(self, lines: Lines) -> bytes:
        """The new journal.

        Raises:
            StudyError: It would not hold what the table holds.
        """
        is_gap = False
        for place, record in enumerate(lines.records):
            if record is None:
                is_gap = True
                continue
            self._prepare(record, lines.records[place + 1 :], is_gap)
            self._add(record, lines.texts[place])
            is_gap = is_gap and record["op_code"] != JournalOperation.CREATE_TRIAL
        self._make_studies(1)
        for number in range(self.trials.count(0), max(self.rows, default=-1) + 1):
            self._fill(0, number)
        return self._completed(b"".join(line + b"\n" for line in self.out))

    def _prepare(self, record: Mapping[str, Any], later: Sequence[dict[str, Any] | None], is_gap: bool) -> None:
        """Make what this record needs and the good lines before it do not make."""
        op = record["op_code"]
        if op == JournalOperation.CREATE_STUDY and record["study_name"] == self.names[1]:
            self._make_studies(1)
        if "study_id" in record:
            self._make_studies(record["study_id"] + 1)
        n_needed = record.get("trial_id", -1) + 1
        if op == JournalOperation.CREATE_TRIAL and is_gap:
            n_needed = self._own_id(record, later)
        while len(self.trials) < n_needed:
            self._make_studies(1)
            number = self.trials.count(0)
            # The finalists' study has trials of its own; they are in no table under their numbers.
            is_main = len(self.studies) == 1 or number in self.rows or self._about(number) is not None
            self._fill(0 if is_main else 1, number)

    def _own_id(self, record: Mapping[str, Any], later: Sequence[dict[str, Any] | None]) -> int:
        """Which trial a record made: the one that its worker names next. A worker has one trial at a time."""
        for after in later:
            if after is None or after.get("worker_id") != record.get("worker_id"):
                continue
            if after["op_code"] == JournalOperation.CREATE_TRIAL:
                break
            if after.get("trial_id", -1) >= len(self.trials):
                return int(after["trial_id"])
        return len(self.trials)

    def _add(self, record: Mapping[str, Any], text: bytes) -> None:
        if record["op_code"] == JournalOperation.CREATE_STUDY and record["study_name"] not in self.studies:
            self.studies.append(record["study_name"])
        if record["op_code"] == JournalOperation.CREATE_TRIAL:
            self.trials.append(record["study_id"])
        self.out.append(text)

    def _add_record(self, record: Mapping[str, Any]) -> None:
        self._add(record, json.dumps(record, separators=(",", ":")).encode())

    def _make_studies(self, n: int) -> None:
        """Make the first studies where the records that did are lost."""
        for name in self.names[len(self.studies) : n]:
            memory = _Memory()
            JournalStorage(memory).create_new_study([StudyDirection.MAXIMIZE], name)
            self._add_record(memory.logs[-1])

    def _fill(self, study_id: int, number: int) -> None:
        """Make a trial whose record is lost."""
        row = self.rows.get(number) if study_id == 0 else None
        about = self._about(number) if study_id == 0 else None
        if row:
            template = _ended(row, self.settings)
        elif about:
            template = _running(about, self.settings)
        else:
            template = create_trial(state=TrialState.FAIL, user_attrs={"reason": LOST, "worker": NOBODY})
        self._add_record(_record_of(study_id, template))

    def _about(self, number: int) -> dict[str, Any] | None:
        """What the folder of a trial says of it; None where it is not known, or trained one again at another width."""
        try:
            about = read_json((trial_folder(self.folder, number) / TRIAL_SETTINGS).read_text(encoding="utf-8"))
            Candidate.from_dict(about)
            return about if about["proxy"] == self.settings.proxy else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _completed(self, content: bytes) -> bytes:
        """The journal in which every trial of the table has ended as there, read and written by Optuna."""
        with TemporaryDirectory() as place:
            path = Path(place) / JOURNAL
            path.write_bytes(content)
            study = optuna.load_study(study_name=self.settings.name, storage=JournalStorage(Journal(path)))
            if not study.user_attrs.get("settings"):
                study.set_user_attr("settings", self.settings.to_dict())
            trials = study.get_trials(deepcopy=False)
            for number, row in self.rows.items():
                if trials[number].state == TrialState.RUNNING and _is_of(trials[number], row):
                    _end(study, trials[number], row, self.settings)
            ended = {row.number for row in missing_rows(study, [*self.rows.values()])}
            if ended:
                raise StudyError(f"trial {min(ended)} of the table is another one than that of the journal")
            return path.read_bytes()


def missing_rows(study: optuna.Study, rows: Sequence[TrialRecord]) -> Iterator[TrialRecord]:
    """The rows of a table whose trials a study does not hold as they are there."""
    trials = study.get_trials(deepcopy=False)
    for row in rows:
        trial = trials[row.number] if row.number < len(trials) else None
        if trial is None or not _is_of(trial, row) or STATES.get(trial.state) != row.state:
            yield row


def _is_of(trial: FrozenTrial, row: TrialRecord) -> bool:
    return is_ours(trial) and Candidate.from_dict(trial.user_attrs).spec == spec_from_json(row.spec)


def _attributes(candidate: Candidate, settings: StudyConfig, proxy: float) -> dict[str, Any]:
    return {**figures_of(candidate.spec, settings.budget), "proxy": proxy, **candidate.to_dict(), "worker": NOBODY}


def _running(about: Mapping[str, Any], settings: StudyConfig) -> FrozenTrial:
    """A trial that had begun and whose process is gone."""
    known = _attributes(Candidate.from_dict(about), settings, about["proxy"])
    trial = create_trial(state=TrialState.RUNNING, user_attrs=known)
    trial.datetime_start = datetime.now(UTC)
    return trial


def _ended(row: TrialRecord, settings: StudyConfig) -> FrozenTrial:
    """The trial of a row."""
    varied = {name: getattr(row, name) for name in ("optimizer", "learning_rate", "weight_decay", "batch_size")}
    candidate = Candidate(spec_from_json(row.spec), replace(settings.recipe, epochs=row.max_epochs, **varied))
    known = {**_attributes(candidate, settings, row.proxy), **_outcome(row, settings)}
    known |= {name: getattr(row, name) for name in ("device", "versions", "repeated_seconds")}
    known |= {"worker_index": row.worker}
    for name in "latency_s", "predicted", "predicted_deviation":
        if (value := getattr(row, name)) is not None:
            known[name] = value
    if row.micro_batches > 1:
        known["micro_batches"] = row.micro_batches
    if row.of is not None:
        factors = levels(settings.proxy, settings.ladder)
        known |= {"of": row.of, "level": factors.index(row.proxy) + 1 if row.proxy in factors else len(factors)}
    state = _state(row)
    trial = create_trial(
        state=state, value=row.accuracy if state == TrialState.COMPLETE else None, user_attrs=known,
        intermediate_values=dict(enumerate(map(float, row.curve.split()), start=1)),
    )  # fmt: skip
    trial.datetime_start, trial.datetime_complete = (_moment(text) for text in (row.started, row.finished))
    return trial


def _state(row: TrialRecord) -> TrialState:
    return next(state for state, name in STATES.items() if name == row.state)


def _outcome(row: TrialRecord, settings: StudyConfig) -> dict[str, Any]:
    """What is noted with a trial when it ends, and at rungs."""
    losses = [*map(float, row.train_losses.split())]
    known: dict[str, Any] = {"seconds": row.seconds}
    if row.reason:
        known["reason"] = row.reason
    if row.reason.startswith("diverged"):
        known["diverged"] = True
    if losses:
        known["train_losses"] = losses
    return known | {loss_key(rung): losses[rung - 1] for rung in settings.rungs if rung <= len(losses)}


def _end(study: optuna.Study, trial: FrozenTrial, row: TrialRecord, settings: StudyConfig) -> None:
    """End a running trial as its row has it."""
    live, state = live_trial(study, trial), _state(row)
    for step, value in enumerate(map(float, row.curve.split()), start=1):
        if step not in trial.intermediate_values:
            live.report(value, step)
    for name, value in _outcome(row, settings).items():
        live.set_user_attr(name, value)
    study.tell(live, row.accuracy if state == TrialState.COMPLETE else None, state)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.now(UTC)

"""What the package needs of Optuna beyond its public interface; no other file touches Optuna's private names."""

from __future__ import annotations

import json
import logging
import weakref
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache, lru_cache, wraps
from operator import itemgetter
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.storages.journal._storage import JournalOperation as JournalOperation
from optuna.study import Study
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState, create_trial
from sqlalchemy import and_, delete, insert, or_, select, update

from nas_budget.errors import StorageError, UsageError
from nas_budget.search.storage.patience import Patience
from nas_budget.search.storage.url import failure, shown, trouble

METRIC_NAMES = "study:metric_names"
NOTE_VERSION, NOTE_TEXT = "dashboard:note_ver", "dashboard:note_str:0"
"""Keys under which Optuna keeps the names of objectives, and optuna-dashboard a note (of at most 2,045 characters)."""
WORKER, BEAT = "worker", "beat"
"""Attributes of a trial: whose it is, and the counter that its worker counts up while it lives, with the time."""

CALLS = (
    *BaseStorage.__abstractmethods__, "get_trial_id_from_study_id_trial_number", "_create_new_trial",
    "_set_trial_param", "_get_trials", "_get_best_trial_id",
)  # fmt: skip
"""What Optuna calls of a database."""


class PatientStorage(RDBStorage):
    """A database that may be gone for a while: its calls are made again, and nothing is stored twice.

    Where a connection is lost while something is stored, nobody can tell whether it was. So each call can be repeated.
    Values of a key are stored over each other anyway.

    Args:
        url: Its address.
        patience: How long it may be gone.
    """

    def __init__(self, url: str, patience: Patience) -> None:
        self.patience = patience
        self.made: dict[int, FrozenTrial] = {}
        connect = super().__init__
        # One connection stays open for the threads of a worker: a server has a hundred unless told otherwise.
        one = {"pool_size": 1, "max_overflow": 2, "pool_pre_ping": True}
        options = one if url.startswith("postgresql") else {}
        patience(lambda: connect(url, engine_kwargs=options))
        weakref.finalize(self, self.engine.dispose)  # a server sees its connections closed, not lost

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """A new trial. A running one is kept until it is asked for, by whoever made it: that spares reading it."""
        made = super()._create_new_trial(study_id, template_trial)
        if made.state == TrialState.RUNNING and template_trial:
            self.made = {made._trial_id: made}
        return made

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Any
    ) -> models.TrialModel:
        """A new trial, or the same one where an earlier attempt stored it; the study is locked meanwhile.

        Optuna asks for each coordinate and attribute whether it is there already, and whether earlier trials had such a
        coordinate, in some hundred statements. Nothing of a new trial is there, and all trials of a study have the
        coordinates of its settings.
        """
        known = template_trial
        if not known or not known.datetime_start or known.state != TrialState.RUNNING or _has_results(known):
            return super()._get_prepared_new_trial(study_id, known, session)
        model, attributes = models.TrialModel, {name: json.dumps(each) for name, each in known.user_attrs.items()}
        trial = model(study_id=study_id, number=None, state=known.state, datetime_start=known.datetime_start)
        begun_then = {"study_id": study_id, "state": known.state, "_datetime_start_utc": trial._datetime_start_utc}
        same: models.TrialModel
        for same in session.query(model).filter_by(**begun_then):
            if {attribute.key: attribute.value_json for attribute in same.user_attributes} == attributes:
                return same
        session.add(trial)
        session.flush()  # from here on this is the only one that writes, in SQLite too
        before = select(model.number).where(model.study_id == study_id, model.trial_id < trial.trial_id)
        last = session.execute(before.order_by(model.trial_id.desc()).limit(1)).scalar()
        trial.number = 0 if last is None else last + 1
        rows: dict[Any, list[dict[str, Any]]] = {}
        rows[models.TrialUserAttributeModel] = [{"key": k, "value_json": each} for k, each in attributes.items()]
        rows[models.TrialParamModel] = [
            {
                "param_name": name,
                "param_value": (kind := known.distributions[name]).to_internal_repr(value),
                "distribution_json": distribution_to_json(kind),
            }
            for name, value in known.params.items()
        ]
        for table, each in rows.items():
            if each:
                session.execute(insert(table), [{"trial_id": trial.trial_id, **row} for row in each])
        return trial

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """A trial as it is stored now."""
        if made := self.made.pop(trial_id, None):
            return deepcopy(made)
        with _create_scoped_session(self.scoped_session) as session:
            found = _read(session, models.TrialModel.trial_id == trial_id)
        if not found:
            raise KeyError(f"there is no trial of the id {trial_id}")
        return found[0]

    def _get_trials(
        self, study_id: int, states: Container[TrialState] | None, included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:  # fmt: skip
        """Trials of a study after one of an id, with some of those before it, in these states."""
        model = models.TrialModel
        asked = [model.study_id == study_id]
        if states is not None:
            asked.append(model.state.in_([state for state in TrialState if state in states]))
        if trial_id_greater_than > -1:
            before = [each for each in included_trial_ids if each <= trial_id_greater_than]
            asked.append(or_(model.trial_id > trial_id_greater_than, model.trial_id.in_(before)))
        with _create_scoped_session(self.scoped_session) as session:
            models.StudyModel.find_or_raise_by_id(study_id, session)
            return _read(session, and_(*asked))

    def news(self, study_id: int, known: Collection[FrozenTrial], last: int) -> list[FrozenTrial]:
        """Trials after the one of the id `last`, and those known as running that ended or are another worker's now."""
        return self.patience(lambda: self._news(study_id, {trial._trial_id: trial for trial in known}, last))

    def _news(self, study_id: int, known: Mapping[int, FrozenTrial], last: int) -> list[FrozenTrial]:
        model, noted = models.TrialModel, models.TrialUserAttributeModel
        is_asked = and_(model.study_id == study_id, or_(model.trial_id > last, model.trial_id.in_([*known])))
        of_trial = and_(noted.trial_id == model.trial_id, noted.key == WORKER)
        asked = select(model.trial_id, model.state, noted.value_json).outerjoin(noted, of_trial).where(is_asked)
        with _create_scoped_session(self.scoped_session) as session:
            changed = [
                trial_id
                for trial_id, state, worker in session.execute(asked)
                if trial_id > last
                or state.is_finished()
                or json.loads(worker or "null") != known[trial_id].user_attrs.get(WORKER)
            ]
            return _read(session, model.trial_id.in_(changed)) if changed else []

    def change(
        self, trial_id: int, owner: str, attributes: Mapping[str, Any], curve: Mapping[int, float],
        state: TrialState | None, value: float | None,
    ) -> bool:  # fmt: skip
        """Store what is new of a running trial, in one transaction, if it is this owner's; whether it was."""
        return self.patience(lambda: self._change(trial_id, owner, attributes, curve, state, value))

    def _change(
        self, trial_id: int, owner: str, attributes: Mapping[str, Any], curve: Mapping[int, float],
        state: TrialState | None, value: float | None,
    ) -> bool:  # fmt: skip
        trial, noted, steps = models.TrialModel, models.TrialUserAttributeModel, models.TrialIntermediateValueModel
        # An earlier attempt, whose answer was lost, may have done it all.
        states = [TrialState.RUNNING] if state is None else [TrialState.RUNNING, state]
        owners = [json.dumps(owner), json.dumps(attributes.get(WORKER, owner))]
        is_open = select(trial.trial_id).where(trial.trial_id == trial_id, trial.state.in_(states)).exists()
        known = {name: {"value_json": json.dumps(each)} for name, each in attributes.items() if name != WORKER}
        pairs = {step: steps.intermediate_value_to_stored_repr(each) for step, each in curve.items()}
        with _create_scoped_session(self.scoped_session) as session:
            # Compares and takes the lock of the trial in one statement, in any database.
            held = session.execute(
                update(noted)
                .where(noted.trial_id == trial_id, noted.key == WORKER, noted.value_json.in_(owners), is_open)
                .values(value_json=owners[1]),
                execution_options={"synchronize_session": False},
            )
            if not held.rowcount:  # type: ignore[attr-defined]
                return False
            _put(session, noted, trial_id, "key", known)
            kinds = {n: {"intermediate_value": v, "intermediate_value_type": kind} for n, (v, kind) in pairs.items()}
            _put(session, steps, trial_id, "step", kinds)
            if value is not None:
                number, kind = models.TrialValueModel.value_to_stored_repr(value)
                _put(session, models.TrialValueModel, trial_id, "objective", {0: {"value": number, "value_type": kind}})
            if state is not None:
                ended = {trial.state: state, trial._datetime_complete_utc: datetime.now(UTC).replace(tzinfo=None)}
                session.execute(update(trial).where(trial.trial_id == trial_id).values(ended))
        return True

    def leases(self, study_id: int) -> dict[int, tuple[str, str]]:
        """By number of each running trial: its owner and its counter, without all else that is known of it."""
        return self.patience(lambda: self._leases(study_id))

    def _leases(self, study_id: int) -> dict[int, tuple[str, str]]:
        trial, noted = models.TrialModel, models.TrialUserAttributeModel
        asked = (
            select(trial.number, noted.key, noted.value_json)
            .join(trial, trial.trial_id == noted.trial_id)
            .where(trial.study_id == study_id, trial.state == TrialState.RUNNING, noted.key.in_([WORKER, BEAT]))
        )
        found: dict[int, dict[str, str]] = {}
        with _create_scoped_session(self.scoped_session) as session:
            for number, key, value in session.execute(asked):
                found.setdefault(number, {})[key] = value
        return {number: (each.get(WORKER, ""), each.get(BEAT, "")) for number, each in found.items()}

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """End a trial, unless an earlier attempt did."""
        try:
            return super().set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            if self.get_trial(trial_id).state != state:
                raise
            return True


def _has_results(trial: FrozenTrial) -> bool:
    return bool(trial.values or trial.intermediate_values or trial.system_attrs)


def _read(session: Any, asked: Any) -> list[FrozenTrial]:
    """The trials that are asked for, by id.

    Optuna makes an object of each row, which takes ten times as long where a study has many trials.
    """
    trial, values, steps = models.TrialModel, models.TrialValueModel, models.TrialIntermediateValueModel
    columns = (trial.trial_id, trial.number, trial.state, trial._datetime_start_utc, trial._datetime_complete_utc)
    found: dict[int, FrozenTrial] = {}
    for trial_id, number, state, start, complete in session.execute(select(*columns).where(asked)):
        about: dict[str, Any] = {"datetime_start": _local(start), "datetime_complete": _local(complete)}
        empty: dict[str, Any] = {name: {} for name in ("params", "distributions", "user_attrs", "system_attrs")}
        found[trial_id] = FrozenTrial(
            number=number, state=state, value=None, trial_id=trial_id, intermediate_values={}, **about, **empty
        )  # fmt: skip

    def rows(table: Any, *wanted: Any) -> Iterator[Any]:
        # Trials that began since the statement above are left for the next look.
        stored = session.execute(select(table.trial_id, *wanted).join(trial).where(asked))
        return (row for row in stored if row[0] in found)

    for_each = models.TrialParamModel
    # In the order in which they were stored, as Optuna has them.
    by_name = (for_each.param_id, for_each.param_name, for_each.param_value, for_each.distribution_json)
    for trial_id, _, name, value, kind in sorted(rows(for_each, *by_name), key=itemgetter(1)):
        distribution = _distribution(kind)
        found[trial_id].distributions[name] = distribution
        found[trial_id].params[name] = distribution.to_external_repr(value)
    for table in models.TrialUserAttributeModel, models.TrialSystemAttributeModel:
        is_users = table is models.TrialUserAttributeModel
        for trial_id, key, text in rows(table, table.key, table.value_json):
            attributes = found[trial_id].user_attrs if is_users else found[trial_id].system_attrs
            attributes[key] = json.loads(text) if text[0] in "[{" else _plain(text)
    for trial_id, step, value, kind in rows(steps, steps.step, steps.intermediate_value, steps.intermediate_value_type):
        found[trial_id].intermediate_values[step] = steps.stored_repr_to_intermediate_value(value, kind)
    results: dict[int, dict[int, float]] = {}
    for trial_id, objective, value, kind in rows(values, values.objective, values.value, values.value_type):
        results.setdefault(trial_id, {})[objective] = values.stored_repr_to_value(value, kind)
    for trial_id, by_objective in results.items():
        found[trial_id].values = [by_objective[objective] for objective in sorted(by_objective)]
    return [found[trial_id] for trial_id in sorted(found)]


@cache
def _distribution(text: str) -> BaseDistribution:
    """The distribution of its JSON: a study has a few for all its trials."""
    return json_to_distribution(text)


@lru_cache(10_000)
def _plain(text: str) -> Any:
    """A number or a text of its JSON: many trials have the same versions, device, worker."""
    return json.loads(text)


def _local(moment: datetime | None) -> datetime | None:
    """A moment as Optuna has it of a database: it keeps UTC and gives local time, both without a zone."""
    return moment and moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _put(session: Any, model: Any, trial_id: int, key: str, rows: Mapping[Any, Mapping[str, Any]]) -> None:
    """Store rows of a trial, by their keys, in place of those that may be there."""
    if rows:
        session.execute(delete(model).where(model.trial_id == trial_id, getattr(model, key).in_([*rows])))
        session.execute(insert(model), [{"trial_id": trial_id, key: name, **row} for name, row in rows.items()])


def _patient(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def patient(self: PatientStorage, *arguments: Any, **named: Any) -> Any:
        return self.patience(lambda: call(self, *arguments, **named))

    return patient


for _name in CALLS:
    setattr(PatientStorage, _name, _patient(getattr(PatientStorage, _name)))


def create_running_trial(
    study: Study, attributes: Mapping[str, Any], params: Mapping[str, Any] | None = None,
    distributions: Mapping[str, BaseDistribution] | None = None,
) -> Trial:  # fmt: skip
    """A running trial. One write makes it with all that is known of it, so no crash leaves it half known."""
    template = create_trial(
        state=TrialState.RUNNING, params=dict(params or {}), distributions=dict(distributions or {}),
        user_attrs=dict(attributes),
    )  # fmt: skip
    template.datetime_start = datetime.now(UTC)
    return Trial(study, study._storage.create_new_trial(study._study_id, template))


def live_trial(study: Study, trial: FrozenTrial) -> Trial:
    """The trial in a form that can be reported to."""
    return Trial(study, trial._trial_id)


def frozen_trial(trial: Trial) -> FrozenTrial:
    """The trial as it is stored now. `study.trials` would read all of them."""
    return trial.study._storage.get_trial(trial._trial_id)


def change(
    trial: Trial, attributes: Mapping[str, Any], curve: Mapping[int, float] | None = None,
    state: TrialState | None = None, value: float | None = None,
) -> bool:  # fmt: skip
    """Store what is new of a running trial, if it still is the worker's whose it was when it was read; whether it was.

    In a database this is one transaction. Elsewhere nobody else changes a trial at the same moment.

    Args:
        trial: The trial, as it was read or changed last.
        attributes: User attributes, of which `WORKER` makes it another worker's.
        curve: Values of steps, in place of others that may be there.
        state: In which it ends; None where it goes on.
        value: Its value, where it ends with one.
    """
    storage, trial_id, known = trial.study._storage, trial._trial_id, trial._cached_frozen_trial
    owner, curve = known.user_attrs[WORKER], curve or {}
    if database := _database(trial.study):
        is_ours = database.change(trial_id, owner, attributes, curve, state, value)
    else:
        now = storage.get_trial(trial_id)
        if is_ours := now.state == TrialState.RUNNING and now.user_attrs[WORKER] == owner:
            for name, each in attributes.items():
                storage.set_trial_user_attr(trial_id, name, each)
            for step, each in curve.items():
                storage.set_trial_intermediate_value(trial_id, step, each)
            if state is not None:
                storage.set_trial_state_values(trial_id, state, None if value is None else [value])
    if is_ours:  # pruners look at what is known here
        known.user_attrs.update(attributes)
        known.intermediate_values.update(curve)
    return is_ours


def news(
    study: Study, known: Collection[FrozenTrial], last: FrozenTrial | None
) -> list[FrozenTrial] | None:  # fmt: skip
    """Trials of a database after the last one, and of those known as running the ones that ended or changed hands.

    It asks for states and workers in one statement, and reads whole only what is new. None where the study lies
    elsewhere, or where no trial is known yet.
    """
    database = _database(study)
    return database.news(study._study_id, known, last._trial_id) if database and last else None


def wait_no_more(study: Study) -> None:
    """From now on, a database that is gone is an error at once."""
    if database := _database(study):
        database.patience.has_given_up = True


def leases(study: Study) -> dict[int, tuple[str, str]]:
    """By number of each running trial of a study in a database: its worker and that one's counter, as text."""
    database = _database(study)
    return database.leases(study._study_id) if database else {}


def _database(study: Study) -> PatientStorage | None:
    """The database that a study lies in; None of one that lies elsewhere."""
    found = getattr(study._storage, "_backend", None)  # behind what Optuna remembers of it
    return found if isinstance(found, PatientStorage) else None


def sampler_of(trial: BaseTrial) -> BaseSampler | None:
    """What samples the values of a trial, inside a `PartialFixedSampler` too; None of a trial without a study."""
    sampler = trial.study.sampler if isinstance(trial, Trial) else None
    return getattr(sampler, "_base_sampler", sampler)


def study_beside(study: Study, name: str) -> Study | None:
    """The study of another name in the same storage; None where there is none."""
    names = {known.study_name for known in study._storage.get_all_studies()}
    return optuna.load_study(study_name=name, storage=study._storage) if name in names else None


def describe_study(study: Study, objective: str, note: str) -> None:
    """Name the objective and leave a note for optuna-dashboard; a note that is there already stays."""
    storage, study_id = study._storage, study._study_id
    if NOTE_VERSION in storage.get_study_system_attrs(study_id):
        return
    storage.set_study_system_attr(study_id, METRIC_NAMES, [objective])
    storage.set_study_system_attr(study_id, NOTE_TEXT, note)
    storage.set_study_system_attr(study_id, NOTE_VERSION, 1)


def quiet_optuna() -> None:
    """Send Optuna's messages through ordinary logging, warnings and worse only, for the whole process."""
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(logging.WARNING)


@contextmanager
def clear_errors(storage: str) -> Iterator[None]:
    """Whatever a database or file system raises within, as one line.

    Raises:
        UsageError: An unknown kind of storage.
        StudyError: A storage that is damaged.
        StorageError: A storage that cannot be opened, read or written.
    """
    try:
        yield
    except (sqlalchemy.exc.NoSuchModuleError, sqlalchemy.exc.ArgumentError):
        raise UsageError(
            f"storage: {shown(storage)!r} names no kind of database known here; "
            "allowed are journal, sqlite:///..., postgresql+psycopg://..., mysql+pymysql://..."
        ) from None
    except ImportError:
        raise StorageError(
            f"storage: the driver of {shown(storage)} is not installed; "
            "for PostgreSQL: pip install 'nas-budget[postgresql]'"
        ) from None
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        raise failure(error)(f"storage: {shown(storage)} cannot be used: {trouble(error)}") from None
    except OSError as error:
        raise StorageError(f"{error.filename or storage}: cannot be written ({error.strerror or error})") from None

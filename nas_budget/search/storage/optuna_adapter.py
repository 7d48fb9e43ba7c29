"""What the package needs of Optuna beyond its public interface; no other file touches Optuna's private names."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.storages.journal._storage import JournalOperation as JournalOperation
from optuna.study import Study
from optuna.trial import BaseTrial, FrozenTrial, Trial, TrialState, create_trial

from nas_budget.errors import StorageError, UsageError
from nas_budget.search.storage.patience import Patience
from nas_budget.search.storage.url import failure, shown, trouble

METRIC_NAMES = "study:metric_names"
NOTE_VERSION, NOTE_TEXT = "dashboard:note_ver", "dashboard:note_str:0"
"""Keys under which Optuna keeps the names of objectives, and optuna-dashboard a note (of at most 2,045 characters)."""

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
        connect = super().__init__
        options = {"pool_pre_ping": True} if url.startswith("postgresql") else {}
        patience(lambda: connect(url, engine_kwargs=options))

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Any
    ) -> models.TrialModel:
        """A new trial, or the same one where an earlier attempt stored it; the study is locked meanwhile."""
        if template_trial and template_trial.datetime_start:
            asked = {name: json.dumps(value) for name, value in template_trial.user_attrs.items()}
            moment = template_trial.datetime_start.astimezone().replace(tzinfo=None)
            trial: models.TrialModel
            for trial in session.query(models.TrialModel).filter_by(study_id=study_id, state=TrialState.RUNNING):
                known = {attribute.key: attribute.value_json for attribute in trial.user_attributes}
                if trial.datetime_start == moment and known == asked:
                    return trial
        return super()._get_prepared_new_trial(study_id, template_trial, session)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """End a trial, unless an earlier attempt did."""
        try:
            return super().set_trial_state_values(trial_id, state, values)
        except UpdateFinishedTrialError:
            if self.get_trial(trial_id).state != state:
                raise
            return True


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


def report(trial: Trial, step: int, value: float) -> None:
    """Store the value of a step, in place of another one that may be there. `Trial.report` would leave that one."""
    trial.study._storage.set_trial_intermediate_value(trial._trial_id, step, value)
    trial._cached_frozen_trial.intermediate_values[step] = value  # which pruners look at


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

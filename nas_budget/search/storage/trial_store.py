"""`TrialStore`: the trials of one study as a worker makes, resumes, reports, finishes and tracks them."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.exceptions import StorageInternalError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from nas_budget.errors import TrialLostError
from nas_budget.search.pruners.factory import explain_pruning
from nas_budget.search.pruners.front import loss_key
from nas_budget.search.storage.leases import Leases
from nas_budget.search.storage.optuna_adapter import (
    BEAT,
    WORKER,
    change,
    create_running_trial,
    frozen_trial,
    live_trial,
    news,
    wait_no_more,
)

NOBODY = ""
"""The worker of a trial that was released: whoever asks next resumes it."""
MOST_ATTEMPTS = 2
"""How many workers a trial may take with it in one epoch. Nobody can tell whether a crash was the trial's fault."""


class TrialStore:
    """The trials of one study in Optuna's storage. Whoever trains trials changes them through this class alone.

    A trial belongs to the worker whose name is noted with it, and only that one changes it. Whoever knows that a worker
    is gone releases its trials. In a database, where nobody knows it of other machines, a trial is lost once its
    worker's counter has stood still for too long (`Leases`).

    Args:
        study: Optuna's study, in any storage.
        about: Noted with each trial that this worker trains, such as its device. `worker` is its name, which no other
            worker has; a random one by default.
        shared: Whether workers that others started use the storage too, so that their trials are watched.

    Attributes:
        study: Optuna's study.
        about: What is noted with each trial, with the worker's name and host.
        is_gone: Whether the worker of a running trial is gone, though the trial was not released.

    Raises:
        TrialLostError: By whatever changes a trial, where another worker has taken it over.

    Examples:
        >>> import optuna
        >>> store = TrialStore(optuna.create_study(direction="maximize"), {"device": "a CPU"})
        >>> number = store.create({"network": "8-16"})
        >>> store.report(number, epoch=1, accuracy=0.5)
        >>> store.finish(number, TrialState.COMPLETE, seconds=2.0).value
        0.5
    """

    def __init__(self, study: Study, about: Mapping[str, Any] | None = None, shared: bool = False) -> None:
        self.study = study
        self.about = {WORKER: uuid.uuid4().hex, "host": socket.gethostname(), **(about or {})}
        self.tracker = TrialTracker(study)
        self._live: dict[int, Trial] = {}
        self._reported: dict[int, dict[int, tuple[float, float | None]]] = {}
        self.leases = Leases(study, self._live) if shared else None
        self.is_gone: Callable[[FrozenTrial], bool] = lambda trial: bool(
            self.leases and self.leases.is_gone(trial.number)
        )

    @property
    def n_trials(self) -> int:
        """How many trials there are in all states."""
        return len(self.study.get_trials(deepcopy=False))

    def look(self) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """The trials that started and those that ended since the last look, by number."""
        return self.tracker.look()

    def running(self) -> list[FrozenTrial]:
        """The trials that had not ended at the last look, by number."""
        return self.tracker.running()

    def is_lost(self, trial: FrozenTrial) -> bool:
        """Whether nobody trains a running trial: it was released, or its worker is gone, maybe one of this name."""
        nobody = trial.user_attrs[WORKER] in (NOBODY, self.about[WORKER])
        return trial.number not in self._live and (nobody or self.is_gone(trial))

    def others(self) -> list[FrozenTrial]:
        """The trials that had not ended at the last look and are not held here, by number."""
        return [trial for trial in self.running() if trial.number not in self._live]

    def get(self, number: int) -> FrozenTrial:
        """A trial of this worker as it is stored now."""
        return frozen_trial(self._live[number])

    def create(
        self, attributes: Mapping[str, Any], params: Mapping[str, Any] | None = None,
        distributions: Mapping[str, BaseDistribution] | None = None,
    ) -> int:  # fmt: skip
        """Make a running trial of this worker; its number.

        Args:
            attributes: Noted with it, beside what is noted with every trial.
            params: Its coordinates in the search space.
            distributions: Of the coordinates.
        """
        return self._hold(create_running_trial(self.study, {**attributes, **self.about}, params, distributions))

    def resume(self, lost: FrozenTrial) -> bool:
        """Make a lost trial this worker's; whether it is: another worker may have been faster."""
        known = {"resumed": True, **({BEAT: ""} if self.leases else {})}  # what is heard from now on is of this worker
        live = live_trial(self.study, lost)
        if live.user_attrs[WORKER] != lost.user_attrs[WORKER] or not change(live, self.about | known):
            return False
        self._hold(live, frozen_trial(live))  # what its worker reported since the last look too
        return True

    def adopt(self, running: FrozenTrial) -> None:
        """Hold a running trial that another process held for the same worker."""
        self._hold(live_trial(self.study, running), running)

    def let_go(self, number: int) -> None:
        """Hold a trial no more: whoever trained it is gone."""
        del self._live[number], self._reported[number]

    def note_repeated(self, number: int, seconds: float) -> None:
        """Add to the time of epochs that earlier attempts at a trial of this worker trained in vain."""
        self.note(number, repeated_seconds=self.get(number).user_attrs.get("repeated_seconds", 0.0) + seconds)

    def release(self) -> None:
        """In a database, give back the trials of this worker; elsewhere the next search does. It counts up no more."""
        if not self.leases:
            return
        self.leases.end()
        self._live.clear()
        wait_no_more(self.study)
        with suppress(StorageInternalError, SQLAlchemyError):  # a database that is gone sees that they are lost
            release(self.study, self.about[WORKER])

    def note_death(self, number: int, cause: str, seconds: float) -> FrozenTrial | None:
        """Note that this worker died in a trial. The trial as it ended, where it has now failed for that.

        A trial that came further since the last death did not cause it, and has all its attempts again.

        Args:
            number: Of the trial.
            cause: How the worker ended, in words.
            seconds: What the trial took.
        """
        trial = self.study.get_trials(deepcopy=False)[number]
        if trial.state.is_finished() or not self.is_lost(trial):
            return None
        epoch = len(trial.intermediate_values)
        deaths = [*trial.user_attrs.get("deaths", ()), [epoch, cause]]
        self.note(self._hold(live_trial(self.study, trial)), deaths=deaths)
        here = [why for at, why in deaths if at == epoch]
        if len(here) < MOST_ATTEMPTS:
            return None
        causes = " and ".join(dict.fromkeys(here))
        return self.finish(number, TrialState.FAIL, seconds, f"its worker was lost {len(here)} times: {causes}")

    def _hold(self, trial: Trial, lost: FrozenTrial | None = None) -> int:
        curve, attrs = (lost.intermediate_values, lost.user_attrs) if lost else ({}, {})
        self._live[trial.number] = trial
        self._reported[trial.number] = {epoch: (curve[epoch], attrs.get(loss_key(epoch))) for epoch in curve}
        return trial.number

    def note(self, number: int, **attributes: Any) -> None:
        """Store attributes with a trial of this worker."""
        self._change(number, attributes)

    def report(
        self, number: int, epoch: int, accuracy: float, train_loss: float | None = None, **attributes: Any
    ) -> None:
        """Store what an epoch gave. A resumed trial that trains an epoch again stores it in place of the first time.

        Args:
            number: Of the trial.
            epoch: From 1.
            accuracy: On validation images, 0 to 1.
            train_loss: Stored only where trials are compared by it, at rungs.
            attributes: Stored with it.
        """
        if not attributes and self._reported[number].get(epoch) == (accuracy, train_loss):
            return
        if train_loss is not None:
            attributes[loss_key(epoch)] = train_loss
        self._change(number, attributes, {epoch: accuracy})
        self._reported[number][epoch] = accuracy, train_loss

    def _change(
        self, number: int, attributes: Mapping[str, Any], curve: Mapping[int, float] | None = None,
        state: TrialState | None = None, value: float | None = None,
    ) -> None:  # fmt: skip
        if not change(self._live[number], attributes, curve, state, value):
            self.let_go(number)
            raise TrialLostError(f"trial {number} was taken over by another worker")

    def prune_reason(self, number: int, epoch: int) -> str:
        """Why the study's pruner ends a trial at this epoch; empty where it goes on.

        A resumed trial goes on at the epochs that its earlier attempt survived.
        """
        if epoch < max(self._reported[number], default=0) or not self._live[number].should_prune():
            return ""
        return explain_pruning(self.study, self.get(number))

    def finish(
        self, number: int, state: TrialState, seconds: float, reason: str = "", train_losses: Sequence[float] = ()
    ) -> FrozenTrial:
        """End a trial of this worker; the trial as it is stored then.

        Args:
            number: Of the trial.
            state: COMPLETE or PRUNED, with the accuracy of the last epoch as its value, or FAIL.
            seconds: What it took.
            reason: Why it was pruned or failed.
            train_losses: Training loss of each epoch.
        """
        known: dict[str, Any] = {"seconds": seconds, "reason": reason, "train_losses": [*train_losses]}
        noted = {name: value for name, value in known.items() if value or name == "seconds"}
        if self.leases:
            noted["epochs"] = []  # they were for whoever might have taken it over
        curve = self._reported[number]
        value = curve[max(curve)][0] if curve and state != TrialState.FAIL else None
        self._change(number, noted, state=state, value=value)
        return frozen_trial(self._live.pop(number))


class TrialTracker:
    """What is new in a study, whoever changes it. A trial that has ended is read once, however many there are.

    Of a database it reads whole what began, ended or changed hands since the last look. Of the others that run it has
    what was known when they began.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.n_known = 0
        self.last: FrozenTrial | None = None
        self.open: dict[int, FrozenTrial] = {}

    def look(self) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """The trials that started and those that ended since the last look, by number."""
        started, changed = self._news()
        self.open |= {trial.number: trial for trial in (*changed, *started)}
        self.n_known += len(started)
        self.last = started[-1] if started else self.last
        ended = [trial for trial in self.open.values() if trial.state.is_finished()]
        for trial in ended:
            del self.open[trial.number]
        return started, ended

    def peek(self) -> list[FrozenTrial]:
        """The trials that started since the last look, which stay new."""
        return self._news()[0]

    def _news(self) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """The trials that started, and what is known of the others that had not ended."""
        found = news(self.study, self.open.values(), self.last)
        if found is None:
            trials = self.study.get_trials(deepcopy=False)
            return trials[self.n_known :], [trials[number] for number in self.open]
        return [t for t in found if t.number >= self.n_known], [t for t in found if t.number < self.n_known]

    def running(self) -> list[FrozenTrial]:
        """The trials that had not ended at the last look, by number."""
        return [*self.open.values()]


def release(study: Study, worker: str | None = None) -> None:
    """Give back the running trials of a worker that is gone; without one, of all workers."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if WORKER in trial.user_attrs and worker in (None, trial.user_attrs[WORKER]):
            change(live_trial(study, trial), {WORKER: NOBODY})

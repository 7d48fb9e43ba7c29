"""`TrialStore`: the trials of one study as a worker makes, resumes, reports, finishes and tracks them."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas_budget.search.pruners.factory import explain_pruning
from nas_budget.search.pruners.front import loss_key
from nas_budget.search.storage.optuna_adapter import create_running_trial, frozen_trial, live_trial, report

MOST_ATTEMPTS = 2
"""How many workers a trial may take with it in one epoch. Nobody can tell whether a crash was the trial's fault."""


class TrialStore:
    """The trials of one study in Optuna's storage. Whoever trains trials changes them through this class alone.

    A trial belongs to the process that makes or resumes it. Its host, process id and start time are stored with it,
    so another process can tell a trial that runs from one whose process is gone.

    Args:
        study: Optuna's study, in any storage.
        about: Noted with each trial that this worker trains, such as its device.
        shared: Whether workers on other machines use the storage too. If so, their trials are left alone.

    Attributes:
        study: Optuna's study.
        about: What is noted with each trial, with the worker's identity.
        is_gone: Whether nobody trains a running trial that this store does not hold.

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
        self.about = {**(about or {}), "worker": this_worker()}
        self.shared = shared
        self.is_gone: Callable[[FrozenTrial], bool] = self._is_of_a_process_that_is_gone
        self.tracker = TrialTracker(study)
        self._live: dict[int, Trial] = {}
        self._reported: dict[int, dict[int, tuple[float, float | None]]] = {}

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
        """Whether a running trial was left by whoever trained it."""
        return trial.number not in self._live and self.is_gone(trial)

    def _is_of_a_process_that_is_gone(self, trial: FrozenTrial) -> bool:
        """Whether a trial was left by a process that is gone, or by this one.

        In a run folder only one search runs at a time. A trial of another machine was then left by a process that is
        gone, such as a container under its old name. In a shared storage it is left alone.
        """
        worker = trial.user_attrs["worker"]
        if worker["host"] != socket.gethostname():
            return not self.shared
        return worker["pid"] == os.getpid() or not is_alive(worker)

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

    def resume(self, lost: FrozenTrial) -> None:
        """Make a lost trial this worker's."""
        self.note(self._hold(live_trial(self.study, lost), lost), **self.about, resumed=True)

    def adopt(self, running: FrozenTrial) -> None:
        """Hold a running trial that another process held for the same worker."""
        self._hold(live_trial(self.study, running), running)

    def let_go(self, number: int) -> None:
        """Hold a trial no more: whoever trained it is gone."""
        del self._live[number], self._reported[number]

    def note_repeated(self, number: int, seconds: float) -> None:
        """Add to the time of epochs that earlier attempts at a trial of this worker trained in vain."""
        self.note(number, repeated_seconds=self.get(number).user_attrs.get("repeated_seconds", 0.0) + seconds)

    def finish_lost(self, lost: FrozenTrial, seconds: float, train_losses: Sequence[float] = ()) -> None:
        """Complete a lost trial that had come to its end, with the accuracy of its last epoch."""
        number = self._hold(live_trial(self.study, lost))
        self.finish(number, TrialState.COMPLETE, seconds, train_losses=train_losses)

    def note_death(self, number: int, cause: str, seconds: float) -> FrozenTrial | None:
        """Note that the worker of a trial died. The trial as it ended, where it has now failed for that.

        A trial that came further since the last death did not cause it, and has all its attempts again.

        Args:
            number: Of the trial.
            cause: How the worker ended, in words.
            seconds: What the trial took.
        """
        trial = self.study.get_trials(deepcopy=False)[number]
        if trial.state.is_finished():
            return None
        epoch = len(trial.intermediate_values)
        deaths = [*trial.user_attrs.get("deaths", ()), [epoch, cause]]
        live = live_trial(self.study, trial)
        live.set_user_attr("deaths", deaths)
        here = [why for at, why in deaths if at == epoch]
        if len(here) < MOST_ATTEMPTS or not self.is_lost(trial):
            return None
        self._hold(live)
        causes = " and ".join(dict.fromkeys(here))
        return self.finish(number, TrialState.FAIL, seconds, f"its worker was lost {len(here)} times: {causes}")

    def _hold(self, trial: Trial, lost: FrozenTrial | None = None) -> int:
        curve, attrs = (lost.intermediate_values, lost.user_attrs) if lost else ({}, {})
        self._live[trial.number] = trial
        self._reported[trial.number] = {epoch: (curve[epoch], attrs.get(loss_key(epoch))) for epoch in curve}
        return trial.number

    def note(self, number: int, **attributes: Any) -> None:
        """Store attributes with a trial of this worker."""
        for name, value in attributes.items():
            self._live[number].set_user_attr(name, value)

    def report(self, number: int, epoch: int, accuracy: float, train_loss: float | None = None) -> None:
        """Store what an epoch gave. A resumed trial that trains an epoch again stores it in place of the first time.

        Args:
            number: Of the trial.
            epoch: From 1.
            accuracy: On validation images, 0 to 1.
            train_loss: Stored only where trials are compared by it, at rungs.
        """
        if self._reported[number].get(epoch) == (accuracy, train_loss):
            return
        if train_loss is not None:
            self.note(number, **{loss_key(epoch): train_loss})
        report(self._live[number], epoch, accuracy)
        self._reported[number][epoch] = accuracy, train_loss

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
            state: COMPLETE, with the accuracy of the last epoch as its value; PRUNED or FAIL.
            seconds: What it took.
            reason: Why it was pruned or failed.
            train_losses: Training loss of each epoch.
        """
        known = {"seconds": seconds, "reason": reason, "train_losses": [*train_losses]}
        self.note(number, **{name: value for name, value in known.items() if value or name == "seconds"})
        curve = self.get(number).intermediate_values
        value = curve[max(curve)] if state == TrialState.COMPLETE else None
        self.study.tell(self._live[number], value, state)
        return frozen_trial(self._live.pop(number))


class TrialTracker:
    """What is new in a study, whoever changes it. A trial that has ended is read once, however many there are."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.n_known = 0
        self.open: dict[int, FrozenTrial] = {}

    def look(self) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
        """The trials that started and those that ended since the last look, by number."""
        trials = self.study.get_trials(deepcopy=False)
        started = trials[self.n_known :]
        self.n_known = len(trials)
        open_now = [*self.open, *(trial.number for trial in started)]
        ended = [trials[number] for number in open_now if trials[number].state.is_finished()]
        self.open = {number: trials[number] for number in open_now if not trials[number].state.is_finished()}
        return started, ended

    def running(self) -> list[FrozenTrial]:
        """The trials that had not ended at the last look, by number."""
        return [*self.open.values()]


def this_worker() -> dict[str, Any]:
    """What identifies this process, also after its number was given to another: host, pid and start time."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def is_alive(worker: Mapping[str, Any]) -> bool:
    """Whether a process of this machine still runs: the same one, not a later one with its number."""
    try:
        process = psutil.Process(worker["pid"])
        same = abs(process.create_time() - worker["started"]) <= 1
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

"""`StudyTables`: the rows and files of a study, derived from what its storage holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import Cost, cost
from nas_budget.arch.scale import scale_widths
from nas_budget.arch.spec import AnySpec, ResNetSpec
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.finalists import FinalistRun, summarize_finalists, write_finalists
from nas_budget.records.paths import (
    BEST_SPEC,
    FINALIST_FOLDERS,
    FINALISTS_TABLE,
    PREDICTIONS,
    TRIAL_EPOCHS,
    TRIAL_FOLDERS,
    TRIALS_TABLE,
    WORKERS_TABLE,
)
from nas_budget.records.predictions import write_predictions
from nas_budget.records.statistics import pareto_front
from nas_budget.records.time_ledger import TimeLedger, ledger
from nas_budget.records.trials import OF_RESIDUAL, TrialRecord, best_of, write_table
from nas_budget.records.versions import package_versions
from nas_budget.records.workers import WorkerRecord, write_workers
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.samplers.bayes import BayesSampler
from nas_budget.search.samplers.candidate import Candidate, CandidateSpace
from nas_budget.search.samplers.sampler import Proposal
from nas_budget.search.storage.optuna_adapter import WORKER, clear_errors
from nas_budget.search.storage.storage import FINALISTS_STUDY, existing_study, open_study
from nas_budget.search.storage.trial_store import TrialTracker
from nas_budget.search.storage.worker_rows import worker_rows

STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
TABLE_SHARE = 50
"""The tables are written again when this many times the time it takes to write them have gone by, and at the end."""
WORKERS_S = 5.0
"""Seconds from one writing of `workers.csv` to the next, where no trial ends."""


class StudyTables:
    """The rows and files of a study, whoever trains its trials. All of it can be derived again from the storage.

    Args:
        settings: Of the study.
        study: The study.
        folder: Where the files go.
        versions: As they are noted with a study.
        should_stop: Ends the wait for a database that is gone.
        read_only: Whether a study of finalists that is not there yet is left so.
        joins: Whether settings that such a study has are left as they are.
    """

    def __init__(
        self, settings: StudyConfig, study: Study, folder: Path, versions: str,
        should_stop: Callable[[], bool] = lambda: False, read_only: bool = False, joins: bool = False,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.study = study
        self.folder = folder
        self.tracker = TrialTracker(study)
        self._rows: dict[int, TrialRecord] = {}
        self.next_write = self.next_workers = 0.0
        if settings.finalists and not read_only:
            again = open_study(settings, folder, versions, FINALISTS_STUDY, should_stop, joins)
            self.finalists_study: Study | None = again
        else:
            self.finalists_study = existing_study(settings, folder, FINALISTS_STUDY, should_stop)

    def rows(self) -> list[TrialRecord]:
        """A row for each finished trial, by number; those of other machines too."""
        with clear_errors(self.settings.storage):
            _started, ended = self.tracker.look()
        self._rows |= {trial.number: row_of(trial, self.settings) for trial in ended if is_ours(trial)}
        return self.known_rows()

    def known_rows(self) -> list[TrialRecord]:
        """The same as of the last look: the storage is not asked, which may be gone."""
        return [self._rows[number] for number in sorted(self._rows)]

    def finished(self) -> int:
        """How many trials were complete or pruned at the last look."""
        return sum(row.state != "failed" and row.of is None for row in self.known_rows())

    def best(self) -> list[FrozenTrial]:
        """The finalists: the most accurate complete trials, of equals the smaller first."""
        return finalists(self.study, self.settings.finalists)

    def finalist_runs(self) -> list[FinalistRun]:
        """The finalists' runs that have ended."""
        if not self.finalists_study:
            return []
        with clear_errors(self.settings.storage):
            return finalist_runs(self.finalists_study, self.settings, self.best())

    def best_spec(self) -> str | None:
        """The network of the best finalist, or else of the best trial, as JSON; None when there is none."""
        if runs := self.finalist_runs():
            return summarize_finalists(runs)[0].spec
        best = best_of(self.rows())
        return best.spec if best else None

    def workers(self) -> list[WorkerRecord]:
        """What each worker trained and trains; none of a run folder where one has trained all."""
        with clear_errors(self.settings.storage):
            trials = [*filter(is_ours, self.study.get_trials(deepcopy=False))]
            again = self.finalists_study.get_trials(deepcopy=False) if self.finalists_study else []
        names = {trial.user_attrs.get(WORKER) for trial in (*trials, *again)}
        is_shared = self.settings.storage != "journal"
        if len(names) < 2 and not is_shared:
            return []
        rows = worker_rows([*trials, *filter(is_ours, again)], self._last_epoch)
        return rows if len(rows) > 1 or is_shared else []

    def _last_epoch(self, trial: FrozenTrial) -> str:
        """When the folder of a running trial was told of an epoch, in UTC; empty where it lies elsewhere."""
        folder = self.folder / (FINALIST_FOLDERS if "seed" in trial.user_attrs else TRIAL_FOLDERS)
        try:
            changed = (folder / str(trial.number) / TRIAL_EPOCHS).stat().st_mtime
        except OSError:
            return ""
        return _utc(datetime.fromtimestamp(changed, UTC))

    def ledger(self) -> TimeLedger:
        """Where the time went."""
        with clear_errors(self.settings.storage):
            trials = self.finalists_study.get_trials(deepcopy=False) if self.finalists_study else []
        spent = sum(trial.user_attrs.get("seconds", 0.0) for trial in trials)
        repeated = sum(trial.user_attrs.get("repeated_seconds", 0.0) for trial in trials)
        return ledger(self.rows(), spent, repeated)

    def write(self) -> None:
        """Write `trials.csv`, `best.json`, `finalists.csv` and `workers.csv` anew."""
        start = time.monotonic()
        write_table(self.folder / TRIALS_TABLE, self.rows())
        if spec := self.best_spec():
            write_whole(self.folder / BEST_SPEC, spec + "\n")
        if runs := self.finalist_runs():
            write_finalists(self.folder / FINALISTS_TABLE, runs)
        else:
            (self.folder / FINALISTS_TABLE).unlink(missing_ok=True)  # those of an earlier end
        self.write_workers()
        now = time.monotonic()
        self.next_write = now + TABLE_SHARE * (now - start)

    def write_workers(self) -> None:
        """Write `workers.csv` anew, where a study has several."""
        start = time.monotonic()
        if workers := self.workers():
            write_workers(self.folder / WORKERS_TABLE, workers)
        else:
            (self.folder / WORKERS_TABLE).unlink(missing_ok=True)
        now = time.monotonic()
        self.next_workers = now + max(WORKERS_S, TABLE_SHARE * (now - start))

    def write_predictions(self) -> None:
        """Write `predictions.csv`: what the model of all trials that ended expects of the best network of each size."""
        if self.settings.sampler != "bayes":
            return
        space = CandidateSpace(self.settings.networks(), self.settings.recipes)
        sampler = BayesSampler(space, self.settings.seed)
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state.is_finished() and not level_of(trial) and (candidate := candidate_of(trial)):
                sampler.begin(trial.number, Proposal(candidate, {}))
                sampler.end(trial, candidate)
        if expected := sampler.expected_front():
            write_predictions(self.folder / PREDICTIONS, expected)

    def write_if_due(self) -> None:
        """Write them unless they were just written."""
        if time.monotonic() >= self.next_write:
            self.write()

    def write_workers_if_due(self) -> None:
        """Write what the workers do unless that was just written."""
        if time.monotonic() >= self.next_workers:
            self.write_workers()


def finalists(study: Study, n: int) -> list[FrozenTrial]:
    """The `n` best complete trials: those of the highest level of the ladder, then the most accurate, the smaller."""
    ranked = _ranked(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    best = {root_of(trial): trial for trial in reversed(ranked)}  # of a network trained at several widths the widest
    return [trial for trial in ranked if best[root_of(trial)] is trial][:n]


def _ranked(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Complete trials from the best."""
    complete = [trial for trial in trials if is_ours(trial) and trial.state == TrialState.COMPLETE]
    return sorted(complete, key=lambda one: (-level_of(one), -(one.value or 0), one.user_attrs["params"]))


def widest_proxy(best: Sequence[FrozenTrial]) -> float:
    """The factor at which finalists are trained: the largest of theirs, so that their accuracies can be compared."""
    return max((trial.user_attrs.get("proxy", 1.0) for trial in best), default=1.0)


def promoted(trials: Sequence[FrozenTrial], level: int, settings: StudyConfig) -> list[FrozenTrial]:
    """The trials of the level below that go up to this one.

    They are the most accurate, or where the aim is the whole front those on it, evenly from the most accurate down.
    """
    ranked = [trial for trial in _ranked(trials) if level_of(trial) == level - 1]
    n = settings.ladder[level - 1]
    if settings.aim == "best":
        return ranked[:n]
    front = pareto_front(ranked, lambda one: one.user_attrs["params"], lambda one: one.value or 0.0)
    spread = np.linspace(len(front) - 1, 0, min(n, len(front))).round().astype(int)
    return [front[i] for i in spread]


def level_of(trial: FrozenTrial) -> int:
    """Level of the ladder that a trial belongs to: 0 for one that was proposed."""
    return int(trial.user_attrs.get("level", 0))


def root_of(trial: FrozenTrial) -> int:
    """Number of the trial that first trained the network."""
    return int(trial.user_attrs.get("of", trial.number))


def versions() -> str:
    """The versions a result depends on."""
    return package_versions("torch", "optuna")


def is_ours(trial: FrozenTrial) -> bool:
    """Whether nas-budget made a trial."""
    return "spec" in trial.user_attrs and "recipe" in trial.user_attrs


def candidate_of(trial: FrozenTrial) -> Candidate | None:
    """What a trial trains; None of a trial that nas-budget did not make."""
    return Candidate.from_dict(trial.user_attrs) if is_ours(trial) else None


def figures_of(spec: AnySpec, budget: Budget) -> dict[str, Any]:
    """A network in words, its cost and margins, as they are noted with its trial: as a dashboard shows them."""
    used = cost(spec)
    verdict = budget.check(used)
    figures: dict[str, Any] = {name: getattr(used, name) for name in ("params", "macs", "activation_bytes")}
    margins = {f"margin_{m.name}": m.margin for m in verdict.margins}
    if (latency := predicted_s(used, budget)) is not None:
        figures["predicted_latency_s"] = latency
    return {"network": str(spec), **figures, **margins, "feasible": verdict.fits}


def predicted_s(used: Cost, budget: Budget) -> float | None:
    """Seconds of a network, as the budget's model of latencies predicts them; None without one."""
    return budget.latency_model.network_ns(used.timed) / 1e9 if budget.latency_model and used.timed else None


def row_of(trial: FrozenTrial, settings: StudyConfig) -> TrialRecord:
    """The row of a finished trial that nas-budget made."""
    candidate = Candidate.from_dict(trial.user_attrs)
    spec, recipe = candidate.spec, candidate.recipe
    used: Cost = cost(spec)
    curve = curve_of(trial)
    limits = settings.budget
    known: dict[str, Any] = trial.user_attrs
    proxy = known.get("proxy", 1.0)
    return TrialRecord(
        study=settings.name,
        number=trial.number,
        state=STATES[trial.state],
        accuracy=curve[-1] if curve else None,
        epochs=len(curve),
        max_epochs=recipe.epochs,
        params=used.params,
        macs=used.macs,
        weight_bytes=used.weight_bytes["fp32"],
        latency_s=_rounded(known.get("latency_s")),
        proxy=proxy,
        proxy_params=used.params if proxy == 1 else cost(scale_widths(spec, proxy)).params,
        of=known.get("of"),
        seconds=round(known.get("seconds", 0.0), 3),
        repeated_seconds=round(known.get("repeated_seconds", 0.0), 3),
        **_of_residual(spec),
        optimizer=recipe.optimizer,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        batch_size=recipe.batch_size,
        seeds=settings.trial_seeds,
        curve=_points(curve),
        train_losses=_points(known.get("train_losses", [])),
        rungs=" ".join(map(str, settings.rungs)),
        pruner_metric=settings.pruner_metric if settings.pruner == "front" else "",
        predicted=_rounded(known.get("predicted")),
        predicted_deviation=_rounded(known.get("predicted_deviation")),
        data=settings.data_name,
        images=settings.n_train,
        validation_images=settings.n_validation,
        budget_params=limits.params,
        budget_macs=limits.macs,
        budget_weight_bytes=limits.weight_bytes,
        budget_activation_bytes=limits.activation_bytes,
        weight_format=limits.weight_format,
        activation_format=limits.activation_format,
        budget_latency_ns=limits.latency_ns,
        predicted_latency_s=predicted_s(used, limits),
        seed=settings.seed,
        device=known.get("device", ""),
        precision=settings.precision,
        micro_batches=known.get("micro_batches", 1),
        versions=known.get("versions", ""),
        worker=known.get("worker_index", 0),
        started=_utc(trial.datetime_start),
        finished=_utc(trial.datetime_complete),
        reason=known.get("reason", ""),
        spec=spec.to_json(),
    )


def _of_residual(spec: AnySpec) -> dict[str, Any]:
    """The columns of residual networks; empty of other ones."""
    if not isinstance(spec, ResNetSpec):
        texts = ("channels", "blocks", "kernels", "strides", "block")
        return {name: "" if name in texts else None for name in OF_RESIDUAL}
    each_stage = {name: _joined(getattr(spec, name)) for name in ("channels", "blocks", "kernels", "strides")}
    whole = {name: getattr(spec, name) for name in ("stem_kernel", "shortcut_kernel", "block", "se_reduction")}
    counted = {name: getattr(cost(spec), name) for name in ("activation_bytes", "depth")}
    return each_stage | whole | counted | {"pool": spec.pool_size, "stem_width": spec.stem_channels}


def finalist_seeds(settings: StudyConfig) -> range:
    """Seeds with which no trial was trained: the accuracy that made a trial a finalist is no fair measure of it."""
    first = settings.seed + settings.trial_seeds
    return range(first, first + settings.finalist_seeds)


def finalist_key(trial: FrozenTrial) -> tuple[int, int, int, float]:
    """What tells a finalist's run from others: of which trial, with which seed, how many epochs, at which width."""
    known = trial.user_attrs
    return known["of"], known["seed"], known["recipe"]["epochs"], known.get("proxy", 1.0)


def finalist_runs(study: Study, settings: StudyConfig, best: Sequence[FrozenTrial]) -> list[FinalistRun]:
    """The runs of these finalists that are asked for and have ended, by trial and seed; one of each."""
    which = settings.finalist_epochs, widest_proxy(best)
    asked = {(trial.number, seed, *which) for trial in best for seed in finalist_seeds(settings)}
    found = {finalist_key(trial): run for trial in study.get_trials(deepcopy=False) if (run := finalist_run(trial))}
    return [found[key] for key in sorted(asked & found.keys())]


def finalist_run(trial: FrozenTrial) -> FinalistRun | None:
    """The row of a finalist's run, of one that diverged too; None when it failed or goes on."""
    known, curve = trial.user_attrs, curve_of(trial)
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or not curve:
        return None
    return FinalistRun(
        trial=known["of"],
        seed=known["seed"],
        accuracy=curve[-1],
        epochs=len(curve),
        params=known["params"],
        seconds=round(known["seconds"], 3),
        repeated_seconds=round(known.get("repeated_seconds", 0.0), 3),
        curve=_points(curve),
        device=known.get("device", ""),
        spec=Candidate.from_dict(known).spec.to_json(),
    )


def curve_of(trial: FrozenTrial) -> list[float]:
    """Accuracy after each epoch the trial was trained."""
    return [value for _, value in sorted(trial.intermediate_values.items())]


def _points(curve: Sequence[float]) -> str:
    return " ".join(f"{value:.5f}" for value in curve)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 7)


def _utc(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds") if moment else ""


def _joined(values: tuple[int, ...]) -> str:
    return "-".join(map(str, values))

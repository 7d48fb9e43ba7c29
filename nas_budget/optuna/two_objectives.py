"""`two_objective_study`: a study with one objective as one with two, accuracy and parameters, for Optuna's plots."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_budget.errors import StudyError, UsageError
from nas_budget.records.paths import JOURNAL
from nas_budget.search.samplers.optuna_samplers import optuna_warnings_only
from nas_budget.search.storage.journal import open_journal
from nas_budget.search.storage.optuna_adapter import study_beside
from nas_budget.search.storage.storage import FINALISTS_STUDY
from nas_budget.search.storage.tables import level_of, root_of

SIZE = "parameters"
"""Name of the second objective."""


def two_objective_study(
    run: str | Path | Study, *, level: int = 0, finalists: bool = False, storage: str | BaseStorage | None = None,
    study_name: str | None = None,
) -> Study:  # fmt: skip
    """The trials of a search as a study with two objectives: accuracy, maximized, and parameters, minimized.

    A search keeps accuracy as its only objective, because Optuna cannot prune with two. What of Optuna's shows two,
    such as `plot_pareto_front`, needs a study like this one. It is a copy: what is done with it does not change the
    search. Trials that run are left out, so copy again for news of a search that goes on.

    A copied trial has the coordinates of its network as parameters, and its attributes: as `trial` its number in the
    search, `network`, `params`, `macs`, margins, `spec`, but no lists and no recipe. `spec_of` reads its network.
    Pruned and failed trials are copied without values.

    Accuracies are comparable only among networks that were trained in the same way. So wider trainings of the ladder
    and finalists are left out, and each has a study of its own:

    Args:
        run: A run folder with a journal, or any study with one objective in which each trial keeps its network: that of
            a search, such as `SearchResult.study`, or one that used `suggest_spec`. Of the latter the first objective
            keeps its name and direction.
        level: Of the ladder. 0: the networks that were proposed; 1, 2, ...: the best of them, trained wider.
        finalists: The finalists in their place, a trial for each training: each seed of each of them.
        storage: Where the copy goes: an address such as "sqlite:///front.db", or a storage; None for memory.
        study_name: Of the copy; None for the name of the study and "front".

    Raises:
        UsageError: No run folder, two objectives already, no complete trial of this kind, or a study of that name in
            the storage.
        StudyError: The journal cannot be read, or holds several searches.

    Examples:
        >>> import optuna
        >>> from nas_budget import Budget, SearchSpace, cost
        >>> from nas_budget.optuna import suggest_spec
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> mine = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
        >>> space, budget = SearchSpace(stages=(2, 3)), Budget(params=50_000)
        >>> mine.optimize(lambda trial: cost(suggest_spec(trial, space, budget)).depth / 100, n_trials=6)
        >>> front = two_objective_study(mine)
        >>> [direction.name for direction in front.directions]
        ['MAXIMIZE', 'MINIMIZE']
        >>> len(front.trials), 1 <= len(front.best_trials) <= 6
        (6, True)
    """
    study = run if isinstance(run, Study) else _study_in(Path(run))
    if len(study.directions) > 1:
        raise UsageError(f"study {study.study_name} has {len(study.directions)} objectives; give one that has one")
    copied = [*_copies(study, level, finalists)]
    if not any(trial.state == TrialState.COMPLETE for trial in copied):
        what = "finalist" if finalists else f"trial of level {level}" if level else "trial with a network"
        raise UsageError(f"study {study.study_name} has no complete {what}; let it train one, or ask for other trials")
    return _made(study, copied, storage, study_name or f"{study.study_name} front")


def _study_in(folder: Path) -> Study:
    """The study of the search in a run folder."""
    if not (folder / JOURNAL).is_file():
        raise UsageError(
            f"{folder}: no {JOURNAL} there; give the folder of a run, such as runs/quickstart, or a study of a "
            "database as optuna.load_study gives it"
        )
    storage = open_journal(folder)
    names = [one.study_name for one in storage.get_all_studies() if not one.study_name.endswith(FINALISTS_STUDY)]
    if len(names) != 1:
        found = f"{len(names)} studies ({', '.join(names)})" if names else "no study"
        raise StudyError(f"{folder / JOURNAL}: holds {found}; give one of them as optuna.load_study gives it")
    return optuna.load_study(study_name=names[0], storage=storage)


def _copies(study: Study, level: int, finalists: bool) -> Iterator[FrozenTrial]:
    """The trials that are asked for, with values for two objectives."""
    proposed = study.get_trials(deepcopy=False)
    if finalists:
        beside = study_beside(study, study.study_name + FINALISTS_STUDY)
        trials = beside.get_trials(deepcopy=False) if beside else []
    else:
        trials = [trial for trial in proposed if level_of(trial) == level]
    for trial in trials:
        if trial.state.is_finished() and "spec" in trial.user_attrs:
            yield _copy(trial, proposed[root_of(trial)])


def _copy(trial: FrozenTrial, of: FrozenTrial) -> FrozenTrial:
    """A trial with two values, and with the coordinates of the trial that proposed its network."""
    complete, known = trial.state == TrialState.COMPLETE, trial.user_attrs
    # A plot shows all attributes of a point, in their order: what is long would hide the rest.
    short = {name: value for name, value in known.items() if not isinstance(value, list | dict)}
    copied = create_trial(
        state=trial.state,
        values=[trial.value or 0.0, known["params"]] if complete else None,
        params=of.params,
        distributions=of.distributions,
        user_attrs={"trial": trial.number} | short | {"spec": known["spec"]},
    )
    copied.datetime_start, copied.datetime_complete = trial.datetime_start, trial.datetime_complete
    return copied


def _made(study: Study, trials: Sequence[FrozenTrial], storage: str | BaseStorage | None, name: str) -> Study:
    """A new study of these trials."""
    directions = [study.direction, StudyDirection.MINIMIZE]
    with optuna_warnings_only(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # names of objectives
        try:
            made = optuna.create_study(study_name=name, storage=storage, directions=directions)
        except DuplicatedStudyError:
            raise UsageError(f"study_name: the storage holds {name!r} already; give another one") from None
        made.set_metric_names([(study.metric_names or ["accuracy"])[0], SIZE])
        made.add_trials(trials)
    return made

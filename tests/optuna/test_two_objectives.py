"""A search as a study with two objectives, and what of Optuna's is made for such studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import (
    plot_hypervolume_history,
    plot_optimization_history,
    plot_parallel_coordinate,
    plot_param_importances,
    plot_pareto_front,
    plot_slice,
    plot_timeline,
)

from nas_budget import cost
from nas_budget.errors import StudyError, UsageError
from nas_budget.optuna import spec_of, suggest_spec, two_objective_study
from nas_budget.records.paths import JOURNAL
from nas_budget.search import search
from nas_budget.search.api import SearchResult
from tests.search.samplers.spaces import BUDGET, MIXED


@pytest.fixture(scope="module")
def found(npz: Path, tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    """A search by proxies with a pruner, a ladder and finalists."""
    study: dict[str, dict[str, Any]] = {
        "budget": {"params": "80k"},
        "space": {"stages": [2, 3], "width": [16, 64], "blocks": 1},
        "data": {"name": str(npz), "images": 100, "validation_images": 50},
        "recipe": {"batch_size": 50, "epochs": 4},
        "search": {"trials": 6, "proxy": "1/4", "ladder": [2, 1], "finalists": 1, "finalist_seeds": 2, "aim": "front"},
    }
    return search(study, name="mine", runs_dir=tmp_path_factory.mktemp("runs"))


def values(study: Study) -> list[list[float]]:
    return [trial.values for trial in study.trials if trial.state == TrialState.COMPLETE]


def test_a_run_folder_becomes_a_study_with_two_objectives(found: SearchResult) -> None:
    study = two_objective_study(found.folder)
    proposed = [row for row in found.trials if row.of is None]
    assert study.study_name == "mine front"
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["accuracy", "parameters"]
    assert [trial.state.name.lower() for trial in study.trials] == [row.state for row in proposed]
    assert [trial.user_attrs["trial"] for trial in study.trials] == [row.number for row in proposed]
    assert values(study) == [[pytest.approx(r.accuracy), r.params] for r in proposed if r.state == "complete"]
    assert {trial.user_attrs["trial"] for trial in study.best_trials} >= {row.number for row in found.pareto_front}
    for trial, row in zip(study.trials, proposed, strict=True):
        original = found.study.trials[row.number]
        assert (trial.params, trial.distributions) == (original.params, original.distributions)
        assert (trial.datetime_start, trial.duration) == (original.datetime_start, original.duration)
        assert spec_of(trial).to_json() == row.spec
        assert not any(isinstance(value, list) for value in trial.user_attrs.values())


def test_what_is_done_with_the_copy_does_not_change_the_search(found: SearchResult) -> None:
    before = found.study.trials
    copied = two_objective_study(str(found.folder))
    copied.tell(copied.ask(), [0.5, 3])
    assert found.study.trials == before


def test_wider_trainings_and_finalists_are_studies_of_their_own(found: SearchResult) -> None:
    for level, n in (1, 2), (2, 1):
        wider = two_objective_study(found.study, level=level)
        assert {trial.user_attrs["level"] for trial in wider.trials} == {level}
        assert len(wider.trials) == n
    last = two_objective_study(found.study, finalists=True)
    [summary] = found.finalists
    assert [value[1] for value in values(last)] == [summary.params] * 2
    assert sum(value[0] for value in values(last)) / 2 == pytest.approx(summary.mean)
    of = found.study.trials[last.trials[0].user_attrs["of"]]
    assert last.trials[0].params == of.params
    assert len({trial.user_attrs["seed"] for trial in last.trials}) == 2


def accuracy(trial: FrozenTrial) -> float:
    return trial.values[0]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore:PedAnova:UserWarning")
def test_optunas_plots_of_two_objectives_show_it(found: SearchResult) -> None:
    study = two_objective_study(found.folder)
    shown = plot_pareto_front(study)
    assert shown.layout.xaxis.title.text == "accuracy"
    assert sum(len(trace.x) for trace in shown.data) == len(values(study))
    assert plot_hypervolume_history(study, reference_point=[0.0, 80_000]).data
    for plot in plot_parallel_coordinate, plot_slice, plot_optimization_history:
        assert plot(study, target=accuracy, target_name="accuracy").data
    assert plot_timeline(study).data
    assert optuna.importance.get_param_importances(study)
    importances = optuna.importance.get_param_importances(study, target=lambda trial: -accuracy(trial))
    assert {*importances} == {*study.trials[0].params}
    assert plot_param_importances(study, target=lambda trial: -accuracy(trial), target_name="accuracy").data


def my_study(direction: Any, n: int = 4, **options: Any) -> Study:
    study = optuna.create_study(direction=direction, sampler=RandomSampler(seed=0), **options)
    study.optimize(lambda trial: cost(suggest_spec(trial, MIXED, BUDGET)).depth / 100, n_trials=n)
    return study


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_study_of_ones_own_becomes_one_too(direction: str) -> None:
    study = my_study(direction, study_name="own")
    study.add_trial(optuna.trial.create_trial(value=1.0))  # without a network
    study.ask()  # runs
    made = two_objective_study(study)
    assert [one.name.lower() for one in made.directions] == [direction, "minimize"]
    assert values(made) == [[trial.value, trial.user_attrs["params"]] for trial in study.trials[:4]]
    assert made.study_name == "own front"


def test_the_copy_can_be_stored_once_under_a_name(tmp_path: Path) -> None:
    storage, study = f"sqlite:///{tmp_path / 'front.db'}", my_study("maximize", study_name="own")
    made = two_objective_study(study, storage=storage, study_name="kept")
    assert [trial.values for trial in optuna.load_study(study_name="kept", storage=storage).trials] == values(made)
    with pytest.raises(UsageError, match="study_name: the storage holds 'kept' already; give another one"):
        two_objective_study(study, storage=storage, study_name="kept")


def test_what_cannot_be_copied_is_said(found: SearchResult, tmp_path: Path) -> None:
    for call, said in (
        (lambda: two_objective_study(tmp_path), f"{tmp_path}: no study.journal there; give the folder of a run"),
        (lambda: two_objective_study(found.folder, level=3), "study mine has no complete trial of level 3"),
        (lambda: two_objective_study(my_study("maximize"), finalists=True), "has no complete finalist"),
        (lambda: two_objective_study(optuna.create_study()), "has no complete trial with a network"),
        (lambda: two_objective_study(two_objective_study(found.folder)), "study mine front has 2 objectives"),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert said in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_a_damaged_or_shared_journal_is_refused(found: SearchResult, tmp_path: Path) -> None:
    copy = tmp_path / JOURNAL
    copy.write_bytes((found.folder / JOURNAL).read_bytes())
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(copy)))
    optuna.create_study(study_name="other", storage=storage)
    with pytest.raises(StudyError, match=r"holds 2 studies \(mine, other\); give one of them"):
        two_objective_study(tmp_path)
    copy.write_text("no journal\n" + copy.read_text())
    with pytest.raises(StudyError, match="line 1 is damaged"):
        two_objective_study(tmp_path)

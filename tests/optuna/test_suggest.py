"""Networks suggested in any study of Optuna's: all of them fit, and all can be read back."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna import visualization
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FixedTrial, TrialState

import nas_budget.optuna
from nas_budget import Budget, NasBudgetError, ResNetSpec, SearchSpace, cost
from nas_budget.errors import NothingFitsError, UsageError
from nas_budget.optuna import BudgetSampler, params_of, spec_of, suggest_spec
from nas_budget.optuna.spaces import feasible_space
from nas_budget.space.spec_factory import contains
from tests.search.samplers.spaces import BUDGET, MIXED, NUMBERS

BUDGETS = {
    "params": Budget(params=30_000),
    "few": Budget(params=3_000),
    "macs": Budget(params=None, macs=2_000_000),
    "bytes": Budget(params=None, weight_bytes=40_000, activation_bytes=100_000, weight_format="int8"),
    "all": Budget(params=100_000, macs=5_000_000, weight_bytes=200_000, activation_bytes=150_000),
}
SPACE = SearchSpace(
    stages=(1, 3), blocks=(1, 3), width=(2, 64), block=("basic", "bottleneck"), se_reduction=(0, 4), first_stride=(1, 2)
)  # fmt: skip


def sampler_of(name: str, space: SearchSpace = MIXED, budget: Budget = BUDGET) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return {
            "budget": lambda: BudgetSampler(space, budget, seed=0),
            "tpe": lambda: TPESampler(seed=0, n_startup_trials=4),
            "gp": lambda: GPSampler(seed=0, n_startup_trials=4),
            "nsga2": lambda: NSGAIISampler(seed=0, population_size=6),
            "random": lambda: RandomSampler(seed=0),
            "cmaes": lambda: CmaEsSampler(seed=0, warn_independent_sampling=False),
            "qmc": lambda: QMCSampler(seed=0, warn_independent_sampling=False),
        }[name]()


def checked(study: Study, budget: Budget, space: SearchSpace = SPACE) -> None:
    """Every network of the study fits, and is what the trial says."""
    for trial in study.get_trials():
        spec, known = spec_of(trial), trial.user_attrs
        assert contains(space, spec)
        assert budget.check(spec).fits
        assert known["feasible"]
        assert known["network"] == str(spec)
        assert (known["params"], known["macs"]) == (cost(spec).params, cost(spec).macs)
        margins = {f"margin_{m.name}": m.margin for m in budget.check(spec).margins}
        assert {key: value for key, value in known.items() if key.startswith("margin_")} == margins
        assert all(margin >= 0 for margin in margins.values())


@pytest.mark.parametrize("objectives", [1, 2])
@pytest.mark.parametrize("limits", BUDGETS)
@pytest.mark.parametrize("name", ["tpe", "nsga2", "random", "gp", "budget"])
def test_every_network_fits_with_every_sampler(name: str, limits: str, objectives: int) -> None:
    if name == "gp" and limits not in ("params", "all"):
        pytest.skip("a GP takes its time, and its coordinates are those of the others")
    budget = BUDGETS[limits]
    study = optuna.create_study(
        directions=["minimize", "maximize"][:objectives], sampler=sampler_of(name, SPACE, budget)
    )

    def objective(trial: optuna.Trial) -> Any:
        rate = trial.suggest_float("rate", 1e-3, 1, log=True)
        used = cost(suggest_spec(trial, SPACE, budget))
        return [-used.params * rate, -used.depth][:objectives] if objectives > 1 else -used.params * rate

    study.optimize(objective, n_trials=10 if name in ("gp", "budget") else 25)
    assert len({spec_of(trial) for trial in study.trials}) > 5
    checked(study, budget)


@pytest.mark.parametrize("name", ["cmaes", "qmc"])
def test_samplers_of_numbers_work_in_a_space_of_numbers(name: str) -> None:
    study = optuna.create_study(sampler=sampler_of(name))
    study.optimize(lambda trial: -cost(suggest_spec(trial, NUMBERS, BUDGET)).macs, n_trials=20)
    checked(study, BUDGET, NUMBERS)


@given(st.data())
def test_any_values_of_the_coordinates_make_a_network_that_fits(data: st.DataObject) -> None:
    budget = BUDGETS[data.draw(st.sampled_from(sorted(BUDGETS)))]
    values = {
        d.name: data.draw(
            st.sampled_from(d.choices)
            if d.choices
            else st.integers(int(d.low), int(d.high)) if d.whole else st.floats(d.low, d.high)
        )
        for d in SPACE.dimensions()
    }  # fmt: skip
    trial = FixedTrial(values)
    spec = suggest_spec(trial, SPACE, budget)
    assert budget.check(spec).fits
    assert contains(SPACE, spec)
    assert spec_of(trial) == spec


def test_what_is_stored_is_read_back_from_a_database(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'mine.db'}"
    study = optuna.create_study(study_name="mine", storage=storage, sampler=sampler_of("tpe"))
    study.optimize(lambda trial: -cost(suggest_spec(trial, SPACE, BUDGET)).params, n_trials=3)
    loaded = optuna.load_study(study_name="mine", storage=storage)
    checked(loaded, BUDGET)
    assert suggest_spec(FixedTrial(loaded.best_params), SPACE, BUDGET) == spec_of(loaded.best_trial)


def test_a_prefix_allows_two_networks_in_one_trial() -> None:
    trial = optuna.create_study(sampler=sampler_of("random")).ask()
    small = suggest_spec(trial, MIXED, Budget(params=5_000), prefix="student_")
    large = suggest_spec(trial, MIXED, Budget(params=50_000), prefix="teacher_")
    assert (spec_of(trial, prefix="student_"), spec_of(trial, prefix="teacher_")) == (small, large)
    assert all(name.startswith(("student_", "teacher_")) for name in (*trial.params, *trial.user_attrs))
    with pytest.raises(UsageError, match="has no network; suggest_spec stores one"):
        spec_of(trial)
    with pytest.raises(UsageError, match="another network under the prefix 'student_'"):
        suggest_spec(trial, MIXED, Budget(params=2_000), prefix="student_")


def test_an_enqueued_trial_has_its_values_and_the_sampler_adds_the_rest() -> None:
    study = optuna.create_study(sampler=sampler_of("random"))
    study.enqueue_trial({"stages": 3, "blocks_1": 2, "size": 1.0})
    spec = suggest_spec(study.ask(), MIXED, BUDGET)
    assert (len(spec.channels), spec.blocks[0]) == (3, 2)
    assert cost(spec).params > 0.9 * (BUDGET.params or 0)


@pytest.mark.parametrize("widths", [(8, 16), (8, 20, 24), (16, 15, 14)])
def test_a_known_network_can_be_the_first(widths: tuple[int, ...]) -> None:
    known = ResNetSpec(widths, blocks=1, strides=(1, *[2] * (len(widths) - 1)), pool=2)
    study = optuna.create_study(sampler=sampler_of("random"))
    study.enqueue_trial(params_of(known, MIXED, BUDGET, prefix="net_"))
    assert suggest_spec(study.ask(), MIXED, BUDGET, prefix="net_") == known


def test_a_name_that_the_objective_suggests_itself_is_refused_with_advice() -> None:
    trial = optuna.create_study().ask()
    trial.suggest_int("size", 0, 5)
    with pytest.raises(UsageError, match=r"^size: .* name; where the objective suggests this name .* give a prefix$"):
        suggest_spec(trial, MIXED, BUDGET)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"blocks_1": 9}, "blocks_1: 9 is not in the space; allowed is 1 to 2"),
        ({"kernel_1": 7}, "kernel_1: "),
        ({"growth_2": 9.5}, "growth_2: 9.5 is not in the space; allowed is 0.5 to 3"),
        ({"size": -0.5}, "size: -0.5 is not in the space; allowed is 0 to 1"),
        ({"stages": None}, "stages: The value of the parameter 'stages' is not found"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*out of.*range:UserWarning")
def test_values_that_are_not_in_the_space_are_refused_in_one_line(values: dict[str, Any], said: str) -> None:
    whole = params_of(ResNetSpec((8, 16), blocks=1, pool=2), MIXED, BUDGET) | values
    with pytest.raises(UsageError, match=said) as caught:
        suggest_spec(FixedTrial({name: value for name, value in whole.items() if value is not None}), MIXED, BUDGET)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("call", "kind", "said"),
    [
        (lambda: suggest_spec(FixedTrial({}), MIXED, Budget(100)), NothingFitsError, "nothing in the space fits"),
        (lambda: suggest_spec(FixedTrial({}), SearchSpace(blocks=[1, 2]), BUDGET), UsageError, "holds a list"),
        (lambda: params_of(ResNetSpec((8, 16, 32, 64)), MIXED, BUDGET), UsageError, "not in the space"),
        (lambda: params_of(ResNetSpec((64, 64), 2), MIXED, BUDGET), UsageError, "over the budget, with"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(call: Any, kind: type[NasBudgetError], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1


def test_a_space_is_prepared_once() -> None:
    first = feasible_space(SearchSpace(stages=(2, 3)), Budget(params=40_000))
    assert feasible_space(SearchSpace(stages=(2, 3)), Budget(params=40_000)) is first


def test_a_space_of_one_network_needs_no_parameters() -> None:
    only = SearchSpace(
        stages=(1, 1), blocks=(1, 1), kernels=(3,), pool=(2,), shortcut_kernel=(1,), width=(8, 8), fill=(1.0, 1.0)
    )  # fmt: skip
    study = optuna.create_study(sampler=sampler_of("random"))
    study.optimize(lambda trial: suggest_spec(trial, only, BUDGET).channels[0], n_trials=2)
    assert [(trial.params, trial.value) for trial in study.trials] == [({}, 8.0)] * 2


def test_a_trial_can_be_pruned_after_the_suggestion() -> None:
    study = optuna.create_study(sampler=sampler_of("tpe"))

    def objective(trial: optuna.Trial) -> float:
        suggest_spec(trial, MIXED, BUDGET)
        raise optuna.TrialPruned

    study.optimize(objective, n_trials=2)
    assert [trial.state for trial in study.trials] == [TrialState.PRUNED] * 2
    checked(study, BUDGET, MIXED)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_optunas_plots_of_one_objective_need_no_argument() -> None:
    study = optuna.create_study(sampler=sampler_of("tpe"))

    def objective(trial: optuna.Trial) -> float:
        used = cost(suggest_spec(trial, MIXED, BUDGET))
        for step in 1, 2:
            trial.report(used.depth / step, step)
        return used.depth / 2

    study.optimize(objective, n_trials=25)
    assert optuna.importance.get_param_importances(study)
    for plot in (
        visualization.plot_param_importances, visualization.plot_intermediate_values, visualization.plot_slice,
        visualization.plot_optimization_history, visualization.plot_parallel_coordinate, visualization.plot_timeline,
    ):  # fmt: skip
        assert plot(study).data


def test_names_are_found_and_others_are_not() -> None:
    assert sorted(nas_budget.optuna.__all__) == nas_budget.optuna.__all__
    assert all(hasattr(nas_budget.optuna, name) for name in nas_budget.optuna.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = nas_budget.optuna.nothing

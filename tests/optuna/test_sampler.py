"""`BudgetSampler`: Optuna's own tests of samplers, any study, and better than random."""

from __future__ import annotations

import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import optuna
import pytest
from optuna.samplers import BaseSampler, CmaEsSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.trial import TrialState

from nas_budget import Budget, ResNetSpec, SearchSpace, cost
from nas_budget.errors import NothingFitsError, UsageError
from nas_budget.optuna import BudgetSampler, params_of, spec_of, suggest_spec
from nas_budget.records.statistics import pareto_front
from nas_budget.space.spec_factory import contains
from tests.search.samplers.spaces import BUDGET, MIXED, NUMBERS

Objective = Callable[[optuna.Trial], Any]

without_network = pytest.mark.filterwarnings("ignore:BudgetSampler. trial .* has no network:UserWarning")


@without_network
class TestAsOptunaTestsSamplers(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    """The parameters are not those of a network: the independent sampler's part."""

    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return lambda: BudgetSampler(MIXED, BUDGET, seed=0)


@without_network
class TestAsOptunaTestsRelativeSamplers(RelativeSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        others = TPESampler(seed=0, n_startup_trials=0, multivariate=True)
        return lambda: BudgetSampler(MIXED, BUDGET, seed=0, independent_sampler=others)


def score(spec: ResNetSpec) -> float:
    """A made-up accuracy, 0 to 1: deep and large is good, and so are widths that grow by about 1.5."""
    growth = [b / a for a, b in zip(spec.channels, spec.channels[1:], strict=False)]
    apart = fmean(abs(math.log(one / 1.5)) for one in growth)
    return 0.5 + 0.03 * math.log(cost(spec).params / 1000) + 0.02 * sum(spec.blocks) - 0.15 * apart


def scored(trial: optuna.Trial) -> float:
    return score(suggest_spec(trial, MIXED, BUDGET))


def study_of(sampler: BaseSampler, direction: Literal["maximize", "minimize"] = "maximize", **options: Any) -> Study:
    return optuna.create_study(direction=direction, sampler=sampler, **options)


def ours(**options: Any) -> BudgetSampler:
    return BudgetSampler(MIXED, BUDGET, **{"seed": 0, **options})


def run(sampler: BaseSampler, objective: Objective = scored, n: int = 15, **options: Any) -> Study:
    study = study_of(sampler, **options)
    study.optimize(objective, n_trials=n)
    return study


def networks(study: Study) -> list[ResNetSpec]:
    return [spec_of(trial) for trial in study.trials]


def check(study: Study) -> None:
    """All of its networks are in the space and fit, and none was proposed twice."""
    found = networks(study)
    assert all(contains(MIXED, spec) and BUDGET.check(spec).fits for spec in found)
    assert len({*found}) == len(found)


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_better_networks_than_random(seed: int) -> None:
    best = run(ours(seed=seed), n=30).best_value
    assert best > max(run(RandomSampler(seed=10 * seed + i), n=30).best_value for i in range(3))


def test_it_finds_a_better_front_than_random() -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        spec = suggest_spec(trial, MIXED, BUDGET)
        return float(cost(spec).params), score(spec)

    area = {}
    for name, sampler in (("ours", ours()), ("random", RandomSampler(seed=0))):
        study = optuna.create_study(directions=["minimize", "maximize"], sampler=sampler)
        study.optimize(objective, n_trials=30)
        front = pareto_front(study.trials, lambda one: one.values[0], lambda one: one.values[1])
        log_sizes = [math.log(one.values[0]) for one in front] + [math.log(BUDGET.params or 0)]
        steps = zip(front, log_sizes, log_sizes[1:], strict=False)
        area[name] = sum((one.values[1] - 0.5) * (after - before) for one, before, after in steps)
        check(study)
    assert area["ours"] > area["random"]


def test_the_same_seed_gives_the_same_and_another_seed_others() -> None:
    first = networks(run(ours(), n=8))
    assert networks(run(ours(), n=8)) == first
    assert networks(run(ours(seed=1), n=8)) != first
    assert networks(run(ours(seed=None), n=8)) != networks(run(ours(seed=None), n=8))


@pytest.mark.parametrize("factor", [1e-9, 1.0, 1e6])
def test_only_the_order_and_the_ratios_of_values_count(factor: float) -> None:
    loss = run(ours(), lambda trial: factor * (3 - scored(trial)), 12, direction="minimize")
    assert networks(loss)[:8] == networks(run(ours(), n=12))[:8]
    check(loss)


def test_trainings_that_diverge_do_little_harm() -> None:
    def objective(trial: optuna.Trial) -> float:
        value = -scored(trial)
        return {3: math.inf, 5: 1e30, 7: math.nan}.get(trial.number, value)

    best = []
    for seed in range(3):
        study = run(ours(seed=seed), objective, 20, direction="minimize")
        assert [trial.state for trial in study.trials].count(TrialState.FAIL) == 1
        check(study)
        best.append(-study.best_value)
    assert fmean(best) > fmean(run(RandomSampler(seed=seed), n=20).best_value for seed in range(6))


def test_all_values_may_be_the_same() -> None:
    check(run(ours(), lambda trial: 0.0 * scored(trial), 10))


def test_pruned_failed_and_enqueued_trials_are_learned_from_or_passed_over() -> None:
    known = ResNetSpec((8, 20, 24), blocks=1, strides=(1, 2, 2), pool=2)

    def objective(trial: optuna.Trial) -> float:
        value = scored(trial)
        for epoch in range(1, 4):
            trial.report(value - 0.3 / epoch, epoch)
            if trial.number % 3 == 2 and epoch == 2:
                raise optuna.TrialPruned
        if trial.number % 5 == 4:
            raise ArithmeticError
        return value

    study = study_of(ours())
    study.enqueue_trial(params_of(known, MIXED, BUDGET))
    study.enqueue_trial({"stages": 3, "size": 1.0})
    study.optimize(objective, n_trials=30, catch=(ArithmeticError,))
    assert networks(study)[0] == known
    assert len(networks(study)[1].channels) == 3
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    assert study.best_value > run(RandomSampler(seed=0), n=30).best_value
    check(study)


def test_trials_that_all_failed_or_were_pruned_without_a_report_teach_nothing() -> None:
    def objective(trial: optuna.Trial) -> float:
        scored(trial)
        if trial.number % 2:
            raise optuna.TrialPruned
        raise ArithmeticError

    study = study_of(ours())
    study.optimize(objective, n_trials=8, catch=(ArithmeticError,))
    check(study)


def test_running_trials_are_not_proposed_again() -> None:
    study = run(ours(), n=6)
    for _ in range(5):
        suggest_spec(study.ask(), MIXED, BUDGET)
    check(study)
    asked = study.ask()
    first = dict(asked.relative_params)  # of a thread that has not come to suggest_spec yet
    assert study.ask().relative_params != first


def test_two_threads_share_a_sampler() -> None:
    study = study_of(ours())
    study.optimize(scored, n_trials=20, n_jobs=2)
    assert len(study.trials) == 20
    check(study)


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_resumed_study_goes_on_from_any_storage(kind: str, tmp_path: Path) -> None:
    def opened() -> Any:
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / 'mine.db'}"
        return JournalStorage(JournalFileBackend(str(tmp_path / "mine.journal")))

    run(RandomSampler(seed=0), n=6, study_name="mine", storage=opened())
    study = optuna.load_study(study_name="mine", storage=opened(), sampler=ours())
    study.optimize(scored, n_trials=8)
    values = [trial.value or 0.0 for trial in study.trials]
    assert len(values) == 14
    assert fmean(values[6:]) > fmean(values[:6])
    check(study)


def test_it_learns_from_trials_of_other_samplers_and_goes_on_after_pickling() -> None:
    study = run(TPESampler(seed=0), n=12)
    study.sampler = pickle.loads(pickle.dumps(ours()))  # noqa: S301
    study.optimize(scored, n_trials=8)
    study.sampler = pickle.loads(pickle.dumps(study.sampler))  # noqa: S301
    study.optimize(scored, n_trials=8)
    assert max(trial.value for trial in study.trials[12:]) > max(trial.value for trial in study.trials[:12])
    new = networks(study)[12:]
    assert len({*new}) == len(new)
    assert not {*new} & {*networks(study)[:12]}


@pytest.mark.parametrize("name", ["default", "tpe", "cmaes"])
def test_other_parameters_come_from_the_independent_sampler(name: str) -> None:
    others = {
        "default": lambda: None,
        "tpe": lambda: TPESampler(seed=0, n_startup_trials=4),
        "cmaes": lambda: CmaEsSampler(seed=0, n_startup_trials=1, warn_independent_sampling=False),
    }[name]()

    def objective(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("rate", 1e-3, 1, log=True)
        decay = trial.suggest_float("decay", 0, 1)
        return scored(trial) - 0.1 * abs(math.log10(rate / 0.1)) - 0.1 * decay

    study = run(ours(independent_sampler=others), objective, 30)
    check(study)
    rates = [trial.params["rate"] for trial in study.trials]
    assert len({*rates}) == 30
    assert all(1e-3 <= rate <= 1 for rate in rates)
    if name != "default":
        away = [abs(math.log10(rate / 0.1)) for rate in rates]
        assert fmean(away[15:]) < fmean(away[:15])


def test_two_networks_in_a_trial_have_a_sampler_each() -> None:
    small, large = Budget(params=5_000), Budget(params=20_000)
    student = BudgetSampler(MIXED, small, seed=0, prefix="student_")
    both = BudgetSampler(MIXED, large, seed=0, prefix="teacher_", independent_sampler=student)

    def objective(trial: optuna.Trial) -> float:
        one = suggest_spec(trial, MIXED, small, prefix="student_")
        return score(one) + score(suggest_spec(trial, MIXED, large, prefix="teacher_"))

    study = run(both, objective, 10)
    for prefix in "student_", "teacher_":
        assert len({spec_of(trial, prefix=prefix) for trial in study.trials}) == 10
    with pytest.raises(UsageError, match="budget: suggest_spec got another one"):
        suggest_spec(study.ask(), MIXED, large, prefix="student_")


@pytest.mark.parametrize("directions", [["maximize", "minimize"], ["minimize", "maximize"]])
@pytest.mark.parametrize("unit", [1, 1e6])
def test_the_objective_that_is_the_size_is_recognized(directions: list[str], unit: float) -> None:
    def objective(trial: optuna.Trial) -> list[float]:
        spec = suggest_spec(trial, MIXED, BUDGET)
        values = [score(spec), cost(spec).params / unit]
        return values if directions[0] == "maximize" else values[::-1]

    study = optuna.create_study(directions=directions, sampler=ours())  # type: ignore[arg-type]
    study.optimize(objective, n_trials=8)
    alone = ours(objective=directions.index("maximize"))
    asked = optuna.create_study(directions=directions, sampler=alone)  # type: ignore[arg-type]
    asked.optimize(objective, n_trials=8)
    assert networks(study) == networks(asked)
    check(study)


def test_a_space_is_searched_to_its_end_and_beyond() -> None:
    few = SearchSpace(
        stages=(2, 2), blocks=(1, 1), kernels=(3,), pool=(2,), shortcut_kernel=(1,), width=(8, 16), width_step=8
    )  # fmt: skip
    sampler = BudgetSampler(few, BUDGET, seed=0)
    study = run(sampler, lambda trial: score(suggest_spec(trial, few, BUDGET)), 12)
    found = networks(study)
    assert len(study.trials) == 12
    assert {*found[: len({*found})]} == {*found}  # each once, before any is repeated


def test_networks_of_another_budget_are_passed_over_when_they_no_longer_fit() -> None:
    study = run(
        BudgetSampler(NUMBERS, Budget(60_000), seed=0), lambda t: score(suggest_spec(t, NUMBERS, Budget(60_000)))
    )
    study.sampler = BudgetSampler(NUMBERS, BUDGET, seed=0)
    study.optimize(lambda trial: score(suggest_spec(trial, NUMBERS, BUDGET)), n_trials=10)
    assert all(BUDGET.check(spec).fits for spec in networks(study)[15:])
    assert len(study.sampler.model.observations) < 24  # those of the first part that fit, and of the second


@pytest.mark.parametrize(
    ("space", "budget", "said"),
    [
        (NUMBERS, BUDGET, "space: suggest_spec got another one than the study's BudgetSampler"),
        (MIXED, Budget(params=20_000), "budget: suggest_spec got another one than the study's BudgetSampler"),
    ],
    ids=["space", "budget"],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_another_space_or_budget_is_refused(space: SearchSpace, budget: Budget, said: str, wrapped: bool) -> None:
    sampler: BaseSampler = ours()
    if wrapped:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = PartialFixedSampler({"stages": 3}, sampler)
    with pytest.raises(UsageError, match=said) as caught:
        suggest_spec(study_of(sampler).ask(), space, budget)
    assert len(str(caught.value).splitlines()) == 1


def test_fixed_coordinates_stay_fixed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = PartialFixedSampler({"stages": 3}, ours())
    assert {len(spec.channels) for spec in networks(run(sampler, n=10))} == {3}


def test_what_is_wrong_is_said() -> None:
    with pytest.raises(UsageError, match='aim: \'speed\' is unknown; give "best" or "front"'):
        ours(aim="speed")
    with pytest.raises(NothingFitsError):
        BudgetSampler(MIXED, Budget(params=100))
    with pytest.raises(UsageError, match="holds a list"):
        BudgetSampler(SearchSpace(blocks=[1, 2]), BUDGET)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="objective: 1 is not one of the study's 1; give 0 to 0"):
        run(ours(objective=1), n=1)
    with pytest.warns(UserWarning, match="trial 0 has no network under the prefix 'net_'"):
        run(ours(prefix="net_"), n=1)


def test_proposed_values_are_plain() -> None:
    trial = run(ours(), n=6).ask()
    suggest_spec(trial, MIXED, BUDGET)
    assert {type(value) for value in trial.params.values()} <= {int, float, str}

"""Every sampler, on the feasible coordinates: what it proposes fits, is new, and it learns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.errors import UsageError
from nas_budget.search.pruners.front import loss_key
from nas_budget.search.samplers.candidate import Candidate, CandidateSpace, RecipeSpace
from nas_budget.search.samplers.evolution import mutated
from nas_budget.search.samplers.initial_design import spread, startup_points
from nas_budget.search.samplers.learning_curve import Forecast
from nas_budget.search.samplers.optuna_samplers import check_sampler
from nas_budget.search.samplers.sampler import Proposal, Proposer
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.space.dimensions import Dimension
from nas_budget.space.feasible import FeasibleSpace
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import contains
from nas_budget.train.optim.recipe import Recipe

BUDGET = Budget(params=30_000)
NUMBERS = SearchSpace(
    stages=(3, 3), blocks=(1, 3), kernels=(3,), pool=(2,), shortcut_kernel=(1,), width=(4, 64), width_step=4
)  # fmt: skip
MIXED = SearchSpace(stages=(2, 3), blocks=(1, 2), width=(4, 64), first_stride=(1, 2))
RECIPES = RecipeSpace(Recipe(), {"learning_rate": (0.01, 0.4)}, {"batch_size": (32, 64, 128)})
SAMPLERS = ["tpe", "gp", "nsga2", "evolution", "random"]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


def space_of(networks: SearchSpace = MIXED, recipes: RecipeSpace = RECIPES) -> CandidateSpace:
    return CandidateSpace(FeasibleSpace(networks, BUDGET), recipes)


def proposer_of(space: CandidateSpace, sampler: str, seed: int, n_start_up: int) -> Proposer:
    return Proposer(space, sampler, seed, startup_points(space, n_start_up, seed))


def ended(number: int, candidate: Candidate, accuracy: float, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    now = datetime.now(UTC)
    trial = create_trial(
        state=state, value=accuracy if state == TrialState.COMPLETE else None, intermediate_values={1: accuracy},
        user_attrs={loss_key(1): 1 - accuracy},
    )  # fmt: skip
    trial.number, trial.datetime_start, trial.datetime_complete = number, now, now
    return trial


def wide(candidate: Candidate) -> float:
    """A made-up accuracy: the wider the better, half of it by the last stage."""
    widths = candidate.spec.channels
    return min(0.99, (widths[-1] + sum(widths) / len(widths)) / 200)


def run(proposer: Proposer, n: int, seen: set[Candidate]) -> list[Candidate]:
    """What is proposed when every third trial is pruned."""
    tried = []
    for number in range(n):
        proposed = proposer.propose(seen)
        assert proposed is not None
        candidate = proposed.candidate
        proposer.begin(number, proposed)
        seen.add(candidate)
        state = TrialState.PRUNED if number % 3 == 2 else TrialState.COMPLETE
        proposer.end(ended(number, candidate, wide(candidate), state), candidate)
        tried.append(candidate)
    return tried


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_everything_proposed_fits_and_is_new(sampler: str) -> None:
    tried = run(proposer_of(space_of(), sampler, 0, 6), 25, set())
    assert all(BUDGET.check(candidate.spec).fits and contains(MIXED, candidate.spec) for candidate in tried)
    assert len(set(tried)) == 25
    assert {candidate.recipe.batch_size for candidate in tried} == {32, 64, 128}
    assert len({candidate.recipe.learning_rate for candidate in tried}) > 5


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_sampler_learns_what_is_better(sampler: str) -> None:
    space = space_of(NUMBERS, RecipeSpace(Recipe()))
    tried = run(proposer_of(space, sampler, 1, 8), 40, set())
    by_chance = run(proposer_of(space, "random", 1, 8), 40, set())
    later, chance = (sorted(map(wide, some[8:]))[-8:] for some in (tried, by_chance))
    assert sum(later) > sum(chance)


def test_cmaes_proposes_where_there_are_numbers_only() -> None:
    tried = run(proposer_of(space_of(NUMBERS, RecipeSpace(Recipe())), "cmaes", 1, 6), 25, set())
    assert len(set(tried)) == 25
    assert all(BUDGET.check(candidate.spec).fits for candidate in tried)


def test_cmaes_says_where_it_does_not_fit() -> None:
    with pytest.raises(UsageError, match="cmaes proposes numbers.*kernel_1.*take tpe or gp"):
        check_sampler("cmaes", space_of().dimensions())
    with pytest.raises(UsageError, match="one coordinate"):
        check_sampler("cmaes", [Dimension("size", 0, 1)])
    check_sampler("cmaes", NUMBERS.dimensions())


@given(st.integers(1, 30), st.integers(0, 5))
def test_the_start_up_is_spread_along_every_coordinate(n: int, seed: int) -> None:
    dimensions = [Dimension("a", 0, 1), Dimension("b", 1, 9, whole=True), Dimension("c", choices=("x", "y", "z"))]
    points = spread(dimensions, n, seed)
    assert sorted(int(point["a"] * n) for point in points) == list(range(n))
    assert all(1 <= point["b"] <= 9 for point in points)
    counts = [sum(point["c"] == choice for point in points) for choice in "xyz"]
    assert max(counts) - min(counts) <= 2
    assert points == spread(dimensions, n, seed)
    assert n == 1 or points != spread(dimensions, n, seed + 1)


def test_the_start_up_has_small_networks_and_large_ones() -> None:
    sizes = sorted(cost(c.spec).params for c in run(proposer_of(space_of(), "tpe", 0, 12), 12, set()))
    assert sizes[0] < 5_000
    assert sizes[-1] > 20_000


def test_trials_of_other_workers_are_learned_from_too() -> None:
    space = space_of()
    proposer = proposer_of(space, "tpe", 0, 0)
    others = run(proposer_of(space, "random", 3, 0), 9, set())
    for number, candidate in enumerate(others):
        proposer.begin(number, Proposal(candidate, proposer.coordinates(candidate)))
    assert sum(t.state == TrialState.RUNNING for t in proposer.study.trials) == 9
    for number, candidate in enumerate(others[:8]):
        proposer.end(ended(number, candidate, wide(candidate)), candidate)
    assert [known.candidate for known in proposer.learned] == others[:8]
    assert sum(t.state == TrialState.COMPLETE for t in proposer.study.trials) == 8
    assert proposer.propose(set(others)) is not None


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_workers_that_start_together_do_not_propose_the_same(sampler: str) -> None:
    space = space_of()
    one, other = (Proposer(space, sampler, 0, [], f"0 {lane}") for lane in (0, 1))
    for number, candidate in enumerate(run(Proposer(space, "random", 5), 8, set())):
        for proposer in one, other:
            proposer.begin(number, Proposal(candidate, proposer.coordinates(candidate)))
            proposer.end(ended(number, candidate, wide(candidate)), candidate)
    theirs = [[proposer.propose(set()) for _ in range(4)] for proposer in (one, other)]
    assert len({proposal.candidate for some in theirs for proposal in some if proposal}) > 4


def test_a_trial_that_diverged_is_not_forecast() -> None:
    proposer = proposer_of(space_of(), "tpe", 0, 2)
    for number, candidate in enumerate(run(Proposer(space_of(), "random", 5), 7, set())):
        proposer.begin(number, Proposal(candidate, proposer.coordinates(candidate)))
        trial = ended(number, candidate, 0.5 + number / 100, TrialState.PRUNED if number == 6 else TrialState.COMPLETE)
        trial.user_attrs["diverged"] = number == 6
        trial.intermediate_values[2] = 0.1 if number == 6 else trial.intermediate_values[1]
        proposer.end(trial, candidate)
    assert proposer.learned[-1].accuracy == 0.1


def test_a_failed_trial_teaches_nothing() -> None:
    proposer = proposer_of(space_of(), "tpe", 0, 1)
    proposal = proposer.propose(set())
    assert proposal is not None
    proposer.begin(0, proposal)
    proposer.end(ended(0, proposal.candidate, 0.5, TrialState.FAIL), proposal.candidate)
    assert proposer.learned == []


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_space_of_one_network_is_proposed_once(sampler: str) -> None:
    one = SearchSpace(
        stages=(1, 1), blocks=(1, 1), kernels=(3,), pool=(2,), shortcut_kernel=(1,), width=(8, 8), fill=(1.0, 1.0)
    )  # fmt: skip
    proposer = Proposer(space_of(one, RecipeSpace(Recipe())), sampler, 0)
    assert proposer.dimensions == ()
    only = proposer.propose(set())
    assert only is not None
    proposer.begin(0, only)
    proposer.end(ended(0, only.candidate, 0.5), only.candidate)
    assert proposer.propose({only.candidate}) is None


def test_a_network_may_come_again_with_another_recipe_only() -> None:
    space = space_of()
    first = space.decode({"size": 0.5})
    seen = {first}
    again = space.unseen(first, seen)
    assert again is not None
    assert again.spec != first.spec
    other = space.decode({"size": 0.5, "batch_size": 128})
    assert other.spec == first.spec
    assert space.unseen(other, seen) == other


@given(st.floats(0.01, 0.4), st.sampled_from([32, 64, 128]), st.floats(0, 1))
def test_coordinates_of_a_candidate_lead_back_to_its_recipe(rate: float, batch: int, size: float) -> None:
    space = space_of()
    candidate = space.decode({"learning_rate": rate, "batch_size": batch, "size": size})
    assert candidate.recipe.learning_rate == pytest.approx(rate, rel=0.06)
    point = space.encode(candidate)
    assert space.recipes.decode(point) == candidate.recipe
    assert Candidate.from_dict(candidate.to_dict()) == candidate


def test_a_mutation_changes_something_and_stays_inside() -> None:
    chance: Any = __import__("random").Random(0)
    space = space_of()
    point = proposer_of(space, "evolution", 0, 1).coordinates(space.decode({}))
    for _ in range(200):
        other = mutated(point, space.dimensions(), chance)
        assert all(d.contains(other[d.name]) for d in space.dimensions())
        assert BUDGET.check(space.decode(other).spec).fits


def test_a_forecast_follows_the_line_of_loss_and_accuracy() -> None:
    forecast = Forecast()
    assert forecast.final({2: 1.0}, 0.3) == 0.3  # nothing is known yet
    for loss in (1.0, 1.2, 1.4, 1.6, 1.8):
        forecast.learn({2: loss}, 0.9 - loss / 4)
    assert forecast.final({2: 1.5}, 0.1) == pytest.approx(0.9 - 1.5 / 4)
    assert forecast.final({1: 1.5}, 0.1) == 0.1  # an epoch nothing is known of
    assert forecast.final({2: 99.0}, 0.1) == 0.0
    assert forecast.final({}, 0.2) == 0.2


def test_half_of_the_start_up_is_drawn_from_what_fits() -> None:
    space = space_of()
    points = startup_points(space, 40, 0)
    assert points == startup_points(space, 40, 0)
    drawn, evenly = ([cost(space.decode(p).spec).params for p in some] for some in (points[:20], points[20:]))
    assert sorted(drawn)[10] > sorted(evenly)[10]  # most of what fits is large
    assert all(d.contains(p[d.name]) for p in points for d in space.dimensions())

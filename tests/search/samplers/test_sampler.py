"""Every sampler by name: what each must do in any space of candidates."""

from __future__ import annotations

from datetime import UTC, datetime
from math import log

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_budget.arch.cost import cost
from nas_budget.search.pruners.front import loss_key
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.samplers.factory import SAMPLERS, make_candidate_sampler
from nas_budget.search.samplers.optuna_samplers import OptunaSampler
from nas_budget.search.samplers.sampler import CandidateSampler, Proposal
from nas_budget.search.storage.optuna_adapter import quiet_optuna
from nas_budget.space.space import SearchSpace
from nas_budget.space.spec_factory import contains
from tests.search.samplers.spaces import BUDGET, FIXED, NUMBERS, space_of

SPACES = {name: space_of() for name in SAMPLERS} | {"cmaes": space_of(NUMBERS, FIXED)}  # cmaes proposes numbers only
every_sampler = pytest.mark.parametrize("name", SPACES)
ONE_NETWORK = SearchSpace(
    stages=(1, 1), blocks=(1, 1), kernels=(3,), pool=(2,), shortcut_kernel=(1,), width=(8, 8), fill=(1.0, 1.0)
)  # fmt: skip


@pytest.fixture(autouse=True)
def _quiet() -> None:
    quiet_optuna()


def ended(number: int, accuracy: float, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
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


def run(sampler: CandidateSampler, n: int) -> list[Candidate]:
    """What is proposed when every third trial is pruned, and every seventh fails."""
    tried: list[Candidate] = []
    for number in range(n):
        proposed = sampler.propose(set(tried))
        assert proposed is not None
        sampler.begin(number, proposed)
        tried.append(proposed.candidate)
        state = TrialState.PRUNED if number % 3 == 2 else TrialState.COMPLETE
        sampler.end(ended(number, wide(tried[-1]), TrialState.FAIL if number % 7 == 6 else state), tried[-1])
    return tried


def watch(sampler: CandidateSampler, others: list[Candidate]) -> None:
    """Let it learn from the trials of others."""
    for number, candidate in enumerate(others):
        sampler.begin(number, Proposal(candidate, sampler.coordinates(candidate)))
        sampler.end(ended(number, wide(candidate)), candidate)


@every_sampler
def test_everything_proposed_fits_is_new_and_follows_from_the_seed(name: str) -> None:
    space = SPACES[name]
    tried = run(make_candidate_sampler(name, space, 0, 10), 25)
    assert all(BUDGET.check(one.spec).fits and contains(space.networks.space, one.spec) for one in tried)
    assert len(set(tried)) == 25
    assert run(make_candidate_sampler(name, space, 0, 10), 25) == tried
    assert run(make_candidate_sampler(name, space, 1, 10), 8) != tried[:8]
    if space.recipes != FIXED:
        assert len({candidate.recipe.batch_size for candidate in tried}) > 1
        assert len({candidate.recipe.learning_rate for candidate in tried}) > 5


@every_sampler
def test_workers_that_start_together_do_not_propose_the_same(name: str) -> None:
    space = SPACES[name]
    one, other = (make_candidate_sampler(name, space, 0, stream=f"0 {worker}") for worker in (0, 1))
    others = run(make_candidate_sampler("random", space, 5), 8)
    for sampler in one, other:
        watch(sampler, others)
    assert one.propose(set()) != other.propose(set())


@pytest.mark.parametrize("n", [0, 4])
@every_sampler
def test_a_space_of_one_network_is_proposed_once(name: str, n: int) -> None:
    sampler = make_candidate_sampler(name, space_of(ONE_NETWORK, FIXED), 0, n)
    assert sampler.dimensions == ()
    (only,) = run(sampler, 1)
    assert sampler.propose({only}) is None


@pytest.mark.parametrize("name", ["bayes", "tpe", "gp"])
def test_a_sampler_learns_what_is_better(name: str) -> None:
    space = space_of(NUMBERS, FIXED)
    later, by_chance = (
        sorted(map(wide, run(make_candidate_sampler(which, space, 1, 8), 40)[8:]))[-8:] for which in (name, "random")
    )
    assert sum(later) > sum(by_chance)


def test_trials_of_other_workers_are_learned_from_too() -> None:
    space = space_of()
    sampler = make_candidate_sampler("tpe", space, 0)
    others = run(make_candidate_sampler("random", space, 3), 9)
    watch(sampler, others[:8])
    sampler.begin(8, Proposal(others[8], sampler.coordinates(others[8])))
    assert isinstance(sampler, OptunaSampler)
    assert [seen.candidate for seen in sampler.observations] == others[:8]
    states = [trial.state for trial in sampler.study.trials]
    assert states == [TrialState.COMPLETE] * 8 + [TrialState.RUNNING]
    assert sampler.propose(set(others)) is not None


@pytest.mark.parametrize(("diverged", "accuracy"), [(True, 0.1), (False, 0.56)])
def test_a_pruned_trial_counts_with_its_prediction_unless_it_diverged(diverged: bool, accuracy: float) -> None:
    sampler = make_candidate_sampler("tpe", space_of(), 0, 2)
    others = run(make_candidate_sampler("random", space_of(), 5), 7)
    for number, candidate in enumerate(others):
        sampler.begin(number, Proposal(candidate, sampler.coordinates(candidate)))
        pruned = number == 6
        trial = ended(number, 0.5 + number / 100, TrialState.PRUNED if pruned else TrialState.COMPLETE)
        trial.user_attrs["diverged"] = pruned and diverged
        if pruned:
            trial.intermediate_values[2] = 0.1
        sampler.end(trial, candidate)
    assert sampler.observations[-1].accuracy == pytest.approx(accuracy)


def test_a_failed_trial_teaches_nothing() -> None:
    sampler = make_candidate_sampler("tpe", space_of(), 0, 1)
    proposal = sampler.propose(set())
    assert proposal is not None
    sampler.begin(0, proposal)
    sampler.end(ended(0, 0.5, TrialState.FAIL), proposal.candidate)
    assert sampler.observations == []


def test_the_startup_begins_at_two_thirds_of_the_sizes_and_the_largest_then_covers_all() -> None:
    space = space_of()
    sampler = make_candidate_sampler("random", space, 0, 7)
    sizes = [cost(candidate.spec).params for candidate in run(sampler, 7)]
    low, high = space.networks.size_bounds()
    shares = [(log(size) - low) / (high - low) for size in sizes]
    assert 0.55 < shares[0] <= 2 / 3
    assert sizes[1] > 0.85 * BUDGET.params
    assert [int(3 * share - 1e-9) for share in shares[2:]] == [0, 1, 2, 0, 1]


def test_startup_trials_of_other_workers_count() -> None:
    space = space_of()
    first = make_candidate_sampler("random", space, 0, 4).propose(set())
    second = make_candidate_sampler("random", space, 0, 4, "1")
    assert first is not None
    second.begin(0, first)
    second.begin(1, first)
    third = second.propose({first.candidate})
    assert third is not None
    assert cost(third.candidate.spec).params < 6_000  # the third startup trial is small

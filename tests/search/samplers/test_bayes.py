from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.records.statistics import pareto_front
from nas_budget.search.samplers import bayes
from nas_budget.search.samplers.bayes import BayesSampler
from nas_budget.search.samplers.candidate import Candidate
from nas_budget.search.samplers.sampler import Proposal
from nas_budget.train.optim.recipe import Recipe
from tests.search.samplers.spaces import BUDGET, FIXED, NUMBERS, space_of
from tests.search.samplers.test_sampler import ended, run, wide


def taught(n: int = 12, **options: object) -> tuple[BayesSampler, list[Candidate]]:
    """A sampler that has seen some trials end, and their candidates."""
    sampler = BayesSampler(space_of(NUMBERS, FIXED), 0, n, **options)
    return sampler, run(sampler, n)


def next_of(sampler: BayesSampler, seen: list[Candidate]) -> Proposal:
    proposal = sampler.propose(set(seen))
    assert proposal is not None
    return proposal


def test_it_says_what_it_expects() -> None:
    sampler, seen = taught()
    errors = []
    for number in range(len(seen), len(seen) + 15):
        proposal = next_of(sampler, seen)
        assert proposal.predicted is not None
        mean, deviation = proposal.predicted
        errors.append((mean - wide(proposal.candidate)) / deviation)
        sampler.begin(number, proposal)
        sampler.end(ended(number, wide(proposal.candidate)), proposal.candidate)
        seen.append(proposal.candidate)
    assert np.abs(errors).mean() < 2


def test_the_best_as_aim_proposes_large_networks_and_the_front_all_sizes() -> None:
    sizes = {}
    for aim in ("best", "front"):
        tried = run(BayesSampler(space_of(NUMBERS, FIXED), 0, 4, aim=aim), 30)[4:]
        sizes[aim] = [cost(one.spec).params for one in tried]
    assert np.median(sizes["best"]) > 0.7 * (BUDGET.params or 0)
    assert np.median(sizes["front"]) < np.median(sizes["best"])
    assert min(sizes["front"]) < 0.3 * (BUDGET.params or 0)


def test_workers_at_once_do_not_propose_neighbors() -> None:
    """A running trial counts with its predicted accuracy, so the next proposal is not its neighbor."""
    sampler, seen = taught()
    first = next_of(sampler, seen)
    sampler.begin(90, first)
    second = next_of(sampler, [*seen, first.candidate])
    alone, _ = taught()
    assert next_of(alone, seen) == first
    unaware = next_of(alone, [*seen, first.candidate])
    features = sampler.features(sampler.space.rows([one.candidate for one in (first, second, unaware)]))
    aware_distance, unaware_distance = np.linalg.norm(features[1:] - features[0], axis=1)
    assert aware_distance > unaware_distance


def test_a_pruned_trial_is_not_on_the_front_but_is_learned_from() -> None:
    sampler, _ = taught()
    known = [one for one in sampler.observations if not one.deviation]
    assert len(known) < len(sampler.observations)
    assert sampler.front == pareto_front(known, lambda one: one.params, lambda one: one.accuracy)


def test_observations_of_another_study_are_fitted_anew() -> None:
    sampler, seen = taught(20)
    next_of(sampler, seen)
    assert sampler.n_fitted > 6
    sampler.pending = {}
    sampler.replace_observations(sampler.observations[:6])
    assert sampler.front == pareto_front(
        [one for one in sampler.observations if not one.deviation], lambda one: one.params, lambda one: one.accuracy
    )
    next_of(sampler, seen)
    assert sampler.n_fitted == 6


def test_many_observations_are_cut_to_the_front_and_the_most_recent(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, _ = taught(30)
    monkeypatch.setattr(bayes, "MOST_OBSERVATIONS", 10)
    kept = sampler._informative()
    assert len(kept) == 10
    assert max(sampler.front, key=lambda one: one.accuracy) in kept
    assert sampler.observations[-1] in kept


def test_it_expects_more_of_larger_networks_and_says_how_sure_it_is() -> None:
    sampler, seen = taught(20)
    found = sampler.expected_front()
    specs = [ResNetSpec.from_json(one.spec) for one in found]
    assert [cost(spec).params for spec in specs] == [one.params for one in found]
    for name in ("params", "accuracy"):
        values = [getattr(one, name) for one in found]
        assert values == sorted({*values})
    assert 10 < len(found) <= 30
    assert all(map(sampler.space.networks.fits, specs))
    assert not {*specs} <= {one.spec for one in seen}  # of sizes that were not tried too
    true = [wide(Candidate(spec, Recipe())) for spec in specs]
    errors = [(one.accuracy - value) / one.deviation for one, value in zip(found, true, strict=True)]
    assert np.abs(errors).mean() < 2


def test_it_expects_nothing_after_few_observations() -> None:
    sampler, _ = taught(4)
    assert sampler.expected_front() == []


def test_a_small_space_is_searched_to_its_end() -> None:
    few = replace(NUMBERS, width=(8, 16), width_step=8, blocks=(1, 1))
    sampler = BayesSampler(space_of(few, FIXED), 0, 4)
    seen: list[Candidate] = []
    while (proposal := sampler.propose(set(seen))) is not None:
        number = len(seen)
        sampler.begin(number, proposal)
        sampler.end(ended(number, wide(proposal.candidate)), proposal.candidate)
        seen.append(proposal.candidate)
    assert len(seen) == len(set(seen)) == 8

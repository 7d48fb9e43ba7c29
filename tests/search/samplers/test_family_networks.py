"""Networks of a user's own family: every proposal fits, and every sampler works on them."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas_budget import Budget, build
from nas_budget.arch.family_spec import FamilySpec
from nas_budget.errors import ModelError, NasBudgetError, NothingFitsError, UsageError
from nas_budget.search.samplers.candidate import Candidate, CandidateSpace
from nas_budget.search.samplers.factory import SAMPLERS, make_candidate_sampler
from nas_budget.search.samplers.family_networks import FamilyNetworks
from nas_budget.space.network_rows import n_rows
from nas_budget.train.modules.family import family_space
from tests.search.samplers import families
from tests.search.samplers.spaces import FIXED
from tests.search.samplers.test_sampler import ended

HERE = "tests.search.samplers.families:"
BUDGET = Budget(params=4_000)


def networks(name: str = "Plain", budget: Budget = BUDGET) -> FamilyNetworks:
    return FamilyNetworks(family_space(HERE + name, 8, 3, 4), budget)


def params(values: dict[str, Any]) -> int | None:
    """Counted without the package; None of what cannot be built."""
    try:
        module = families.Plain().build((3, 8, 8), 4, **values)
    except ValueError:
        return None
    return sum(p.numel() for p in module.parameters())


EVERY = [dict(zip(families.Plain.space, values, strict=True)) for values in product(*families.Plain.space.values())]
FITTING = [values for values in EVERY if (n := params(values)) is not None and n <= 4_000]
points = st.fixed_dictionaries({name: st.sampled_from([*choices]) for name, choices in families.Plain.space.items()})


@settings(max_examples=60, deadline=None)
@given(points)
def test_a_proposal_fits_and_what_fits_stays_as_it_is(point: dict[str, Any]) -> None:
    for name in ("Plain", "WithoutKnob"):
        spec = networks(name).decode(point)
        assert spec.params == params(dict(spec.values))
        assert spec.params <= 4_000
        if point in FITTING:
            assert dict(spec.values) == point
        assert networks(name).decode(networks(name).encode(spec)) == spec
    lowered = dict(networks().decode(point).values)
    if any(values | {"width": 0} == point | {"width": 0} for values in FITTING if values["width"] <= point["width"]):
        assert lowered | {"width": 0} == point | {"width": 0}  # the knob alone


@pytest.mark.parametrize("name", ["Plain", "WithoutKnob"])
def test_rows_are_of_networks_that_fit(name: str) -> None:
    rng, own = np.random.default_rng(0), networks(name)
    rows = own.random(40, rng)
    for some in (rows, own.mutated(rows, rng), own.random(40, rng, (1.0, 1.0)), own.random(40, rng, (0.0, 0.3))):
        specs = [own.spec(some, i) for i in range(n_rows(some))]
        assert specs and all(map(own.fits, specs))
        assert [spec.params for spec in specs] == own.params(some).tolist()
        again = own.rows(specs)
        assert all((again[key] == some[key]).all() for key in again)
        for column, _, values in own.features(some):
            assert np.isfinite(values).all() and len(values) == len(specs), column
    small, large = (own.params(own.random(40, rng, sizes)).mean() for sizes in ((0.0, 0.3), (1.0, 1.0)))
    assert small < large


def test_each_network_is_proposed_once_until_none_is_left() -> None:
    own = networks(budget=Budget(params=700))
    n_fitting = sum((n := params(values)) is not None and n <= 700 for values in EVERY)
    seen: set[FamilySpec] = set()
    while (spec := own.unseen(own.smallest, seen)) is not None:
        assert spec not in seen and own.fits(spec)
        seen.add(spec)
    assert len(seen) == n_fitting


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "cmaes"])
def test_every_sampler_proposes_of_a_family(name: str) -> None:
    tried = []
    for _ in range(2):
        sampler = make_candidate_sampler(name, CandidateSpace(networks(), FIXED), 0, 3)
        seen: list[Candidate] = []
        for number in range(8):
            proposal = sampler.propose({*seen})
            assert proposal is not None and isinstance(proposal.candidate.spec, FamilySpec)
            sampler.begin(number, proposal)
            sampler.end(ended(number, proposal.candidate.spec.params / 5_000), proposal.candidate)
            seen.append(proposal.candidate)
        assert len({*seen}) == 8
        assert all(BUDGET.check(one.spec).fits for one in seen)
        assert [Candidate.from_dict(one.to_dict()) for one in seen] == seen
        tried.append(seen)
    assert tried[0] == tried[1]


def test_the_module_of_a_spec() -> None:
    spec = networks().decode({"depth": 2, "norm": True, "width": 8})
    one, same, other = (build(spec, seed) for seed in (0, 0, 1))
    weights = [next(network.parameters()) for network in (one, same, other)]
    assert (weights[0] == weights[1]).all() and not (weights[0] == weights[2]).all()
    assert spec.buffers == sum(b.numel() for b in one.buffers() if b.is_floating_point())
    changed = FamilySpec.from_dict({**spec.to_dict(), "params": 7})
    with pytest.raises(ModelError, match=f"has {spec.params} parameters now and had 7 when it"):
        build(changed)


@pytest.mark.parametrize(
    ("target", "budget", "error", "problem"),
    [
        (
            HERE + "Plain",
            Budget(params=10),
            NothingFitsError,
            "of the first choices .* needs 132 parameters",
        ),
        (HERE + "Plain", Budget(activation_bytes=9), UsageError, "^activation_bytes: not counted"),
        (HERE + "NoLogits", BUDGET, UsageError, r"returns \(16, 6, 6\) of an image, not logits of 4 classes"),
        (HERE + "Several", BUDGET, UsageError, "returns a tuple; return one tensor, the logits of 4 classes"),
        (HERE + "Fails", BUDGET, NasBudgetError, "building the module failed .KeyError: 'missing'"),
        (HERE + "TakenName", BUDGET, UsageError, "accuracy means something else in a table; rename that dimension"),
        (HERE + "NoChoices", BUDGET, UsageError, "width is 3; give its choices"),
        (HERE + "NoBuild", BUDGET, UsageError, "has no build; a family has both"),
        (HERE + "Missing", BUDGET, UsageError, "has no 'Missing'"),
        (HERE + "Plain()", BUDGET, UsageError, "cannot be read; write package.module:Family"),
        ("os:abort", BUDGET, UsageError, "family os:abort: has no space and no build"),
        ("no_such_module:X", BUDGET, UsageError, "there is no module 'no_such_module'"),
    ],
)
def test_what_is_no_family(target: str, budget: Budget, error: type[Exception], problem: str) -> None:
    with pytest.raises(error, match=problem):
        FamilyNetworks(family_space(target, 8, 3, 4), budget)


def test_a_module_and_an_object_are_families_too() -> None:
    class Wide(families.Plain):
        def build(self, input_shape: tuple[int, int, int], classes: int, **values: Any) -> nn.Module:
            return super().build(input_shape, classes, **values)

    families.made = Wide()  # type: ignore[attr-defined]
    assert networks("made").smallest.params == networks().smallest.params


def test_what_is_trained_first_must_be_of_the_family_and_fit() -> None:
    own = networks()
    values = {"depth": 1, "norm": True, "act": "gelu", "width": 8}
    assert dict(own.queued(values).values) == values
    assert own.queued(own.queued(values).to_dict()) == own.queued(values)
    for wrong, problem in (
        ({"width": 5}, "width is 5; one of 4, 8"),
        ({"depth": 3, "width": 36}, "parameters .4,000 allowed.; make it smaller"),
        ({"width": 20}, "cannot be built"),
        ({"more": 1}, "more is no dimension"),
    ):
        with pytest.raises(UsageError, match=problem):
            own.queued(values | wrong)

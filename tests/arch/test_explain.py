from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from nas_budget.arch.blocks import MAX_EXPANSION
from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.explain import Change, explain
from nas_budget.arch.spec import MAX_BLOCKS, MAX_KERNEL, ResNetSpec
from tests.strategies import specs

REFERENCE = ResNetSpec((32, 64, 96, 128, 185))


def changed(spec: ResNetSpec, change: Change, value: int) -> ResNetSpec:
    values = list(getattr(spec, change.name))
    values[change.stage - 1] = value
    return replace(spec, **{change.name: tuple(values)})


def test_the_reference() -> None:
    explanation = explain(REFERENCE)
    last = next(c for c in explanation.changes if (c.name, c.stage) == ("channels", 5))
    assert last.largest == 188
    assert cost(changed(REFERENCE, last, 188)).params == 4_984_938
    assert explanation.shortcut_params == 353_280
    assert explain(replace(REFERENCE, shortcut_kernel=1)).shortcut_params == 0


@settings(max_examples=60)
@given(specs(max_width=40), st.integers(2_000, 60_000), st.one_of(st.none(), st.integers(10**5, 10**7)))
def test_each_change_is_what_counting_says(spec: ResNetSpec, params: int, macs: int | None) -> None:
    budget = Budget(params, macs)
    for change in explain(spec, budget).changes:
        larger = changed(spec, change, change.next)
        assert change.params == cost(larger).params - cost(spec).params
        assert change.macs == cost(larger).macs - cost(spec).macs
        assert change.fits == budget.check(larger).fits
        if change.largest:
            assert budget.check(changed(spec, change, change.largest)).fits
        step = 2 if change.name == "kernels" else 1
        beyond = (change.largest or 1 - step) + step
        limits = {"kernels": MAX_KERNEL, "blocks": MAX_BLOCKS, "channels": 10**4, "expansions": MAX_EXPANSION}
        most = limits[change.name]
        for value in range(beyond, min(beyond + 6 * step, most + 1), step):
            assert not budget.check(changed(spec, change, value)).fits


def test_what_is_at_its_most_is_left_out() -> None:
    spec = ResNetSpec((1,), blocks=MAX_BLOCKS, kernels=MAX_KERNEL, pool="global")
    assert [c.name for c in explain(spec).changes] == ["channels"]


def test_the_next_expansion_of_an_inverted_block_is_a_whole_one() -> None:
    changes = explain(ResNetSpec((8, 16), blocks=1, block="inverted", expansions=(2.5, 64))).changes
    assert [(c.stage, c.value, c.next) for c in changes if c.name == "expansions"] == [(1, 2.5, 3)]
    narrowing = ResNetSpec((8, 16), block="bottleneck", expansions=0.5)
    assert {c.name for c in explain(narrowing).changes} == {"channels", "blocks", "kernels"}

"""The layers of a space that are timed, and the limit on latency of a study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.latency import LatencyModel, LayerShape
from nas_budget.arch.latency_table import LatencyTable, TimedLayer, fit_latency
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import StudyFileError, UsageError
from nas_budget.search.config import latency as module
from nas_budget.search.config.build import budget_of
from nas_budget.search.config.latency import (
    PER_KIND,
    Timing,
    check_timed,
    closed_budget,
    layers_to_time,
    measured_table,
    model_for,
)
from nas_budget.search.config.study_file import read_study_file
from nas_budget.space.feasible import FeasibleSpace
from nas_budget.space.sampling import sample
from nas_budget.space.space import SearchSpace
from tests.space.spaces import SMALL
from tests.strategies import DEVICE

DEVICES = SearchSpace(
    stages=(1, 3), block=("basic", "bottleneck", "separable", "inverted"), kernels=(3, 5), groups=(1, 4),
    expansions=(0, 1), se_reduction=(0, 8), head_width=(0, 32), shortcut_kernel=(1, 3), width=(4, 32), width_step=4,
)  # fmt: skip


def timed(space: SearchSpace, model: LatencyModel = DEVICE, budget: Budget | None = None) -> LatencyTable:
    shapes = layers_to_time(space, budget or Budget(None))
    return LatencyTable("a board", tuple(TimedLayer(shape, model.layer_ns(shape) / 1e6) for shape in shapes))


@pytest.mark.parametrize("space", [*SMALL.values(), DEVICES], ids=[*SMALL, "large"])
def test_every_kind_of_layer_that_a_space_has_is_timed(space: SearchSpace) -> None:
    kinds = {(shape.kind, shape.kernel) for shape in layers_to_time(space)}
    found = {(s.kind, s.kernel) for spec in sample(space, 300) for s in cost(spec).timed}
    assert found <= kinds
    table = timed(space)
    check_timed(space, fit_latency(table))


def test_few_layers_of_each_kind_are_timed_from_small_to_large() -> None:
    shapes = layers_to_time(DEVICES)
    for kind, kernel in {(shape.kind, shape.kernel) for shape in shapes}:
        same = [shape for shape in shapes if (shape.kind, shape.kernel) == (kind, kernel)]
        assert len(same) <= PER_KIND
        assert [shape.macs for shape in same] == sorted(shape.macs for shape in same)
    assert len(shapes) == len(set(shapes))


def test_layers_are_as_large_as_what_keeps_the_other_limits() -> None:
    space = SearchSpace(stages=(2, 3))
    narrow = layers_to_time(space, Budget(20_000, macs=2_000_000, latency_ns=1, latency_model=DEVICE))
    assert max(shape.macs for shape in narrow) <= 3_000_000 < max(shape.macs for shape in layers_to_time(space))


@settings(max_examples=20)
@given(st.sampled_from([name for name in SMALL if name != "tiny images"]))
def test_a_model_that_was_fitted_predicts_the_networks_of_a_space(name: str) -> None:
    model = fit_latency(timed(SMALL[name]))
    for spec in sample(SMALL[name], 20):
        exact = DEVICE.network_ns(cost(spec).timed)
        assert model.network_ns(cost(spec).timed) == pytest.approx(exact, rel=0.05)


def test_every_layer_that_a_table_lacks_is_named() -> None:
    table = timed(DEVICES)
    lacks = {("conv", 5), ("depthwise", 3), ("grouped", 3)}
    less = replace(table, layers=tuple(x for x in table.layers if (x.shape.kind, x.shape.kernel) not in lacks))
    with pytest.raises(UsageError, match="a board: has no layers like these, .*conv .*kernel 5.*depthwise.*grouped"):
        check_timed(DEVICES, fit_latency(less))
    one = replace(table, layers=tuple(x for x in table.layers if x.shape.kind != "linear"))
    with pytest.raises(UsageError, match="a board: has no linear, nor any other, and a network needs one \\(linear"):
        check_timed(DEVICES, fit_latency(one))


def test_a_study_file_has_the_limit_and_the_table(tmp_path: Path) -> None:
    (tmp_path / "device.csv").write_text(timed(SMALL["plain"]).to_csv())
    path = tmp_path / "study.toml"
    path.write_text(f'[budget]\nlatency = "20us"\nlatency_table = "{tmp_path / "device.csv"}"\n')
    section = read_study_file(path)["budget"]
    budget = budget_of(section)
    assert budget.latency_ns == 20_000
    assert budget.latency_model == fit_latency(timed(SMALL["plain"]))
    assert budget_of(closed_budget(section, budget.latency_model)) == budget
    for spec in sample(SMALL["plain"], 30, budget):
        assert budget.check(spec).fits


@pytest.mark.parametrize("value", ["5", "fast", 5, 0.5])
def test_a_limit_without_a_unit_is_refused_with_its_key(value: object, tmp_path: Path) -> None:
    with pytest.raises(StudyFileError, match="command line:budget.latency: .*write a time such as 5ms"):
        read_study_file(None, {"budget.latency": value})


def test_a_limit_of_this_device_needs_a_search() -> None:
    with pytest.raises(UsageError, match="budget.latency: nothing says here how long layers take; give"):
        budget_of(read_study_file(None, {"budget.latency": "5ms"})["budget"])


def test_a_study_that_is_resumed_has_the_model_that_it_recorded() -> None:
    recorded = {"budget": {"latency_model": DEVICE.to_dict()}}
    assert model_for(SMALL["plain"], None, recorded) == DEVICE
    assert model_for(SMALL["plain"], None, {"budget": {}}) is None
    assert model_for(SMALL["plain"], None, None) is None


def test_measured_layers_are_in_tune_with_whole_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that is twice as slow with whole networks as with single layers."""
    asked: list[ResNetSpec] = []

    def layers(shapes: tuple[LayerShape, ...], *_: object) -> LatencyTable:
        return LatencyTable("cpu", tuple(TimedLayer(shape, DEVICE.layer_ns(shape) / 1e6) for shape in shapes))

    def network(spec: ResNetSpec, **_: object) -> float:
        asked.append(spec)
        return 2e-9 * DEVICE.network_ns(cost(spec).timed)

    monkeypatch.setattr(module, "time_layers", layers)
    monkeypatch.setattr(module, "network_s", network)
    section = read_study_file(None, {"budget.latency": "2ms", "budget.macs": "5M"})["budget"]
    table = measured_table(DEVICES, section, Timing(torch.device("cpu")))
    assert table.source.startswith("cpu; times 2, as ")
    assert all(cost(spec).macs <= 5_000_000 for spec in asked)
    feasible = FeasibleSpace(DEVICES, Budget(None, latency_ns=2_000_000, latency_model=fit_latency(table)))
    spec = feasible.decode({"stages": 3, "size": 1.0, "growth_2": 2.0, "growth_3": 2.0})
    assert 2 * DEVICE.network_ns(cost(spec).timed) <= 1.05 * 2_000_000

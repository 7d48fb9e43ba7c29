"""Timed layers of this device; nothing here depends on how fast it is."""

from __future__ import annotations

import pytest
import torch

from nas_budget.arch.cost import cost
from nas_budget.arch.latency import LayerShape
from nas_budget.arch.latency_table import LatencyTable, TimedLayer, fit_latency
from nas_budget.arch.spec import ResNetSpec
from nas_budget.train.profile import layer_timing as module
from nas_budget.train.profile.layer_timing import calibrated, network_s, time_layers

CPU = torch.device("cpu")
SHAPES = [
    LayerShape("conv", 3, 8, 3, 1, 16),
    LayerShape("conv", 8, 8, 1, 2, 15),
    LayerShape("depthwise", 8, 8, 5, 2, 7, 8),
    LayerShape("grouped", 8, 12, 3, 1, 8, 4),
    LayerShape("linear", 32, 10),
]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LAYER_S", 0.0)
    monkeypatch.setattr(module, "NETWORK_S", 0.0)


def test_every_layer_is_timed_once_and_the_threads_come_back() -> None:
    before = torch.get_num_threads()
    table = time_layers(SHAPES, CPU)
    assert [one.shape for one in table.layers] == SHAPES
    assert all(one.milliseconds > 0 for one in table.layers)
    assert table.source.endswith("(1 thread), fp32")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_is_timed_has_the_macs_of_the_layer(shape: LayerShape) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        module._layer(shape, CPU, "fp32")()
    assert counter.get_total_flops() == 2 * shape.macs


def test_a_network_is_timed_as_a_whole() -> None:
    assert network_s(ResNetSpec((4, 8), blocks=1), CPU) > 0


def test_times_are_multiplied_by_what_networks_take_in_the_median() -> None:
    spec = ResNetSpec((4, 8), blocks=1, shortcut_kernel=1)
    table = LatencyTable("cpu", tuple(TimedLayer(shape, 0.5) for shape in set(cost(spec).timed)))
    whole = fit_latency(table).network_ns(cost(spec).timed) / 1e9
    left = [1.5 * whole, 9 * whole, whole]
    slower = calibrated(table, [spec] * 3, lambda _: left.pop())
    assert [one.milliseconds for one in slower.layers] == pytest.approx([0.75] * len(table.layers))
    assert slower.source == "cpu; times 1.5, as 3 networks take"
    assert calibrated(table, [], lambda _: 1.0) == table


def test_larger_networks_are_predicted_to_take_longer_and_do() -> None:
    """A rank check of networks that differ a hundredfold, whatever else the machine does."""
    small, large = ResNetSpec((4,), blocks=1, image_size=8), ResNetSpec((64, 64), blocks=2, image_size=32)
    table = time_layers(sorted({*cost(small).timed, *cost(large).timed}), CPU)
    model = fit_latency(table)
    assert model.network_ns(cost(small).timed) < model.network_ns(cost(large).timed)
    assert network_s(small, CPU) < network_s(large, CPU)

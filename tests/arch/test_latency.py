"""Predicted latencies: the sum over the layers, in every form in which it is counted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.cost_table import cost_table
from nas_budget.arch.explain import explain
from nas_budget.arch.fit import fit
from nas_budget.arch.latency import KINDS, MOST_NS, LatencyModel, LayerShape, milliseconds, parse_latency
from nas_budget.arch.layers import layers
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import NothingFitsError, QuantityError, UsageError
from tests.arch.test_cost_table import arrays
from tests.strategies import DEVICE, specs

LIMITED = Budget(None, latency_ns=3_000_000, latency_model=DEVICE)


def predicted(spec: ResNetSpec, model: LatencyModel = DEVICE) -> int:
    return model.network_ns(cost(spec).timed)


@settings(max_examples=150)
@given(specs(max_width=60))
def test_a_network_takes_the_sum_of_its_layers(spec: ResNetSpec) -> None:
    timed = [layer for layer in layers(spec) if layer.kind in ("conv", "linear")]
    assert cost(spec).timed == tuple(layer.timed_shape for layer in timed)
    for layer in timed:
        shape = layer.timed_shape
        assert (shape.macs, shape.areas[1]) == (layer.macs, layer.out_shape[1] ** 2)
        assert (shape.groups == shape.in_channels) or shape.kind != "depthwise"
        assert (shape.groups > 1) or shape.kind in ("conv", "linear", "depthwise")
    assert predicted(spec) == sum(DEVICE.layer_ns(layer.timed_shape) for layer in timed)
    (margin,) = LIMITED.check(spec).margins
    assert (margin.name, margin.used) == ("latency_ns", predicted(spec))


@settings(max_examples=150)
@given(st.data(), st.integers(4, 33), st.integers(1, 4), st.integers(1, 12))
def test_the_table_counts_the_same(data: st.DataObject, image_size: int, in_channels: int, classes: int) -> None:
    group = data.draw(st.lists(specs(max_width=200, image=(image_size, in_channels, classes)), min_size=1, max_size=6))
    counted = cost_table(**arrays(group), columns=["latency_ns"], latency=DEVICE)["latency_ns"]
    assert counted.tolist() == [predicted(spec) for spec in group]


@settings(max_examples=60)
@given(specs(max_width=200))
def test_one_number_stands_for_all(spec: ResNetSpec) -> None:
    values = spec.to_dict()
    del values["dropout"]
    counted = cost_table(**{**values, "channels": [spec.channels] * 3}, columns=["latency_ns"], latency=DEVICE)
    assert counted["latency_ns"].tolist() == [predicted(spec)] * 3


def test_only_kinds_that_a_network_has_are_asked_for() -> None:
    only = LatencyModel("a board", tuple(term for term in DEVICE.terms if term[:2] in {("conv", 3), ("linear", 1)}))
    spec = ResNetSpec((8, 16), blocks=2)
    values = {name: value for name, value in spec.to_dict().items() if name not in ("dropout", "channels")}
    table = cost_table([spec.channels], **values, columns=["latency_ns"], latency=only)
    assert table["latency_ns"].tolist() == [predicted(spec, only)] == [predicted(spec)]


@pytest.mark.parametrize(
    ("options", "lacks"),
    [
        ({"kernels": 5}, "no conv of kernel 5, only of kernel 3"),
        ({"block": "separable"}, "no depthwise of kernel 3, nor any other"),
        ({"block": "bottleneck", "groups": 4, "shortcut_kernel": 3}, "no conv of kernel 1, only of kernel 3"),
    ],
)
def test_a_layer_that_was_not_timed_is_named(options: dict[str, Any], lacks: str) -> None:
    only = LatencyModel("board.csv", tuple(term for term in DEVICE.terms if term[:2] in {("conv", 3), ("linear", 1)}))
    spec = ResNetSpec((8, 16), blocks=1, **options)
    with pytest.raises(UsageError, match=f"board.csv: has {lacks}, and a network needs one"):
        predicted(spec, only)
    values = {name: value for name, value in spec.to_dict().items() if name not in ("dropout", "channels")}
    with pytest.raises(UsageError, match=f"board.csv: has {lacks}"):
        cost_table([spec.channels], **values, columns=["latency_ns"], latency=only)


def test_what_takes_hours_is_over_every_limit_and_adds_up() -> None:
    slow = LatencyModel("slow", (("conv", 3, (1e30, 0.0, 0.0, 0.0)), ("linear", 1, (0.0, 0.0, 0.0, 0.0))))
    spec = ResNetSpec((8, 16), blocks=1)
    assert predicted(spec, slow) == MOST_NS * (len(cost(spec).timed) - 1)


def test_fit_keeps_the_limit_and_cannot_be_widened() -> None:
    spec = fit((1, 2, 4), LIMITED, blocks=2, block="inverted").spec
    assert predicted(spec) <= 3_000_000
    for stage in range(3):
        wider = [width + (i == stage) for i, width in enumerate(spec.channels)]
        assert predicted(ResNetSpec.from_dict({**spec.to_dict(), "channels": wider})) > 3_000_000
    with pytest.raises(NothingFitsError, match=r"needs 0\.\d+ ms of predicted latency \(0\.001 allowed\)"):
        fit((1, 2, 4), Budget(None, latency_ns=1_000, latency_model=DEVICE))


def test_explanations_know_the_limit() -> None:
    spec = fit((1, 2), LIMITED, blocks=1, spend=False).spec
    for change in explain(spec, LIMITED).changes:
        if change.largest is not None:
            values = getattr(spec, change.name)
            at_most = (*values[: change.stage - 1], change.largest, *values[change.stage :])
            assert predicted(ResNetSpec.from_dict({**spec.to_dict(), change.name: at_most})) <= 3_000_000


def test_a_limit_is_told_and_kept_in_json() -> None:
    assert str(LIMITED) == "3 ms of predicted latency"
    assert str(Budget(1_000, latency_ns=1_234_567, latency_model=DEVICE)) == (
        "1,000 parameters, 1.235 ms of predicted latency"
    )
    assert Budget(**LIMITED.to_dict()) == LIMITED
    assert hash(Budget(**LIMITED.to_dict())) == hash(LIMITED)
    assert LIMITED.scaled(0.5).latency_ns == 1_500_000


@pytest.mark.parametrize(
    "values",
    [
        {"latency_ns": 0}, {"latency_ns": 1.5}, {"latency_ns": 10**13}, {"latency_model": {}}, {"latency_model": []},
        {"latency_model": {"terms": [["conv", 3, [1, 2, 3]]]}},
        {"latency_model": {"terms": [["conv", 3, [1, 2, 3, -1]]]}},
        {"latency_model": {"terms": [["pool", 3, [1, 2, 3, 4]]]}},
        {"latency_model": {"terms": [["conv", 3, [1, 2, 3, float("nan")]]]}},
    ],
)  # fmt: skip
def test_what_is_no_limit_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(QuantityError, match="latency"):
        Budget(**values)


def test_a_limit_needs_a_model() -> None:
    with pytest.raises(UsageError, match="give a latency_model too"):
        Budget(latency_ns=1).check(ResNetSpec((8,)))


@pytest.mark.parametrize(
    ("text", "ns"), [("5ms", 5_000_000), ("800us", 800_000), ("0.02s", 20_000_000), ("1.5 ms", 1_500_000), ("7ns", 7),
                     (".5µs", 500), ("1000s", 10**12)]
)  # fmt: skip
def test_times_are_read(text: str, ns: int) -> None:
    assert parse_latency(text) == ns


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("5", "no unit"), (5, "no unit"), ("5 parsecs", "cannot read"), ("", "cannot read"), ("fast", "cannot read"),
     ("0ms", "not allowed"), ("2000s", "not allowed"), ("0.5ns", "not allowed"), ("-1ms", "cannot read"),
     (True, "cannot read"), ("5m", "cannot read"), ("5Mms", "cannot read")],
)  # fmt: skip
def test_what_is_no_time_is_refused_in_one_line(text: object, wrong: str) -> None:
    with pytest.raises(QuantityError, match=f"--max-latency: .*{wrong}") as error:
        parse_latency(text, "--max-latency")
    assert "\n" not in str(error.value)


def test_numbers_are_shown_in_milliseconds() -> None:
    assert [milliseconds(ns) for ns in (1, 99_999, 10**6, -1_500_000, 12_345_678_901)] == [
        "0.000001", "0.099999", "1", "-1.5", "12,345.679"
    ]  # fmt: skip


def test_layers_have_words() -> None:
    assert str(LayerShape("linear", 64, 10)) == "linear 64 to 10 features"
    assert set(KINDS) == {kind for kind, *_ in DEVICE.terms}

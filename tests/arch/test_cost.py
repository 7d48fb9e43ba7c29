"""Counts against figures known beforehand, and against the built network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.utils.flop_counter import FlopCounterMode
from torchinfo import summary

from nas_budget.arch.cost import cost
from nas_budget.arch.layers import layers
from nas_budget.arch.spec import ResNetSpec
from nas_budget.train.engine.model import build
from tests.strategies import specs

WIDTHS = (32, 64, 96, 128, 185)


@pytest.mark.parametrize(
    ("spec", "params"),
    [
        (ResNetSpec(WIDTHS), 4_907_445),
        (ResNetSpec(WIDTHS, shortcut_kernel=1), 4_554_165),
        (ResNetSpec((64, 128, 256), blocks=(4, 5, 3), shortcut_kernel=1, pool=8), 4_992_586),
    ],
)
def test_known_parameters(spec: ResNetSpec, params: int) -> None:
    assert cost(spec).params == params


def test_the_reference() -> None:
    used = cost(ResNetSpec(WIDTHS))
    assert used.macs == 226_502_006
    assert used.depth == 42
    assert used.parts[-2].params == 2_585_745
    assert used.weight_bytes == {"fp32": 4 * 4_916_535, "fp16": 2 * 4_916_535, "int8": 4_916_535}
    assert used.activation_bytes == 4 * 3 * 32 * 32 * 32  # a block's input, and what its two convolutions hold


@settings(max_examples=400)
@given(specs())
def test_any_spec_agrees_with_the_built_network(spec: ResNetSpec) -> None:
    with torch.device("meta"):
        network = build(spec).eval()
        image = torch.empty(1, spec.in_channels, spec.image_size, spec.image_size)
    used = cost(spec)
    assert used.params == sum(p.numel() for p in network.parameters())
    assert used.buffers == sum(b.numel() for b in network.buffers() if b.is_floating_point())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        scores = network(image)
    assert counter.get_total_flops() == 2 * used.macs
    assert scores.shape == (1, spec.classes)


@settings(max_examples=40)
@given(specs())
def test_layers_carry_the_names_shapes_and_parameters_of_the_modules(spec: ResNetSpec) -> None:
    network = build(spec).eval()
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda m, i, o, name=name: shapes.update({name: tuple(o.shape[1:])}))
    with torch.no_grad():
        network(torch.zeros(1, spec.in_channels, spec.image_size, spec.image_size))
    counted = {x.name: x for x in layers(spec) if x.kind in ("conv", "batch_norm", "pool", "linear")}
    leaves = (nn.Conv2d, nn.BatchNorm2d, nn.AvgPool2d, nn.Linear)
    assert set(counted) == {name for name, module in network.named_modules() if isinstance(module, leaves)}
    for name, layer in counted.items():
        assert layer.params == sum(p.numel() for p in network.get_submodule(name).parameters())
        assert layer.out_shape[: len(shapes[name])] == shapes[name]


@settings(max_examples=60)
@given(specs())
def test_activation_bytes_are_the_peak_of_what_is_alive(spec: ResNetSpec) -> None:
    assert cost(spec).activation_bytes == 4 * _peak(spec)


def _peak(spec: ResNetSpec) -> int:
    """Elements alive at the worst moment, from torch's own trace of the network."""
    network = build(spec).eval()
    traced = fx.GraphModule(network, _Tracer().trace(network))
    ShapeProp(traced).propagate(torch.zeros(1, spec.in_channels, spec.image_size, spec.image_size))
    nodes = [node for node in traced.graph.nodes if node.op != "output"]
    place = {node: i for i, node in enumerate(traced.graph.nodes)}
    home: dict[fx.Node, fx.Node] = {}
    for node in nodes:
        inputs = node.all_input_nodes
        reads_on = inputs and any(
            place[user] > place[node] for n in home if home[n] is home[inputs[0]] for user in n.users
        )
        home[node] = home[inputs[0]] if inputs and _in_place(node, traced) and not reads_on else node
    last = {h: max(place[user] for n in nodes if home[n] is h for user in n.users) for h in set(home.values())}
    size = {node: node.meta["tensor_meta"].shape.numel() for node in nodes}
    return max(
        sum(size[h] for h in last if place[h] <= place[node] <= last[h]) for node in nodes if node.op != "placeholder"
    )


class _Tracer(fx.Tracer):
    """Sees a convolution and a batch norm as one step, whatever they do inside."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.BatchNorm2d) or super().is_leaf_module(m, module_qualified_name)


def _in_place(node: fx.Node, traced: fx.GraphModule) -> bool:
    """Whether the operation may write into its first input, should nobody read that later."""
    if node.op == "call_module":
        return isinstance(traced.get_submodule(str(node.target)), nn.BatchNorm2d | nn.Identity | nn.Dropout)
    return node.op in ("call_function", "call_method") and node.target != "mean"  # relu, add, mul, sigmoid, flatten


@settings(max_examples=25)
@given(specs())
def test_torchinfo_counts_as_documented(spec: ResNetSpec) -> None:
    """Its mult-adds are larger by every parameter that is no weight of a convolution or linear layer, once."""
    shape = (1, spec.in_channels, spec.image_size, spec.image_size)
    counted = summary(build(spec), shape, verbose=0)
    weights = sum(x.params for x in layers(spec) if x.kind == "conv")
    weights += sum(x.macs for x in layers(spec) if x.kind == "linear")
    assert counted.trainable_params == cost(spec).params
    assert counted.total_mult_adds - cost(spec).macs == cost(spec).params - weights

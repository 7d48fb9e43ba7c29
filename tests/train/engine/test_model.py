from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from torch import nn
from torch.fx import symbolic_trace
from torch.nn import functional as F  # noqa: N812

from nas_budget.arch.blocks import ACTIVATIONS, FAMILIES
from nas_budget.arch.spec import ResNetSpec
from nas_budget.train.engine import model
from nas_budget.train.engine.model import build, summarize
from tests.strategies import specs

SMALL = ResNetSpec((4, 8), blocks=1)
REFERENCE = ResNetSpec((32, 64, 96, 128, 185))


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_weights_follow_from_the_seed_and_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = weights(build(SMALL, 7))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert torch.equal(weights(build(SMALL, 7)), first)
    assert not torch.equal(weights(build(SMALL, 8)), first)


@settings(max_examples=40)
@given(specs())
def test_images_become_one_score_a_class(spec: ResNetSpec) -> None:
    network, images = build(spec).eval(), torch.rand(2, spec.in_channels, spec.image_size, spec.image_size)
    with torch.inference_mode():
        scores = network(images)
        assert torch.allclose(scores[:1], network(images[:1]), atol=1e-4)  # alike alone and in company
    assert scores.shape == (2, spec.classes)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()


def test_every_parameter_is_trained() -> None:
    network = build(SMALL)
    network(torch.rand(4, 3, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_dropout_is_before_the_classifier_and_only_in_training() -> None:
    network, images = build(ResNetSpec((4, 8), blocks=1, dropout=0.5)), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        network.eval()
        assert torch.equal(network(images), network(images))
        network.dropout.train()
        assert not torch.equal(network(images), network(images))


@pytest.mark.parametrize(("spec", "params"), [(REFERENCE, "4,907,445"), (ResNetSpec((1,), blocks=1), "2,621")])
def test_the_summary_counts_for_itself_and_names_the_layers(spec: ResNetSpec, params: str) -> None:
    summary = summarize(spec)
    for words in f"Trainable params: {params}", "Conv2d", "BatchNorm2d", "BasicBlock", "Linear", "[1, 10]":
        assert words in summary


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("block", FAMILIES)
def test_every_block_has_the_activation_that_the_spec_names(block: str, name: str) -> None:
    network = build(ResNetSpec((4, 8), blocks=2, block=block, activation=name, se_reduction=2, head_width=6)).eval()
    functions = {torch.relu_, F.relu, F.relu6, F.hardswish, F.silu}
    called = {node.target for node in symbolic_trace(network).graph.nodes if node.op == "call_function"} & functions
    assert called == {model.ACTIVATIONS[name], F.relu}  # a squeeze-excitation has ReLU in any case


def test_an_inverted_residual_has_a_shortcut_only_where_the_shape_is_kept() -> None:
    first, second = build(ResNetSpec((4, 8), blocks=(1, 2), block="inverted", strides=1)).layer2
    images = torch.rand(2, 4, 8, 8)
    with torch.no_grad():
        for module in first.bn3, second.bn3:
            module.weight.zero_()
        assert not first(images).any()
        assert torch.equal(second(torch.cat([images, images], dim=1)), torch.cat([images, images], dim=1))

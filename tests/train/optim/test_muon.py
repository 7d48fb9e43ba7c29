"""Muon's steps are near the orthogonal matrix nearest to the gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas_budget import Recipe, ResNetSpec, build
from nas_budget.train.optim import muon as module
from nas_budget.train.optim.muon import Muon, orthogonalize_
from nas_budget.train.optim.optimizers import make_optimizers
from nas_budget.train.optim.recipe import RECIPES


@settings(max_examples=30)
@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 4), st.integers(0, 99))
def test_singular_values_come_near_one_and_vectors_stay(rows: int, columns: int, n: int, seed: int) -> None:
    matrices = torch.randn(n, rows, columns, generator=torch.Generator().manual_seed(seed))
    made = orthogonalize_(matrices.clone())
    values = torch.linalg.svdvals(made)
    clear = torch.linalg.svdvals(matrices) > 0.05 * torch.linalg.svdvals(matrices)[:, :1]
    assert float(values.max()) < 1.3
    assert float(values[clear].min()) > 0.5
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ made @ vh.mT  # diagonal when the singular vectors are the same
    assert torch.allclose(inner - torch.diag_embed(inner.diagonal(dim1=1, dim2=2)), torch.zeros(()), atol=1e-3)


def one_step(weights: list[Tensor], **options: float) -> list[Tensor]:
    parameters = [nn.Parameter(w.clone()) for w in weights]
    optimizer = Muon(parameters, **options)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    optimizer.step()
    return [p.detach() for p in parameters]


def test_parameters_of_one_shape_step_as_each_would_alone_and_decay_takes_its_share_off_them() -> None:
    weights = [torch.randn(6, 4, 3, 3) for _ in range(3)] + [torch.randn(4, 6, 1, 1)]
    together, decayed = one_step(weights, lr=0.1), one_step(weights, lr=0.1, weight_decay=0.5)
    for weight, made, smaller in zip(weights, together, decayed, strict=True):
        (alone,) = one_step([weight], lr=0.1)
        assert torch.allclose(made, alone, atol=1e-6)
        assert torch.allclose(made - smaller, 0.05 * weight, atol=1e-6)


def test_convolutions_are_muons_and_the_rest_is_sgds() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    muon, sgd = make_optimizers(network, Recipe(optimizer="muon", learning_rate=0.05, other_lr=0.2))
    assert {p.ndim for group in muon.param_groups for p in group["params"]} == {4}
    assert {group["lr"] for group in muon.param_groups} == {0.05}
    assert {p.ndim for group in sgd.param_groups for p in group["params"]} == {1, 2}
    assert {group["lr"] for group in sgd.param_groups} == {0.2}
    both = [p for o in (muon, sgd) for group in o.param_groups for p in group["params"]]
    assert {id(p) for p in both} == {id(p) for p in network.parameters()}
    assert len(both) == len(list(network.parameters()))


@pytest.mark.parametrize(
    ("shape", "scale"), [((32, 8), 2.0), ((8, 8), 1.0), ((8, 32), 1.0), ((8, 2, 2, 2), 1.0), ((36, 1, 3, 3), 2.0)]
)
def test_tall_matrices_take_longer_steps_by_the_root_of_rows_over_columns(shape: tuple[int, ...], scale: float) -> None:
    (made,) = one_step([torch.zeros(shape)], lr=0.1)
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(1)).flatten(1)
    expected = -0.1 * scale * orthogonalize_(gradient[None].clone())[0]
    assert torch.allclose(made.flatten(1), expected, atol=1e-5)


def scaled_steps(gradients: list[Tensor], scaler: torch.amp.GradScaler) -> tuple[nn.Parameter, Muon]:
    weight = nn.Parameter(torch.ones(4, 2, 3, 3).to(memory_format=torch.channels_last))
    optimizer = Muon([weight], lr=0.1, weight_decay=0.1)
    scaler.scale(torch.zeros(()))  # from then on it has a scale
    for gradient in gradients:
        weight.grad = torch.empty_like(weight).copy_(gradient * (scaler.get_scale() if scaler.is_enabled() else 1))
        scaler.step(optimizer)
        scaler.update()
    return weight, optimizer


def test_scaled_gradients_make_the_same_step_and_one_that_is_not_finite_makes_none() -> None:
    first, second = (torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    spoiled = second.clone()
    spoiled[0, 0, 0, 0] = torch.inf
    plain, its = scaled_steps([first, second], torch.amp.GradScaler("cpu", enabled=False))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaled, ours = scaled_steps([first, spoiled, second], scaler)
    assert torch.allclose(scaled, plain, atol=1e-6)
    buffers = (its.state[plain]["momentum_buffer"], ours.state[scaled]["momentum_buffer"])
    assert torch.allclose(*buffers, atol=1e-6)
    assert scaler.get_scale() == 512  # halved once


def test_a_gradient_laid_out_otherwise_makes_the_same_step_and_a_strange_parameter_is_refused() -> None:
    gradient = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    made = []
    for layout in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(torch.ones(4, 3, 3, 3).to(memory_format=torch.channels_last))
        weight.grad = gradient.contiguous(memory_format=layout)
        Muon([weight], lr=0.1).step()
        made.append(weight.detach())
    assert torch.equal(*made)
    turned = nn.Parameter(torch.ones(4, 2).T)
    turned.grad = torch.ones(2, 4)
    with pytest.raises(ValueError, match=r"Muon: a parameter has strides \(1, 2\); give contiguous or channels-last"):
        Muon([turned]).step()


def test_a_gpu_without_bf16_iterates_in_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    of = {}
    for capability in (7, 5), (8, 0):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, capability=capability: capability)
        of[capability] = module._iteration_type.__wrapped__(torch.device("cuda"), torch.float32)
    assert of == {(7, 5): torch.float16, (8, 0): torch.bfloat16}
    assert module._iteration_type(torch.device("cpu"), torch.float32) == torch.float32


def test_each_group_of_a_convolution_is_a_matrix_of_its_own() -> None:
    torch.manual_seed(0)
    whole, alone = torch.randn(6, 2, 3, 3), torch.randn(6, 1, 3, 3)
    for gradient, groups in (whole, 3), (alone, 6):
        together = torch.nn.Parameter(torch.zeros_like(gradient))
        parts = [torch.nn.Parameter(torch.zeros_like(part)) for part in gradient.chunk(groups)]
        for weight, its in zip([together, *parts], [gradient, *gradient.chunk(groups)], strict=True):
            weight.grad = its.clone()
        Muon([together, *parts], lr=0.1, groups={together: groups}).step()
        torch.testing.assert_close(together.detach(), torch.cat([part.detach() for part in parts]))
    norms = together.detach().flatten(1).norm(dim=1)
    assert bool(((norms > 0.06) & (norms < 0.13)).all())  # no filter is left behind by the others


def test_a_depthwise_convolution_is_known_by_its_module_and_a_stem_of_one_channel_is_none() -> None:
    network = build(ResNetSpec((8, 16), blocks=1, block="separable", in_channels=1))
    muon = make_optimizers(network, RECIPES["brief"])[0]
    assert isinstance(muon, Muon)
    assert muon._matrices(network.conv1.weight) == ((8, 1, 3, 3), 1)
    assert muon._matrices(network.layer1[0].conv1.weight) == ((8, 1, 3, 3), 8)

"""Quantization: batch norm is folded without a trace, int8 is close to fp32, and each layer's cost is measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from nas_budget.errors import DataError, UsageError
from nas_budget.train.data.dataset import open_npz
from nas_budget.train.export.onnx_export import onnx_model
from nas_budget.train.export.onnx_network import run_onnx
from nas_budget.train.export.quantize import fold_batch_norm, quantization_images, quantize
from tests.train.export.exported_models import SMALL, SPECS, images_of, logits_of, model
from tests.train.export.quantized import relative_error, save_images, to_quantize


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_folding_batch_norm_changes_nothing(name: str) -> None:
    made, images = model(SPECS[name]), images_of(SPECS[name], 9)
    graph = onnx_model(made)
    fold_batch_norm(graph)
    onnx.checker.check_model(graph, full_check=True)
    kinds = {node.op_type for node in graph.graph.node}
    assert not kinds & {"BatchNormalization", "Sub", "Div"}
    assert torch.allclose(run_onnx(graph.SerializeToString(), images), logits_of(made, images), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_int8_is_close_to_fp32_and_all_its_numbers_are_small(name: str) -> None:
    made = model(SPECS[name])
    images = to_quantize(made)
    graph, costs = quantize(made, images)
    assert costs == ()
    onnx.checker.check_model(graph, full_check=True)
    # Beyond the ranges of the calibration images values are cut, which in networks of so few channels can be all.
    logits = run_onnx(graph.SerializeToString(), images.calibration)
    # An untrained squeeze-excitation scales by nearly the same factor everywhere: its logits are small differences.
    assert relative_error(logits, logits_of(made, images.calibration)) < (0.15 if made.spec.se_reduction else 0.03)
    tensors = {t.name: t for t in graph.graph.initializer}
    weights = [name for name in tensors if name.endswith(".weight_quantized")]
    layers = sum(isinstance(m, nn.Conv2d | nn.Linear) for m in made.network.modules())
    assert len(weights) >= layers + 1  # and the normalization of the images
    for name in weights:
        channels = tensors[name].dims[0]
        assert tensors[name].data_type == onnx.TensorProto.INT8
        assert [*tensors[name.replace("_quantized", "_scale")].dims] == [channels]
    biases = [tensors[name].data_type for name in tensors if name.endswith(".bias_quantized")]
    assert set(biases) == {onnx.TensorProto.INT32}
    zero_points = {name for node in graph.graph.node for name in node.input if name.endswith("_zero_point")}
    assert zero_points == {name for name in tensors if name.endswith("_zero_point")}  # and no tensor is left over
    assert not any("bias" in name for name in zero_points)
    float_names = [name for name, t in tensors.items() if t.data_type == onnx.TensorProto.FLOAT]
    assert all(name.endswith("scale") for name in float_names)


def test_pixels_are_taken_as_they_are_and_the_file_says_how_ranges_were_measured() -> None:
    made = model()
    graph, _ = quantize(made, replace(to_quantize(made), seed=7))
    values = {t.name: onnx.numpy_helper.to_array(t) for t in graph.graph.initializer}
    assert (values["images_scale"], values["images_zero_point"]) == (1, -128)
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(metadata["quantization"]) == {"format": "int8", "calibration_images": 48, "seed": 7}
    assert metadata.keys() > {"classes", "spec", "weights_digest", "about"}


def test_a_mean_over_the_whole_map_has_a_scale_of_its_own() -> None:
    made = model()  # its pool is global
    graph, _ = quantize(made, to_quantize(made))
    assert [n.op_type for n in graph.graph.node if n.op_type.endswith("AveragePool")] == ["GlobalAveragePool"]
    scales = {n.input[1] for n in graph.graph.node if n.op_type == "QuantizeLinear"}
    n_kinds = sum(n.op_type in ("Conv", "Gemm", "Add", "GlobalAveragePool") for n in graph.graph.node)
    assert len(scales) >= n_kinds  # no two of them share a scale


def test_the_same_images_give_the_same_file() -> None:
    made = model()
    first, second = (quantize(made, to_quantize(made))[0].SerializeToString() for _ in range(2))
    assert first == second


def test_the_cost_of_each_layer_is_measured_alone() -> None:
    made, spoiled = model(), model()
    weight = spoiled.network.get_submodule("layer2.0.conv1").weight
    assert isinstance(weight, nn.Parameter)
    weight.data[:, 0, 0, 0] = 10 * weight.data.abs().max()  # a peak in every channel: the others have few steps left
    shares: list[float] = []
    _, costs = quantize(made, to_quantize(made), per_layer=True, on_share=shares.append)
    names = [cost.layer for cost in costs]
    convolutions = [name for name, m in made.network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert (names[0], {*names[1:]}) == ("normalize", {*convolutions})
    assert all(0 <= cost.changed <= 1 and cost.error > 0 for cost in costs)
    assert shares == pytest.approx([(i + 1) / len(costs) for i in range(len(costs))])
    _, others = quantize(spoiled, to_quantize(spoiled), per_layer=True)
    place = names.index("layer2.0.conv1")
    assert others[place].error > 2 * costs[place].error


def test_the_seed_draws_the_training_images(tmp_path: Path) -> None:
    made = model()
    save_images(tmp_path / "own.npz", made)
    dataset = open_npz(tmp_path / "own.npz", "own")
    first, again, other = (quantization_images(made, dataset, 20, seed) for seed in (1, 1, 2))
    assert torch.equal(first.calibration, again.calibration)
    assert not torch.equal(first.calibration, other.calibration)
    assert (len(first.calibration), len(first.test), first.data, first.seed) == (20, 30, "own", 1)
    train = {image.tobytes() for image in dataset.read("train")[0]}
    assert len({image.numpy().tobytes() for image in first.calibration} & train) == 20


def test_images_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    made = model()
    save_images(tmp_path / "own.npz", made)
    dataset = open_npz(tmp_path / "own.npz", "own")
    with pytest.raises(UsageError, match="--calibration-images: 61 of the 60 training images of own; give 1 to 60"):
        quantization_images(made, dataset, 61)
    others = {
        "own: images of 8 pixels, 3 channels and 3 classes; the network takes 9": replace(SMALL, image_size=9),
        "own: 3 classes, .* the network knows 4, ": replace(SMALL, classes=4),
    }
    for words, other in others.items():
        with pytest.raises(DataError, match=words):
            quantization_images(model(other), dataset, 20)


def test_unasked_ranges_are_measured_on_as_many_images_as_there_are(tmp_path: Path) -> None:
    made = model()
    save_images(tmp_path / "own.npz", made)
    assert len(quantization_images(made, open_npz(tmp_path / "own.npz", "own")).calibration) == 60

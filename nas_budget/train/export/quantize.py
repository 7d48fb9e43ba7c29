"""int8 by ONNX Runtime's static quantization: batch norm folded first, ranges measured on training images.

Weights get a scale for each output channel, activations one scale and zero point. `fold_batch_norm` leaves a graph of
convolutions, sums and linear layers alone, so that everything between the pixels and the logits can be int8.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nas_budget.errors import UsageError
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.split import LabelledImages, labelled_images
from nas_budget.train.engine.weights import Model, in_order_of
from nas_budget.train.export.onnx_export import onnx_model
from nas_budget.train.export.onnx_network import raw, run_onnx

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

CALIBRATION_IMAGES = 500
PIXELS = {"scale": np.array(1, np.float32), "zero_point": np.array(-128, np.int8)}
"""An int8 pixel is the pixel less 128."""
SIGMOID = {"scale": np.array(1 / 256, np.float32), "zero_point": np.array(-128, np.int8)}
"""What LiteRT's sigmoid gives, whatever was measured."""
QUANTIZED = (
    "Add", "AveragePool", "Clip", "Conv", "Flatten", "Gemm", "GlobalAveragePool", "HardSwish", "MaxPool", "Mul",
    "ReduceMean", "Relu", "Reshape", "Sigmoid", "Unsqueeze",
)  # fmt: skip
"""Operators that become int8; what a family of a user's own has beside them stays in fp32."""
ACTIVATIONS = ("Relu", "Clip", "HardSwish", "Sigmoid")
LEAST_RANGE = 1e-3
"""Of an activation. One that is 0 on all calibration images would get a zero point that lets negative numbers pass."""
BATCH = 50
PLAIN = "plain.onnx"


@dataclass(frozen=True)
class QuantizationImages:
    """Images that a quantization needs: some to measure ranges on, and those that accuracy is measured on.

    Attributes:
        calibration: Training images, uint8 (n, size, size, channels).
        test: All test images of the same data set.
        data: Name of the data set.
        seed: Which training images were drawn.
    """

    calibration: Tensor
    test: LabelledImages
    data: str
    seed: int

    def describe(self) -> str:
        """How the ranges were measured, as JSON for the metadata of a file."""
        return json.dumps({"format": "int8", "calibration_images": len(self.calibration), "seed": self.seed})


@dataclass(frozen=True)
class LayerCost:
    """What it costs to have one layer in int8 and all others in fp32, on the calibration images.

    Attributes:
        layer: The layer's name in the network, such as "layer1.0.conv1".
        error: Root mean square of the change of the logits, as a share of that of the logits themselves.
        changed: Share of images whose class becomes another one.
    """

    layer: str
    error: float
    changed: float


def quantization_images(model: Model, dataset: Dataset, n: int | None = None, seed: int = 0) -> QuantizationImages:
    """The images for the quantization of a model: `n` training images drawn by the seed, and all test images.

    Without a number there are `CALIBRATION_IMAGES`, or all where there are fewer.

    Raises:
        UsageError: More images than there are.
        DataError: Images of another size, or of another number of channels, or other classes.
    """
    dataset = in_order_of(model, dataset)
    if n is None:
        n = min(CALIBRATION_IMAGES, dataset.n_train)
    if not 1 <= n <= dataset.n_train:
        raise UsageError(
            f"--calibration-images: {n:,} of the {dataset.n_train:,} training images of {dataset.name}; "
            f"give 1 to {dataset.n_train:,}"
        )
    chosen = np.sort(np.random.default_rng(seed).choice(dataset.n_train, n, replace=False))
    images = torch.from_numpy(dataset.read("train")[0][chosen])
    return QuantizationImages(images, labelled_images(dataset, "test", torch.device("cpu")), dataset.name, seed)


def quantize(
    model: Model,
    images: QuantizationImages,
    per_layer: bool = False,
    on_share: Callable[[float], None] = lambda _: None,
) -> tuple[ModelProto, tuple[LayerCost, ...]]:
    """The graph of a model in int8, and what each layer costs where `per_layer` asks for it.

    The graph takes raw images in float32, as that of fp32 does; it quantizes them itself. Ranges are measured once. The
    cost of a layer is that of a graph in which it alone is int8, with the activation behind it, so it takes a while:
    `on_share` gets the share that is done.
    """
    import onnx
    from onnx.helper import set_model_props

    plain = onnx_model(model)
    metadata = {entry.key: entry.value for entry in plain.metadata_props} | {"quantization": images.describe()}
    fold_batch_norm(plain)
    # Says that folding is done: else the quantizer logs advice to do it.
    set_model_props(plain, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(plain, Path(folder) / PLAIN)
        made = _quantized(Path(folder), plain.graph, images.calibration)
        set_model_props(made, metadata)
        if not per_layer:
            return made, ()
        costs = []
        expected = run_onnx(plain.SerializeToString(), images.calibration)
        layers = dict(_layers(plain.graph))
        for name, nodes in layers.items():
            alone = _quantized(Path(folder), plain.graph, images.calibration, nodes)
            logits = run_onnx(alone.SerializeToString(), images.calibration)
            error = (logits - expected).square().mean().sqrt() / expected.square().mean().sqrt()
            changed = (logits.argmax(1) != expected.argmax(1)).float().mean()
            costs.append(LayerCost(name, error.item(), changed.item()))
            on_share(len(costs) / len(layers))
    return made, tuple(costs)


def _quantized(folder: Path, graph: GraphProto, calibration: Tensor, nodes: Sequence[str] = ()) -> ModelProto:
    """The folded graph in a folder with nodes of these names in int8, or all that can be; the folder keeps ranges."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(calibration.split(BATCH))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": raw(batch)}

    fixed = {node.output[0]: [SIGMOID] for node in graph.node if node.op_type == "Sigmoid"} | {"images": [PIXELS]}
    path = folder / "int8.onnx"
    quantize_static(
        folder / PLAIN, path, Reader(), op_types_to_quantize=[*QUANTIZED], nodes_to_quantize=[*nodes],
        per_channel=True, activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
        calibration_cache_path=folder / "ranges.json",
        extra_options={"TensorQuantOverrides": fixed, "MinimumRealRange": LEAST_RANGE},
    )  # fmt: skip
    return _without_zeros_of_biases(onnx.load(path))


def _without_zeros_of_biases(made: ModelProto) -> ModelProto:
    """A graph without the zero points of int32, which ONNX takes for 0: they are 4 % of a file for a small device."""
    int32 = {t.name for t in made.graph.initializer if t.data_type == t.INT32}
    for node in made.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in int32:
            del node.input[2:]
    used = {name for node in made.graph.node for name in node.input}
    for place in reversed(range(len(made.graph.initializer))):
        if made.graph.initializer[place].name not in used:
            del made.graph.initializer[place]
    return made


def _layers(graph: GraphProto) -> Iterator[tuple[str, list[str]]]:
    """Each layer with a name in the network, and the names of its nodes: it and the activation that it feeds."""
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            behind = [n.name for n in graph.node if n.op_type in ACTIVATIONS and node.output[0] in n.input]
            yield layer_name(node), [node.name, *behind]


def layer_name(node: NodeProto) -> str:
    """The network's own name of the layer that a node computes, by its weights."""
    return str(node.input[1]).removesuffix(".weight")


def fold_batch_norm(made: ModelProto) -> None:
    """Fold batch norm into the convolution before it, and normalize the images by a convolution, in place.

    A batch norm that no convolution precedes becomes a depthwise convolution of one pixel: in int8 it is a layer like
    the others, with a scale for each channel.
    """
    from onnx import numpy_helper, shape_inference

    graph = made.graph
    shapes = {v.name: v.type.tensor_type.shape.dim for v in shape_inference.infer_shapes(made).graph.value_info}
    values = {t.name: numpy_helper.to_array(t).astype(np.float64) for t in graph.initializer if t.data_type == 1}
    n_uses = Counter(name for node in graph.node for name in node.input)
    sources = {node.output[0]: node for node in graph.node}
    kept: list[NodeProto] = []
    for node in graph.node:
        before = sources.get(node.input[0]) if node.input else None
        if node.op_type == "Div" and before is not None and before.op_type == "Sub" and before.input[0] == "images":
            mean, std = (values[name].reshape(-1) for name in (before.input[1], node.input[1]))
            kept.remove(before)
            kept.append(_pointwise(node, "normalize", "images", 1 / std, -mean / std, values))
        elif node.op_type == "BatchNormalization" and len(shapes.get(node.output[0], ())) == 4:
            epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
            scale, shift, mean, variance = (values[name] for name in node.input[1:5])
            factor = scale / np.sqrt(variance + epsilon)
            if before is not None and before.op_type == "Conv" and n_uses[before.output[0]] == 1:
                weight, *bias = before.input[1:]
                old_bias = values[bias[0]] if bias else 0.0
                values[weight] = values[weight] * factor[:, None, None, None]
                values[f"{layer_name(before)}.bias"] = (old_bias - mean) * factor + shift
                before.input[:] = [before.input[0], weight, f"{layer_name(before)}.bias"]
                before.output[0] = node.output[0]
                sources[node.output[0]] = before
            else:
                name = node.input[1].removesuffix(".weight")
                kept.append(_pointwise(node, name, node.input[0], factor, shift - mean * factor, values))
        else:
            if node.op_type == "AveragePool" and _covers(node, shapes.get(node.input[0], ())):
                # As a mean it has a scale of its own: that of the map, whose peaks are high, is too coarse for means.
                node.op_type = "GlobalAveragePool"
                del node.attribute[:]
            kept.append(node)
    used = {name for node in kept for name in node.input}
    others = [t for t in graph.initializer if t.data_type != 1 and t.name in used]
    made_anew = [numpy_helper.from_array(v.astype(np.float32), name) for name, v in values.items() if name in used]
    for field, items in (graph.node, [*kept]), (graph.initializer, [*others, *made_anew]):
        copies = [type(item).FromString(item.SerializeToString()) for item in items]
        del field[:]
        field.extend(copies)


def _covers(pool: NodeProto, shape: Sequence[Any]) -> bool:
    """Whether a pool takes the whole map at once."""
    kernel = next(a.ints for a in pool.attribute if a.name == "kernel_shape")
    return [*kernel] == [size.dim_value for size in shape[2:]]


def _pointwise(
    node: NodeProto, name: str, source: str, factor: NDArray[Any], shift: NDArray[Any], values: dict[str, NDArray[Any]]
) -> NodeProto:
    """A depthwise convolution of one pixel that scales and shifts each channel, in the place of a node."""
    from onnx.helper import make_node

    values[f"{name}.weight"], values[f"{name}.bias"] = factor.reshape(-1, 1, 1, 1), shift
    inputs = [source, f"{name}.weight", f"{name}.bias"]
    return make_node("Conv", inputs, [node.output[0]], node.name, kernel_shape=[1, 1], group=len(factor))

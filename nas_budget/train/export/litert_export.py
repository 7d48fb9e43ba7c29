"""A graph of int8 as a LiteRT (TensorFlow Lite) file, the form that interpreters on microcontrollers read.

The converters of LiteRT take a torch program, bring several gigabytes of packages and round anew. The graph that
`quantize` gives is int8 from end to end already, so each of its operators has one in LiteRT of the same scales and zero
points; only the order of axes changes, and padding becomes an operator of its own where LiteRT would pad otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nas_budget.errors import ModelError
from nas_budget.records.atomic_write import write_whole

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

METADATA = "nas-budget"
"""Name of the buffer that holds the spec and the classes, as JSON."""
NO_LAYERS = ("QuantizeLinear", "DequantizeLinear", "Constant", "CastLike")
"""Operators that are no layers: roundings are part of the tensors, the others give constants such as ReLU6's bounds."""
SCHEMA_VERSION = 3
IDENTIFIER = b"TFL3"


def write_litert(path: Path, graph: ModelProto) -> None:
    """Write a graph of int8, from `quantize`, as a LiteRT file for one image at a time.

    It takes an int8 image (1, size, size, channels), each pixel less 128, and gives int8 logits (1, classes).

    Raises:
        ModelError: An operator that LiteRT has no equal of; the message names the layer.
    """
    write_whole(path, litert_model(graph))


def litert_model(graph: ModelProto) -> bytes:
    """The content of the file that `write_litert` writes."""
    import flatbuffers

    class Aligned(flatbuffers.Builder):  # type: ignore[misc]
        """Weights begin at multiples of 16 bytes, as the schema asks, so that a chip reads them where they lie."""

        def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802
            self.weights = x.dtype == np.uint8
            return int(super().CreateNumpyVector(x))

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
            alignment, self.weights = 16 if getattr(self, "weights", False) else alignment, False
            return int(super().StartVector(elemSize, numElems, alignment))

    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    about = f'{{"spec": {metadata["spec"]}, "classes": {metadata["classes"]}}}'
    builder = Aligned(1 << 16)
    builder.Finish(_Writer(graph.graph).model(about).Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


class _Writer:
    """Translates nodes one by one; tensors are known by the names that the graph gives their quantized form."""

    def __init__(self, graph: GraphProto) -> None:
        from ai_edge_litert import schema_py_generated as schema
        from onnx import numpy_helper

        self.schema = schema
        self.graph = graph
        self.values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.shapes = _shapes(graph)
        # Of a number in fp32: the name of its int8 form with its scale and zero point, read from it or made of it.
        self.int8 = {n.output[0]: tuple(n.input) for n in graph.node if n.op_type == "DequantizeLinear"}
        self.rounded = {n.input[0]: (n.output[0], *n.input[1:]) for n in graph.node if n.op_type == "QuantizeLinear"}
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]
        self.operators: list[Any] = []
        self.codes: list[Any] = []
        self.places: dict[str, int] = {}
        self.padded: dict[tuple[int, int], int] = {}

    def model(self, about: str) -> Any:
        """The whole model, with a text about the network in it."""
        schema = self.schema
        name, scale, zero_point = self.rounded["images"]
        pixels, logits = self._activation(name, scale, zero_point, "images"), self.graph.output[0].name
        for node in self.graph.node:
            if node.op_type not in NO_LAYERS:
                self._translate(node)
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "network", self.tensors, self.operators
        graph.inputs, graph.outputs = [pixels], [self.places[self.int8[logits][0]]]
        made = schema.ModelT()
        made.version, made.description = SCHEMA_VERSION, "nas-budget"
        made.operatorCodes, made.subgraphs = self.codes, [graph]
        entry = schema.MetadataT()
        entry.name, entry.buffer = METADATA, self._buffer(np.frombuffer(about.encode(), np.uint8))
        made.metadata, made.buffers = [entry], self.buffers
        return made

    def _translate(self, node: NodeProto) -> None:
        translate = getattr(self, f"_{node.op_type.lower()}", None)
        if translate is None:
            raise ModelError(
                f"LiteRT has no operator like {node.op_type} ({node.name or node.output[0]}); "
                "export as onnx-int8, or choose a network without it"
            )
        translate(node)

    # --- Layers -----------------------------------------------------------------------------------------------------

    def _conv(self, node: NodeProto) -> None:
        given = _attributes(node)
        groups, (stride, _) = given.get("group", 1), given.get("strides", [1, 1])
        kernel, pad = given["kernel_shape"][0], given.get("pads", [0])[0]
        source, size = self._source(node.input[0]), self.shapes[node.input[0]][2]
        options = self.schema.Conv2DOptionsT()
        n_inputs, n_outputs = self.shapes[node.input[0]][1], self.shapes[node.output[0]][1]
        weight = self.values[self.int8[node.input[1]][0]]
        if groups == n_inputs and groups > 1:
            options = self.schema.DepthwiseConv2DOptionsT()
            options.depthMultiplier = n_outputs // n_inputs
            weight, axis = weight.transpose(1, 2, 3, 0), 3
        else:
            weight, axis = weight.transpose(0, 2, 3, 1), 0
        options.strideH = options.strideW = stride
        options.dilationHFactor = options.dilationWFactor = 1
        padding = self.schema.Padding
        options.padding = padding.SAME if _pads_alike(size, kernel, stride, pad) else padding.VALID
        if options.padding == padding.VALID and pad:
            source = self._padded(source, pad)
        inputs = [source, self._weight(node.input[1], weight, axis), self._bias(node)]
        kind = "DEPTHWISE_CONV_2D" if axis == 3 else "CONV_2D"
        self._operator(kind, inputs, self._result(node), options)

    def _padded(self, source: int, pad: int) -> int:
        """The map with a border of zeros, by an operator of its own; layers that read the same map share it."""
        if (source, pad) in self.padded:
            return self.padded[source, pad]
        of = self.tensors[source]
        shape = [1, of.shape[1] + 2 * pad, of.shape[2] + 2 * pad, of.shape[3]]
        place = self.padded[source, pad] = self._tensor(f"{of.name} padded", shape, "INT8")
        self.tensors[place].quantization = of.quantization
        border = np.array([[0, 0], [pad, pad], [pad, pad], [0, 0]], np.int32)
        self._operator("PAD", [source, self._constant(f"border of {pad}", border)], place, self.schema.PadOptionsT())
        return place

    def _gemm(self, node: NodeProto) -> None:
        weight = self.values[self.int8[node.input[1]][0]]
        if not _attributes(node).get("transB", 0):
            weight = weight.T
        if (flat := self._flattened(node.input[0])) is not None:
            channels, height, width = flat
            weight = weight.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(len(weight), -1)
        options = self.schema.FullyConnectedOptionsT()
        inputs = [self._source(node.input[0]), self._weight(node.input[1], weight, 0), self._bias(node)]
        self._operator("FULLY_CONNECTED", inputs, self._result(node), options)

    def _flattened(self, name: str) -> tuple[int, int, int] | None:
        """Channels, height and width of the map that a vector was made of, which lie in another order in LiteRT."""
        made_by = {n.output[0]: n for n in self.graph.node}
        int8 = self.int8.get(name)
        rounding = made_by.get(int8[0]) if int8 else None
        node = made_by.get(rounding.input[0]) if rounding else None
        if node is None or node.op_type != "Flatten":
            return None
        _, *shape = self.shapes[node.input[0]]
        channels, height, width = (*shape, 1, 1)[:3]
        return channels, height, width

    def _add(self, node: NodeProto) -> None:
        self._operator("ADD", [*map(self._source, node.input)], self._result(node), self.schema.AddOptionsT())

    def _mul(self, node: NodeProto) -> None:
        self._operator("MUL", [*map(self._source, node.input)], self._result(node), self.schema.MulOptionsT())

    def _sigmoid(self, node: NodeProto) -> None:
        self._operator("LOGISTIC", [self._source(node.input[0])], self._result(node))

    def _relu(self, node: NodeProto) -> None:
        self._operator("RELU", [self._source(node.input[0])], self._result(node))

    def _clip(self, node: NodeProto) -> None:
        # What was measured of ReLU6 ends at 6, and a rounded number ends where its scale does.
        self._relu(node)

    def _hardswish(self, node: NodeProto) -> None:
        options = self.schema.HardSwishOptionsT()
        self._operator("HARD_SWISH", [self._source(node.input[0])], self._result(node), options)

    def _averagepool(self, node: NodeProto) -> None:
        self._pool("AVERAGE_POOL_2D", node)

    def _maxpool(self, node: NodeProto) -> None:
        self._pool("MAX_POOL_2D", node)

    def _pool(self, kind: str, node: NodeProto) -> None:
        given = _attributes(node)
        (kernel, _), (stride, _) = given["kernel_shape"], given.get("strides", [1, 1])
        pad, size = given.get("pads", [0])[0], self.shapes[node.input[0]][2]
        if pad and not _pads_alike(size, kernel, stride, pad):
            raise ModelError(f"LiteRT cannot pad the pool {node.name} by {pad}; export as onnx-int8, or pool otherwise")
        options = self.schema.Pool2DOptionsT()
        options.filterHeight = options.filterWidth = kernel
        options.strideH = options.strideW = stride
        options.padding = self.schema.Padding.SAME if pad else self.schema.Padding.VALID
        self._operator(kind, [self._source(node.input[0])], self._result(node), options)

    def _globalaveragepool(self, node: NodeProto) -> None:
        self._mean(node, keeps=True)

    def _reducemean(self, node: NodeProto) -> None:
        self._mean(node, keeps=bool(_attributes(node).get("keepdims", 1)))

    def _mean(self, node: NodeProto, keeps: bool) -> None:
        options = self.schema.ReducerOptionsT()
        options.keepDims = keeps
        axes = self._constant("height and width", np.array([1, 2], np.int32))
        self._operator("MEAN", [self._source(node.input[0]), axes], self._result(node), options)

    def _flatten(self, node: NodeProto) -> None:
        self._reshape(node)

    def _unsqueeze(self, node: NodeProto) -> None:
        self._reshape(node)

    def _reshape(self, node: NodeProto) -> None:
        place = self._result(node)
        options = self.schema.ReshapeOptionsT()
        options.newShape = self.tensors[place].shape
        shape = self._constant(f"shape of {node.output[0]}", np.array(options.newShape, np.int32))
        self._operator("RESHAPE", [self._source(node.input[0]), shape], place, options)

    # --- Tensors ----------------------------------------------------------------------------------------------------

    def _source(self, name: str) -> int:
        """The tensor that a number in fp32 is read from."""
        return self.places[self.int8[name][0]]

    def _result(self, node: NodeProto) -> int:
        """The tensor that a node's result is rounded to."""
        name, scale, zero_point = self.rounded[node.output[0]]
        return self._activation(name, scale, zero_point, node.output[0])

    def _activation(self, name: str, scale: str, zero_point: str, of: str) -> int:
        place = self._tensor(name, _channels_last(self.shapes[of]), "INT8")
        self.tensors[place].quantization = self._quantization(scale, zero_point)
        self.places[name] = place
        return place

    def _weight(self, name: str, value: NDArray[Any], axis: int) -> int:
        int8, scale, zero_point = self.int8[name]
        place = self._constant(int8, np.ascontiguousarray(value))
        self.tensors[place].quantization = self._quantization(scale, zero_point, axis)
        return place

    def _bias(self, node: NodeProto) -> int:
        """The bias of a layer, zeros where it has none.

        Its scale is that of input times weight. LiteRT checks it for a single channel only, so others save its room.
        """
        if len(node.input) > 2:
            name, scale = self.int8[node.input[2]]
            place = self._constant(name, self.values[name])
            if self.values[scale].size == 1:
                self.tensors[place].quantization = self._quantization(scale)
            return place
        return self._constant(f"{node.input[1]} zeros", np.zeros(self.shapes[node.output[0]][1], np.int32))

    def _quantization(self, scale: str, zero_point: str = "", axis: int = 0) -> Any:
        made = self.schema.QuantizationParametersT()
        made.scale = np.atleast_1d(self.values[scale]).astype(np.float32)
        made.zeroPoint = np.atleast_1d(self.values.get(zero_point, 0)).astype(np.int64)
        made.quantizedDimension = axis
        return made

    def _constant(self, name: str, value: NDArray[Any]) -> int:
        kind = {"int8": "INT8", "int32": "INT32"}[value.dtype.name]
        place = self._tensor(name, value.shape, kind)
        self.tensors[place].buffer = self._buffer(value.reshape(-1).view(np.uint8))
        return place

    def _tensor(self, name: str, shape: Any, kind: str) -> int:
        made = self.schema.TensorT()
        made.name, made.shape, made.type = name, [*shape], getattr(self.schema.TensorType, kind)
        self.tensors.append(made)
        return len(self.tensors) - 1

    def _buffer(self, data: NDArray[np.uint8]) -> int:
        made = self.schema.BufferT()
        made.data = data
        self.buffers.append(made)
        return len(self.buffers) - 1

    def _operator(self, kind: str, inputs: list[int], output: int, options: Any = None) -> None:
        schema = self.schema
        code = getattr(schema.BuiltinOperator, kind)
        found = [place for place, made in enumerate(self.codes) if made.builtinCode == code]
        if not found:
            made = schema.OperatorCodeT()
            made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), VERSIONS.get(kind, 1)
            self.codes.append(made)
        operator = schema.OperatorT()
        operator.opcodeIndex = found[0] if found else len(self.codes) - 1
        operator.inputs, operator.outputs = inputs, [output]
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
            operator.builtinOptions = options
        self.operators.append(operator)


VERSIONS = {
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "ADD": 2, "MUL": 2, "LOGISTIC": 2, "RELU": 2,
    "AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2, "MEAN": 2, "PAD": 2,
}  # fmt: skip
"""Of each operator: the first that takes int8, by LiteRT's list of versions."""


def _shapes(graph: GraphProto) -> dict[str, list[int]]:
    """The shape of every number in fp32 that nodes give, for one image."""
    from onnx import shape_inference
    from onnx.helper import make_model

    alone = type(graph).FromString(graph.SerializeToString())
    alone.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    known = shape_inference.infer_shapes(make_model(alone), data_prop=True).graph
    values = (*known.value_info, *known.input, *known.output)
    return {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in values}


def _channels_last(shape: list[int]) -> list[int]:
    """The shape of a map (1, channels, height, width) as LiteRT has it; others stay."""
    if len(shape) != 4:
        return shape
    n, channels, height, width = shape
    return [n, height, width, channels]


def _attributes(node: NodeProto) -> dict[str, Any]:
    from onnx.helper import get_attribute_value

    return {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}


def _pads_alike(size: int, kernel: int, stride: int, pad: int) -> bool:
    """Whether LiteRT's own padding "same" puts the windows where `pad` pixels on each side put them."""
    n = -(-size // stride)
    before = max((n - 1) * stride + kernel - size, 0) // 2
    return before == pad and n == (size + 2 * pad - kernel) // stride + 1

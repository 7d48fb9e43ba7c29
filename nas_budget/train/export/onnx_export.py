"""A trained network as an ONNX file. Batch norm is not folded into convolutions, so parameters can be counted."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nas_budget.arch.cost import cost
from nas_budget.errors import ModelError
from nas_budget.records.atomic_write import write_whole
from nas_budget.train.engine.weights import Model
from nas_budget.train.export.torch_export import describe, program

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

OPSET = 18
MOST_BYTES = 2**31 - 2**20
"""Bytes of weights that one file of protocol buffers holds, with room for the graph."""


def write_onnx(path: Path, model: Model) -> None:
    """Write a model, its weights within, for any number of raw images at a time."""
    size = cost(model.spec).weight_bytes["fp32"]
    if size > MOST_BYTES:
        raise ModelError(
            f"{path}: {size:,} bytes of weights are more than the {MOST_BYTES:,} that ONNX holds in a file"
        )
    write_whole(path, onnx_model(model).SerializeToString())


def onnx_model(model: Model) -> ModelProto:
    """The graph of a model, checked, with its metadata; tensors have the names that the network has for them."""
    import onnx

    made = _converted(model)
    _tidy(made.graph)
    made = _without_rest(made)
    onnx.helper.set_model_props(made, describe(model))
    onnx.checker.check_model(made, full_check=True)
    return made


def _converted(model: Model) -> ModelProto:
    """What torch makes of it, without its optimizer, which folds batch norm into convolutions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program(model), dynamo=True, optimize=False, verbose=False, opset_version=OPSET,
            input_names=["images"], output_names=["logits"],
        )  # fmt: skip
    if made is None:
        raise ModelError("torch.onnx gave no graph")
    found: ModelProto = made.model_proto
    return found


def _tidy(graph: GraphProto) -> None:
    """Remove what the exporter adds without its optimizer, and give tensors the network's own names."""
    sources = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type == "Conv":
            del node.input[2:]  # zeros: no convolution of the family has a bias
        elif node.op_type == "Reshape" and sources[node.input[0]].op_type == "AveragePool":
            node.op_type = "Flatten"
            del node.input[1:], node.attribute[:]
        for place, name in enumerate(node.input):
            while name in sources and _changes_nothing(sources[name], sources):
                name = sources[name].input[0]
            node.input[place] = name.removeprefix("network.")
    for tensor in graph.initializer:
        tensor.name = tensor.name.removeprefix("network.")


def _changes_nothing(node: NodeProto, sources: dict[str, NodeProto]) -> bool:
    """Whether a node only passes on its first input: here slices are of everything, and constants flat already."""
    flat = node.op_type == "Reshape" and node.input[0] in sources and sources[node.input[0]].op_type == "Constant"
    return flat or node.op_type in ("Identity", "Slice")


def _without_rest(made: ModelProto) -> ModelProto:
    """A model without what nothing uses, and without what describes the machine and the code that exported it."""
    from onnxscript import ir
    from onnxscript.ir.passes import common

    tidied = ir.from_proto(made)
    for each in common.RemoveUnusedNodesPass(), common.ClearMetadataAndDocStringPass():
        each(tidied)
    found: ModelProto = ir.to_proto(tidied)
    del found.graph.value_info[:]
    return found

"""A trained network as a `torch.export` program that takes raw images; ONNX files are made from it."""

from __future__ import annotations

import copy
import io
import json
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from nas_budget.arch.cost import cost
from nas_budget.records.atomic_write import write_whole
from nas_budget.train.data.open import NAMED
from nas_budget.train.engine.convolutions import DepthwiseConv2d, PointwiseConv2d
from nas_budget.train.engine.weights import Model, weights_digest

ABOUT = ("weights", "accuracy", "test_images")
"""What is known of a training and goes into exported files."""


class RawImages(nn.Module):
    """A network that takes images as they are, float32 (N, channels, size, size) in 0..255, and normalizes them."""

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.network = _plain(model.network)
        # Not "mean": the exporter gives what an operation computes that name too.
        self.register_buffer("image_mean", torch.tensor(model.mean, dtype=torch.float32).view(-1, 1, 1))
        self.register_buffer("image_std", torch.tensor(model.std, dtype=torch.float32).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, size, size) to logits (N, classes)."""
        logits: Tensor = self.network((images - self.image_mean) / self.image_std)
        return logits


def _plain(network: nn.Module) -> nn.Module:
    """A copy of a network in torch's own convolutions: what ours avoid is in training alone."""
    made = copy.deepcopy(network).cpu().eval()
    for module in made.modules():
        if isinstance(module, PointwiseConv2d | DepthwiseConv2d):
            module.__class__ = nn.Conv2d  # type: ignore[assignment]
    return made


def program(model: Model) -> torch.export.ExportedProgram:
    """The network as a graph that takes any number of raw images, without traces of the code that made it."""
    spec = model.spec
    example = torch.zeros(2, spec.in_channels, spec.image_size, spec.image_size)
    batch = torch.export.Dim("batch")
    made = torch.export.export(RawImages(model).eval(), (example,), dynamic_shapes=({0: batch},))
    for node in made.graph.nodes:
        node.meta.pop("stack_trace", None)
    return made


def describe(model: Model) -> dict[str, str]:
    """Metadata of an exported file: inputs, outputs, classes, parameters, spec, digest, training."""
    spec = model.spec
    shape = f"{spec.in_channels}, {spec.image_size}, {spec.image_size}"
    return {
        "images": f"float32 (batch, {shape}), pixels as they are, 0 to 255; normalized inside",
        "logits": f"float32 (batch, {spec.classes}), one for each class; softmax gives probabilities",
        "classes": json.dumps(model.classes),
        "params": str(cost(spec).params),
        "spec": spec.to_json(),
        "weights_digest": weights_digest(model.network.state_dict()),
        "about": json.dumps({name: model.about[name] for name in ABOUT if name in model.about} | _named_data(model)),
    }


def _named_data(model: Model) -> dict[str, str]:
    """The data set where it has a name: a path would tell of the machine that trained."""
    data = model.about.get("data")
    return {"data": data} if data in (*NAMED, "shapes") else {}


def write_torch(path: Path, model: Model) -> None:
    """Write a model, its weights within, as `torch.export.load` reads it."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = program(model)
        graph.example_inputs = None
        torch.export.save(graph, content, extra_files={f"{k}.txt": v for k, v in describe(model).items()})
    write_whole(path, content.getvalue())

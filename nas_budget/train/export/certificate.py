"""Certificate of an export, beside the budget, and the readers that run and count each file again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor

from nas_budget.arch.budget import Budget, Margin, Verdict
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import AnySpec, spec_from_json
from nas_budget.train.engine.evaluate import predict_logits
from nas_budget.train.engine.weights import load_model
from nas_budget.train.export.onnx_network import raw, run_onnx

if TYPE_CHECKING:
    from nas_budget.train.export.quantize import LayerCost

TOLERANCE = 1e-4
"""Greatest difference of logits that is allowed, as a share of the greatest logit, or of 1 where that is less."""
ELSEWHERE = ("accuracy", "test_images", "data", "budget")
"""What is known of a training that has keys of its own in the certificate."""
TRAINABLE = "shapes in the header, of what the network has as trainable parameters"

Batches = Sequence[Tensor]
"""Images, uint8 (n, size, size, channels) each, that go into a file one after the other."""
Reading = tuple[int, Tensor | None]
"""Trainable parameters counted in a file, and its logits of all images, float32 (n, classes); None for a spec."""


@dataclass(frozen=True)
class FileRecord:
    """An exported file, as it was read back.

    `params` are the trainable parameters in it, and `counted` says how they were told apart from buffers.
    `max_difference` is the greatest one of its logits from torch's, measured as `TOLERANCE`; None for a spec.
    """

    file: str
    format: str
    bytes: int
    sha256: str
    params: int
    counted: str
    max_difference: float | None


@dataclass(frozen=True)
class Int8Record:
    """An exported file of int8, as it was read back and run on the test images.

    Attributes:
        model_bytes: What a device holds of it: of a C file its array, of the others the whole file.
        accuracy: Of the file, 0 to 1.
        same_class: Share of the test images that it and the network in fp32 put into the same class.
        arena_bytes: RAM that TensorFlow Lite Micro takes to run it; None for other formats, or where it is not
            installed.
    """

    file: str
    format: str
    bytes: int
    model_bytes: int
    sha256: str
    accuracy: float
    same_class: float
    arena_bytes: int | None = None


@dataclass(frozen=True)
class Quantization:
    """What became of the network in int8, measured beside fp32 on the same test images.

    Attributes:
        data: The data set of all these images.
        test_images: How many the accuracies are of.
        fp32_accuracy: Accuracy before quantization, 0 to 1.
        calibration_images: How many training images the ranges were measured on.
        calibration_seed: Which of them were drawn.
        files: Each file of int8, in the order they were written.
        layers: What each layer alone costs in int8, where that was asked for.
    """

    data: str
    test_images: int
    fp32_accuracy: float
    calibration_images: int
    calibration_seed: int
    files: tuple[Int8Record, ...]
    layers: tuple[LayerCost, ...] = ()


@dataclass(frozen=True)
class Certificate:
    """What was exported, with proof that each file holds the same network, as `export` returns it.

    Each file was read back. Its trainable parameters were counted and equal those of the spec, and its logits of
    random images equal torch's up to `TOLERANCE`; a file that fails is never certified. A network over the budget
    is certified too: `verdict` says so.

    Attributes:
        budget: The limits: those the network was trained under, or those that were given instead.
        about: What is known of the training: data, seed, weights ("plain" or "ema"), accuracy on test images and how
            many they are.
        weights_digest: SHA-256 over names, shapes and values of the exported tensors.
        files: Each file, in the order they were written.
        versions: Version of each package that took part.
        date: Date and time, in UTC.
        quantization: The files of int8 and their accuracy; None without such files.
        frozen: Parameters that are not trained, as a family of your own may have some.

    Examples:
        >>> from nas_budget import ResNetSpec
        >>> spec = ResNetSpec((32, 64, 96, 128, 185))
        >>> certificate = Certificate(spec, Budget(), {"accuracy": 0.93}, "", (), {}, "2026-01-01")
        >>> certificate.verdict.fits, certificate.accuracy, certificate.to_dict()["params"]
        (True, 0.93, 4907445)
    """

    spec: AnySpec
    budget: Budget
    about: dict[str, Any]
    weights_digest: str
    files: tuple[FileRecord, ...]
    versions: dict[str, str]
    date: str
    quantization: Quantization | None = None
    frozen: int = 0

    @property
    def all_params(self) -> int:
        """Parameters, trainable and frozen."""
        return cost(self.spec).params + self.frozen

    @property
    def fits(self) -> bool:
        """Whether the network fits the budget, and each file of int8 the limits that are in int8."""
        return self.verdict.fits and all(verdict.fits for verdict in self.int8_verdicts.values())

    @property
    def int8_verdicts(self) -> dict[str, Verdict]:
        """Whether each file of int8, by its name, keeps the limit on bytes of int8 weights, where there is one."""
        limit = self.budget.weight_bytes if self.budget.weight_format == "int8" else None
        files = self.quantization.files if self.quantization else ()
        return {f.file: Verdict((Margin("weight_bytes", limit, f.model_bytes),) if limit else ()) for f in files}

    @property
    def verdict(self) -> Verdict:
        """Whether the network fits the budget, limit by limit."""
        return self.budget.check(self.spec)

    @property
    def accuracy(self) -> float | None:
        """Accuracy on test images, 0 to 1; None where it is not known."""
        value = self.about.get("accuracy")
        return value if isinstance(value, float) and 0 <= value <= 1 else None

    @property
    def test_images(self) -> int | None:
        """How many images that is of; None where it is not known."""
        value = self.about.get("test_images")
        return value if isinstance(value, int) and value >= 1 else None

    def to_dict(self) -> dict[str, Any]:
        """The certificate as JSON-ready values."""
        used = cost(self.spec)
        return {
            "format": "nas-budget certificate 2",
            "network": str(self.spec),
            "spec": self.spec.to_dict(),
            "params": used.params,
            "frozen_params": self.frozen,
            "all_params": self.all_params,
            "buffers": used.buffers - self.frozen,
            "integer_bytes": used.integer_bytes,
            "macs": used.macs,
            "weight_bytes": used.weight_bytes,
            "activation_bytes": used.activations_by_format,
            "budget": self.budget.to_dict(),
            **self.verdict.to_dict(),
            "fits": self.fits,
            "test_accuracy": self.accuracy,
            "test_images": self.test_images,
            "test_data": self.about.get("data"),
            "training": {name: value for name, value in self.about.items() if name not in ELSEWHERE},
            "weights_digest": self.weights_digest,
            "files": [asdict(record) | {"params_equal": record.params == used.params} for record in self.files],
            "tolerance": TOLERANCE,
            "quantization": self.quantization and self._quantization_dict(self.quantization),
            "versions": self.versions,
            "date": self.date,
        }

    def _quantization_dict(self, made: Quantization) -> dict[str, Any]:
        values = asdict(made)
        for record in values["files"]:
            record |= self.int8_verdicts[record["file"]].to_dict()
        return values


def max_difference(logits: Tensor, expected: Tensor) -> float:
    """Greatest difference of logits as a share of the greatest one, or of 1 where that is less; NaN where one is."""
    return ((logits - expected).abs().max() / expected.abs().max().clamp(min=1)).item()


def read_spec_file(path: Path, _batches: Batches) -> Reading:
    """The parameters of a spec, in closed form, and no logits."""
    return cost(spec_from_json(path.read_text(encoding="utf-8"))).params, None


def read_safetensors(path: Path, batches: Batches) -> Reading:
    """Parameters by the shapes in the file's header, and the logits of the model in it."""
    with safe_open(path, "pt") as file:
        shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - it is no mapping
    model = load_model(path)
    logits = [predict_logits(model.network, batch, model.normalized) for batch in batches]
    trained = [name for name, parameter in model.network.named_parameters() if parameter.requires_grad]
    return sum(prod(shapes[name]) for name in trained), torch.cat(logits)


def read_onnx(path: Path, batches: Batches) -> Reading:
    """Parameters as the numbers stored in the graph, and its logits.

    Not counted are the running statistics of batch norm (inputs 4 and 5 of a BatchNormalization), and the mean and
    standard deviation of the images (constants of a subtraction and a division).
    """
    import onnx

    graph = onnx.load(path).graph
    buffers = {name for node in graph.node if node.op_type == "BatchNormalization" for name in node.input[3:5]}
    buffers |= {name for node in graph.node if node.op_type in ("Sub", "Div") for name in node.input}
    stored = [t for t in graph.initializer if t.name not in buffers and t.data_type == onnx.TensorProto.FLOAT]
    content = path.read_bytes()
    return sum(prod(tensor.dims) for tensor in stored), torch.cat([run_onnx(content, batch) for batch in batches])


def read_torch(path: Path, batches: Batches) -> Reading:
    """What the loaded program names its parameters, and its logits."""
    program = torch.export.load(path)
    run = program.module()
    with torch.inference_mode():
        logits = [run(torch.from_numpy(raw(batch))) for batch in batches]
    return sum(p.numel() for p in program.parameters()), torch.cat(logits)

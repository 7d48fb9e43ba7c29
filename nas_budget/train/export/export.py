"""Export of a trained network: each file is written, read back, run and counted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.family_spec import FamilySpec
from nas_budget.errors import ModelError, NasBudgetError, StorageError, UsageError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.paths import CERTIFICATE, SPEC, WEIGHTS
from nas_budget.train.engine.evaluate import accuracy_of, predict_logits
from nas_budget.train.engine.weights import Model, save_model, weights_digest
from nas_budget.train.export import certificate
from nas_budget.train.export.c_export import array_in, write_c
from nas_budget.train.export.certificate import (
    TOLERANCE,
    Batches,
    Certificate,
    FileRecord,
    Int8Record,
    Quantization,
    Reading,
)
from nas_budget.train.export.litert_export import write_litert
from nas_budget.train.export.litert_network import arena_bytes, run_litert
from nas_budget.train.export.onnx_export import write_onnx
from nas_budget.train.export.onnx_network import run_onnx
from nas_budget.train.export.quantize import QuantizationImages, quantize
from nas_budget.train.export.standalone import run_standalone, standalone_text
from nas_budget.train.export.torch_export import write_torch
from nas_budget.train.modules.load_module import describe_error

if TYPE_CHECKING:
    from onnx import ModelProto

BATCHES = (1, 2, 7)
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
LITERT_PACKAGES = (*ONNX_PACKAGES, "ai_edge_litert", "flatbuffers")
EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "onnx": ("onnx", ONNX_PACKAGES),
    "onnx-int8": ("onnx", ONNX_PACKAGES),
    "litert-int8": ("litert", LITERT_PACKAGES),
    "c": ("litert", LITERT_PACKAGES),
}
"""The extra of `nas-budget` that a format needs, and the packages in it."""


@dataclass(frozen=True)
class Format:
    """How a model is written to a file of this name, and read back.

    `counted` says how parameters are recognized. Where `with_frozen`, frozen ones are among those counted, as such a
    file does not tell them apart.
    """

    file: str
    write: Callable[[Path, Model], None]
    read: Callable[[Path, Batches], Reading]
    counted: str
    with_frozen: bool = False


@dataclass(frozen=True)
class Int8Format:
    """How a graph of int8 is written to a file of this name, and what a device holds of the file is run.

    Attributes:
        content: What a device holds, read back from the file.
        predict: The logits of images, uint8, by that content.
        arena: The RAM that a microcontroller needs for it.
    """

    file: str
    write: Callable[[Path, ModelProto], None]
    predict: Callable[[bytes, Tensor], Tensor]
    content: Callable[[Path], bytes] = Path.read_bytes
    arena: Callable[[bytes], int | None] = lambda _: None


def export(
    model: Model, folder: Path, budget: Budget | None = None, formats: Sequence[str] = (),
    images: QuantizationImages | None = None, per_layer: bool = False,
) -> Certificate:  # fmt: skip
    """Write a model to a folder in each format, check every file, and certify them.

    `spec.json` and `model.safetensors` are always written; the certificate is written last, to `certificate.json`.
    A network over the budget is exported as well: the certificate's verdict says so.

    Args:
        model: The trained network, as `load_model` reads it.
        folder: Where the files go; it is made.
        budget: The limits that the certificate checks; None for those that the network was trained under.
        formats: Any of "onnx", "torch" (a `torch.export` program), "python" (a file that needs PyTorch alone) and
            "onnx-int8", "litert-int8" and "c".
        images: Images to quantize with, from `quantization_images`; formats of int8 need them.
        per_layer: Also measure what each layer alone costs in int8.

    Raises:
        UsageError: An unknown format, packages that are missing, or no images where they are needed.
        ModelError: A file does not hold the network: it is removed.
        StorageError: A file cannot be written.

    Examples:
        >>> import tempfile
        >>> from nas_budget import ResNetSpec, build
        >>> spec = ResNetSpec((4, 8), blocks=1, classes=2)
        >>> model = Model(spec, build(spec).eval(), ("cat", "dog"), (125.0,) * 3, (60.0,) * 3)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = export(model, Path(folder), Budget(params=5_000))
        >>> [file.file for file in made.files], made.verdict.fits
        (['spec.json', 'model.safetensors'], True)
    """
    check_formats(formats)
    _check_model(model)
    budget = model.budget if budget is None else budget
    chosen = {name: form for name, form in FORMATS.items() if name == "safetensors" or name in formats}
    int8 = [name for name in INT8_FORMATS if name in formats]
    if int8 and images is None:
        raise UsageError(f"--format {int8[0]} needs images to measure ranges on; give quantization_images(...)")
    needed = {package for name in formats for package in EXTRAS.get(name, ("", ()))[1]}
    packages = ("nas-budget", "torch", *sorted(needed))
    batches, expected = _examples(model)
    try:
        (folder / CERTIFICATE).unlink(missing_ok=True)
        made = Certificate(
            spec=model.spec,
            budget=budget,
            about=model.about,
            weights_digest=weights_digest(model.network.state_dict()),
            files=tuple(
                _write(folder / form.file, name, form, model, batches, expected)
                for name, form in {"spec": SPEC_FORMAT, **chosen}.items()
            ),
            versions={name: version(name) for name in packages},
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            frozen=frozen_of(model.network),
            quantization=_write_int8(folder, model, images, int8, per_layer) if int8 and images else None,
        )
        write_whole(folder / CERTIFICATE, json.dumps(made.to_dict(), indent=2) + "\n")
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written to ({error.strerror or error})") from None
    return made


def check_formats(formats: Sequence[str]) -> None:
    """Check that formats are known and their packages installed; a `UsageError` says which is not."""
    for name in formats:
        if name not in (*FORMATS, *INT8_FORMATS):
            raise UsageError(f"--format: {name!r} is unknown; allowed are {', '.join((*FORMATS, *INT8_FORMATS))}")
        extra, packages = EXTRAS.get(name, ("", ()))
        if not all(map(find_spec, packages)):
            listed = f"{', '.join(packages[:-1])} and {packages[-1]}"
            raise UsageError(f"--format {name} needs {listed}: pip install 'nas-budget[{extra}]'")


def left_over(folder: Path, made: Certificate) -> list[str]:
    """Files of an earlier export that a certificate does not list."""
    int8 = made.quantization.files if made.quantization else ()
    certified = {*(record.file for record in made.files), *(record.file for record in int8)}
    known = [*(form.file for form in FORMATS.values()), *(form.file for form in INT8_FORMATS.values())]
    return [file for file in known if file not in certified and (folder / file).exists()]


def _check_model(model: Model) -> None:
    spec, numbers = model.spec, [*model.mean, *model.std]
    if len(model.classes) != spec.classes or not all(isinstance(name, str) for name in model.classes):
        raise ModelError(f"the model names {len(model.classes)} classes and has {spec.classes} logits")
    plain = all(isinstance(value, int | float) and isfinite(value) for value in numbers)
    if not plain or (len(model.mean), len(model.std)) != (spec.in_channels,) * 2 or min(model.std) <= 0:
        raise ModelError(f"the model's mean and std are not {spec.in_channels} numbers each, one for each channel")


def _write(path: Path, name: str, form: Format, model: Model, batches: Batches, expected: Tensor) -> FileRecord:
    """Write a model in a format and read it back: its logits of the batches must be as expected, (n, classes).

    A file that does not hold the network is removed.
    """
    frozen = frozen_of(model.network) if form.with_frozen else 0
    params = cost(model.spec).params
    try:
        form.write(path, model)
        counted, logits = form.read(path, batches)
        found = counted - frozen
        if found != params:
            raise ModelError(f"{path}: {found:,} parameters are counted in it, the spec has {params:,}; it was removed")
        difference = None if logits is None else certificate.max_difference(logits, expected)
        if difference is not None and not difference <= TOLERANCE:
            raise ModelError(
                f"{path}: its logits differ from torch's by {difference:.1e} of the greatest one, allowed is "
                f"{TOLERANCE:.0e}; it was removed"
            )
    except BaseException as error:
        path.unlink(missing_ok=True)
        if (
            isinstance(model.spec, FamilySpec)
            and isinstance(error, Exception)
            and not isinstance(error, NasBudgetError)
        ):
            why = describe_error(error)
            raise ModelError(f"{path}: a network of {model.spec.family} cannot be exported so ({why})") from error
        raise
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return FileRecord(path.name, name, len(content), digest, found, form.counted, difference)


def frozen_of(network: nn.Module) -> int:
    """How many parameters of a network are not trained."""
    return sum(parameter.numel() for parameter in network.parameters() if not parameter.requires_grad)


def _write_int8(
    folder: Path, model: Model, images: QuantizationImages, names: Sequence[str], per_layer: bool
) -> Quantization:
    """Quantize a model, write it in formats of int8, and run each file on the test images."""
    graph, layers = quantize(model, images, per_layer)
    test = images.test
    expected = predict_logits(model.network, test.images, model.normalized)
    records = []
    for name in names:
        form = INT8_FORMATS[name]
        path = folder / form.file
        form.write(path, graph)
        written, content = path.read_bytes(), form.content(path)
        logits = form.predict(content, test.images)
        records.append(
            Int8Record(
                file=form.file,
                format=name,
                bytes=len(written),
                model_bytes=len(content),
                sha256=hashlib.sha256(written).hexdigest(),
                accuracy=accuracy_of(logits, test.labels),
                same_class=accuracy_of(logits, expected.argmax(1)),
                arena_bytes=form.arena(content),
            )
        )
    n, accuracy = len(images.calibration), accuracy_of(expected, test.labels)
    return Quantization(images.data, len(test), accuracy, n, images.seed, tuple(records), layers)


def _examples(model: Model) -> tuple[Batches, Tensor]:
    """Batches of random images, and torch's logits of all of them, (n, classes)."""
    spec = model.spec
    shape = (sum(BATCHES), spec.image_size, spec.image_size, spec.in_channels)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return images.split(BATCHES), predict_logits(model.network, images, model.normalized)


SPEC_FORMAT = Format(
    SPEC,
    lambda path, model: write_whole(path, model.spec.to_json() + "\n"),
    certificate.read_spec_file,
    "closed form of the spec",
)
FORMATS = {
    "safetensors": Format(WEIGHTS, save_model, certificate.read_safetensors, certificate.TRAINABLE),
    "onnx": Format(
        "model.onnx",
        write_onnx,
        certificate.read_onnx,
        "initializers, without batch norm's mean and variance (its inputs 4 and 5) and the images' mean and deviation",
        with_frozen=True,
    ),
    "torch": Format(
        "model.pt2", write_torch, certificate.read_torch, "parameters of the loaded program", with_frozen=True
    ),
    "python": Format(
        "model.py",
        lambda path, model: write_whole(path, standalone_text(model)),
        run_standalone,
        "parameters of the module that the file builds",
    ),
}
"""By name; the weights first, which the others may read."""
INT8_FORMATS = {
    "onnx-int8": Int8Format(
        "model-int8.onnx",
        lambda path, graph: write_whole(path, graph.SerializeToString()),
        run_onnx,
    ),
    "litert-int8": Int8Format("model-int8.tflite", write_litert, run_litert, arena=arena_bytes),
    "c": Int8Format("model.h", write_c, run_litert, array_in, arena_bytes),
}
"""By name; their parameters are not counted again, as batch norm is folded and the numbers are rounded."""

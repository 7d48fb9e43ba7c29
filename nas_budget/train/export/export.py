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

import torch
from torch import Tensor

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.family_spec import FamilySpec
from nas_budget.errors import ModelError, NasBudgetError, StorageError, UsageError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.paths import CERTIFICATE, SPEC, WEIGHTS
from nas_budget.train.engine.evaluate import predict_logits
from nas_budget.train.engine.weights import Model, save_model, weights_digest
from nas_budget.train.export import certificate
from nas_budget.train.export.certificate import TOLERANCE, Batches, Certificate, FileRecord, Reading
from nas_budget.train.export.onnx_export import write_onnx
from nas_budget.train.export.standalone import run_standalone, standalone_text
from nas_budget.train.export.torch_export import write_torch
from nas_budget.train.modules.load_module import describe_error

BATCHES = (1, 2, 7)
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Format:
    """How a model is written to a file of this name, and read back; `counted` says how parameters are recognized."""

    file: str
    write: Callable[[Path, Model], None]
    read: Callable[[Path, Batches], Reading]
    counted: str


def export(model: Model, folder: Path, budget: Budget | None = None, formats: Sequence[str] = ()) -> Certificate:
    """Write a model to a folder in each format, check every file, and certify them.

    `spec.json` and `model.safetensors` are always written; the certificate is written last, to `certificate.json`.
    A network over the budget is exported as well: the certificate's verdict says so.

    Args:
        model: The trained network, as `load_model` reads it.
        folder: Where the files go; it is made.
        budget: The limits that the certificate checks; None for those that the network was trained under.
        formats: Any of "onnx", "torch" (a `torch.export` program) and "python" (a file that needs PyTorch alone).

    Raises:
        UsageError: An unknown format, or packages that are missing.
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
    packages = ("nas-budget", "torch", *(ONNX_PACKAGES if "onnx" in formats else ()))
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
        )
        write_whole(folder / CERTIFICATE, json.dumps(made.to_dict(), indent=2) + "\n")
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written to ({error.strerror or error})") from None
    return made


def check_formats(formats: Sequence[str]) -> None:
    """Check that formats are known and their packages installed; a `UsageError` says which is not."""
    for name in formats:
        if name not in FORMATS:
            raise UsageError(f"--format: {name!r} is unknown; allowed are {', '.join(FORMATS)}")
    if "onnx" in formats and not all(map(find_spec, ONNX_PACKAGES)):
        raise UsageError("--format onnx needs onnx, onnxscript and onnxruntime: pip install 'nas-budget[onnx]'")


def left_over(folder: Path, made: Certificate) -> list[str]:
    """Files of an earlier export that a certificate does not list."""
    certified = {record.file for record in made.files}
    return [f.file for f in FORMATS.values() if f.file not in certified and (folder / f.file).exists()]


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
    params = cost(model.spec).params
    try:
        form.write(path, model)
        found, logits = form.read(path, batches)
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
    ),
    "torch": Format("model.pt2", write_torch, certificate.read_torch, "parameters of the loaded program"),
    "python": Format(
        "model.py",
        lambda path, model: write_whole(path, standalone_text(model)),
        run_standalone,
        "parameters of the module that the file builds",
    ),
}
"""By name; the weights first, which the others may read."""

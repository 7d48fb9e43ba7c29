"""`nas-budget export`: a trained network as files for others, with a certificate."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_budget.arch.cost import cost
from nas_budget.cli.console.costs import print_verdict
from nas_budget.cli.console.output import logger, out, out_json, show, table
from nas_budget.cli.console.progress import busy
from nas_budget.cli.options.completion import DATA, FORMATS, INT8_FORMATS
from nas_budget.cli.options.declare import INT8, OUTPUT, DataDir, Ema, Quiet, Source, option
from nas_budget.cli.options.network import BudgetChanges
from nas_budget.errors import NothingFitsError, UsageError
from nas_budget.records.formatting import percent, percent_with_interval
from nas_budget.records.paths import CERTIFICATE

if TYPE_CHECKING:
    from nas_budget.train.engine.weights import Model
    from nas_budget.train.export.certificate import Certificate, Quantization
    from nas_budget.train.export.quantize import QuantizationImages


@dataclass(frozen=True)
class Int8Options:
    """How a network is quantized: images and what is measured."""

    data: Annotated[
        str, option(f"{', '.join(DATA)} or a path of images.", INT8, "what it was trained on", choices=DATA)
    ] = ""
    data_dir: DataDir = None
    calibration_images: Annotated[
        int | None,
        option("Training images that ranges of activations are measured on.", INT8, "500, or all of fewer", least=1),
    ] = None
    calibration_seed: Annotated[int, option("Fixes which ones.", INT8, "value", least=0)] = 0
    per_layer: Annotated[bool, option("Measure what each layer alone costs in int8.", INT8, flag="--per-layer")] = False

    def check(self, formats: list[str]) -> bool:
        """Whether there is something to quantize; a `UsageError` names an option that then has no use."""
        if wanted := any(name in INT8_FORMATS for name in formats):
            return wanted
        for field in fields(self):
            if getattr(self, field.name) != field.default:
                name = f"--{field.name.replace('_', '-')}"
                raise UsageError(f"{name} goes with a format of int8; add --format {INT8_FORMATS[0]}")
        return False

    def images(self, source: Path, model: Model, quiet: bool) -> QuantizationImages:
        """The images to quantize a model with, and to measure it on."""
        from nas_budget.cli.jobs.images import labelled_for
        from nas_budget.train.export.quantize import quantization_images

        dataset = labelled_for(model, source, self.data, self.data_dir, quiet)
        return quantization_images(model, dataset, self.calibration_images, self.calibration_seed)


def export(
    source: Source,
    *,
    ema: Ema = False,
    limits: BudgetChanges,
    formats: Annotated[
        list[str] | None,
        option(
            f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}, beside safetensors; repeat it for several.",
            OUTPUT,
            flag="--format -f",
            choices=FORMATS,
        ),
    ] = None,
    int8: Int8Options,
    output: Annotated[
        Path | None, option("Folder to write to.", OUTPUT, "export in the run folder", flag="--output -o")
    ] = None,
    as_json: Annotated[bool, option("Print the certificate as JSON.", OUTPUT, flag="--json")] = False,
    quiet: Quiet = False,
) -> None:
    """Write a trained network as files for others, with a certificate.

    Each file is read back, run and counted. The limits are those that the network was trained under, such
    as its study's, unless others are given.
    In int8 a network is quantized with images, and its accuracy measured again on the test images.
    Exit code 0 when the network fits the budget, 3 when it does not.
    """
    given = limits.read()
    folder = _folder(source, output)
    from nas_budget.train.engine.weights import load_model
    from nas_budget.train.export.export import check_formats, left_over
    from nas_budget.train.export.export import export as export_model

    formats = formats or []
    check_formats(formats)
    quantizes = int8.check(formats)
    model = load_model(source, ema)
    budget = replace(model.budget, **given)
    images = int8.images(source, model, quiet) if quantizes else None
    with busy(f"exporting as {', '.join(['safetensors', *formats])}", quiet):
        made = export_model(model, folder, budget, formats, images, int8.per_layer)
    for name in left_over(folder, made):
        logger(quiet)(f"NOTE: {folder / name} is of an earlier export; this certificate does not list it")
    if as_json:
        out_json({"folder": str(folder), **made.to_dict()})
    else:
        _print(made, folder)
    if not made.fits:
        raise typer.Exit(NothingFitsError.exit_code)


def _folder(source: Path, output: Path | None) -> Path:
    """Where files go: beside what is exported, never on top of it."""
    if output is None:
        return source / "export" if source.is_dir() else source.with_name(f"{source.stem}-export")
    taken = source if source.is_dir() else source.parent
    if output.resolve() == taken.resolve():
        raise UsageError(f"--output: {output} holds what is exported; give another folder, such as {output / 'export'}")
    return output


def _print(made: Certificate, folder: Path) -> None:
    rows = []
    for f in made.files:
        difference = "" if f.max_difference is None else f"{f.max_difference:.1e}"
        rows.append((f.file, f.format, f"{f.bytes:,}", f"{f.params:,}", difference))
    show(table(("file", "format", "bytes", "params", "logits differ by"), rows, left=(0, 1)))
    if made.quantization:
        _print_int8(made.quantization)
    out(f"\nnetwork      {made.spec}")
    out(f"parameters   {cost(made.spec).params:,} trainable, {made.all_params:,} in all")
    out(f"accuracy     {_accuracy(made)}, {made.about.get('weights', 'plain')} weights")
    out(f"digest       {made.weights_digest}")
    out(f"certificate  {folder / CERTIFICATE}")
    out(f"limits       {made.budget}")
    print_verdict(made.verdict)
    for name, verdict in made.int8_verdicts.items():
        print_verdict(verdict, f"{name}: ")


def _print_int8(made: Quantization) -> None:
    """Each file of int8 beside fp32 on the same test images, and what each layer costs."""
    n = made.test_images
    rows = [("fp32", "", "", percent_with_interval(made.fp32_accuracy, n), "")]
    for f in made.files:
        accuracy, arena = percent_with_interval(f.accuracy, n), f"{f.arena_bytes:,}" if f.arena_bytes else ""
        rows.append((f.file, f"{f.model_bytes:,}", arena, accuracy, percent(f.same_class, n)))
    out("")
    show(table(("int8", "bytes", "RAM", "accuracy", "same class as fp32"), rows))
    if any(f.format != "onnx-int8" and f.arena_bytes is None for f in made.files):
        out("RAM: not known, as TensorFlow Lite Micro is not installed here or cannot run this network")
    out(f"{n:,} test images of {made.data}; ranges of {made.calibration_images:,} training images")
    if made.layers:
        n_calibration = made.calibration_images
        costs = [(c.layer, f"{c.error:.1%}", percent(c.changed, n_calibration)) for c in made.layers]
        out("")
        show(table(("this layer alone in int8", "logits change by", "classes that change"), costs))


def _accuracy(made: Certificate) -> str:
    """Accuracy on test images, with half of its 95 % interval where the weights say of how many images it is."""
    data = made.about.get("data", "?")
    if made.accuracy is None:
        return "unknown"
    if made.test_images is None:
        return f"{made.accuracy:.1%} of the test images of {data}"
    return (
        f"{percent_with_interval(made.accuracy, made.test_images)} (95 %) of {made.test_images:,} test images of {data}"
    )

"""`nas-budget export`: a trained network as files for others, with a certificate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_budget.cli.console.costs import print_verdict
from nas_budget.cli.console.output import logger, out, out_json, show, table
from nas_budget.cli.console.progress import busy
from nas_budget.cli.options.completion import FORMATS
from nas_budget.cli.options.declare import OUTPUT, Ema, Quiet, Source, option
from nas_budget.cli.options.network import BudgetChanges
from nas_budget.errors import NothingFitsError, UsageError
from nas_budget.records.formatting import percent_with_interval
from nas_budget.records.paths import CERTIFICATE

if TYPE_CHECKING:
    from nas_budget.train.export.certificate import Certificate


def export(
    source: Source,
    *,
    ema: Ema = False,
    limits: BudgetChanges,
    formats: Annotated[
        list[str] | None,
        option(
            "onnx, torch or python, beside safetensors; repeat it for several.",
            OUTPUT,
            flag="--format -f",
            choices=FORMATS,
        ),
    ] = None,
    output: Annotated[
        Path | None, option("Folder to write to.", OUTPUT, "export in the run folder", flag="--output -o")
    ] = None,
    as_json: Annotated[bool, option("Print the certificate as JSON.", OUTPUT, flag="--json")] = False,
    quiet: Quiet = False,
) -> None:
    """Write a trained network as files for others, with a certificate.

    Each file is read back, run and counted. The limits are those that the network was trained under, such
    as its study's, unless others are given.
    Exit code 0 when the network fits the budget, 3 when it does not.
    """
    given = limits.read()
    folder = _folder(source, output)
    from nas_budget.train.engine.weights import load_model
    from nas_budget.train.export.export import check_formats, left_over
    from nas_budget.train.export.export import export as export_model

    check_formats(formats or [])
    model = load_model(source, ema)
    budget = replace(model.budget, **given)
    with busy(f"exporting as {', '.join(['safetensors', *(formats or [])])}", quiet):
        made = export_model(model, folder, budget, formats or [])
    for name in left_over(folder, made):
        logger(quiet)(f"NOTE: {folder / name} is of an earlier export; this certificate does not list it")
    if as_json:
        out_json({"folder": str(folder), **made.to_dict()})
    else:
        _print(made, folder)
    if not made.verdict.fits:
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
    out(f"\nnetwork      {made.spec}")
    out(f"accuracy     {_accuracy(made)}, {made.about.get('weights', 'plain')} weights")
    out(f"digest       {made.weights_digest}")
    out(f"certificate  {folder / CERTIFICATE}")
    out(f"limits       {made.budget}")
    print_verdict(made.verdict)


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

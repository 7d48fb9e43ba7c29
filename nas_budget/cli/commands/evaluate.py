"""`nas-budget evaluate`: how well a trained network tells images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_budget.cli.console.output import log, logger, out, out_json, show, table
from nas_budget.cli.console.progress import each, progress
from nas_budget.cli.options.completion import complete_data, complete_device, complete_part, complete_trained
from nas_budget.errors import UsageError

if TYPE_CHECKING:
    from nas_budget.train.engine.weights import Model

PARTS = ("test", "train")


def evaluate(
    source: Annotated[
        Path,
        typer.Argument(
            help="A run folder of nas-budget train, or a model.safetensors.", autocompletion=complete_trained
        ),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="cifar10, cifar100, fashion-mnist, svhn, shapes or an .npz file.",
            show_default="what it was trained on",
            autocompletion=complete_data,
        ),
    ] = None,
    part: Annotated[str, typer.Option(help="Which images: test or train.", autocompletion=complete_part)] = "test",
    ema: Annotated[bool, typer.Option("--ema", help="Use the EMA weights.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.", autocompletion=complete_device)] = "auto",
    data_dir: Annotated[
        str | None, typer.Option(help="Folder of the data sets.", show_default="NAS_BUDGET_DATA, or the user's cache")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong, and the result.")] = False,
) -> None:
    """Measure a trained network on a data set, class by class."""
    from nas_budget.train.engine.weights import load_model

    if part not in PARTS:
        raise UsageError(f"--part: {part!r} is unknown; allowed are {', '.join(PARTS)}")
    model = load_model(source, ema)
    found = _measure(model, data or model.about.get("data", "auto"), part, device, data_dir, quiet)
    if as_json:
        out_json(found)
    else:
        _tell(found)


def _measure(model: Model, name: str, part: str, device_name: str, data_dir: str | None, quiet: bool) -> dict[str, Any]:
    import torch
    from torch.nn.functional import cross_entropy

    from nas_budget.train.data.dataset import open_dataset
    from nas_budget.train.data.split import labelled_images
    from nas_budget.train.engine.device import choose_device, describe_device
    from nas_budget.train.engine.evaluate import EVALUATION_BATCH, accuracy_of, confusion_of, predict_logits

    dataset = open_dataset(name, data_dir, logger(quiet))
    model.check_images(dataset)
    if model.classes != dataset.classes:
        log(f"NOTE: the network was trained on other classes: {', '.join(model.classes)}")
    device = choose_device(device_name)
    images = labelled_images(dataset, part, device)
    network = model.network.to(device)
    size = 4 * EVALUATION_BATCH
    starts = range(0, len(images), size)

    def told(mirrored: bool, first: float, last: float) -> torch.Tensor:
        pieces = (images.images[start : start + size] for start in each(starts, tell, first, last))
        return torch.cat([predict_logits(network, piece, model.normalized, mirrored=mirrored) for piece in pieces])

    with progress(f"telling {len(images):,} images", quiet) as tell:
        plain = told(False, 0, 1 / 3)
        flipped = told(True, 1 / 3, 1)  # twice the work: each image and its mirror image
    return {
        "data": dataset.name, "part": part, "images": len(images), "weights": model.about.get("weights", "plain"),
        "accuracy": accuracy_of(plain, images.labels), "flipped": accuracy_of(flipped, images.labels),
        "loss": cross_entropy(plain, images.labels).item(), "classes": list(dataset.classes),
        "confusion": confusion_of(plain, images.labels), "device": describe_device(device),
    }  # fmt: skip


def _tell(found: dict[str, Any]) -> None:
    confusion, classes = found["confusion"], found["classes"]
    rows = []
    for i, (name, counts) in enumerate(zip(classes, confusion, strict=True)):
        n, wrong = sum(counts), [(count, classes[j]) for j, count in enumerate(counts) if j != i]
        most, other = max(wrong, default=(0, ""))
        share = f"{counts[i] / n:.1%}" if n else ""
        rows.append((name, f"{n:,}", share, f"{other} {most / n:.1%}" if most else ""))
    show(table(("class", "images", "right", "most taken for"), rows, left=(0, 3)))
    out(f"\n{found['accuracy']:.2%} of {found['images']:,} {found['part']} images of {found['data']}, one forward pass")
    out(f"{found['flipped']:.2%} with the mean of each image and its mirror image")
    out(f"loss {found['loss']:.4f}; {found['weights']} weights; {found['device']}")

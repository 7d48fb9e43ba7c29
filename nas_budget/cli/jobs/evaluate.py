"""What `nas-budget evaluate` and `predict` do: logits of a trained network, with progress."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from nas_budget.cli.console.output import log, logger
from nas_budget.cli.console.progress import each, progress
from nas_budget.cli.jobs.images import labelled_for, read_options
from nas_budget.errors import DataError, StorageError, UsageError
from nas_budget.records.atomic_write import write_whole
from nas_budget.train.data.conversion.images import images_of_arrays, images_of_files
from nas_budget.train.data.conversion.labels import few_of
from nas_budget.train.data.dataset import Images
from nas_budget.train.data.forms.image_table import ENDINGS
from nas_budget.train.data.forms.unlabelled import read_unlabelled
from nas_budget.train.data.image_files import OTHER_IMAGES, image_paths, read_image
from nas_budget.train.data.split import labelled_images
from nas_budget.train.engine.device import choose_device, describe_device
from nas_budget.train.engine.evaluate import EVALUATION_BATCH, accuracy_of, confusion_of, predict_logits
from nas_budget.train.engine.weights import Model
from nas_budget.train.export.load import is_exported, load_trained

MANY = (".npy", ".npz", ".pickle", ".pkl", *ENDINGS)
"""Files of many images."""


def measure(
    source: Path, ema: bool, data: str | None, part: str, device_name: str, data_dir: str | None, quiet: bool
) -> dict[str, Any]:
    """Accuracy, loss and confusion matrix of a trained network on a part of a data set (None: its own)."""
    model = load_trained(source, ema)
    if is_exported(source):
        if device_name not in ("auto", "cpu"):
            raise UsageError(f"--device {device_name}: {source.name} is run on the CPU; leave --device out")
        device_name = "cpu"
    dataset = labelled_for(model, source, data, data_dir, quiet)
    device = choose_device(device_name, log)
    images = labelled_images(dataset, part, device)
    network = model.network.to(device)
    size = 4 * EVALUATION_BATCH
    starts = range(0, len(images), size)

    def predict(mirrored: bool, first: float, last: float) -> torch.Tensor:
        batches = (images.images[start : start + size] for start in each(starts, on_share, first, last))
        return torch.cat([predict_logits(network, batch, model.normalized, mirrored=mirrored) for batch in batches])

    with progress(f"evaluating {len(images):,} images", quiet) as on_share:
        plain = predict(False, 0, 1 / 3)
        flipped = predict(True, 1 / 3, 1)  # twice the work: each image and its mirror image
    return {
        "data": dataset.name, "part": part, "images": len(images), "weights": model.about.get("weights", "plain"),
        "precision": model.about.get("precision", "fp32"),
        "accuracy": accuracy_of(plain, images.labels), "flipped": accuracy_of(flipped, images.labels),
        "loss": cross_entropy(plain, images.labels).item(), "classes": list(dataset.classes),
        "confusion": confusion_of(plain, images.labels), "device": describe_device(device),
    }  # fmt: skip


def classify(source: Path, ema: bool, paths: Sequence[Path], top: int, quiet: bool) -> list[dict[str, Any]]:
    """Of each image file: the `image`, the `changes` that made it fit, the `top` most probable `classes`.

    Of a folder, every image below it is taken. Images that are no squares become some as the training images did.
    """
    model = load_trained(source, ema)
    for path in paths:
        if path.suffix.lower() in MANY:
            raise UsageError(f"{path}: holds many images; write their classes to a file: add --csv submission.csv")
    notes: list[str] = []
    paths = [image for path in paths for image in _images_of(path, notes)]
    for note in notes:
        logger(quiet)(f"NOTE: {note}")
    with progress(f"predicting {len(paths):,} images", quiet) as on_share:
        read, changes = _read(paths, model, on_share)
        images = torch.from_numpy(read)
        starts = range(0, len(images), EVALUATION_BATCH)
        batches = (images[i : i + EVALUATION_BATCH] for i in each(starts, on_share, 0.5, 1))
        logits = torch.cat([predict_logits(model.network, batch, model.normalized) for batch in batches])
    probabilities, order = logits.softmax(1).sort(1, descending=True)
    return [
        {
            "image": str(path), "changes": changed,
            "classes": {model.classes[i]: p for i, p in zip(row[:top], shares[:top], strict=True)},
        }
        for path, changed, row, shares in zip(paths, changes, order.tolist(), probabilities.tolist(), strict=True)
    ]  # fmt: skip


def _read(paths: Sequence[Path], model: Model, on_share: Callable[[float], None]) -> tuple[Images, list[str]]:
    """Image files as a network takes them, and of each what was changed; the error names all that cannot be read."""
    options = read_options(model)
    ready: list[tuple[Images, str]] = []
    problems: list[str] = []
    for path in each(paths, on_share, 0, 0.5):
        try:
            ready.append(read_image(path, model.spec.image_size, model.spec.in_channels, options.fit))
        except DataError as error:
            problems.append(str(error))
    if len(problems) > 1:
        problems = [f"{len(problems):,} of {len(paths):,} images cannot be read: {few_of(problems)}"]
    if problems:
        raise DataError(problems[0])
    return np.stack([image for image, _ in ready]), [changes for _, changes in ready]


def write_submission(
    source: Path, ema: bool, path: Path, csv_file: Path, columns: str, mirrored: bool, indices: bool, quiet: bool
) -> int:
    """Write the predicted class of each image of a folder, a table or an array file as CSV; how many images those are.

    IDs are the names of a folder's images, or those that the file has, and else the numbers of its rows from 0.
    """
    names = [name.strip() for name in columns.split(",")]
    if len(names) != 2 or not all(names):
        raise UsageError(f"--columns: {columns!r} is not two names; write such as ID,Labels")
    if csv_file.exists() and path.exists() and csv_file.samefile(path):
        raise UsageError(f"--csv {csv_file}: is the file of the images; give another, such as submission.csv")
    model = load_trained(source, ema)
    notes: list[str] = []
    with progress(f"predicting the images of {path}", quiet) as on_share:
        if path.is_dir():
            paths = _images_of(path, notes)
            ids = [image.relative_to(path).as_posix() for image in paths]
            images, changes = _read(paths, model, on_share)
            if changed := [f"{name}: {change}" for name, change in zip(ids, changes, strict=True) if change]:
                notes.append(f"{len(changed):,} of {len(ids):,} images were changed to fit, such as {changed[0]}")
        else:
            found, ids = read_unlabelled(path, model.spec.in_channels)
            options = read_options(model)
            try:
                if isinstance(found, np.ndarray):
                    (images,), notes = images_of_arrays([found], options)
                else:
                    images, _, notes = images_of_files(found, options, lambda share: on_share(share / 2))
            except DataError as error:
                raise DataError(f"{path}: {error}") from None
        starts = range(0, len(images), EVALUATION_BATCH)
        batches = (torch.from_numpy(images[i : i + EVALUATION_BATCH]) for i in each(starts, on_share, 0.5, 1))
        logits = [predict_logits(model.network, batch, model.normalized, mirrored=mirrored) for batch in batches]
    for note in notes:
        logger(quiet)(f"NOTE: {note}")
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    labels = torch.cat(logits).argmax(1).tolist()
    writer.writerows((i, label if indices else model.classes[label]) for i, label in zip(ids, labels, strict=True))
    try:
        write_whole(csv_file, text.getvalue())
    except OSError as error:
        raise StorageError(f"{csv_file}: cannot be written ({error.strerror or error})") from None
    return len(ids)


def _images_of(path: Path, notes: list[str]) -> list[Path]:
    """The images below a folder, or the file itself; a note says which others are images too, and not read."""
    if not path.is_dir():
        return [path]
    images, others = image_paths(path)
    unread = [one.relative_to(path).as_posix() for one in others if one.suffix.lower() in OTHER_IMAGES]
    if not images:
        found = f"no images that are read ({few_of(unread)})" if unread else "no images"
        raise DataError(f"{path}: holds {found}; give images such as PNG or JPEG files, or a folder of them")
    if unread:
        some = f"{len(unread):,} of {len(images) + len(unread):,} images in {path}"
        notes.append(f"{some} are of types that are not read ({few_of(unread)}); convert them to JPEG or PNG")
    return images

"""`nas-budget data`: which images there are, and where."""

from __future__ import annotations

from typing import Annotated

import typer

from nas_budget.cli.console.output import logger, out, out_json, show, table
from nas_budget.cli.console.progress import progress_if_any
from nas_budget.cli.options.completion import DATA, one_of
from nas_budget.cli.options.declare import AsJson, DataDir, Quiet


def data(
    name: Annotated[
        str | None,
        typer.Argument(
            help="cifar10, cifar100, fashion-mnist, svhn, shapes, or the path of images: a folder by class, .npz, CSV.",
            show_default="list them",
            autocompletion=one_of(*DATA),
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """List the data sets, or download and check one."""
    if name is None:
        _list(data_dir, as_json)
    else:
        _check(name, data_dir, as_json, quiet)


def _list(data_dir: str | None, as_json: bool) -> None:
    from nas_budget.train.data.open import NAMED, data_folder

    folder = data_folder(data_dir)
    places = {name: folder / f"{name}.npz" for name in NAMED}
    found = {name: str(path) if path.exists() else None for name, path in places.items()}
    if as_json:
        out_json({"folder": str(folder), "found": {**found, "shapes": "built in"}})
        return
    rows = [(name, path or "not here; downloaded when first asked for") for name, path in found.items()]
    rows.append(("shapes", "built in"))
    show(table(("data", "where"), rows, left=(0, 1)))
    out(f"\nfolder: {folder}")


def _check(name: str, data_dir: str | None, as_json: bool, quiet: bool) -> None:
    import numpy as np

    from nas_budget.train.data.open import open_dataset

    with progress_if_any("converting the images", quiet) as on_share:
        dataset = open_dataset(name, data_dir, logger(quiet), on_share)
    counts = {}
    for part in "train", "test":
        _, labels = dataset.read(part)
        counts[part] = np.bincount(labels, minlength=len(dataset.classes)).tolist()
    if as_json:
        size = {"image_size": dataset.image_size, "in_channels": dataset.in_channels}
        about = {"data": dataset.name, "origin": dataset.origin, "digest": dataset.digest, **size}
        out_json({**about, "classes": dataset.classes, "counts": counts})
        return
    rows = [(c, f"{a:,}", f"{b:,}") for c, a, b in zip(dataset.classes, counts["train"], counts["test"], strict=True)]
    rows.append(("total", f"{sum(counts['train']):,}", f"{sum(counts['test']):,}"))
    show(table(("class", "train", "test"), rows, total=True))
    out(f"\n{dataset.name}: {dataset.image_size}x{dataset.image_size}x{dataset.in_channels}, {dataset.origin}")
    out(f"digest: {dataset.digest}")

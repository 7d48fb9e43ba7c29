"""`nas-budget predict`: the classes that a trained network predicts for images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas_budget.cli.console.output import logger, out, out_json, show, table
from nas_budget.cli.options.declare import NETWORK, OUTPUT, AnyTrained, AsJson, Ema, Quiet, option
from nas_budget.errors import UsageError

COLUMNS = "ID,Labels"


def predict(
    source: AnyTrained,
    images: Annotated[
        list[Path],
        typer.Argument(help="Image files or folders of them; with --csv one folder, table, array or pickle."),
    ],
    *,
    top: Annotated[int, option("Classes shown for each image.", None, "value", least=1)] = 1,
    csv: Annotated[Path | None, option("Write a submission: a row for each image.", OUTPUT)] = None,
    columns: Annotated[str, option("Its two columns.", OUTPUT, "value")] = COLUMNS,
    indices: Annotated[bool, option("Write numbers of classes, from 0, not names.", OUTPUT, flag="--indices")] = False,
    mirrored: Annotated[
        bool, option("Take the mean of an image and its mirror image; with --csv.", NETWORK, flag="--mirrored")
    ] = False,
    ema: Ema = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Predict the class of images, with probabilities.

    Images of other sizes are resized. With --csv the classes go into a file as a competition wants them: IDs
    are the names of a folder's images, the IDs that a file has, or else the numbers of its rows from 0.
    """
    from nas_budget.cli.jobs.evaluate import classify, write_submission

    if csv:
        if top > 1:
            raise UsageError("--top goes without --csv, which writes one class for each image; leave one of them out")
        if len(images) != 1:
            raise UsageError(f"--csv takes one folder or file, not {len(images)}")
        n = write_submission(source, ema, images[0], csv, columns, mirrored, indices, quiet)
        if as_json:
            out_json({"csv": str(csv), "images": n})
        else:
            out(f"{csv}: {n:,} images")
        return
    for name, is_given in {"mirrored": mirrored, "indices": indices, "columns": columns != COLUMNS}.items():
        if is_given:
            raise UsageError(f"--{name} goes with --csv; add it")

    found = classify(source, ema, images, top, quiet)
    for one in found:
        if one["changes"]:
            logger(quiet)(f"NOTE: {one['image']}: {one['changes']}")
    if as_json:
        out_json(found)
        return
    rows = [
        (one["image"] if place == 0 else "", name, f"{probability:.1%}")
        for one in found
        for place, (name, probability) in enumerate(one["classes"].items())
    ]
    show(table(("image", "class", "probability"), rows, left=(0, 1)))

"""`nas-budget predict`: the classes that a trained network predicts for images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas_budget.cli.console.output import logger, out_json, show, table
from nas_budget.cli.options.declare import AsJson, Ema, Quiet, Source, option


def predict(
    source: Source,
    images: Annotated[list[Path], typer.Argument(help="Image files, such as PNG or JPEG, or folders of them.")],
    *,
    top: Annotated[int, option("Classes shown for each image.", None, "value", least=1)] = 1,
    ema: Ema = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Predict the class of images, with probabilities.

    Images of other sizes are resized.
    """
    from nas_budget.cli.jobs.evaluate import classify

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

"""`nas-budget predict`: what a trained network says to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas_budget.cli.console.output import logger, out_json, show, table
from nas_budget.cli.console.progress import each, progress
from nas_budget.cli.options.completion import complete_trained


def predict(
    source: Annotated[
        Path,
        typer.Argument(
            help="A run folder of nas-budget train, or a model.safetensors.", autocompletion=complete_trained
        ),
    ],
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, such as PNG or JPEG files.")],
    top: Annotated[int, typer.Option(help="Classes shown for each picture.", min=1)] = 1,
    ema: Annotated[bool, typer.Option("--ema", help="Use the EMA weights.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say only what went wrong, and the result.")] = False,
) -> None:
    """Tell the class of pictures, each with its probability.

    Pictures of other sizes are resized.
    """
    import numpy as np
    import torch

    from nas_budget.train.data.image_files import read_image
    from nas_budget.train.engine.evaluate import EVALUATION_BATCH, predict_logits
    from nas_budget.train.engine.weights import load_model

    model = load_model(source, ema)
    size, channels = model.spec.image_size, model.spec.in_channels
    with progress(f"telling {len(pictures):,} pictures", quiet) as tell:
        ready = [read_image(path, size, channels) for path in each(pictures, tell, 0, 0.5)]
        images = torch.from_numpy(np.stack([picture.image for picture in ready]))
        pieces = (images[i : i + EVALUATION_BATCH] for i in each(range(0, len(images), EVALUATION_BATCH), tell, 0.5, 1))
        scored = torch.cat([predict_logits(model.network, piece, model.normalized) for piece in pieces])
    chances, order = scored.softmax(1).sort(1, descending=True)
    for picture in ready:
        if picture.changes:
            logger(quiet)(f"NOTE: {picture.path}: {picture.changes}")
    told = [
        [(model.classes[i], p) for i, p in zip(row[:top], chance, strict=False)]
        for row, chance in zip(order.tolist(), chances.tolist(), strict=True)
    ]
    if as_json:
        out_json(
            [
                {"picture": str(picture.path), "changes": picture.changes, "classes": dict(classes)}
                for picture, classes in zip(ready, told, strict=True)
            ]
        )
        return
    rows = [
        (str(picture.path) if place == 0 else "", name, f"{chance:.1%}")
        for picture, classes in zip(ready, told, strict=True)
        for place, (name, chance) in enumerate(classes)
    ]
    show(table(("picture", "class", "probability"), rows, left=(0, 1)))

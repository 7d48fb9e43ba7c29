"""`nas-budget predict`: what a trained network says to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas_budget.cli.output import out_json, say, show, table


def predict(
    source: Annotated[Path, typer.Argument(help="A run folder of nas-budget train, or a model.safetensors.")],
    pictures: Annotated[list[Path], typer.Argument(help="Pictures, such as PNG or JPEG files.")],
    top: Annotated[int, typer.Option(help="Classes shown for each picture.", min=1)] = 1,
    averaged: Annotated[bool, typer.Option("--averaged", help="Use the averaged weights.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell the class of pictures, each with its probability; pictures of other sizes are resized."""
    import numpy as np
    import torch

    from nas_budget.train.evaluation import scores
    from nas_budget.train.pictures import read_picture
    from nas_budget.train.saved import load_model

    model = load_model(source, averaged)
    ready = [read_picture(path, model.spec.image_size, model.spec.in_channels) for path in pictures]
    for picture in ready:
        if picture.changes:
            say(f"NOTE: {picture.path}: {picture.changes}")
    images = torch.from_numpy(np.stack([picture.image for picture in ready]))
    chances, order = scores(model.network, images, model.normalised).softmax(1).sort(1, descending=True)
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

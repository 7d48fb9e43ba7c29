"""`nas-budget evaluate`: the accuracy of a trained network, class by class."""

from __future__ import annotations

from typing import Annotated, Any

from nas_budget.cli.console.output import out, out_json, show, table
from nas_budget.cli.options.completion import DATA, PARTS
from nas_budget.cli.options.declare import AnyTrained, AsJson, DataDir, Device, Ema, Quiet, option
from nas_budget.errors import UsageError
from nas_budget.records.formatting import percent, percent_with_interval


def evaluate(
    source: AnyTrained,
    *,
    data: Annotated[
        str | None,
        option(f"{', '.join(DATA)} or a path of images.", None, "what it was trained on", choices=DATA),
    ] = None,
    part: Annotated[str, option("Which images: test or train.", None, "value", choices=PARTS)] = "test",
    ema: Ema = False,
    device: Device = "auto",
    data_dir: DataDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure a trained network on a data set, class by class."""
    if part not in PARTS:
        raise UsageError(f"--part: {part!r} is unknown; allowed are {', '.join(PARTS)}")
    from nas_budget.cli.jobs.evaluate import measure

    found = measure(source, ema, data, part, device, data_dir, quiet)
    if as_json:
        out_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    confusion, classes = found["confusion"], found["classes"]
    rows = []
    for i, (name, counts) in enumerate(zip(classes, confusion, strict=True)):
        n, wrong = sum(counts), [(count, classes[j]) for j, count in enumerate(counts) if j != i]
        most, other = max(wrong, default=(0, ""))
        share = percent(counts[i] / n, n) if n else ""
        rows.append((name, f"{n:,}", share, f"{other} {percent(most / n, n)}" if most else ""))
    show(table(("class", "images", "accuracy", "most predicted instead"), rows, left=(0, 3)))
    images = found["images"]
    plain, flipped = (percent_with_interval(found[name], images) for name in ("accuracy", "flipped"))
    out(f"\n{plain} (95 %) of {images:,} {found['part']} images of {found['data']}, one forward pass")
    out(f"{flipped} (95 %) with the mean of each image and its mirror image")
    precision = "" if found["precision"] == "fp32" else f" in {found['precision']}"
    out(f"loss {found['loss']:.4f}; {found['weights']} weights{precision}; {found['device']}")

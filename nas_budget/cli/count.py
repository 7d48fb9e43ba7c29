"""`nas-budget count`: what a network costs, and whether it fits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nas_budget.arch.budget import Budget, Verdict, parse_quantity
from nas_budget.arch.cost import Cost, cost
from nas_budget.arch.layers import layers
from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.output import out, out_json, show, table, verdict_line
from nas_budget.errors import NothingFitsError, SpecError, UsageError

UNITS = {
    "params": "parameters",
    "macs": "MACs",
    "weight_bytes": "bytes of weights",
    "activation_bytes": "bytes of activations",
}


def count(
    file: Annotated[Path | None, typer.Argument(help="A spec as JSON, such as runs/quickstart/best.json.")] = None,
    channels: Annotated[str, typer.Option(help="Width of each stage, such as 32,64,96,128,185.")] = "",
    blocks: Annotated[str, typer.Option(help="Blocks of every stage, or of each (4,5,3).", show_default="4")] = "",
    kernels: Annotated[str, typer.Option(help="Kernel size of every stage, or of each; odd.", show_default="3")] = "",
    pool: Annotated[str, typer.Option(help="Size of the last average pool, or global.", show_default="2")] = "",
    stem_kernel: Annotated[str, typer.Option(help="Kernel size of the first convolution.", show_default="3")] = "",
    shortcut_kernel: Annotated[
        str, typer.Option(help="Kernel size of shortcuts that change shape.", show_default="3")
    ] = "",
    strides: Annotated[str, typer.Option(help="Stride of each stage's first block.", show_default="1,2,2,...")] = "",
    dropout: Annotated[
        str, typer.Option(help="Share of features dropped before the classifier.", show_default="0")
    ] = "",
    image_size: Annotated[str, typer.Option(help="Height and width of the input (pixels).", show_default="32")] = "",
    in_channels: Annotated[str, typer.Option(help="Channels of the input.", show_default="3")] = "",
    classes: Annotated[str, typer.Option(help="Outputs of the classifier.", show_default="10")] = "",
    budget: Annotated[str, typer.Option(help="Most parameters, such as 5M, 250k, 4907445, or none.")] = "5M",
    max_macs: Annotated[str, typer.Option(help="Most multiply-accumulates for one image, such as 30M.")] = "",
    max_weight_bytes: Annotated[str, typer.Option(help="Most bytes of weights, such as 250kB or 1MiB.")] = "",
    weight_format: Annotated[str, typer.Option(help="Number format of those weights: fp32, fp16 or int8.")] = "fp32",
    max_activation_bytes: Annotated[str, typer.Option(help="Most bytes of live tensors (fp32, one image).")] = "",
    show_layers: Annotated[
        bool, typer.Option("--layers", help="Every layer, and torchinfo's summary of the built network.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count a network exactly and check it against a budget.

    Exit code 0 when it fits, 3 when it does not.
    """
    given = {
        "channels": channels, "blocks": blocks, "kernels": kernels, "pool": pool, "stem_kernel": stem_kernel,
        "shortcut_kernel": shortcut_kernel, "strides": strides, "dropout": dropout, "image_size": image_size,
        "in_channels": in_channels, "classes": classes,
    }  # fmt: skip
    spec = read_spec(file, {name: text for name, text in given.items() if text})
    limits = make_budget(budget, max_macs, max_weight_bytes, weight_format, max_activation_bytes)
    used = cost(spec)
    verdict = limits.check(used)
    if as_json:
        out_json({"spec": spec.to_dict(), **used.to_dict(), **verdict.to_dict()})
    else:
        if show_layers:
            _print_layers(spec)
        _print_parts(used, limits)
        _print_totals(used)
        _print_verdict(verdict)
    if not verdict.fits:
        raise typer.Exit(NothingFitsError.exit_code)


def make_budget(params: str, macs: str, weight_bytes: str, weight_format: str, activation_bytes: str) -> Budget:
    """The budget of command-line texts; an empty text or "none" is no limit."""
    texts = {
        "--budget": params,
        "--max-macs": macs,
        "--max-weight-bytes": weight_bytes,
        "--max-activation-bytes": activation_bytes,
    }
    limits = [None if text in ("", "none") else parse_quantity(text, option) for option, text in texts.items()]
    return Budget(limits[0], limits[1], limits[2], limits[3], weight_format)


def read_spec(file: Path | None, options: dict[str, str]) -> ResNetSpec:
    """The spec of a JSON file, or of command-line texts such as "32,64".

    Raises:
        UsageError: Both or neither given, or a file that cannot be read.
        SpecError: Texts that are not numbers, or a network that cannot be built.
    """
    if file is not None:
        if options:
            raise UsageError(f"{file} describes the whole network; leave out --{min(options).replace('_', '-')}")
        try:
            return ResNetSpec.from_json(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{file}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if "channels" not in options:
        raise UsageError("no network given; write --channels 32,64,96,128,185, or name a spec file")
    values: dict[str, Any] = {}
    problems = []
    for name, text in options.items():
        try:
            values[name] = _numbers(name, text)
        except ValueError:
            problems.append(f"{name}: cannot read {text!r}; write numbers such as {EXAMPLES.get(name, '3')}")
    if problems:
        raise SpecError(problems)
    return ResNetSpec(**values)


EXAMPLES = {
    "channels": "32,64,128",
    "blocks": "4 or 4,5,3",
    "kernels": "3 or 3,5,3",
    "strides": "1,2,2",
    "pool": "2, or global",
    "dropout": "0.2",
}


def _numbers(name: str, text: str) -> Any:
    if name == "dropout":
        return float(text)
    if name == "pool" and text == "global":
        return text
    numbers = [int(part) for part in text.split(",")]
    return numbers if name == "channels" or len(numbers) > 1 else numbers[0]


def _print_parts(used: Cost, limits: Budget) -> None:
    whole = limits.params or used.params
    title = "of budget" if limits.params else "of params"
    rows = [
        (p.name, "x".join(map(str, p.out_shape)), f"{p.params:,}", f"{p.macs:,}", f"{p.params / whole:.1%}")
        for p in used.parts
    ]
    rows.append(("total", "", f"{used.params:,}", f"{used.macs:,}", f"{used.params / whole:.1%}"))
    show(table(("part", "output", "params", "MACs", title), rows, left=(0, 1), total=True))


def _print_totals(used: Cost) -> None:
    sizes = ", ".join(f"{size:,} B {name}" for name, size in used.weight_bytes.items())
    out(f"\nweights      {sizes}")
    out(f"buffers      {used.buffers:,} (in the weights' bytes, not in the parameters)")
    out(f"activations  {used.activation_bytes:,} B at the peak (fp32, one image)")
    out(f"depth        {used.depth}")


def _print_verdict(verdict: Verdict) -> None:
    for m in verdict.margins:
        fits = m.margin >= 0
        what = "to spare" if fits else "too many"
        verdict_line(
            fits,
            f"{'fits' if fits else 'OVER BUDGET'}: {m.used:,} of {m.limit:,} {UNITS[m.name]}, {abs(m.margin):,} {what}",
        )


def _print_layers(spec: ResNetSpec) -> None:
    walk = [layer for layer in layers(spec) if layer.kind not in ("relu", "add", "dropout")]
    rows = [
        (x.name, x.kind, "x".join(map(str, x.out_shape)), str(x.kernel or ""), f"{x.params:,}", f"{x.macs:,}")
        for x in walk
    ]
    show(table(("layer", "kind", "output", "kernel", "params", "MACs"), rows, left=(0, 1, 2)))
    from nas_budget.train.network import summarise

    out("\n" + summarise(spec))

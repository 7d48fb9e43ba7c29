"""The commands with which a reader goes on, to copy."""

from __future__ import annotations

import shlex
from pathlib import Path

from nas_budget.arch.family_spec import FamilySpec
from nas_budget.arch.spec import AnySpec, ResNetSpec, spec_from_json
from nas_budget.errors import NasBudgetError

NETWORK = (
    "blocks", "kernels", "pool", "stem_kernel", "shortcut_kernel", "strides", "block", "se_reduction", "stem_width",
    "stem_stride", "head_width", "activation", "expansions", "groups", "dropout",
)  # fmt: skip
IMAGE = ("image_size", "in_channels", "classes")


def network_options(spec: ResNetSpec, image: bool = False) -> list[str]:
    """A network as options of a command: its channels, and what differs from the defaults.

    Args:
        spec: The network.
        image: Whether images and classes belong to it; `count` takes them, `train` has them from its data.
    """
    # Its own pool, 2, does not go with every last map; what its expansion is by itself depends on the block.
    usual = ResNetSpec(spec.channels, pool="global", block=spec.block)
    options = ["--channels", ",".join(map(str, spec.channels))]
    for name in (*NETWORK, *(IMAGE if image else ())):
        value, default = getattr(spec, name), {"pool": 2, "block": "basic"}.get(name, getattr(usual, name))
        if value != default and not (name == "stem_width" and value in (0, spec.channels[0])):
            options += [f"--{name.replace('_', '-')}", _text(value)]
    return options


def _text(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    same = len({*value}) == 1 and len(value) > 1
    return str(value[0]) if same else ",".join(map(str, value))


def count_command(spec: str) -> str:
    """The command that counts the network of a spec as JSON; empty for one of a family of the user's own."""
    network = known_spec(spec)
    if not isinstance(network, ResNetSpec):
        return ""
    return shlex.join(["nas-budget", "count", *network_options(network, image=True)])


def train_command(spec: str, data: str, folder: str = "", trial: int | None = None) -> str:
    """The command that gives a trial's network its full training.

    Args:
        spec: The network as JSON.
        data: Name of the data set.
        folder: Of the study's run; empty where it is not known.
        trial: Number of the trial; None for the study's best.
    """
    if folder:
        which = [] if trial is None else ["--trial", str(trial)]
        path = f"./{folder}" if folder.startswith("-") else folder  # which no shell takes for an option
        return shlex.join(["nas-budget", "train", "--study", path, *which])
    network = known_spec(spec)
    if not isinstance(network, ResNetSpec):
        return ""
    return shlex.join(["nas-budget", "train", *network_options(network), "--data", data])


def known_spec(text: str) -> AnySpec | None:
    """The network of a cell of a table; None where it cannot be read."""
    try:
        return spec_from_json(text)
    except (NasBudgetError, ValueError, TypeError):
        return None


def export_command(run: str | Path, spec: AnySpec | None) -> str:
    """The command that exports a trained network; as plain Python too, unless it is of a family of the user's own."""
    formats = ["onnx"] if isinstance(spec, FamilySpec) else ["python", "onnx"]
    options = [part for form in formats for part in ("--format", form)]
    return shlex.join(["nas-budget", "export", str(run), *options])

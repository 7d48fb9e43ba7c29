"""A trained network as one file of Python that needs PyTorch alone: its text, and what it says when it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from string import Template

import torch
from torch import Tensor

from nas_budget.arch.cost import cost
from nas_budget.arch.layers import layers
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import ModelError
from nas_budget.train.engine.weights import Model
from nas_budget.train.export.standalone_template import BLOCKS, HEAD, NETWORK, SQUEEZE, STAGE, USE

WIDTH = 88
"""Characters a line of the text has at most: what formatters of Python take unless told otherwise."""
PROBE = """
import json, runpy, sys
import torch
for name in "nas_budget", "safetensors":
    sys.modules[name] = None  # importing it fails
module = runpy.run_path(sys.argv[1])
network, shape = module["load"](), json.loads(sys.argv[2])
images = torch.frombuffer(bytearray(sys.stdin.buffer.read()), dtype=torch.uint8).reshape(shape)
with torch.inference_mode():
    scores = [network(module["normalise"](batch)).tolist() for batch in images.split(json.loads(sys.argv[3]))]
print(json.dumps({"params": sum(p.numel() for p in network.parameters()), "scores": sum(scores, [])}))
"""
PROBE_LIMIT_S = 600


def standalone_text(model: Model) -> str:
    """A module of Python with exactly this network, in plain PyTorch; its weights are read from a safetensors file."""
    spec = model.spec
    stages, features = list(_stages(spec)), _features(spec)
    pieces = [HEAD, BLOCKS[spec.block], STAGE, NETWORK, USE]
    if spec.se_reduction:
        pieces.insert(1, SQUEEZE)
    text = "".join(_kept(piece, features) for piece in pieces)
    return Template(text).substitute(_numbers(spec), STAGES="\n".join(stages), **_constants(model))


def run_standalone(path: Path, images: Tensor, batches: Sequence[int]) -> tuple[int, Tensor]:
    """What such a file counts and says in a fresh Python that cannot import this package or safetensors.

    Args:
        path: The file, its weights beside it.
        images: uint8 (n, size, size, channels).
        batches: How many of them go in at a time; n in all.

    Returns:
        Trainable parameters, and scores, float32 (n, classes).

    Raises:
        ModelError: It does not run.
    """
    command = [sys.executable, "-I", "-c", PROBE, str(path), json.dumps([*images.shape]), json.dumps([*batches])]
    try:
        ran = subprocess.run(command, input=images.numpy().tobytes(), capture_output=True, timeout=PROBE_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path}: did not end within {PROBE_LIMIT_S} s") from None
    if ran.returncode:
        last = (ran.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {ran.returncode}"])[-1]
        raise ModelError(f"{path}: does not run ({last})")
    told = json.loads(ran.stdout)
    return told["params"], torch.tensor(told["scores"])


def _features(spec: ResNetSpec) -> set[str]:
    """The lines of the pieces that this network needs, by their mark."""
    projects = any(".downsample" in layer.name for layer in layers(spec))
    preact = spec.block == "preact"
    marks = {
        "squeeze": spec.se_reduction > 0, "dropout": spec.dropout > 0, "preact": preact, "postact": not preact,
        "project": projects, "no project": not projects,
    }  # fmt: skip
    return {name for name, wanted in marks.items() if wanted}


def _kept(piece: str, features: set[str]) -> str:
    """The piece without the lines marked `#? feature` whose feature is not wanted, and without the marks."""
    kept = []
    for line in piece.splitlines(keepends=True):
        code, mark, feature = line.partition("  #? ")
        if not mark or feature.strip() in features:
            kept.append(code + "\n" if mark else line)
    return "".join(kept)


def _stages(spec: ResNetSpec) -> Iterator[str]:
    """One line of code for each stage."""
    width, size = spec.stem_channels, spec.image_size
    rows = zip(spec.channels, spec.blocks, spec.kernels, spec.strides, spec.maps, strict=True)
    for number, (channels, blocks, kernel, stride, out) in enumerate(rows, start=1):
        project = ", project=True" if (width, size) != (channels, out) else ""
        sizes = f"{width}, {channels}, blocks={blocks}, kernel={kernel}, stride={stride}{project}"
        call = f"        self.layer{number} = stage({sizes})"
        if len(call) > WIDTH:
            call = f"        self.layer{number} = stage(\n            {sizes}\n        )"
        shape = f"  # {channels}x{out}x{out}"
        yield call + (shape if len(call + shape) <= WIDTH else "")
        width, size = channels, out


def _numbers(spec: ResNetSpec) -> dict[str, object]:
    """What the spec fills into the pieces."""
    features = spec.channels[-1] * (spec.maps[-1] // spec.pool_size) ** 2
    return {
        "count": f"{cost(spec).params:_}", "params": f"{cost(spec).params:,}", "n_classes": spec.classes,
        "n_stages": len(spec.channels),
        "channels": spec.in_channels, "size": spec.image_size, "stem": spec.stem_channels,
        "stem_kernel": spec.stem_kernel, "shortcut_kernel": spec.shortcut_kernel, "reduction": spec.se_reduction,
        "last": spec.channels[-1], "pool": spec.pool_size, "features": features, "dropout": spec.dropout,
    }  # fmt: skip


def _constants(model: Model) -> dict[str, str]:
    """Classes and normalisation as code."""
    return {
        "version": version("nas-budget"),
        "CLASSES": _tuple("CLASSES", map(quoted, model.classes)),
        "MEAN": _tuple("MEAN", map(repr, model.mean)),
        "STD": _tuple("STD", map(repr, model.std)),
    }


def _tuple(name: str, items: Iterator[str]) -> str:
    """The assignment of a tuple, on one line or on filled ones."""
    parts = [f"{item}," for item in items]
    line = f"{name} = ({' '.join(parts) if len(parts) == 1 else ' '.join(parts)[:-1]})"
    if len(line) <= WIDTH:
        return line
    lines = [""]
    for part in parts:
        if len(f"    {lines[-1]} {part}") > WIDTH:
            lines.append("")
        lines[-1] = f"{lines[-1]} {part}".strip()
    return "\n".join([f"{name} = (", *(f"    {line}" for line in lines), ")  # fmt: skip"])


def quoted(text: str) -> str:
    """A text as a literal of Python, in double quotes where it has none itself."""
    literal = repr(text)
    return literal if '"' in literal else f'"{literal[1:-1]}"'

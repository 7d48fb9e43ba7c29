"""A trained network as one Python file that needs PyTorch alone: its text, and a check that runs it.

The text is the source of `train.engine.model` and of `standalone_template`, with the constants of the network.
"""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nas_budget.arch.blocks import inner_width
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import ModelError, UsageError
from nas_budget.train.engine import model as network_source
from nas_budget.train.engine.weights import Model
from nas_budget.train.export import standalone_template as template
from nas_budget.train.export.certificate import Batches, Reading

WIDTH = 120
"""Characters that a line of the text has at most, as in the source."""
HEAD = '''"""Tells {classes} classes of images apart with {params:,} parameters.

Written by nas-budget {version}. It needs PyTorch alone.
Its weights are in model.safetensors, beside this file.

    python model.py     # counts, loads the weights, classifies random images

    from model import load, predict
    probabilities = predict(load(), images)  # images: uint8 (n, {image_size}, {image_size}, {in_channels})
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

'''
SPEC_NAMES = (
    "block", "channels", "blocks", "kernels", "strides", "stem_channels", "stem_kernel", "shortcut_kernel",
    "se_reduction", "pool_size", "dropout", "image_size", "in_channels", "classes", "activation", "groups",
    "expansions", "stem_stride", "head_width",
)  # fmt: skip
"""What `ResNet` reads from a spec."""
OPTIONAL_SE = re.compile(r"SqueezeExcite\(.*\) if spec.se_reduction else nn.Identity\(\)")
"""Where a block has a squeeze-excitation, if any network of it has."""
PROBE = """
import json, runpy, sys
import torch
for name in "nas_budget", "safetensors":
    sys.modules[name] = None  # importing it fails
module = runpy.run_path(sys.argv[1])
network, shape = module["load"](), json.loads(sys.argv[2])
images = torch.frombuffer(bytearray(sys.stdin.buffer.read()), dtype=torch.uint8).reshape(shape)
with torch.inference_mode():
    logits = [network(module["normalize"](batch)).tolist() for batch in images.split(json.loads(sys.argv[3]))]
print(json.dumps({"params": sum(p.numel() for p in network.parameters()), "logits": sum(logits, [])}))
"""
PROBE_LIMIT_S = 600


def standalone_text(model: Model) -> str:
    """A Python file with exactly this network, in plain PyTorch, that reads its weights from a safetensors file."""
    spec = model.spec
    if not isinstance(spec, ResNetSpec):
        raise UsageError(
            f"--format python writes residual networks only, and this is one of {spec.family}; give another"
        )
    values = {name: getattr(spec, name) for name in SPEC_NAMES}
    head = HEAD.format(**values, params=cost(spec).params, version=version("nas-budget"))
    functions = (
        template.build, template.read_safetensors, template.load, template.normalize, template.predict, template.main,
    )  # fmt: skip
    use = [inspect.getsource(each).replace("  # type: ignore[no-any-return]", "") for each in functions]
    parts = [head + "\n".join(_constants(model, values)), *_network_source(spec), *use]
    parts.append('if __name__ == "__main__":\n    main()\n')
    return "\n\n".join(f"{part.rstrip()}\n" for part in parts)


def _network_source(spec: ResNetSpec) -> Iterator[str]:
    """The source of `ResNet` and of what it uses for this spec."""
    block = network_source.BLOCKS[spec.block]
    texts = [_source_for(spec, each) for each in (block, network_source.ResNet)]
    for each in network_source.conv_bn, network_source.conv, network_source.SqueezeExcite, inner_width:
        if any(f"{each.__name__}(" in text for text in texts):
            texts.insert(0, _source_for(spec, each))
    yield from texts


def _source_for(spec: ResNetSpec, what: Any) -> str:
    """The source of a class or function with the spec's own block and activation in place of the tables of all."""
    source = inspect.getsource(what).replace("spec: ResNetSpec", "spec: SimpleNamespace")
    source = source.replace("BLOCKS[spec.block]", network_source.BLOCKS[spec.block].__name__)
    source = source.replace("ACTIVATIONS[spec.activation]", f"F.{network_source.ACTIVATIONS[spec.activation].__name__}")
    return source if spec.se_reduction else OPTIONAL_SE.sub("nn.Identity()", source)


def _constants(model: Model, spec_values: dict[str, Any]) -> Iterator[str]:
    """Spec, count, classes and normalization as code."""
    fields = [f"{name}={quoted(value)}" for name, value in spec_values.items()]
    lines = [textwrap.fill(f"{field},", WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8) for field in fields]
    skip = "  # fmt: skip" if any("\n" in line for line in lines) else ""
    yield "\n".join(["SPEC = SimpleNamespace(", *lines, f"){skip}"])
    yield f"PARAMETERS = {cost(model.spec).params:_}"
    yield _tuple("CLASSES", map(quoted, model.classes))
    yield "# Of each channel of the images, in 0..255: subtracted from a pixel, and divided by."
    yield _tuple("MEAN", map(repr, model.mean))
    yield _tuple("STD", map(repr, model.std))
    yield 'WEIGHTS = Path(__file__).with_name("model.safetensors")'
    yield 'DTYPES = {"F32": torch.float32, "I64": torch.int64}'


def _tuple(name: str, items: Iterable[str]) -> str:
    """The assignment of a tuple, on one line or on filled ones."""
    parts = [f"{item}," for item in items]
    line = f"{name} = ({' '.join(parts) if len(parts) == 1 else ' '.join(parts)[:-1]})"
    if len(line) <= WIDTH:
        return line
    # No literal has a NUL: it stands for the spaces within one, at which lines must not break.
    text = " ".join(part.replace(" ", "\0") for part in parts)
    lines = textwrap.fill(text, WIDTH - 4, break_long_words=False, break_on_hyphens=False).replace("\0", " ")
    return "\n".join([f"{name} = (", textwrap.indent(lines, " " * 4), ")  # fmt: skip"])


def quoted(value: object) -> str:
    """A value as a Python literal; text in double quotes where it has none itself."""
    literal = repr(value)
    return literal if '"' in literal or not isinstance(value, str) else f'"{literal[1:-1]}"'


def run_standalone(path: Path, batches: Batches) -> Reading:
    """Parameters and logits of such a file, run in a fresh Python that cannot import this package or safetensors."""
    images, sizes = torch.cat([*batches]), [len(batch) for batch in batches]
    command = [sys.executable, "-I", "-c", PROBE, str(path), json.dumps([*images.shape]), json.dumps(sizes)]
    try:
        ran = subprocess.run(command, input=images.numpy().tobytes(), capture_output=True, timeout=PROBE_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path}: did not end within {PROBE_LIMIT_S} s") from None
    if ran.returncode:
        last = (ran.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {ran.returncode}"])[-1]
        raise ModelError(f"{path}: does not run ({last})")
    found = json.loads(ran.stdout)
    return found["params"], torch.tensor(found["logits"])

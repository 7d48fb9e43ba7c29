"""A LiteRT file as a `Model`, run by LiteRT's own interpreter, and the memory that one on a microcontroller needs."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas_budget.arch.spec import spec_from_dict
from nas_budget.errors import ModelError, SpecError, UsageError
from nas_budget.train.engine.weights import Model
from nas_budget.train.export.litert_export import IDENTIFIER, METADATA
from nas_budget.untrusted import read_json

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

MOST_ARENA = 1 << 28
"""Bytes that the search for the arena's size begins with."""
_MEASURE = """
import sys
from tflite_micro.python.tflite_micro.runtime import Interpreter, InterpreterConfig
options = {"arena_size": int(sys.argv[1]), "intrepreter_config": InterpreterConfig.kAllocationRecording}
Interpreter.from_bytes(sys.stdin.buffer.read(), **options).print_allocations()
"""


class LitertNetwork(nn.Module):
    """An interpreter as a module: raw images, float32 (N, channels, size, size) in 0..255, to logits (N, classes)."""

    def __init__(self, interpreter: Interpreter) -> None:
        super().__init__()
        self.interpreter = interpreter

    def forward(self, images: Tensor) -> Tensor:
        """The logits, on the device of the images; LiteRT computes on the CPU, one image at a time."""
        pixels = images.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu()
        return run_interpreter(self.interpreter, pixels).to(images.device)


def open_litert(path: Path) -> Model:
    """The model in a LiteRT file that `export` wrote: its classes and spec are in the file.

    Its `mean` is 0 and its `std` 1, as the file normalizes images itself.

    Raises:
        UsageError: LiteRT is not installed.
        ModelError: The file is missing or damaged, or another tool wrote it.
    """
    try:
        content = path.read_bytes()
        interpreter = open_interpreter(content)
        about = read_json(_metadata(content).decode())
        spec, classes = spec_from_dict(about["spec"]), tuple(about["classes"])
    except ImportError:
        raise UsageError(f"{path}: LiteRT files need ai-edge-litert: pip install 'nas-budget[litert]'") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
    except KeyError as error:
        raise ModelError(f"{path}: no LiteRT file of nas-budget export (its metadata has no {error})") from None
    except (SpecError, ValueError, TypeError, RuntimeError) as error:
        raise ModelError(f"{path}: is no whole LiteRT file; it is damaged or was cut short ({error})") from None
    plain, ones = (0.0,) * spec.in_channels, (1.0,) * spec.in_channels
    return Model(spec, LitertNetwork(interpreter), classes, plain, ones, {"precision": "int8"})


def open_interpreter(content: bytes) -> Interpreter:
    """LiteRT's interpreter of a file's content, ready to run."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    if content[4:8] != IDENTIFIER:
        raise ValueError("it does not begin as one")
    interpreter = Interpreter(
        model_content=content,
        num_threads=torch.get_num_threads(),
        # Without XNNPACK: these operators are those of LiteRT itself, and it says nothing on the terminal.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter


def run_litert(content: bytes, images: Tensor) -> Tensor:
    """The logits of images, uint8 (n, size, size, channels), by a file's content; float32 (n, classes)."""
    return run_interpreter(open_interpreter(content), images)


def run_interpreter(interpreter: Interpreter, images: Tensor) -> Tensor:
    """The logits of images, uint8 (n, size, size, channels), by an interpreter; float32 (n, classes)."""
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero_point = given["quantization"]
    logits = np.empty((len(images), given["shape"][-1]), np.float32)
    for place, image in enumerate(_int8(images)):
        interpreter.set_tensor(taken["index"], image[None])
        interpreter.invoke()
        logits[place] = (interpreter.get_tensor(given["index"])[0].astype(np.float32) - zero_point) * scale
    return torch.from_numpy(logits)


@lru_cache(maxsize=4)
def arena_bytes(content: bytes) -> int | None:
    """Bytes of RAM that TensorFlow Lite Micro needs to run a file; None where it is not installed or cannot run it.

    It is what its interpreter here takes for activations, scratch and its own tables, whose pointers have 8 bytes
    where a chip's have 4. A process of its own measures it: the interpreter prints it, and a failure there may abort.
    """
    ran = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(MOST_ARENA)], input=content, capture_output=True, check=False
    )
    found = re.search(rb"Arena allocation total (\d+) bytes", ran.stdout + ran.stderr)
    return int(found[1]) if ran.returncode == 0 and found else None


def _metadata(content: bytes) -> bytes:
    """The text about the network in a file; a `KeyError` says that there is none."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(content)
    for place in range(model.MetadataLength()):
        entry = model.Metadata(place)
        if entry.Name() == METADATA.encode():
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy())
    raise KeyError(METADATA)


def _int8(images: Tensor) -> NDArray[np.int8]:
    """Pixels as the file takes them: each less 128."""
    return (images.numpy().astype(np.int16) - 128).astype(np.int8)

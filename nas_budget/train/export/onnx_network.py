"""`open_onnx`: an exported ONNX file as a `Model`, run by ONNX Runtime, so that it is evaluated as any other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nas_budget.arch.spec import spec_from_json
from nas_budget.errors import ModelError, SpecError, UsageError
from nas_budget.train.engine.weights import Model
from nas_budget.untrusted import read_json

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

BATCH = 500


class OnnxNetwork(nn.Module):
    """A session as a module: raw images, float32 (N, channels, size, size) in 0..255, to logits (N, classes)."""

    def __init__(self, session: InferenceSession) -> None:
        super().__init__()
        self.session = session

    def forward(self, images: Tensor) -> Tensor:
        """The logits, on the device of the images; ONNX Runtime computes on the CPU."""
        fed = np.ascontiguousarray(images.cpu().numpy(), np.float32)
        return torch.from_numpy(self.session.run(["logits"], {"images": fed})[0]).to(images.device)


def open_onnx(path: Path) -> Model:
    """The model in an ONNX file that `export` wrote, of fp32 or int8: its classes and spec are in the file.

    Its `mean` is 0 and its `std` 1, as the file normalizes images itself.

    Raises:
        UsageError: ONNX Runtime is not installed.
        ModelError: The file is missing or damaged, or another tool wrote it.
    """
    try:
        session = onnx_session(path.read_bytes())
        found = session.get_modelmeta().custom_metadata_map
        spec, classes = spec_from_json(found["spec"]), tuple(read_json(found["classes"]))
        about = {**read_json(found["about"]), **({"precision": "int8"} if "quantization" in found else {})}
    except ImportError:
        raise UsageError(f"{path}: ONNX files need onnxruntime: pip install 'nas-budget[onnx]'") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
    except KeyError as error:
        raise ModelError(f"{path}: no ONNX file of nas-budget export (its metadata has no {error})") from None
    except (SpecError, ValueError, TypeError) as error:
        raise ModelError(f"{path}: its metadata describes no network ({error})") from None
    except Exception as error:  # ONNX Runtime's own have no base class that can be imported
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ModelError(f"{path}: is no whole ONNX file; it is damaged or was cut short") from None
    return Model(spec, OnnxNetwork(session), classes, (0.0,) * spec.in_channels, (1.0,) * spec.in_channels, about)


def onnx_session(content: bytes) -> InferenceSession:
    """A session of ONNX Runtime on the CPU, with as many threads as torch."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    # Older CPUs add products of int8 in 16 bits, which overflow; this takes their slower and exact instructions.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return InferenceSession(content, options, providers=["CPUExecutionProvider"])


def run_onnx(content: bytes, images: Tensor) -> Tensor:
    """The logits of images, uint8 (n, size, size, channels), by a file's content; float32 (n, classes)."""
    session = onnx_session(content)
    return torch.cat(
        [torch.from_numpy(session.run(["logits"], {"images": raw(part)})[0]) for part in images.split(BATCH)]
    )


def raw(images: Tensor) -> NDArray[np.float32]:
    """uint8 (n, size, size, channels) to float32 (n, channels, size, size) of the same values, 0..255."""
    return np.ascontiguousarray(images.permute(0, 3, 1, 2).numpy(), np.float32)

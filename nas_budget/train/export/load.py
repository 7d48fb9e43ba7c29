"""`load_trained`: a trained network from whatever holds one, a run folder, its weights, or an exported file."""

from __future__ import annotations

from pathlib import Path

from nas_budget.errors import UsageError
from nas_budget.train.engine.weights import Model, load_model
from nas_budget.train.export.litert_network import open_litert
from nas_budget.train.export.onnx_network import open_onnx

EXPORTED = {".onnx": open_onnx, ".tflite": open_litert}
"""What opens exported files, by suffix; they run on the CPU."""


def load_trained(source: Path, ema: bool = False) -> Model:
    """The model of a run folder, of a file of weights or of a file that `export` wrote.

    Args:
        source: The folder or file.
        ema: Take the EMA weights of a run folder.

    Raises:
        UsageError: EMA weights were asked of an exported file, or what runs it is not installed.
        ModelError: A file that is missing or damaged.
    """
    if is_exported(source):
        if ema:
            raise UsageError(f"--ema: {source} holds the weights that it was exported with; export with --ema instead")
        return EXPORTED[source.suffix](source)
    return load_model(source, ema)


def is_exported(source: Path) -> bool:
    """Whether a path is of a file that `export` wrote for a runtime other than torch."""
    return source.suffix in EXPORTED and not source.is_dir()

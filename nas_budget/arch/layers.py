"""The network family layer by layer: the one place that knows its topology for counting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from nas_budget.arch.spec import ResNetSpec

Shape = tuple[int, int, int]
"""Channels, height, width of one image's tensor; a vector of features has height and width 1."""


@dataclass(frozen=True)
class Layer:
    """One step of the network on one image.

    Attributes:
        name: The submodule's name in the network that `train.build` makes.
        part: "stem", "stage 1", "stage 2", ... or "head".
        kind: "conv", "batch_norm", "relu", "add", "pool", "dropout" or "linear".
        in_shape: Channels, height, width of the input.
        out_shape: Channels, height, width of the output.
        params: Trainable parameters.
        macs: Multiply-accumulates; 0 for all but "conv" and "linear".
        buffers: Running means and variances.
        held: Elements kept alive beside input and output while this step runs.
        kernel: Kernel size of a conv or pool, else 0.
    """

    name: str
    part: str
    kind: str
    in_shape: Shape
    out_shape: Shape
    params: int = 0
    macs: int = 0
    buffers: int = 0
    held: int = 0
    kernel: int = 0

    @property
    def live(self) -> int:
        """Elements alive while this step runs: its input, its output (one tensor if in place), what is held."""
        in_place = self.kind in ("batch_norm", "relu", "add", "dropout")
        return self.held + prod(self.out_shape) + (0 if in_place else prod(self.in_shape))


def layers(spec: ResNetSpec) -> tuple[Layer, ...]:
    """Every layer of the network in the order it runs, with shapes, parameters and MACs.

    Batch norm, ReLU, addition and dropout are taken to work in place, as inference engines do.
    """
    return tuple(_walk(spec))


def _walk(spec: ResNetSpec) -> Iterator[Layer]:
    shape: Shape = (spec.in_channels, spec.image_size, spec.image_size)
    yield from _conv_norm("stem.conv", "stem.norm", "stem", shape, spec.channels[0], spec.stem_kernel)
    shape = (spec.channels[0], spec.image_size, spec.image_size)
    yield _in_place("stem.relu", "stem", "relu", shape)
    for stage, channels in enumerate(spec.channels):
        for block in range(spec.blocks[stage]):
            stride = spec.strides[stage] if block == 0 else 1
            yield from _block(spec, stage, block, shape, channels, stride)
            shape = _after(shape, channels, stride)
    yield from _head(spec, shape)


def _block(spec: ResNetSpec, stage: int, block: int, shape: Shape, channels: int, stride: int) -> Iterator[Layer]:
    name, part, kernel = f"stages.{stage}.{block}", f"stage {stage + 1}", spec.kernels[stage]
    out = _after(shape, channels, stride)
    size_in, size_out = prod(shape), prod(out)
    yield from _conv_norm(f"{name}.conv1", f"{name}.norm1", part, shape, channels, kernel, stride, norm_held=size_in)
    yield _in_place(f"{name}.relu", part, "relu", out, size_in)
    yield from _conv_norm(
        f"{name}.conv2", f"{name}.norm2", part, out, channels, kernel, held=size_in, norm_held=size_in
    )
    if shape != out:
        shortcut = f"{name}.shortcut"
        yield from _conv_norm(
            f"{shortcut}.conv", f"{shortcut}.norm", part, shape, channels, spec.shortcut_kernel, stride,
            held=size_out, norm_held=size_out,
        )  # fmt: skip
    yield _in_place(f"{name}.add", part, "add", out, size_out)
    yield _in_place(f"{name}.relu", part, "relu", out)


def _head(spec: ResNetSpec, shape: Shape) -> Iterator[Layer]:
    size = shape[1] // spec.pool_size
    pooled: Shape = (shape[0], size, size)
    features = prod(pooled)
    yield Layer("pool", "head", "pool", shape, pooled, kernel=spec.pool_size)
    if spec.dropout:
        yield _in_place("dropout", "head", "dropout", (features, 1, 1))
    params = features * spec.classes + spec.classes
    yield Layer("linear", "head", "linear", (features, 1, 1), (spec.classes, 1, 1), params, features * spec.classes)


def _conv_norm(
    conv: str, norm: str, part: str, shape: Shape, channels: int, kernel: int,
    stride: int = 1, held: int = 0, norm_held: int = 0,
) -> Iterator[Layer]:  # fmt: skip
    out = _after(shape, channels, stride)
    weights = kernel * kernel * shape[0] * channels
    macs = weights * out[1] * out[2]
    yield Layer(conv, part, "conv", shape, out, weights, macs, held=held, kernel=kernel)
    yield Layer(norm, part, "batch_norm", out, out, 2 * channels, buffers=2 * channels, held=norm_held)


def _in_place(name: str, part: str, kind: str, shape: Shape, held: int = 0) -> Layer:
    return Layer(name, part, kind, shape, shape, held=held)


def _after(shape: Shape, channels: int, stride: int) -> Shape:
    return channels, -(-shape[1] // stride), -(-shape[2] // stride)

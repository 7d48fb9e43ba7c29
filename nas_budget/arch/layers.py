"""`layers`: every layer of a network in the order it runs, with its name, shape and cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from nas_budget.arch.blocks import FAMILIES, inner_width, squeezed
from nas_budget.arch.latency import LayerShape
from nas_budget.arch.spec import ResNetSpec

Shape = tuple[int, int, int]
"""Channels, height, width of one image's tensor; a vector of features has height and width 1."""

IN_PLACE = ("batch_norm", "activation", "add", "dropout", "sigmoid", "scale")


@dataclass(frozen=True)
class Layer:
    """One step of the network on one image.

    Attributes:
        name: The submodule's name in the network that `train.build` makes.
        part: "stem", "stage 1", "stage 2", ... or "head".
        kind: "conv", "batch_norm", "activation", "add", "mean", "sigmoid", "scale", "pool", "dropout" or "linear".
        in_shape: Channels, height, width of the input.
        out_shape: Channels, height, width of the output.
        params: Trainable parameters.
        macs: Multiply-accumulates; 0 for all but "conv" and "linear".
        buffers: Running means and variances.
        held: Elements kept alive beside input and output while this step runs.
        kernel: Kernel size of a conv or pool, else 0.
        stride: Of a conv.
        groups: Of a conv.
        timed_as: Kind under which its time is predicted; empty for what has none of its own.

    Examples:
        >>> first = layers(ResNetSpec((8,), blocks=1))[0]
        >>> first.name, first.kind, first.out_shape, first.params, first.macs
        ('conv1', 'conv', (8, 32, 32), 216, 221184)
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
    stride: int = 1
    groups: int = 1
    timed_as: str = ""

    @property
    def live_elements(self) -> int:
        """Elements alive while this step runs: its input, its output (one tensor if in place), what is held."""
        return self.held + prod(self.out_shape) + (0 if self.kind in IN_PLACE else prod(self.in_shape))

    @property
    def timed_shape(self) -> LayerShape:
        """What its time depends on."""
        n_in, n_out = self.in_shape[0], self.out_shape[0]
        return LayerShape(self.timed_as, n_in, n_out, max(1, self.kernel), self.stride, self.in_shape[1], self.groups)


def layers(spec: ResNetSpec) -> tuple[Layer, ...]:
    """Every layer of the network in the order it runs, with shapes, parameters and MACs.

    Batch norm, activations, addition, dropout and the scaling of a squeeze-excitation are taken to work in
    place wherever their input is not needed again, as inference engines do.
    """
    return tuple(_walk(spec))


def _walk(spec: ResNetSpec) -> Iterator[Layer]:
    preact = FAMILIES[spec.block].preact
    shape: Shape = (spec.in_channels, spec.image_size, spec.image_size)
    yield _conv("conv1", "stem", shape, spec.stem_channels, spec.stem_kernel, spec.stem_stride)
    shape = _after(shape, spec.stem_channels, spec.stem_stride)
    if not preact:
        yield from _norm_act("bn1", "act1", "stem", shape)
    for stage in range(len(spec.channels)):
        for block in range(spec.blocks[stage]):
            stride = spec.strides[stage] if block == 0 else 1
            yield from _block(spec, stage, f"layer{stage + 1}.{block}", shape, stride)
            shape = _after(shape, spec.channels[stage], stride)
    if preact:
        yield from _norm_act("bn", "act", "head", shape)
    yield from _head(spec, shape)


def _block(spec: ResNetSpec, stage: int, name: str, shape: Shape, stride: int) -> Iterator[Layer]:
    family, part, out = FAMILIES[spec.block], f"stage {stage + 1}", _after(shape, spec.channels[stage], stride)
    has_shortcut = family.projects or shape == out
    yield from _main_path(spec, stage, name, shape, stride, prod(shape) if has_shortcut else 0)
    if has_shortcut:
        if shape != out:
            yield from _projection(spec, f"{name}.downsample", part, shape, out[0], stride)
        yield _same(f"{name}.add", part, "add", out, prod(out))
    if not (family.preact or family.linear):
        yield _same(f"{name}.act", part, "activation", out)


def _main_path(spec: ResNetSpec, stage: int, name: str, shape: Shape, stride: int, held: int) -> Iterator[Layer]:
    """The convolutions and what stands between them; `held` are the elements that the shortcut keeps."""
    family, part, now = FAMILIES[spec.block], f"stage {stage + 1}", shape
    channels, convs = spec.channels[stage], enumerate(family.convs, start=1)
    widths = {"in": shape[0], "out": channels}
    widths["mid"] = inner_width(widths[family.of], spec.expansions[stage], spec.groups)
    # A preactivated block with an identity shortcut needs its input and the activated copy of it; every other
    # block needs one tensor for both paths, and its first convolution reads just that.
    beside = held if family.preact and shape == _after(shape, channels, stride) else 0
    for i, conv in convs:
        if conv.expands and spec.expansions[stage] == 1:
            continue
        if family.preact:
            yield from _norm_act(f"{name}.bn{i}", f"{name}.act{i}", part, now, beside)
        step, kernel = stride if conv.strided else 1, conv.kernel or spec.kernels[stage]
        groups = conv.n_groups(now[0], spec.groups)
        timed_as = conv.timed_as(groups)
        yield _conv(f"{name}.conv{i}", part, now, widths[conv.target], kernel, step, beside, groups, timed_as)
        now, beside = _after(now, widths[conv.target], step), held
        if not family.preact:
            yield _norm(f"{name}.bn{i}", part, now, held)
            if i < len(family.convs):
                yield _same(f"{name}.act{i}", part, "activation", now, held)
        if spec.se_reduction and family.squeezes(conv):
            yield from _squeeze(f"{name}.se", part, now, spec.se_reduction, held)


def _projection(spec: ResNetSpec, name: str, part: str, shape: Shape, channels: int, stride: int) -> Iterator[Layer]:
    out = _after(shape, channels, stride)
    yield _conv(f"{name}.0", part, shape, channels, spec.shortcut_kernel, stride, prod(out))
    if not FAMILIES[spec.block].preact:
        yield _norm(f"{name}.1", part, out, prod(out))


def _squeeze(name: str, part: str, shape: Shape, reduction: int, held: int) -> Iterator[Layer]:
    """Mean of each channel, two linear layers, a factor for each channel; `held` is the block's input."""
    features: Shape = (shape[0], 1, 1)
    few: Shape = (squeezed(shape[0], reduction), 1, 1)
    both = held + prod(shape)
    yield Layer(f"{name}.mean", part, "mean", shape, features, held=held)
    yield _linear(f"{name}.fc1", part, features, few[0], both)
    yield _same(f"{name}.relu", part, "activation", few, both)
    yield _linear(f"{name}.fc2", part, few, features[0], both)
    yield _same(f"{name}.sigmoid", part, "sigmoid", features, both)
    yield _same(f"{name}.scale", part, "scale", shape, held + features[0])


def _head(spec: ResNetSpec, shape: Shape) -> Iterator[Layer]:
    if spec.head_width:
        yield _conv("head_conv", "head", shape, spec.head_width, 1)
        shape = _after(shape, spec.head_width, 1)
        yield from _norm_act("head_bn", "head_act", "head", shape)
    size = shape[1] // spec.pool_size
    pooled: Shape = (shape[0], size, size)
    features: Shape = (prod(pooled), 1, 1)
    yield Layer("avgpool", "head", "pool", shape, pooled, kernel=spec.pool_size)
    if spec.dropout:
        yield _same("dropout", "head", "dropout", features)
    yield _linear("fc", "head", features, spec.classes)


def _conv(
    name: str, part: str, shape: Shape, channels: int, kernel: int, stride: int = 1, held: int = 0, groups: int = 1,
    timed_as: str = "conv",
) -> Layer:  # fmt: skip
    out = _after(shape, channels, stride)
    weights = kernel * kernel * (shape[0] // groups) * channels
    macs = weights * out[1] * out[2]
    return Layer(name, part, "conv", shape, out, weights, macs, 0, held, kernel, stride, groups, timed_as)


def _norm(name: str, part: str, shape: Shape, held: int = 0) -> Layer:
    return Layer(name, part, "batch_norm", shape, shape, 2 * shape[0], buffers=2 * shape[0], held=held)


def _norm_act(norm: str, act: str, part: str, shape: Shape, held: int = 0) -> Iterator[Layer]:
    yield _norm(norm, part, shape, held)
    yield _same(act, part, "activation", shape, held)


def _linear(name: str, part: str, shape: Shape, features: int, held: int = 0) -> Layer:
    macs = shape[0] * features
    return Layer(name, part, "linear", shape, (features, 1, 1), macs + features, macs, held=held, timed_as="linear")


def _same(name: str, part: str, kind: str, shape: Shape, held: int = 0) -> Layer:
    return Layer(name, part, kind, shape, shape, held=held)


def _after(shape: Shape, channels: int, stride: int) -> Shape:
    return channels, -(-shape[1] // stride), -(-shape[2] // stride)

"""Cost of any torch module, counted on the meta device: with shapes, without values or memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, is_dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.parameter import is_lazy
from torch.utils.flop_counter import FlopCounterMode

from nas_budget.arch.budget import Budget, Verdict
from nas_budget.arch.cost import BYTES_PER_NUMBER
from nas_budget.errors import InputError, NasBudgetError, UsageError
from nas_budget.train.modules.load_module import build_on_meta, describe_error, isolated, load_module
from nas_budget.train.profile.op_counts import UncountedOps, rules

ITSELF = "(itself)"


DTYPES = (
    "float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
)  # fmt: skip


@dataclass(frozen=True)
class ModuleInput:
    """One input of a module, for `count_module`.

    Attributes:
        shape: Without the batch, such as (3, 224, 224); () for one number.
        dtype: A name of `DTYPES`, such as "int64" for tokens; empty for the number format of the module's weights.
        name: The argument of `forward` that it is given as; empty for the next positional one. In a dictionary that is
            an argument it has a key behind a dot: `batch.image`.
    """

    shape: tuple[int, ...]
    dtype: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        if not all(isinstance(size, int) and size >= 1 for size in self.shape):
            raise UsageError(f"input: {self.shape} is not allowed; give sizes of 1 or more, such as 3,32,32")
        if self.dtype and self.dtype not in DTYPES:
            raise UsageError(f"input: dtype {self.dtype!r} is not allowed; give one of {', '.join(DTYPES)}")
        parts = self.name.split(".")
        if self.name and (len(parts) > 2 or not all(part.isidentifier() for part in parts)):
            raise UsageError(
                f"input: {self.name!r} is no name of an argument; write such as mask=128 or batch.mask=128"
            )

    def __str__(self) -> str:
        """Such as "one int64 tensor of 128 (tokens)"."""
        form = f"tensor of {','.join(map(str, self.shape))}" if self.shape else "number"
        return f"one {self.dtype or 'float'} {form}{f' ({self.name})' if self.name else ''}"

    def tensor(self, dtype: torch.dtype | None) -> Tensor:
        """A batch of one on the meta device, of the given number format where it has none of its own."""
        own = getattr(torch, self.dtype) if self.dtype else dtype
        return torch.empty(1, *self.shape, dtype=own, device="meta")


@dataclass(frozen=True)
class UncountedCalls:
    """Calls of an operation that multiplies and accumulates and that no rule counts, in one part of a module."""

    name: str
    part: str
    calls: int


@dataclass(frozen=True)
class ModulePart:
    """The cost of one child of a module, as that of a `ModuleCost`; `kind` is the name of its class.

    `out_shape` is of what it returned when it was last called, without the batch; () where it returned no tensor or was
    never called.
    """

    name: str
    kind: str
    params: int
    frozen: int
    macs: int
    out_shape: tuple[int, ...]


@dataclass(frozen=True)
class ModuleCost:
    """The cost of a module, as `count_module` returns it.

    A shared parameter is counted once, in the first child that has it. A call is counted in the outermost child
    that it happens in.

    Attributes:
        name: The target as it was given.
        params: Trainable parameters; `frozen` are those that do not require gradients.
        buffers: Elements of floating-point buffers, such as running means and variances.
        integer_bytes: Bytes of parameters and buffers of whole numbers, such as weights that are stored in int8. Batch
            counters of norms, which are not needed to run the module, are left out.
        weight_bytes: Bytes of parameters, frozen ones too, and buffers, by number format. Whole numbers have the bytes
            that they are stored in, whatever the format.
        macs: Multiply-accumulates for one input, half of what torch's `FlopCounterMode` counts: convolutions,
            matrix products, attention.
        layers: Calls of modules that have no children.
        elements: Numbers that these return for one input.
        out_shape: Of what the module returns, without the batch; () where that is no tensor.
        parts: The same for each child, in order; then "(itself)" for what is outside all children, if anything is.
        uncounted: Operations that multiply and accumulate but have no rule, such as a Fourier transform: where there
            are any, `macs` is a lower bound. A dot product that is written as an element-wise product and a sum is
            one of them ("product and sum").
    """

    name: str
    params: int
    frozen: int
    buffers: int
    integer_bytes: int
    weight_bytes: dict[str, int]
    macs: int
    layers: int
    elements: int
    out_shape: tuple[int, ...]
    parts: tuple[ModulePart, ...]
    uncounted: tuple[UncountedCalls, ...] = ()

    def check(self, budget: Budget) -> Verdict:
        """Whether the module fits, with a margin for each limit that is set.

        Raises:
            UsageError: The budget limits bytes of activations, which are not counted for a module.
        """
        if budget.activation_bytes is not None:
            raise UsageError("activation_bytes: not counted for a module; leave that limit out")
        if budget.latency_ns is not None:
            raise UsageError("latency_ns: not predicted for a module; leave that limit out")
        weight_bytes = self.weight_bytes[budget.weight_format]
        return budget.check_counts({"params": self.params, "macs": self.macs, "weight_bytes": weight_bytes})

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready values."""
        parts = [asdict(part) | {"out_shape": list(part.out_shape)} for part in self.parts]
        uncounted = [asdict(calls) for calls in self.uncounted]
        about = {"out_shape": list(self.out_shape), "parts": parts, "uncounted": uncounted}
        return asdict(self) | about


def count_module(target: str, *inputs: Sequence[int] | ModuleInput) -> ModuleCost:
    """The cost of a module in evaluation mode for one input, or for several inputs of one example.

    Nothing is computed: the module runs on the meta device, so its size does not matter. A module whose forward
    decides by the values of its data cannot be counted. The caller's random state and import path are restored.

    Args:
        target: `package.module:factory`, looked for in the working folder too. The factory is a class, a
            function that returns a module, or a module. It may be a dotted path and take literal
            arguments, such as `torchvision.models:resnet18(num_classes=10)`.
        inputs: The arguments of `forward`, in order: a shape without the batch, such as (3, 224, 224), or a
            `ModuleInput` where the numbers are no floats or the argument has a name.

    Raises:
        UsageError: The target or an input makes no sense.
        NasBudgetError: The module cannot be imported, built, or run with these inputs.

    Examples:
        >>> found = count_module("torch.nn:Conv2d(3, 8, kernel_size=3)", (3, 32, 32))
        >>> found.params, found.macs, found.weight_bytes["fp32"]
        (224, 194400, 896)
        >>> resnet = count_module("torchvision.models:resnet18", (3, 224, 224))
        >>> f"{resnet.params:,}", resnet.parts[-1].name, resnet.parts[-1].params
        ('11,689,512', 'fc', 513000)
        >>> count_module("torch.nn:Embedding(1000, 64)", ModuleInput((128,), "int64")).params
        64000
    """
    return _isolated_count(repr(target), target, lambda: load_module(target), inputs)


def count_built(build: Callable[[], object], input_shape: Sequence[int], name: str) -> ModuleCost:
    """The cost of the module that a function returns, counted as `count_module` counts.

    Args:
        build: Returns a new module each time.
        input_shape: Shape of one input without the batch, such as (3, 32, 32).
        name: What the cost and an error call the module.

    Raises:
        UsageError: The function returns no module, or the shape makes no sense.
        NasBudgetError: The module cannot be built, or run with this shape.

    Examples:
        >>> count_built(lambda: nn.Conv2d(3, 8, 3), (3, 32, 32), "first").params
        224
    """
    return _isolated_count(name, name, lambda: build_on_meta(build, "the module"), [input_shape])


def _isolated_count(
    said: str, name: str, load: Callable[[], nn.Module], inputs: Sequence[ModuleInput | Sequence[int]]
) -> ModuleCost:
    given = [one if isinstance(one, ModuleInput) else ModuleInput(tuple(one)) for one in inputs]
    if not given:
        raise UsageError("input: none is given; give the shape of one, such as 3,32,32")
    names = [one.name for one in given if one.name]
    if len({*names}) < len(names):
        raise UsageError(f"input: {max(names, key=names.count)!r} is given more than once; give each name once")
    try:
        with isolated():
            return _count(name, load(), given)
    except NasBudgetError as error:
        raise type(error)(f"{said}: {error}") from None


def _count(target: str, module: nn.Module, inputs: Sequence[ModuleInput]) -> ModuleCost:
    problems = []
    trained = {id(parameter) for parameter in module.parameters() if parameter.requires_grad}
    for parameter in module.eval().parameters():
        if not is_lazy(parameter):  # torch's counter refuses one that trains as an input of a child
            parameter.requires_grad_(False)
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), None)
    # The second time with new tensors on meta too: a forward that makes some would mix devices.
    for device in (nullcontext(), torch.device("meta")):
        try:
            with device:
                positional = [one.tensor(dtype) for one in inputs if not one.name]
                named = _arguments({one.name: one.tensor(dtype) for one in inputs if one.name})
                parts, layers, elements, shape, uncounted = _parts(module, trained, positional, named)
            buffers = sum(buffer.numel() for buffer in module.buffers() if buffer.is_floating_point())
            params, frozen, macs = (sum(getattr(p, name) for p in parts) for name in ("params", "frozen", "macs"))
            integers, sizes = _weight_bytes(module)
            return ModuleCost(
                target, params, frozen, buffers, integers, sizes, macs, layers, elements, shape, parts, uncounted
            )
        except Exception as error:
            problems.append(_problem(error, inputs))
    raise InputError(problems[0])


def _arguments(named: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of these names; those with a key behind a dot share a dictionary."""
    arguments: dict[str, Any] = {}
    for name, tensor in named.items():
        argument, _, key = name.partition(".")
        if key:
            arguments.setdefault(argument, {})[key] = tensor
        else:
            arguments[argument] = tensor
    return arguments


def _weight_bytes(module: nn.Module) -> tuple[int, dict[str, int]]:
    """Bytes of whole numbers as they are stored, and bytes of all weights by number format."""
    buffers = [b for name, b in module.named_buffers() if not name.endswith("num_batches_tracked")]
    weights = [*module.parameters(), *buffers]
    floats = sum(w.numel() for w in weights if w.is_floating_point())
    integers = sum(w.numel() * w.element_size() for w in weights if not w.is_floating_point())
    return integers, {name: size * floats + integers for name, size in BYTES_PER_NUMBER.items()}


def _problem(error: Exception, inputs: Sequence[ModuleInput]) -> str:
    text, reason = str(error), describe_error(error)
    if re.search(r"expected device|same device", text):
        return f"keeps a tensor that is no buffer ({reason}); give it to register_buffer"
    if re.search(r"(\b|_)meta\b", text, re.IGNORECASE):
        operator = "Meta kernel" in text or "'Meta' backend" in text
        problem = "has an operator without a meta kernel" if operator else "decides by the values of its data"
        return f"{problem}, which cannot be counted without running it ({reason}); name a part that goes by shapes"
    advice = "give the shape that it expects"
    if re.search(r"scalar type|dtype|[Ii]nt(eger)?\b|[Ll]ong", text) and not any(one.dtype for one in inputs):
        advice = "where it takes numbers of words or classes, give dtype int64 (--input-dtype int64)"
    elif "required positional argument" in text:
        advice = "give one input for each argument"
    return f"cannot run {' and '.join(map(str, inputs))} ({reason}); {advice}"


def _parts(
    module: nn.Module, trained: Set[int], positional: Sequence[Tensor], named: Mapping[str, Any]
) -> tuple[tuple[ModulePart, ...], int, int, tuple[int, ...], tuple[UncountedCalls, ...]]:
    """Runs a module and counts the work of each child: of a call, in the outermost child that it happens in.

    Beside the children, calls of modules without children, numbers that they return, the shape of the output, and what
    has no rule. `trained` has the ids of the parameters that require gradients, where they are not frozen.
    """
    counter, watcher = FlopCounterMode(display=False, custom_mapping=rules()), UncountedOps()
    watcher.part = ITSELF
    children = {id(child): name for name, child in module.named_children()}
    inner = [(id(m), name) for name, child in module.named_children() for m in child.modules()]
    owners = dict(reversed(inner)) | children
    entered: list[int] = []
    flops = dict.fromkeys(children.values(), 0)
    shapes: dict[str, tuple[int, ...]] = {}
    returned: list[int] = []

    def enter(called: nn.Module, _inputs: Any) -> None:
        if id(called) in owners:
            watcher.part = watcher.part if entered else owners[id(called)]
            entered.append(counter.get_total_flops())

    def leave(called: nn.Module, _inputs: Any, output: Any) -> None:
        if not called._modules:
            returned.append(prod(_shape(output)))
        if id(called) in children:
            shapes[children[id(called)]] = _shape(output)
        if id(called) in owners:
            before = entered.pop()
            if not entered:
                flops[owners[id(called)]] += counter.get_total_flops() - before
                watcher.part = ITSELF

    hooks = register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)
    try:
        with torch.no_grad(), watcher, counter:
            shapes[ITSELF] = _shape(module(*positional, **named))
    finally:
        for hook in hooks:
            hook.remove()
    flops[ITSELF] = counter.get_total_flops() - sum(flops.values())
    counted: set[int] = set()
    parts = []
    for name, child in [*module.named_children(), (ITSELF, module)]:
        new = [parameter for parameter in child.parameters() if id(parameter) not in counted]
        counted.update(map(id, new))
        params, frozen = (sum(p.numel() for p in new if (id(p) in trained) is trains) for trains in (True, False))
        parts.append(ModulePart(name, type(child).__name__, params, frozen, flops[name] // 2, shapes.get(name, ())))
    outside = parts[-1]
    uncounted = tuple(UncountedCalls(name, part, calls) for (name, part), calls in watcher.calls.items())
    shown = tuple(parts if outside.params or outside.frozen or outside.macs else parts[:-1])
    return shown, len(returned), sum(returned), shapes[ITSELF], uncounted


def _shape(output: Any) -> tuple[int, ...]:
    """Of a tensor, or of the first one in a tuple, list, dictionary or dataclass, without the batch."""
    if isinstance(output, Tensor):
        return tuple(output.shape[1:])
    if is_dataclass(output) and not isinstance(output, Mapping):
        output = [getattr(output, field.name) for field in fields(output)]
    inner = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return next((shape for one in inner if (shape := _shape(one))), ())

"""What any torch module costs, counted on the meta device: shapes without values or memory."""

from __future__ import annotations

import ast
import copy
import difflib
import importlib
import random
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.flop_counter import FlopCounterMode

from nas_budget.arch.cost import BYTES_PER_WEIGHT
from nas_budget.errors import NasBudgetError, UsageError

ITSELF = "(itself)"


@dataclass(frozen=True)
class ModulePart:
    """What one child of the module costs; `out_shape` is of its last call, without the batch, or ()."""

    name: str
    kind: str
    params: int
    frozen: int
    macs: int
    out_shape: tuple[int, ...]


@dataclass(frozen=True)
class ModuleCost:
    """What a module uses.

    Attributes:
        name: The target as it was given.
        params: Trainable parameters, shared ones once.
        frozen: Parameters that do not require gradients, shared ones once.
        buffers: Elements of floating-point buffers, such as running means and variances.
        macs: Multiply-accumulates for one input, half of what `FlopCounterMode` counts: convolutions,
            products of matrices, attention.
        parts: The same by child, in order, then "(itself)" for what is outside all children, if anything
            is. A shared parameter is counted in the first child that has it.
    """

    name: str
    params: int
    frozen: int
    buffers: int
    macs: int
    parts: tuple[ModulePart, ...]

    @property
    def weight_bytes(self) -> dict[str, int]:
        """Bytes of parameters, frozen ones too, and buffers, by number format."""
        weights = self.params + self.frozen + self.buffers
        return {name: size * weights for name, size in BYTES_PER_WEIGHT.items()}

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready values."""
        parts = [asdict(part) | {"out_shape": list(part.out_shape)} for part in self.parts]
        return asdict(self) | {"weight_bytes": self.weight_bytes, "parts": parts}


def count_module(target: str, input_shape: Sequence[int]) -> ModuleCost:
    """What a module uses in evaluation mode for one input.

    Args:
        target: `package.module:factory`, looked for in the working folder too. The factory is a class, a
            function that returns a module, or a module; it may be a dotted path and take literal
            arguments, such as `torchvision.models:resnet18(num_classes=10)`.
        input_shape: Shape of one input without the batch, such as (3, 224, 224).

    Raises:
        UsageError: The target or the shape makes no sense.
        NasBudgetError: The module cannot be imported, built, or run with this shape.
    """
    shape = tuple(input_shape)
    if not shape or not all(isinstance(size, int) and size >= 1 for size in shape):
        raise UsageError(f"input: {shape} is not allowed; give sizes of 1 or more, such as 3,32,32")
    try:
        module_name, path, arguments = _read(target)
        with _guest():
            module = _build(path, _find(module_name, path), arguments)
            return _measure(target, module, shape)
    except NasBudgetError as error:
        raise type(error)(f"{target!r}: {error}") from None


def _read(target: str) -> tuple[str, str, Any]:
    """Module, path and, where there are parentheses, the arguments in them."""
    module_name, _, factory = (part.strip() for part in target.partition(":"))
    try:
        tree: Any = ast.parse(factory, mode="eval").body
        path = ast.unparse(getattr(tree, "func", tree))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        path = ""
    if not all(word.isidentifier() for word in f"{module_name}.{path}".split(".")):
        example = "torchvision.models:resnet18(num_classes=10)"
        raise UsageError(f"cannot be read; write package.module:factory, such as {example}")
    return module_name, path, _literals(tree) if isinstance(tree, ast.Call) else None


def _literals(call: ast.Call) -> tuple[list[Any], dict[Any, Any]]:
    try:
        positional = [ast.literal_eval(value) for value in call.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        if None not in named and len(named) == len(call.keywords):
            return positional, named
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass
    raise UsageError('arguments must be literals, each given once; write such as (10, width=0.5, sizes=[1, "a"])')


@contextmanager
def _guest() -> Iterator[None]:
    """Inside, modules of the working folder are found and prints go to stderr; random states are put back."""
    folder, states = str(Path.cwd()), (random.getstate(), np.random.get_state())  # noqa: NPY002
    added = [] if {"", folder} & set(sys.path) else [folder]
    sys.path[:0] = added
    try:
        with torch.random.fork_rng(devices=[]), redirect_stdout(sys.stderr):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        for entry in set(added).intersection(sys.path):
            sys.path.remove(entry)


def _find(module_name: str, path: str) -> Any:
    absent = object()
    try:
        found: Any = importlib.import_module(module_name)
        for name in path.split("."):
            holder, found = found, getattr(found, name, absent)
            if found is absent:
                break
    except (Exception, SystemExit) as error:
        raise _import_error(module_name, error) from None
    if found is absent:
        close = difflib.get_close_matches(name, dir(holder), 1)
        advice = f"did you mean {close[0]!r}?" if close else "name a class or function of it"
        raise UsageError(f"{module_name} has no {path!r}; {advice}")
    return found


def _import_error(name: str, error: BaseException) -> NasBudgetError:
    lacking = error.name if isinstance(error, ModuleNotFoundError) else None
    if lacking and f"{name}.".startswith(f"{lacking}."):
        advice = "leave out .py" if name.endswith(".py") else "start from the folder that holds it, or install it"
        return UsageError(f"there is no module {name!r}; {advice}")
    if lacking:
        return NasBudgetError(f"{name} needs the module {lacking!r}, which is not there; install it")
    return NasBudgetError(f"importing {name} failed ({_reason(error)}); python -c 'import {name}' must work first")


def _build(path: str, factory: Any, arguments: Any) -> nn.Module:
    finished = isinstance(factory, nn.Module)
    if finished and arguments is not None:
        raise UsageError(f"{path} is a module already; leave out the parentheses")
    try:
        built = factory if finished or not callable(factory) else _call(factory, *(arguments or ([], {})))
        built = getattr(built, "_orig_mod", built)  # what torch.compile wraps
        if isinstance(built, nn.Module):
            fresh = not finished and all(tensor.is_meta for tensor in _tensors(built))
            return built if fresh else _on_meta(built)
    except (Exception, SystemExit) as error:
        raise NasBudgetError(f"building {path} failed ({_reason(error)}); check the arguments given to it") from None
    kind = type(built).__name__
    raise UsageError(f"{path} gives an object of type {kind}; name a torch.nn.Module or what returns one")


def _call(factory: Any, positional: list[Any], named: dict[str, Any]) -> object:
    try:
        with torch.device("meta"):
            return factory(*positional, **named)
    except Exception:  # it may look at values while it builds; any other mistake comes again
        return factory(*positional, **named)


def _tensors(module: nn.Module) -> list[Tensor]:
    places = [place for m in module.modules() for place in (m._parameters, m._buffers, vars(m))]
    return [value for place in places for value in place.values() if isinstance(value, Tensor)]


def _on_meta(module: nn.Module) -> nn.Module:
    """A copy without values. What is shared stays shared, which `module.to("meta")` would undo."""
    moved: dict[int, Any] = {id(tensor): tensor.detach().to("meta") for tensor in _tensors(module)}
    moved |= {id(p): nn.Parameter(moved[id(p)], p.requires_grad) for p in module.parameters()}
    return copy.deepcopy(module, moved)


def _measure(target: str, module: nn.Module, shape: tuple[int, ...]) -> ModuleCost:
    problems = []
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), None)
    # The second time with new tensors on meta too: a forward that makes some would mix devices.
    for device in (nullcontext(), torch.device("meta")):
        try:
            with device:
                parts = _Meter(module.eval()).run(torch.empty(1, *shape, dtype=dtype, device="meta"))
            buffers = sum(buffer.numel() for buffer in module.buffers() if buffer.is_floating_point())
            params, frozen, macs = (sum(getattr(p, name) for p in parts) for name in ("params", "frozen", "macs"))
            return ModuleCost(target, params, frozen, buffers, macs, parts)
        except Exception as error:
            problems.append(_problem(error, shape))
    raise NasBudgetError(problems[0])


def _problem(error: Exception, shape: tuple[int, ...]) -> str:
    text, reason = str(error), _reason(error)
    if re.search(r"expected device|same device", text):
        return f"keeps a tensor that is no buffer ({reason}); give it to register_buffer"
    if re.search(r"(\b|_)meta\b", text, re.IGNORECASE):
        operator = "Meta kernel" in text or "'Meta' backend" in text
        problem = "has an operator without a meta kernel" if operator else "decides by the values of its data"
        return f"{problem}, which cannot be counted without running it ({reason}); name a part that goes by shapes"
    return f"cannot run one float tensor of {','.join(map(str, shape))} ({reason}); give the shape that it expects"


def _reason(error: BaseException) -> str:
    first = next(iter(str(error).strip().splitlines()), "")
    return textwrap.shorten(f"{type(error).__name__}: {first}".rstrip(".: "), 200, placeholder=" ...")


class _Meter:
    """Runs a module and books its work on children: each call on the outermost child that it is inside of."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.counter = module, FlopCounterMode(display=False)
        self.children = {id(child): name for name, child in module.named_children()}
        inner = [(id(m), name) for name, child in module.named_children() for m in child.modules()]
        self.owners = dict(reversed(inner)) | self.children
        self.entered: list[int] = []
        self.flops = dict.fromkeys(self.children.values(), 0)
        self.shapes: dict[str, tuple[int, ...]] = {}

    def run(self, image: Tensor) -> tuple[ModulePart, ...]:
        enter = register_module_forward_pre_hook(self._enter)
        leave = register_module_forward_hook(self._leave, always_call=True)
        try:
            with torch.no_grad(), self.counter:
                self.shapes[ITSELF] = _shape(self.module(image))
        finally:
            enter.remove()
            leave.remove()
        self.flops[ITSELF] = self.counter.get_total_flops() - sum(self.flops.values())
        return self._parts()

    def _enter(self, module: nn.Module, _inputs: Any) -> None:
        if id(module) in self.owners:
            self.entered.append(self.counter.get_total_flops())

    def _leave(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        if id(module) in self.children:
            self.shapes[self.children[id(module)]] = _shape(output)
        if id(module) in self.owners:
            before = self.entered.pop()
            if not self.entered:
                self.flops[self.owners[id(module)]] += self.counter.get_total_flops() - before

    def _parts(self) -> tuple[ModulePart, ...]:
        counted: set[int] = set()
        parts = []
        for name, child in [*self.module.named_children(), (ITSELF, self.module)]:
            new = [parameter for parameter in child.parameters() if id(parameter) not in counted]
            counted.update(map(id, new))
            params, frozen = (sum(p.numel() for p in new if p.requires_grad is trains) for trains in (True, False))
            shape, macs = self.shapes.get(name, ()), self.flops[name] // 2
            parts.append(ModulePart(name, type(child).__name__, params, frozen, macs, shape))
        outside = parts[-1]
        return tuple(parts if outside.params or outside.frozen or outside.macs else parts[:-1])


def _shape(output: Any) -> tuple[int, ...]:
    """Of a tensor, or of the first one in a tuple or list, without the batch."""
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    return tuple(output.shape[1:]) if isinstance(output, Tensor) else ()

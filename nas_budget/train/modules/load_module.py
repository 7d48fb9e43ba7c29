"""Modules by name: `package.module:factory(argument=1)` to a torch module, without values or memory where it can be."""

from __future__ import annotations

import ast
import copy
import difflib
import importlib
import random
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas_budget.errors import InputError, NasBudgetError, UsageError

Arguments = tuple[list[Any], dict[Any, Any]]
"""Positional and named arguments of a call."""


def load_module(target: str) -> nn.Module:
    """The module that a target names, as `count_module` takes it, on the meta device.

    Run it inside `isolated`: it imports and calls code of others.
    """
    module_name, path, arguments = _parse(target)
    return _build(path, find(module_name, path), arguments)


@contextmanager
def isolated() -> Iterator[None]:
    """A context for code of others.

    Modules of the working folder can be imported in it, and what is printed goes to stderr. Afterwards the import
    path and the states of torch's, numpy's and Python's random generators are as before.
    """
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


def describe_error(error: BaseException) -> str:
    """Type and first line of an error, shortened to 200 characters."""
    first = next(iter(str(error).strip().splitlines()), "")
    return textwrap.shorten(f"{type(error).__name__}: {first}".rstrip(".: "), 200, placeholder=" ...")


def _parse(target: str) -> tuple[str, str, Arguments | None]:
    """Module, dotted path and, where there are parentheses, the arguments in them."""
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


def _literals(call: ast.Call) -> Arguments:
    try:
        positional = [ast.literal_eval(value) for value in call.args]
        named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        if None not in named and len(named) == len(call.keywords):
            return positional, named
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        pass
    raise UsageError('arguments must be literals, each given once; write such as (10, width=0.5, sizes=[1, "a"])')


def find(module_name: str, path: str) -> Any:
    """What a dotted path names in a module, which is imported; the module itself where the path is empty."""
    missing = object()
    try:
        found: Any = importlib.import_module(module_name)
        for name in filter(None, path.split(".")):
            holder, found = found, getattr(found, name, missing)
            if found is missing:
                break
    except (Exception, SystemExit) as error:
        raise _import_error(module_name, error) from None
    if found is missing:
        close = difflib.get_close_matches(name, dir(holder), 1)
        advice = f"did you mean {close[0]!r}?" if close else "name a class or function of it"
        raise UsageError(f"{module_name} has no {path!r}; {advice}")
    return found


def _import_error(name: str, error: BaseException) -> NasBudgetError:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and f"{name}.".startswith(f"{missing}."):
        advice = "leave out .py" if name.endswith(".py") else "start from the folder that holds it, or install it"
        return UsageError(f"there is no module {name!r}; {advice}")
    if missing:
        return InputError(f"{name} needs the module {missing!r}, which is not installed; install it")
    return InputError(f"importing {name} failed ({describe_error(error)}); python -c 'import {name}' must work first")


def _build(path: str, factory: Any, arguments: Arguments | None) -> nn.Module:
    is_module = isinstance(factory, nn.Module)
    if is_module and arguments is not None:
        raise UsageError(f"{path} is a module already; leave out the parentheses")
    if is_module:
        return _on_meta(factory)
    positional, named = arguments or ([], {})
    return build_on_meta(lambda: factory(*positional, **named) if callable(factory) else factory, path)


def build_on_meta(make: Callable[[], object], name: str) -> nn.Module:
    """The module that a function returns, on the meta device; built on the CPU first where that needs values.

    Run it inside `isolated`: it calls code of others. `name` is what an error calls the module.
    """
    try:
        built = _call(make)
        built = getattr(built, "_orig_mod", built)  # what torch.compile wraps
        if isinstance(built, nn.Module):
            return built if all(tensor.is_meta for tensor in _tensors(built)) else _on_meta(built)
    except (Exception, SystemExit) as error:
        raise InputError(f"building {name} failed ({describe_error(error)}); check the arguments given to it") from None
    kind = type(built).__name__
    raise UsageError(f"{name} gives an object of type {kind}; name a torch.nn.Module or what returns one")


def _call(make: Callable[[], object]) -> object:
    try:
        with torch.device("meta"):
            return make()
    except Exception:  # it may read values while it builds; any other error comes again
        return make()


def _tensors(module: nn.Module) -> list[Tensor]:
    places = [place for m in module.modules() for place in (m._parameters, m._buffers, vars(m))]
    return [value for place in places for value in place.values() if isinstance(value, Tensor)]


def _on_meta(module: nn.Module) -> nn.Module:
    """A copy without values. What is shared stays shared, which `module.to("meta")` would undo."""
    moved: dict[int, Any] = {id(tensor): tensor.detach().to("meta") for tensor in _tensors(module)}
    moved |= {id(p): nn.Parameter(moved[id(p)], p.requires_grad) for p in module.parameters()}
    return copy.deepcopy(module, moved)

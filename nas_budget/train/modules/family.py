"""Families of networks of the user's own: what they must have, and how they are loaded and built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import nn

from nas_budget.arch.family_spec import Choice, FamilySpace, FamilySpec
from nas_budget.errors import InputError, ModelError, NasBudgetError, UsageError
from nas_budget.records.trials import COLUMNS, OF_RESIDUAL
from nas_budget.train.modules.load_module import describe_error, find, isolated


class Family(Protocol):
    """A family of networks that a search may propose: `nas-budget search --family package.module:Family`.

    It is a class without required arguments, an object, or a module that has these names. Naming it runs its code.

    Attributes:
        space: Choices of each dimension by name: numbers, texts, true or false, the cheapest first. The network of the
            first choices must fit the budget.
        knob: Optional: the dimension, such as a width, that is lowered until a proposal fits. Without it, or where its
            first choice does not fit, other dimensions are lowered too.

    Examples:
        >>> class Plain:
        ...     space = {"depth": (1, 2, 3), "width": range(8, 65, 8)}
        ...     knob = "width"
        ...
        ...     def build(self, input_shape, classes, depth, width):
        ...         layers = [nn.Conv2d(input_shape[0], width, 3), nn.ReLU()]
        ...         for _ in range(depth - 1):
        ...             layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
        ...         return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))
        >>> family: Family = Plain()
    """

    space: Mapping[str, Sequence[Choice]]

    def build(self, input_shape: tuple[int, int, int], classes: int, **values: Any) -> nn.Module:
        """The network of these values, with fresh weights from torch's global generator.

        Args:
            input_shape: Channels, height and width of an image.
            classes: Length of the logits: it maps (N, *input_shape) to (N, classes).
            values: One of the choices of each dimension.
        """


def load_family(target: str) -> Any:
    """The family that a target such as "my_vit:ViT" names. It runs the code of that module.

    The working folder is looked in too. Only what has `space` and `build` is called, so that the name in a file of
    weights cannot call anything else.

    Raises:
        UsageError: The target names no family.
        InputError: Its module cannot be imported, or its class not be called.
    """
    module_name, _, path = target.partition(":")
    try:
        if not all(word.isidentifier() for word in f"{module_name}.{path or 'x'}".split(".")):
            raise UsageError("cannot be read; write package.module:Family")
        found = find(module_name, path)
        if missing := [name for name in ("space", "build") if not hasattr(found, name)]:
            raise UsageError(f"has no {' and no '.join(missing)}; a family has both (docs/how-to/own-family.md)")
        return found() if isinstance(found, type) else found
    except NasBudgetError as error:
        raise type(error)(f"family {target}: {error}") from None
    except Exception as error:
        raise InputError(f"family {target}: calling it failed ({describe_error(error)})") from None


def family_space(target: str, image_size: int, in_channels: int, classes: int) -> FamilySpace:
    """The dimensions of the family that a target names, for images of this size, channels and classes.

    Raises:
        UsageError: The target names no family, or its space or knob makes no sense.
        InputError: Its module cannot be imported.
    """
    with isolated():
        family = load_family(target)
    space, knob = family.space, getattr(family, "knob", "")
    if not isinstance(space, Mapping) or not space:
        raise UsageError(f"family {target}: space is no mapping of names to choices, such as {{'width': (32, 64)}}")
    choices = tuple((str(name), _choices(target, str(name), values)) for name, values in space.items())
    if taken := sorted({*space} & {*COLUMNS}.difference(OF_RESIDUAL)):
        raise UsageError(f"family {target}: {', '.join(taken)} means something else in a table; rename that dimension")
    if knob and knob not in space:
        raise UsageError(f"family {target}: the knob {knob!r} is no dimension; known are {', '.join(space)}")
    return FamilySpace(target, choices, knob, image_size, in_channels, classes)


def _choices(target: str, name: str, values: Any) -> tuple[Choice, ...]:
    try:
        found = tuple(value.item() if hasattr(value, "item") else value for value in values)
    except TypeError:
        found = ()
    if isinstance(values, str) or not found or not all(isinstance(value, Choice) for value in found):
        raise UsageError(
            f"family {target}: {name} is {values!r}; give its choices, numbers or texts, the cheapest first"
        )
    if len({*found}) < len(found):
        raise UsageError(f"family {target}: {name} has a choice twice: {list(found)}")
    return found


def call_build(space: FamilySpace | FamilySpec, values: Mapping[str, Choice]) -> object:
    """What the family's `build` returns for these values. Run it inside `isolated`: it is code of others."""
    shape = space.in_channels, space.image_size, space.image_size
    return load_family(space.family).build(input_shape=shape, classes=space.classes, **values)


def build_family(spec: FamilySpec) -> nn.Module:
    """The module of a spec, built by its family, with weights from torch's global generator.

    Raises:
        UsageError: The family is not there.
        ModelError: The family builds another network than it did when the spec was counted, or none.
    """
    with isolated():
        module = call_build(spec, dict(spec.values))
    if not isinstance(module, nn.Module):
        raise ModelError(f"family {spec.family}: build returns an object of type {type(module).__name__}, no module")
    params = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
    if params != spec.params:
        raise ModelError(
            f"family {spec.family}: {spec.brief} has {params:,} parameters now and had {spec.params:,} when it was "
            "counted; its code has changed: start another study with --name"
        )
    return module

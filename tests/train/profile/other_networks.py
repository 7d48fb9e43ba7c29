"""Networks that are not of our family, to be named as targets of `count_module`."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nas_budget import ResNetSpec, build
from nas_budget.errors import NasBudgetError
from nas_budget.train.profile.count_module import ModuleCost, count_module

HERE = "tests.train.profile.other_networks:"
VECTOR = (16,)
NUMBER = 5


def count(factory: str, *shape: int) -> ModuleCost:
    return count_module(HERE + factory, shape or VECTOR)


def refusal(target: str, *shape: int) -> NasBudgetError:
    """The error; it names the target, has one line and hides where it came from."""
    with pytest.raises(NasBudgetError) as caught:
        count_module(target, shape or VECTOR)
    assert str(caught.value).startswith(f"{target!r}: ")
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.__suppress_context__
    return caught.value


def ours(spec: str) -> nn.Module:
    return build(ResNetSpec.from_json(spec))


def plain(classes: int = 10, width: int = 8) -> nn.Module:
    norm = nn.BatchNorm2d(width)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), norm, nn.ReLU(), nn.Flatten(), nn.Linear(width * 64, classes)
    )


FINISHED = plain()
FINISHED_ON_META = plain().to("meta")


class Calls(nn.Module):
    """16 numbers through a function of the module: `how(self, x)`."""

    def __init__(self, how: Callable[[Calls, Tensor], object], **children: nn.Module) -> None:
        super().__init__()
        self.how = how
        self.weight = nn.Parameter(torch.zeros(16, 16))
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x: Tensor) -> object:
        return self.how(self, x)


class Shelf:
    """A place inside a module, for dotted paths."""

    plain = staticmethod(plain)


def tied() -> nn.Module:
    first, second = nn.Linear(16, 16), nn.Linear(16, 16)
    second.weight = first.weight
    return nn.Sequential(first, second)


def looks_while_built(make: str = "tied") -> nn.Module:
    if torch.linspace(0, 1, 3)[1].item() == 0.5:
        return globals()[make]()
    raise ValueError("not the values that torch gives")


def twice() -> nn.Module:
    return Calls(lambda self, x: self.again(self.again(x)), again=nn.Linear(16, 16))


def listed() -> nn.Module:
    layers = nn.ModuleList([nn.Linear(16, 4), nn.Linear(4, 4)])
    return Calls(lambda self, x: self.layers[1](self.layers[0](x @ self.weight)), layers=layers)


def in_two_lists() -> nn.Module:
    layer = nn.Linear(16, 16, bias=False)
    lists = {"first": nn.ModuleList([layer]), "second": nn.ModuleList([layer])}
    return Calls(lambda self, x: self.second[0](x), **lists)


def shared_by_two() -> nn.Module:
    inner = nn.Linear(16, 16)
    outer = nn.Sequential(inner, nn.Linear(16, 16))
    return Calls(lambda self, x: self.inner(self.outer(x)), outer=outer, inner=inner)


def frozen() -> nn.Module:
    network = plain()
    network[0].requires_grad_(False)
    return network


def attention() -> nn.Module:
    return nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)


def recurrent() -> nn.Module:
    return nn.Sequential(nn.LSTM(16, 8, batch_first=True))


def half() -> nn.Module:
    return plain().half()


def compiled() -> nn.Module:
    return torch.compile(plain())


def huge(width: int) -> nn.Module:
    return nn.Linear(width, width, bias=False)


def random_and_loud() -> nn.Module:
    sys.stdout.write("building\n")
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    return Calls(lambda self, x: x + torch.rand(16))


def keeps_a_tensor() -> nn.Module:
    torch.zeros(1).item()
    network = Calls(lambda self, x: x @ self.weight + self.table)
    network.table = torch.zeros(16)
    return network


def makes_a_tensor() -> nn.Module:
    return Calls(lambda self, x: (x + torch.ones(16)) @ self.weight)


def looks_at_a_constant() -> nn.Module:
    """Its forward reads a value that does not depend on the input."""
    return Calls(lambda self, x: torch.ones(1).item() * (x @ self.weight))


def hides_a_tensor() -> nn.Module:
    torch.zeros(1).item()
    table = torch.zeros(16)
    return Calls(lambda self, x: x + table)


def with_locked_door() -> nn.Module:
    raise PermissionError("the door is locked\nand the key is gone")


def leaves() -> nn.Module:
    raise SystemExit(3)


def decides(by: str) -> nn.Module:
    ways: dict[str, Callable[[Calls, Tensor], object]] = {
        "item": lambda self, x: x * x.sum().item(),
        "if": lambda self, x: x if x.sum() > 0 else -x,
        "mask": lambda self, x: x[x > 0],
        "list": lambda self, x: x.tolist(),
        "numpy": lambda self, x: x.numpy(),
        "unique": lambda self, x: x.unique(),
    }
    return Calls(ways[by])


def survives() -> nn.Module:
    """The second child fails inside a call, and the module goes on without it."""

    def how(self: Calls, x: Tensor) -> Tensor:
        try:
            self.second(self.first(x))
        except RuntimeError:
            return self.first(x)
        raise AssertionError

    return Calls(how, first=nn.Linear(16, 16), second=nn.Sequential(nn.Linear(16, 3), nn.Linear(4, 4)))


def never_called() -> nn.Module:
    return Calls(lambda self, x: F.relu(x), head=nn.LazyLinear(3))


def unfinished() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.Flatten(), nn.LazyLinear(10))


def not_a_module() -> dict[str, int]:
    return {}

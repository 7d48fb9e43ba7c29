"""Networks that are not of our family, to be named as targets of `count_module`."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

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


def refusal(target: str, problem: str, shape: tuple[int, ...] = VECTOR) -> None:
    """The error says this; it names the target, has one line and hides where it came from."""
    with pytest.raises(NasBudgetError) as caught:
        count_module(target, shape)
    assert problem in str(caught.value)
    assert caught.value.exit_code == 2
    assert str(caught.value).startswith(f"{target!r}: ")
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.__suppress_context__


def ours(spec: str) -> nn.Module:
    return build(ResNetSpec.from_json(spec))


def plain(classes: int = 10, width: int = 8) -> nn.Module:
    norm = nn.BatchNorm2d(width)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), norm, nn.ReLU(), nn.Flatten(), nn.Linear(width * 64, classes)
    )


FINISHED = plain()
FINISHED_ON_META = plain().to("meta")


class Words(nn.Module):
    """A language model of one block: numbers of words, and a mask of what may be looked at where one is given."""

    def __init__(self, words: int = 50, width: int = 16, length: int = 12) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(length, width)
        self.block = nn.TransformerEncoderLayer(width, 4, 32, batch_first=True)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> dict[str, object]:
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1]))
        x = self.block(x, src_key_padding_mask=mask)
        return {"cache": None, "states": (x, x.mean(1)), "logits": self.head(x)}


@dataclass
class Found:
    boxes: Tensor
    score: Tensor


class TwoInputs(nn.Module):
    """An image and ten numbers of a table, with a step that is one number of each example."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 4, 3, padding=1)
        self.table = nn.Linear(10, 4)

    def forward(self, image: Tensor, table: Tensor, *, step: Tensor | None = None) -> object:
        scale = 1.0 if step is None else step[:, None, None, None]
        seen = self.image(image) * scale + self.table(table)[:, :, None, None]
        return Found(seen, seen.mean((1, 2, 3)))


class TakesDictionary(TwoInputs):
    """The same of a dictionary, as many loaders give a batch."""

    def forward(self, batch: dict[str, Tensor], scale: Tensor | None = None) -> object:  # type: ignore[override]
        return super().forward(batch["image"], batch["table"], step=scale)


class Mixer(nn.Module):
    """A Fourier transform in a child, a product and sum outside of all."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = nn.ModuleList([Calls(lambda self, x: torch.fft.fft(x, dim=-1).real) for _ in range(2)])
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.spectrum[1](self.spectrum[0](x))
        return self.head(x * (x * y).sum(-1, keepdim=True))


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


def looks_while_built(make: str = "tied") -> nn.Module:
    if torch.linspace(0, 1, 3)[1].item() == 0.5:
        return getattr(OF, make, globals().get(make))()
    raise ValueError("not the values that torch gives")


def tied() -> nn.Module:
    first, second = nn.Linear(16, 16), nn.Linear(16, 16)
    second.weight = first.weight
    return nn.Sequential(first, second)


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


def random_and_loud() -> nn.Module:
    sys.stdout.write("building\n")
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    return Calls(lambda self, x: x + torch.rand(16))


def keeps_a_tensor(hidden: bool = False) -> nn.Module:
    """As an attribute, or where nobody finds it."""
    torch.zeros(1).item()
    table = torch.zeros(16)
    network = Calls(lambda self, x: x @ self.weight + (table if hidden else self.table))
    network.table = None if hidden else table
    return network


def raises(error: str, *arguments: object) -> nn.Module:
    raise {"PermissionError": PermissionError, "SystemExit": SystemExit}[error](*arguments)


def survives(self: Calls, x: Tensor) -> Tensor:
    """The second child fails inside a call, and the module goes on without it."""
    try:
        self.second(self.first(x))
    except RuntimeError:
        return self.first(x)
    raise AssertionError


OF = SimpleNamespace(
    plain=plain,
    attention=lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True),
    recurrent=lambda: nn.Sequential(nn.LSTM(16, 8, batch_first=True)),
    half=lambda: plain().half(),
    compiled=lambda: torch.compile(plain()),
    unfinished=lambda: nn.Sequential(nn.LazyConv2d(8, 3), nn.Flatten(), nn.LazyLinear(10)),
    never_called=lambda: Calls(lambda self, x: F.relu(x), head=nn.LazyLinear(3)),
    twice=lambda: Calls(lambda self, x: self.again(self.again(x)), again=nn.Linear(16, 16)),
    listed=lambda: Calls(
        lambda self, x: self.layers[1](self.layers[0](x @ self.weight)),
        layers=nn.ModuleList([nn.Linear(16, 4), nn.Linear(4, 4)]),
    ),
    survives=lambda: Calls(survives, first=nn.Linear(16, 16), second=nn.Sequential(nn.Linear(16, 3), nn.Linear(4, 4))),
    passes_a_parameter=lambda: Calls(lambda self, x: x + self.inner(self.weight), inner=nn.Linear(16, 16)),
    makes_a_tensor=lambda: Calls(lambda self, x: (x + torch.ones(16)) @ self.weight),
    looks_at_a_constant=lambda: Calls(lambda self, x: torch.ones(1).item() * (x @ self.weight)),
    decides_by_item=lambda: Calls(lambda self, x: x * x.sum().item()),
    decides_by_if=lambda: Calls(lambda self, x: x if x.sum() > 0 else -x),
    decides_by_mask=lambda: Calls(lambda self, x: x[x > 0]),
    decides_by_list=lambda: Calls(lambda self, x: x.tolist()),
    decides_by_numpy=lambda: Calls(lambda self, x: x.numpy()),
    decides_by_unique=lambda: Calls(lambda self, x: x.unique()),
)
"""What fits in a line, as a place for dotted paths."""


class Int8Linear(nn.Module):
    """A linear layer whose weights are stored in int8, with a scale for each output."""

    def __init__(self, inputs: int = 192, outputs: int = 10) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(outputs))
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight.to(x.dtype) * self.scale[:, None]  # type: ignore[operator, index]
        return self.norm(x.flatten(1) @ weight.T)  # type: ignore[no-any-return]

"""Cost of modules that are not of our family."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings

from nas_budget import ResNetSpec, cost
from nas_budget.errors import NasBudgetError, UsageError
from nas_budget.train.profile.benchmark import peak_resident
from nas_budget.train.profile.count_module import (
    DTYPES,
    ITSELF,
    ModuleInput,
    ModulePart,
    UncountedCalls,
    _shape,
    count_module,
)
from tests.strategies import specs
from tests.train.profile.other_networks import HERE, VECTOR, Found, count, refusal


def test_a_plain_network() -> None:
    counted = count("plain", 3, 8, 8)
    assert (counted.params, counted.frozen, counted.buffers, counted.macs) == (5370, 0, 16, 18944)
    assert counted.parts == (
        ModulePart("0", "Conv2d", 224, 0, 13824, (8, 8, 8)),
        ModulePart("1", "BatchNorm2d", 16, 0, 0, (8, 8, 8)),
        ModulePart("2", "ReLU", 0, 0, 0, (8, 8, 8)),
        ModulePart("3", "Flatten", 0, 0, 0, (512,)),
        ModulePart("4", "Linear", 5130, 0, 5120, (10,)),
    )


def test_the_figures_as_json() -> None:
    values = json.loads(json.dumps(count("frozen", 3, 8, 8).to_dict()))
    counts = ["params", "frozen", "buffers", "integer_bytes", "weight_bytes", "macs", "layers", "elements"]
    assert list(values) == ["name", *counts, "out_shape", "parts", "uncounted"]
    assert [values[name] for name in ("name", "params", "frozen", "macs")] == [HERE + "frozen", 5146, 224, 18944]
    assert values["weight_bytes"] == {"fp32": 4 * 5386, "fp16": 2 * 5386, "int8": 5386}
    assert values["parts"][0] == {
        "name": "0", "kind": "Conv2d", "params": 0, "frozen": 224, "macs": 13824, "out_shape": [8, 8, 8]
    }  # fmt: skip


@settings(max_examples=25)
@example(ResNetSpec((32, 64, 96, 128, 185)))
@given(specs())
def test_our_networks_cost_what_the_closed_form_says(spec: ResNetSpec) -> None:
    counted = count(f"ours({spec.to_json()!r})", spec.in_channels, spec.image_size, spec.image_size)
    closed = cost(spec)
    assert (counted.params, counted.macs, counted.buffers) == (closed.params, closed.macs, closed.buffers)
    assert sum(part.params for part in counted.parts) == counted.params
    assert sum(part.macs for part in counted.parts) == counted.macs


@pytest.mark.parametrize(
    ("factory", "parts"),
    [
        ("tied", [("0", 272, 256), ("1", 16, 256)]),  # a shared parameter is counted once
        ("looks_while_built", [("0", 272, 256), ("1", 16, 256)]),
        ("OF.twice", [("again", 272, 512), ("(itself)", 256, 0)]),  # a child that is called twice
        ("looks_while_built('twice')", [("again", 272, 512), ("(itself)", 256, 0)]),
        ("shared_by_two", [("outer", 544, 512), ("inner", 0, 256), ("(itself)", 256, 0)]),
        ("in_two_lists", [("first", 256, 256), ("second", 0, 0), ("(itself)", 256, 0)]),
        ("OF.listed", [("layers", 88, 80), ("(itself)", 256, 256)]),  # work outside the children
        ("OF.survives", [("first", 272, 512), ("second", 71, 48), ("(itself)", 256, 0)]),  # a call that fails
    ],
)
def test_work_is_counted_in_the_outermost_child_and_parameters_in_the_first(
    factory: str, parts: list[tuple[str, int, int]]
) -> None:
    counted = count(factory)
    assert [(part.name, part.params, part.macs) for part in counted.parts] == parts
    assert (counted.params, counted.macs) == (sum(p[1] for p in parts), sum(p[2] for p in parts))
    if factory == "OF.listed":  # shapes are of the last call of each
        assert [part.out_shape for part in counted.parts] == [(), (4,)]


@pytest.mark.parametrize(
    ("factory", "shape", "params", "macs"),
    [
        ("OF.attention", (10, 16), 2224, 20480 + 3200),  # four projections and two layers, then products and sums
        ("looks_while_built('attention')", (10, 16), 2224, 23680),
        ("OF.recurrent", (10, 16), 832, 7680),
        ("looks_while_built('recurrent')", (10, 16), 832, 7680),
        ("keeps_a_tensor", VECTOR, 256, 256),
        ("OF.looks_at_a_constant", VECTOR, 256, 256),
        ("OF.makes_a_tensor", VECTOR, 256, 256),
        ("OF.half", (3, 8, 8), 5370, 18944),
    ],
)
def test_other_kinds_of_layer(factory: str, shape: tuple[int, ...], params: int, macs: int) -> None:
    counted = count(factory, *shape)
    assert (counted.params, counted.macs) == (params, macs)


def test_words_with_a_mask_and_a_dictionary_of_results() -> None:
    tokens, mask = ModuleInput((8,), "int64"), ModuleInput((8,), "bool", "mask")
    counted = count_module(HERE + "Words", tokens)
    assert counted.params == 50 * 16 + 12 * 16 + 2224  # the head shares its weights
    assert counted.macs == 8 * (4 * 16 * 16 + 2 * 16 * 32) + 2 * 8 * 8 * 16 + 8 * 16 * 50
    assert {part.name: part.out_shape for part in counted.parts} == {
        "words": (8, 16), "places": (16,), "block": (8, 16), "head": (8, 50)
    }  # fmt: skip
    assert count_module(HERE + "Words", tokens, mask).macs == counted.macs
    assert count_module(HERE + "Words", mask, ModuleInput((8,), "int64", "tokens")).macs == counted.macs
    if torch.__version__ < "2.14":  # an older version takes floats for words on the meta device
        return
    refusal(HERE + "Words", "cannot run one float tensor of 16 (RuntimeError: ")
    refusal(HERE + "Words", "give dtype int64 (--input-dtype int64)")


def test_several_inputs_and_a_dataclass_of_results() -> None:
    image, table, step = (3, 8, 8), (10,), ModuleInput((), name="step")
    counted = count_module(HERE + "TwoInputs", image, table, step)
    assert [(part.name, part.macs) for part in counted.parts] == [("image", 3 * 4 * 9 * 64), ("table", 40)]
    assert count_module(HERE + "TwoInputs", image, table).macs == counted.macs
    refusal(HERE + "TwoInputs", "cannot run one float tensor of 3,8,8 (TypeError: ", image)
    refusal(HERE + "TwoInputs", "give one input for each argument", image)
    with pytest.raises(NasBudgetError, match=r"one float tensor of 3,8,8 and one float number \(step\)"):
        count_module(HERE + "TwoInputs", image, step)


def test_a_dictionary_of_inputs_is_given_key_by_key() -> None:
    keys = ModuleInput((3, 8, 8), name="batch.image"), ModuleInput((10,), name="batch.table")
    counted = count_module(HERE + "TakesDictionary", *keys)
    assert counted.parts == count_module(HERE + "TwoInputs", (3, 8, 8), (10,)).parts
    assert count_module(HERE + "TakesDictionary", ModuleInput((), name="scale"), *keys).macs == counted.macs
    refusal(HERE + "TakesDictionary", "cannot run one float tensor of 3,8,8 (", (3, 8, 8))
    for name in "batch.", ".image", "batch.image.x":
        with pytest.raises(UsageError, match="is no name of an argument; write such as mask=128 or batch.mask=128"):
            ModuleInput((3,), name=name)


@pytest.mark.parametrize(
    ("output", "shape"),
    [
        (torch.zeros(1, 3), (3,)),
        ([None, (torch.zeros(1, 3), torch.zeros(1, 4))], (3,)),
        ({"first": torch.zeros(1, 3), "second": torch.zeros(1, 4)}, (3,)),
        (Found(torch.zeros(1, 2, 3), torch.zeros(1)), (2, 3)),
        (None, ()),
        ("no tensor", ()),
        ([], ()),
    ],
    ids=["tensor", "nested", "dictionary", "dataclass", "None", "text", "empty"],
)
def test_shape_of_an_output(output: object, shape: tuple[int, ...]) -> None:
    assert _shape(output) == shape


def test_what_was_not_counted_is_said_by_part() -> None:
    counted = count("Mixer")
    assert counted.uncounted == (UncountedCalls("fft_r2c", "spectrum", 2), UncountedCalls("product and sum", ITSELF, 1))
    assert counted.macs == 64
    assert counted.to_dict()["uncounted"][0] == {"name": "fft_r2c", "part": "spectrum", "calls": 2}
    assert count("plain", 3, 8, 8).uncounted == ()


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ((), "none is given"),
        ((ModuleInput((3,), name="x"), ModuleInput((4,), name="x")), "'x' is given more than once"),
        ((("int64",),), "('int64',) is not allowed"),
    ],
    ids=["none", "twice", "text"],
)
def test_inputs_that_make_no_sense(inputs: Any, problem: str) -> None:
    with pytest.raises(UsageError, match=re.escape(problem)):
        count_module(HERE + "plain", *inputs)


def test_number_formats_and_names_of_inputs_are_checked() -> None:
    with pytest.raises(UsageError, match=r"dtype 'int6' is not allowed; give one of float32, float16, "):
        ModuleInput((3,), "int6")
    with pytest.raises(UsageError, match="'a-b' is no name of an argument"):
        ModuleInput((3,), name="a-b")
    assert all(isinstance(getattr(torch, name), torch.dtype) for name in DTYPES)


def test_a_parameter_may_be_an_input_of_a_child() -> None:
    counted = count("OF.passes_a_parameter")
    assert (counted.params, counted.macs) == (272 + 256, 16 * 256)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_layers_that_learn_their_size_from_the_input() -> None:
    assert count("OF.unfinished", 3, 8, 8).params == 224 + 2890
    refusal(HERE + "OF.never_called", "uninitialized")


def test_ten_billion_parameters_take_no_memory() -> None:
    before = peak_resident()
    counted = count_module("torch.nn:Linear(100_000, 100_000, bias=False)", (100_000,))
    assert counted.params == counted.macs == 10**10
    assert peak_resident() - before < 2**30  # the weights would be 40 GB


@pytest.mark.parametrize("shape", [(0,), (3, -1, 8), (3, 8.0, 8), ("3",)])
def test_a_shape_that_makes_no_sense(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"^input: \(.*\) is not allowed; give sizes of 1 or more, such as 3,32,32$"):
        count_module(HERE + "plain", shape)


BY_VALUES = ": decides by the values of its data, which cannot be counted without running it ("


@pytest.mark.parametrize(
    ("factory", "shape", "problem"),
    [
        ("plain", VECTOR, "cannot run one float tensor of 16 (RuntimeError: "),
        ("OF.looks_at_a_constant", (3,), "cannot run one float tensor of 3 (RuntimeError: "),
        ("keeps_a_tensor(hidden=True)", VECTOR, "keeps a tensor that is no buffer (RuntimeError: "),
        *((f"OF.decides_by_{by}", VECTOR, BY_VALUES) for by in ("item", "if", "mask", "list", "numpy")),
        (
            "OF.decides_by_unique",
            VECTOR,
            ": has an operator without a meta kernel, which cannot be counted without run",
        ),
    ],
)
def test_a_module_that_cannot_be_run(factory: str, shape: tuple[int, ...], problem: str) -> None:
    refusal(HERE + factory, problem, shape)


def test_torchvision_resnet18() -> None:
    counted = count_module("torchvision.models:resnet18", (3, 224, 224))
    assert (counted.params, counted.frozen, counted.buffers) == (11_689_512, 0, 9_600)
    assert counted.macs == 1_814_073_344
    assert counted.parts[-1] == ModulePart("fc", "Linear", 513_000, 0, 512_000, (1000,))
    assert count_module("torchvision.models:resnet18(num_classes=10)", (3, 224, 224)).params == 11_181_642


def test_weights_of_whole_numbers_have_the_bytes_that_they_are_stored_in() -> None:
    counted = count("Int8Linear", 3, 8, 8)
    floats = 10 + 4 * 10  # scales; scale, shift, mean and variance of the norm, without its counter
    assert (counted.params, counted.integer_bytes, counted.macs) == (20, 1920, 1920)
    assert counted.weight_bytes == {"fp32": 1920 + 4 * floats, "fp16": 1920 + 2 * floats, "int8": 1920 + floats}

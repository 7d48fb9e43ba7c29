from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

from nas_budget import ResNetSpec, cost
from nas_budget.errors import NasBudgetError, UsageError
from nas_budget.train.profile.count_module import ModuleCost, ModulePart, count_module
from tests.strategies import specs
from tests.train.profile import other_networks

HERE = "tests.train.profile.other_networks:"
VECTOR = (16,)


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
    counted = count("frozen", 3, 8, 8)
    values = json.loads(json.dumps(counted.to_dict()))
    assert list(values) == ["name", "params", "frozen", "buffers", "macs", "parts", "weight_bytes"]
    assert values["name"] == HERE + "frozen"
    assert values["weight_bytes"] == {"fp32": 4 * 5386, "fp16": 2 * 5386, "int8": 5386}
    assert values["parts"][0] == {
        "name": "0", "kind": "Conv2d", "params": 0, "frozen": 224, "macs": 13824, "out_shape": [8, 8, 8]
    }  # fmt: skip


def test_the_reference_to_the_parameter() -> None:
    spec = ResNetSpec((32, 64, 96, 128, 185))
    counted = count(f"ours({spec.to_json()!r})", 3, 32, 32)
    assert (counted.params, counted.macs) == (4_907_445, 226_502_006)
    assert counted.buffers == cost(spec).buffers


@settings(max_examples=25)
@given(specs())
def test_our_networks_cost_what_the_closed_form_says(spec: ResNetSpec) -> None:
    counted = count(f"ours({spec.to_json()!r})", spec.in_channels, spec.image_size, spec.image_size)
    closed = cost(spec)
    assert (counted.params, counted.macs, counted.buffers) == (closed.params, closed.macs, closed.buffers)
    assert sum(part.params for part in counted.parts) == counted.params
    assert sum(part.macs for part in counted.parts) == counted.macs


@pytest.mark.parametrize("factory", ["plain(classes=3, width=4)", "plain(3, 4)", "Shelf.plain(3, width = 4)"])
def test_literal_arguments(factory: str) -> None:
    assert count(factory, 3, 8, 8).params == 4 * 28 + 8 + 3 * 257


def test_frozen_parameters_are_counted_apart() -> None:
    counted = count("frozen", 3, 8, 8)
    assert (counted.params, counted.frozen, counted.macs) == (5146, 224, 18944)


@pytest.mark.parametrize("factory", ["tied", "looks_while_built"])
def test_a_shared_parameter_is_counted_once(factory: str) -> None:
    counted = count(factory)
    assert [part.params for part in counted.parts] == [256 + 16, 16]
    assert (counted.params, counted.macs) == (288, 512)


@pytest.mark.parametrize("factory", ["twice", "looks_while_built('twice')"])
def test_a_child_called_twice_works_twice(factory: str) -> None:
    again = ModulePart("again", "Linear", 272, 0, 512, (16,))
    assert count(factory).parts == (again, ModulePart("(itself)", "Calls", 256, 0, 0, (16,)))


def test_a_child_inside_another_is_booked_on_the_outer_call() -> None:
    parts = count("shared_by_two").parts
    assert [(part.name, part.params, part.macs) for part in parts] == [
        ("outer", 544, 512), ("inner", 0, 256), ("(itself)", 256, 0)
    ]  # fmt: skip


def test_work_outside_the_children_is_of_the_module_itself() -> None:
    layers, itself = count("listed").parts
    assert layers == ModulePart("layers", "ModuleList", 88, 0, 80, ())
    assert itself == ModulePart("(itself)", "Calls", 256, 0, 256, (4,))


def test_what_two_children_hold_is_booked_on_the_first() -> None:
    parts = [(part.name, part.params, part.macs) for part in count("in_two_lists").parts]
    assert parts == [("first", 256, 256), ("second", 0, 0), ("(itself)", 256, 0)]


def test_a_call_that_fails_and_is_caught_is_counted_where_it_ran() -> None:
    assert [part.macs for part in count("survives").parts] == [512, 48, 0]


@pytest.mark.parametrize(
    ("factory", "shape", "params", "macs"),
    [
        ("attention", (10, 16), 2224, 20480 + 3200),  # four projections and two layers, then scores and sums
        ("looks_while_built('attention')", (10, 16), 2224, 23680),
        ("recurrent", (10, 16), 832, 7680),
        ("looks_while_built('recurrent')", (10, 16), 832, 7680),
        ("keeps_a_tensor", VECTOR, 256, 256),
        ("looks_at_a_constant", VECTOR, 256, 256),
        ("makes_a_tensor", VECTOR, 256, 256),
        ("half", (3, 8, 8), 5370, 18944),
    ],
)
def test_other_kinds_of_layer(factory: str, shape: tuple[int, ...], params: int, macs: int) -> None:
    counted = count(factory, *shape)
    assert (counted.params, counted.macs) == (params, macs)


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")  # torch.compile's own imports
def test_a_compiled_module_is_counted_as_what_it_wraps() -> None:
    assert count("compiled", 3, 8, 8).parts == count("plain", 3, 8, 8).parts


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_layers_that_learn_their_size_from_the_input() -> None:
    assert count("unfinished", 3, 8, 8).params == 224 + 2890
    assert "uninitialized" in str(refusal(HERE + "never_called"))


@pytest.mark.parametrize("name", ["FINISHED", "FINISHED_ON_META"])
def test_a_finished_module_is_counted_and_left_as_it_was(name: str) -> None:
    network = getattr(other_networks, name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert count(name, 3, 8, 8).params == 5370
    assert network.training
    for key, value in network.state_dict().items():
        assert value.is_meta == before[key].is_meta
        assert value.is_meta or torch.equal(value, before[key])


def test_ten_billion_parameters_take_no_memory() -> None:
    start = time.perf_counter()
    counted = count("huge(100_000)", 100_000)
    assert counted.params == counted.macs == 10**10
    assert time.perf_counter() - start < 10  # 40 GB of weights would take minutes, where they fit at all


def test_global_state_is_as_before(capfd: pytest.CaptureFixture[str]) -> None:
    def state() -> list[object]:
        others = random.getstate(), str(np.random.get_state(legacy=False))  # noqa: NPY002
        hooks = [*_global_forward_pre_hooks, *_global_forward_hooks]
        return [torch.get_rng_state().tolist(), others, list(sys.path), torch.get_default_device(), hooks]

    before = state()
    count("random_and_loud")
    refusal(HERE + "with_locked_door")
    assert state() == before
    assert capfd.readouterr() == ("", "building\n")


def test_the_working_folder_can_be_imported_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside_me.py").write_text("WIDTH = 4")
    code = "import torch\ndef make():\n    from beside_me import WIDTH\n    return torch.nn.Linear(16, WIDTH)"
    (tmp_path / "in_folder.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert count_module("in_folder:make", VECTOR).params == 68
    assert sys.path == before


@pytest.mark.parametrize("target", ["", "plain", "os.path", ":plain", "os:", "./net.py:make", "os:a b", "os:f(1)(2)"])
def test_a_target_that_cannot_be_read(target: str) -> None:
    error = refusal(target)
    assert error.exit_code == 2
    assert "write package.module:factory" in str(error)


@pytest.mark.parametrize("given", ["classes=NUMBER", "1 + 1", "*[3]", "**{}", "classes=3, classes=4", "{[]: 1}"])
def test_arguments_must_be_literals(given: str) -> None:
    error = refusal(f"{HERE}plain({given})")
    assert error.exit_code == 2
    assert "arguments must be literals" in str(error)


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("no_such_module:make", "there is no module 'no_such_module'; start from the folder"),
        ("tests.no_such:make", "there is no module 'tests.no_such'"),
        ("json.py:make", "there is no module 'json.py'; leave out .py"),
        (HERE + "plane", "has no 'plane'; did you mean 'plain'?"),
        (HERE + "Shelf.qqq", "has no 'Shelf.qqq'; name a class or function of it"),
        (HERE + "NUMBER", "NUMBER gives an object of type int; name a torch.nn.Module"),
        (HERE + "not_a_module", "not_a_module gives an object of type dict; name a torch.nn.Module"),
        (HERE + "FINISHED()", "FINISHED is a module already; leave out the parentheses"),
    ],
)
def test_a_target_that_names_nothing_to_count(target: str, problem: str) -> None:
    error = refusal(target)
    assert error.exit_code == 2
    assert problem in str(error)


@pytest.mark.parametrize("shape", [(), (0,), (3, -1, 8), (3, 8.0, 8), ("3",)])
def test_a_shape_that_makes_no_sense(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"^input: \(.*\) is not allowed; give sizes of 1 or more, such as 3,32,32$"):
        count_module(HERE + "plain", shape)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import no_such_dependency", "needs the module 'no_such_dependency', which is not there; install it"),
        ("from json import nothing", "(ImportError: cannot import name 'nothing' from 'json'"),
        ("raise RuntimeError('operator a::b does not exist\\nmore')", "(RuntimeError: operator a::b does not exist);"),
        ("raise SystemExit(2)", "(SystemExit: 2); python -c 'import"),
        ("def (", "(SyntaxError: "),
        ("def __getattr__(name): raise OSError('late')", "(OSError: late)"),
        ("raise ValueError", "(ValueError);"),
    ],
)
def test_a_module_that_cannot_be_imported(
    code: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"broken_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    error = refusal(f"{name}:make")
    assert error.exit_code == 1
    assert problem in str(error)


@pytest.mark.parametrize(
    ("factory", "problem"),
    [
        ("with_locked_door", "building with_locked_door failed (PermissionError: the door is locked); check"),
        ("leaves", "building leaves failed (SystemExit: 3)"),
        ("huge", "huge() missing 1 required positional argument: 'width'"),
        ("ours('{}')", "(SpecError: channels: missing; give the width of each stage)"),
        ("plain", "cannot run one float tensor of 16 (RuntimeError: "),
        ("looks_at_a_constant", "cannot run one float tensor of 3 (RuntimeError: "),
        ("hides_a_tensor", "keeps a tensor that is no buffer (RuntimeError: "),
    ],
)
def test_a_module_that_cannot_be_built_or_run(factory: str, problem: str) -> None:
    error = refusal(HERE + factory, *([3] if " of 3 " in problem else VECTOR))
    assert error.exit_code == 1
    assert problem in str(error)


@pytest.mark.parametrize("by", ["item", "if", "mask", "list", "numpy", "unique"])
def test_a_module_that_decides_by_its_data(by: str) -> None:
    error = refusal(f"{HERE}decides({by!r})")
    assert error.exit_code == 1
    problem = "has an operator without a meta kernel" if by == "unique" else "decides by the values of its data"
    assert f": {problem}, which cannot be counted without running it (" in str(error)


def test_torchvision_resnet18() -> None:
    counted = count_module("torchvision.models:resnet18", (3, 224, 224))
    assert (counted.params, counted.frozen, counted.buffers) == (11_689_512, 0, 9_600)
    assert counted.macs == 1_814_073_344
    assert counted.parts[-1] == ModulePart("fc", "Linear", 513_000, 0, 512_000, (1000,))
    assert count_module("torchvision.models:resnet18(num_classes=10)", (3, 224, 224)).params == 11_181_642

"""Modules by name: what a target may be, and what is said where it is not."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks

from nas_budget.train.profile.count_module import count_module
from tests.train.profile import other_networks
from tests.train.profile.other_networks import HERE, VECTOR, count, refusal


@pytest.mark.parametrize("factory", ["plain(classes=3, width=4)", "plain(3, 4)", "OF.plain(3, width = 4)"])
def test_literal_arguments(factory: str) -> None:
    assert count(factory, 3, 8, 8).params == 4 * 28 + 8 + 3 * 257


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")  # torch.compile's own imports
def test_a_compiled_module_is_what_it_wraps() -> None:
    assert count("OF.compiled", 3, 8, 8).parts == count("plain", 3, 8, 8).parts


@pytest.mark.parametrize("name", ["FINISHED", "FINISHED_ON_META"])
def test_a_finished_module_is_left_as_it_was(name: str) -> None:
    network = getattr(other_networks, name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert count(name, 3, 8, 8).params == 5370
    assert network.training
    for key, value in network.state_dict().items():
        assert value.is_meta == before[key].is_meta
        assert value.is_meta or torch.equal(value, before[key])


def test_global_state_is_as_before(capfd: pytest.CaptureFixture[str]) -> None:
    def state() -> list[object]:
        others = random.getstate(), str(np.random.get_state(legacy=False))  # noqa: NPY002
        hooks = [*_global_forward_pre_hooks, *_global_forward_hooks]
        return [torch.get_rng_state().tolist(), others, list(sys.path), torch.get_default_device(), hooks]

    before = state()
    count("random_and_loud")
    refusal(HERE + "raises('SystemExit')", "SystemExit")
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


UNREADABLE = ["", "plain", "os.path", ":plain", "os:", "./net.py:make", "os:a b", "os:f(1)(2)"]
NO_LITERALS = ["classes=NUMBER", "1 + 1", "*[3]", "**{}", "classes=3, classes=4", "{[]: 1}"]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        *((target, "cannot be read; write package.module:factory") for target in UNREADABLE),
        *((f"{HERE}plain({given})", "arguments must be literals") for given in NO_LITERALS),
        ("no_such_module:make", "there is no module 'no_such_module'; start from the folder"),
        ("tests.no_such:make", "there is no module 'tests.no_such'"),
        ("json.py:make", "there is no module 'json.py'; leave out .py"),
        (HERE + "plane", "has no 'plane'; did you mean 'plain'?"),
        (HERE + "OF.qqq", "has no 'OF.qqq'; name a class or function of it"),
        (HERE + "NUMBER", "NUMBER gives an object of type int; name a torch.nn.Module"),
        ("builtins:dict", "dict gives an object of type dict; name a torch.nn.Module"),
        (HERE + "FINISHED()", "FINISHED is a module already; leave out the parentheses"),
    ],
)
def test_a_target_that_names_nothing_to_count(target: str, problem: str) -> None:
    refusal(target, problem)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import no_such_dependency", "needs the module 'no_such_dependency', which is not installed; install it"),
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
    refusal(f"{name}:make", problem)


@pytest.mark.parametrize(
    ("factory", "problem"),
    [
        ("raises('PermissionError', 'locked\\nand lost')", "building raises failed (PermissionError: locked); check"),
        ("raises('SystemExit', 3)", "building raises failed (SystemExit: 3)"),
        ("raises", "raises() missing 1 required positional argument: 'error'"),
        ("ours('{}')", "(SpecError: channels: missing; give the width of each stage)"),
    ],
)
def test_a_module_that_cannot_be_built(factory: str, problem: str) -> None:
    refusal(HERE + factory, problem)

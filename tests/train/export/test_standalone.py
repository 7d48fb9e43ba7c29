"""The file that needs PyTorch alone: its text builds the network of any spec."""

from __future__ import annotations

import ast
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import nn

from nas_budget import ResNetSpec, cost
from nas_budget.arch.blocks import ACTIVATIONS, FAMILIES
from nas_budget.errors import ModelError
from nas_budget.train.engine.weights import Model
from nas_budget.train.export.certificate import max_difference
from nas_budget.train.export.standalone import quoted, run_standalone, standalone_text
from tests.strategies import specs
from tests.train.export.exported_models import SMALL, SPECS, images_of, logits_of, model


def _module(text: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "model", "__file__": "model.py"}
    exec(compile(text, "model.py", "exec"), namespace)  # noqa: S102 - our own text
    return namespace


@settings(max_examples=60)
@given(specs())
def test_the_text_is_the_network(spec: ResNetSpec) -> None:
    made = model(spec)
    module = _module(standalone_text(made))
    network = module["build"]()
    network.load_state_dict(made.network.state_dict())
    images = images_of(spec, 2)
    with torch.inference_mode():
        logits = network.eval()(module["normalize"](images))
    assert max_difference(logits, logits_of(made, images)) < 1e-5
    assert module["PARAMETERS"] == cost(spec).params


LARGEST = ResNetSpec(
    (65_536, 65_535), blocks=1_000, kernels=31, strides=8, image_size=4_096, in_channels=65_536, classes=65_536,
    se_reduction=65_536, dropout=0.1,
)  # fmt: skip
PLAIN = [
    *SPECS.values(), LARGEST, ResNetSpec((32, 64, 96, 128, 185)), ResNetSpec((8,), in_channels=30, classes=100),
    ResNetSpec((8, 9), block="bottleneck"), ResNetSpec((8,), block="bottleneck"),
    *(ResNetSpec((8, 9), block=block, activation=name) for block, name in product(FAMILIES, ACTIVATIONS)),
]  # fmt: skip


@pytest.mark.parametrize("spec", PLAIN, ids=str)
def test_the_text_needs_torch_alone_and_is_well_formed(spec: ResNetSpec, tmp_path: Path) -> None:
    n = spec.in_channels
    shown = Model(spec, nn.Identity(), tuple(map(str, range(spec.classes))), (0.5,) * n, (1.25,) * n)
    text = standalone_text(shown)
    assert "nas_budget" not in text
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {n.module or "" if isinstance(n, ast.ImportFrom) else n.names[0].name for n in imports}
    assert {name.split(".")[0] for name in names} - {"torch"} <= set(sys.stdlib_module_names)
    path = tmp_path / "model.py"
    path.write_text(text)
    ruff = str(Path(sys.executable).with_name("ruff"))
    for arguments in ["format", "--diff"], ["check", "--select", "E,F,I,W,B,UP,SIM,RET"]:
        command = [ruff, *arguments, "--isolated", "--line-length", "120", path]
        ran = subprocess.run(command, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout


def test_names_of_classes_cannot_become_code() -> None:
    names = ('"', "'", "\"'", '"""', "\\", "\n", "{params}", "  # fmt: skip", "été", "\ud800", "{x}", "", '"); boom("')
    spec = ResNetSpec.from_dict({**SMALL.to_dict(), "classes": len(names)})
    assert _module(standalone_text(replace(model(spec), classes=names)))["CLASSES"] == names
    assert quoted("cat") == '"cat"'


def test_the_text_refuses_images_of_another_kind_and_files_that_were_changed() -> None:
    text = standalone_text(model())
    with pytest.raises(ValueError, match=r"images of shape \(3, 8, 8\), not \(8, 8, 3\)"):
        _module(text)["normalize"](torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="certified are"):
        _module(text.replace("blocks=(1, 1)", "blocks=(2, 1)"))["build"]()


def test_a_model_py_that_does_not_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_budget.train.export.standalone.PROBE_LIMIT_S", 0.2)
    (tmp_path / "model.py").write_text("while True: pass")
    with pytest.raises(ModelError, match="did not end within"):
        run_standalone(tmp_path / "model.py", [images_of(SMALL, 1)])

"""Exported files: the same network in each, counted again in each, and found out when they are not."""

from __future__ import annotations

import ast
import hashlib
import json
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from nas_budget.arch.budget import Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.errors import ModelError, UsageError
from nas_budget.train import certificate, export, onnx_file
from nas_budget.train.certificate import TOLERANCE, Certificate, max_difference
from nas_budget.train.network import build
from nas_budget.train.program import RawImages
from nas_budget.train.saved import Model, load_model, weights_digest
from nas_budget.train.standalone import quoted, run_standalone, standalone_text
from tests.strategies import specs

SMALL = ResNetSpec((4, 6), blocks=1, image_size=8, classes=3, pool="global")
SPECS = {
    "basic": ResNetSpec((4, 6), blocks=2, image_size=9, pool=2, kernels=(3, 5), stem_kernel=5),
    "preact, 1x1": ResNetSpec(
        (5, 8), blocks=(1, 2), block="preact", shortcut_kernel=1, stem_width=3, dropout=0.2, image_size=8, pool=2
    ),
    "bottleneck": ResNetSpec((6, 9), blocks=1, block="bottleneck", squeeze=2, image_size=8, pool=1, in_channels=1),
    "squeezed": ResNetSpec((4, 5), blocks=1, squeeze=16, strides=(2, 3), image_size=12, in_channels=2, classes=1),
    "no shortcut": ResNetSpec((4,), blocks=2, image_size=5, pool="global", block="preact", squeeze=3),
    "one pixel": ResNetSpec((4, 4), blocks=1, strides=(2, 2), image_size=2, pool=1, shortcut_kernel=1),
}
ALL = list(export.FORMATS)


def model(spec: ResNetSpec = SMALL, seed: int = 0) -> Model:
    """A network whose batch norm has statistics that matter, as a trained one's has."""
    network, random = build(spec, seed).eval(), torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in (module.running_mean, -1), (module.running_var, 0.5), (module.bias, -1):
                assert tensor is not None
                tensor.data.uniform_(low, 1.5, generator=random)
    n = spec.in_channels
    classes = tuple(f"class {i}" for i in range(spec.classes))
    mean, std = tuple(100.0 + i for i in range(n)), tuple(60.0 + i for i in range(n))
    return Model(spec, network, classes, mean, std, {"data": "shapes", "seed": 3, "weights": "plain", "accuracy": 0.75})


def images_of(spec: ResNetSpec, n: int) -> torch.Tensor:
    shape = (n, spec.image_size, spec.image_size, spec.in_channels)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


def scores_of(made: Model, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        scores: torch.Tensor = made.network(made.normalised(images))
    return scores


class Exported:
    def __init__(self, spec: ResNetSpec, folder: Path) -> None:
        self.spec, self.folder, self.model = spec, folder, model(spec)
        self.certificate = export.export(self.model, folder, Budget(), ALL)


@pytest.fixture(scope="module", params=SPECS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(SPECS[request.param], tmp_path_factory.mktemp("export"))


def test_onnx_takes_raw_images_in_any_number(exported: Exported) -> None:
    path, spec = exported.folder / "model.onnx", exported.spec
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for n in 1, 3, 11:
        images = images_of(spec, n)
        fed = np.ascontiguousarray(images.numpy().transpose(0, 3, 1, 2), np.float32)
        told = torch.from_numpy(session.run(["scores"], {"images": fed})[0])
        assert torch.allclose(told, scores_of(exported.model, images), atol=1e-5, rtol=1e-4)
    made = onnx.load(path, load_external_data=False)
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in made.graph.initializer)
    kinds = [node.op_type for node in made.graph.node]
    modules = [*exported.model.network.modules()]
    assert kinds.count("BatchNormalization") == sum(isinstance(m, nn.BatchNorm2d) for m in modules)
    assert kinds.count("Conv") == sum(isinstance(m, nn.Conv2d) for m in modules)
    assert not {"Identity", "Slice", "Shape", "Expand", "Reshape"} & set(kinds)
    ours = {name for name in exported.model.network.state_dict() if not name.endswith("num_batches_tracked")}
    assert {t.name for t in made.graph.initializer} == ours | {"image_mean", "image_std"}


def test_torch_loads_the_program_for_any_number(exported: Exported) -> None:
    program = torch.export.load(exported.folder / "model.pt2").module()
    for n in 1, 5:
        images = images_of(exported.spec, n)
        told = program(images.permute(0, 3, 1, 2).float())
        assert torch.allclose(told, scores_of(exported.model, images), atol=1e-5, rtol=1e-4)


def test_python_alone_runs_the_file(exported: Exported) -> None:
    path = exported.folder / "model.py"
    ran = subprocess.run([sys.executable, "-I", "-W", "error", str(path)], capture_output=True, text=True)
    assert ran.stderr == ""
    assert ran.stdout.startswith(f"{cost(exported.spec).params:,} parameters, as certified\n")
    assert ran.stdout.count("random image ") == 4
    module = runpy.run_path(str(path))
    images = images_of(exported.spec, 3)
    chances = module["predict"](module["load"](), images.numpy())
    assert torch.allclose(chances, scores_of(exported.model, images).softmax(1), atol=1e-5)
    assert module["CLASSES"] == exported.model.classes


def test_the_weights_are_kept_to_the_bit(exported: Exported) -> None:
    found = load_model(exported.folder)
    assert weights_digest(found.network.state_dict()) == weights_digest(exported.model.network.state_dict())
    assert found.about == exported.model.about
    assert ResNetSpec.from_json((exported.folder / "spec.json").read_text()) == exported.spec


def test_every_file_is_counted_again(exported: Exported) -> None:
    params = sum(p.numel() for p in exported.model.network.parameters())
    files = exported.certificate.files
    assert [f.format for f in files] == ["spec", *ALL]
    assert [f.params for f in files] == [params] * 5
    assert all(f.max_difference is not None and f.max_difference <= TOLERANCE for f in files[1:])
    for f in files:
        content = (exported.folder / f.file).read_bytes()
        assert (f.bytes, f.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_files_tell_nothing_of_the_machine_that_wrote_them(exported: Exported) -> None:
    here = Path(export.__file__)
    for f in exported.certificate.files:
        content = (exported.folder / f.file).read_bytes()
        for trace in str(here.parent), here.name, str(exported.folder), sys.prefix, "stack_trace":
            assert trace.encode() not in content, f.file


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(SMALL, tmp_path_factory.mktemp("small"))


def test_the_certificate_says_what_was_asked(small: Exported) -> None:
    told = json.loads((small.folder / certificate.CERTIFICATE).read_text())
    assert told == small.certificate.to_dict()
    used = cost(SMALL)
    assert (told["params"], told["macs"], told["spec"]) == (used.params, used.macs, SMALL.to_dict())
    margin = {"limit": 5_000_000, "used": used.params, "margin": 5_000_000 - used.params}
    assert (told["fits"], told["margins"]) == (True, {"params": margin})
    assert (told["test_accuracy"], told["test_data"]) == (0.75, "shapes")
    assert told["training"] == {"seed": 3, "weights": "plain"}
    assert told["weights_digest"] == weights_digest(small.model.network.state_dict())
    assert all(f["params_equal"] for f in told["files"])
    assert set(told["versions"]) == {"nas-budget", "torch", "onnx", "onnxscript", "onnxruntime"}
    assert abs(datetime.fromisoformat(told["date"]) - datetime.now(UTC)) < timedelta(hours=1)


def test_onnx_and_torch_files_say_how_they_are_used(small: Exported) -> None:
    told = {p.key: p.value for p in onnx.load(small.folder / "model.onnx").metadata_props}
    assert json.loads(told["classes"]) == ["class 0", "class 1", "class 2"]
    assert "0 to 255; normalised inside" in told["images"]
    assert told["params"] == str(cost(SMALL).params)
    beside = {f"{name}.txt": "" for name in told}
    torch.export.load(small.folder / "model.pt2", extra_files=beside)
    assert beside == {f"{name}.txt": value for name, value in told.items()}


def test_a_network_over_budget_is_exported_and_said_to_be(tmp_path: Path) -> None:
    made = export.export(model(), tmp_path, Budget(params=100))
    assert not made.verdict.fits
    assert made.to_dict()["margins"]["params"]["margin"] == 100 - cost(SMALL).params
    assert load_model(tmp_path).spec == SMALL


def test_what_is_not_known_is_null(tmp_path: Path) -> None:
    told = export.export(replace(model(), about={}), tmp_path, Budget()).to_dict()
    assert (told["test_accuracy"], told["test_data"], told["training"]) == (None, None, {})
    assert set(told["versions"]) == {"nas-budget", "torch"}


@settings(max_examples=60)
@given(specs())
def test_the_text_is_the_network(spec: ResNetSpec) -> None:
    made = model(spec)
    module = _module(standalone_text(made))
    network = module["build"]()
    network.load_state_dict(made.network.state_dict())
    images = images_of(spec, 2)
    with torch.inference_mode():
        told = network.eval()(module["normalise"](images))
    assert max_difference(told, scores_of(made, images)) < 1e-5
    assert module["PARAMETERS"] == cost(spec).params


def _module(text: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "model", "__file__": "model.py"}
    exec(compile(text, "model.py", "exec"), namespace)  # noqa: S102 - our own text
    return namespace


LARGEST = ResNetSpec(
    (65_536, 65_535), blocks=1_000, kernels=31, strides=8, image_size=4_096, in_channels=65_536, classes=65_536,
    squeeze=65_536, dropout=0.1,
)  # fmt: skip
PLAIN = [
    *SPECS.values(), LARGEST, ResNetSpec((32, 64, 96, 128, 185)), ResNetSpec((8,), in_channels=30, classes=100),
    ResNetSpec((8, 9), block="bottleneck"), ResNetSpec((8,), block="bottleneck"),
]  # fmt: skip


@pytest.mark.parametrize("spec", PLAIN, ids=str)
def test_the_text_needs_torch_alone_and_is_well_formed(spec: ResNetSpec, tmp_path: Path) -> None:
    n = spec.in_channels
    shown = Model(spec, nn.Identity(), tuple(map(str, range(spec.classes))), (0.5,) * n, (1.25,) * n)
    text = standalone_text(shown)
    assert "$" not in text
    assert "#?" not in text
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {n.module or "" if isinstance(n, ast.ImportFrom) else n.names[0].name for n in imports}
    assert {name.split(".")[0] for name in names} - {"torch"} <= set(sys.stdlib_module_names)
    path = tmp_path / "model.py"
    path.write_text(text)
    ruff = str(Path(sys.executable).with_name("ruff"))
    for arguments in ["format", "--diff"], ["check", "--select", "E,F,I,W,B,UP,SIM,RET"]:
        ran = subprocess.run([ruff, *arguments, "--isolated", path], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout


def test_names_of_classes_cannot_become_code() -> None:
    names = ('"', "'", "\"'", '"""', "\\", "\n", "$count", "  #? squeeze", "été", "\ud800", "{x}", "", '"); boom("')
    spec = ResNetSpec.from_dict({**SMALL.to_dict(), "classes": len(names)})
    assert _module(standalone_text(replace(model(spec), classes=names)))["CLASSES"] == names
    assert quoted("cat") == '"cat"'


def test_the_text_refuses_images_of_another_kind_and_files_that_were_changed() -> None:
    text = standalone_text(model())
    with pytest.raises(ValueError, match=r"images of shape \(3, 8, 8\), not \(8, 8, 3\)"):
        _module(text)["normalise"](torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="certified are"):
        _module(text.replace("blocks=1, kernel=3", "blocks=2, kernel=3"))["build"]()


def _other(write: Callable[[Path, Model], None], change: Callable[[Model], Model]) -> Callable[[Path, Model], None]:
    return lambda path, made: write(path, change(made))


def _nudged(made: Model) -> Model:
    changed = model(made.spec)
    changed.network.get_submodule("linear").bias.data[0] += 0.01  # type: ignore[operator]
    return changed


def _larger(made: Model) -> Model:
    return model(ResNetSpec((4, 7), blocks=1, image_size=8, classes=3, pool="global"))


@pytest.mark.parametrize("name", ["safetensors", "onnx", "torch"])
@pytest.mark.parametrize(("change", "problem"), [(_nudged, "scores differ"), (_larger, "parameters are counted in it")])
def test_a_file_of_another_network_is_found_out_and_removed(
    name: str, change: Callable[[Model], Model], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = export.FORMATS[name]
    monkeypatch.setitem(export.FORMATS, name, replace(form, write=_other(form.write, change)))
    (tmp_path / certificate.CERTIFICATE).write_text("of before")
    with pytest.raises(ModelError, match=problem):
        export.export(model(), tmp_path, Budget(), [name])
    assert not (tmp_path / form.file).exists()
    assert not (tmp_path / certificate.CERTIFICATE).exists()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("out = self.norm2(self.conv2(out))", "out = self.conv2(out)", "scores differ"),
        ("(images - mean) / std", "images / 255", "scores differ"),
        ("import torch\n", "import nas_budget, torch\n", "does not run .*nas_budget"),
        ("import torch\n", "import safetensors.torch, torch\n", "does not run .*safetensors"),
        ("PARAMETERS = 1", "PARAMETERS = 2", "does not run .*certified are"),
        ("padding=kernel // 2", "padding=0", "does not run"),
    ],
)
def test_a_wrong_model_py_is_found_out_and_removed(
    old: str, new: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = standalone_text(model())
    assert old in text
    form = replace(export.FORMATS["python"], write=lambda path, _: path.write_text(text.replace(old, new)))
    monkeypatch.setitem(export.FORMATS, "python", form)
    with pytest.raises(ModelError, match=problem) as caught:
        export.export(model(), tmp_path, Budget(), ["python"])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model.py").exists()
    assert (tmp_path / "model.safetensors").exists()


def test_a_model_py_that_does_not_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas_budget.train.standalone.PROBE_LIMIT_S", 0.2)
    (tmp_path / "model.py").write_text("while True: pass")
    with pytest.raises(ModelError, match="did not end within"):
        run_standalone(tmp_path / "model.py", images_of(SMALL, 1), [1])


def test_folded_batch_norm_would_be_found_out(tmp_path: Path) -> None:
    example = torch.zeros(2, 3, 8, 8)
    shapes = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            RawImages(model()).eval(), (example,), dynamo=True, optimize=True, verbose=False, dynamic_shapes=shapes,
            input_names=["images"], output_names=["scores"],
        )  # fmt: skip
    assert made is not None
    made.save(str(tmp_path / "folded.onnx"))
    images = images_of(SMALL, 3)
    params, told = certificate.read_onnx(tmp_path / "folded.onnx", images, [1, 2])
    assert torch.allclose(told, scores_of(model(), images), atol=1e-4)
    assert params < cost(SMALL).params


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_give_no_numbers_are_not_certified(value: float, tmp_path: Path) -> None:
    made = model()
    made.network.get_submodule("linear").bias.data[0] = value  # type: ignore[operator]
    with pytest.raises(ModelError, match="scores differ from torch's by nan"):
        export.export(made, tmp_path, Budget())


def test_differences_are_relative_to_the_greatest_score() -> None:
    small, large = torch.tensor([[0.5, -0.1]]), torch.tensor([[50.0, -100.0]])
    assert max_difference(small + 0.01, small) == pytest.approx(0.01)
    assert max_difference(large + 0.01, large) == pytest.approx(0.0001, rel=1e-3)
    assert not max_difference(torch.tensor([[1.0, float("nan")]]), small) <= TOLERANCE


def test_unknown_formats_are_told() -> None:
    with pytest.raises(
        UsageError, match=r"--format: 'tflite' is unknown; allowed are safetensors, onnx, torch, python"
    ):
        export.check_formats(["onnx", "tflite"])


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_packages_are_told_before_anything_is_written(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=r"needs onnx, onnxscript and onnxruntime: pip install 'nas-budget\[onnx\]'"):
        export.export(model(), tmp_path / "new", Budget(), ["onnx"])
    assert not (tmp_path / "new").exists()
    assert isinstance(export.export(model(), tmp_path, Budget(), ["safetensors"]), Certificate)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ("a", "b")},
        {"classes": ("a", "b", 3)},
        {"mean": (1.0,)},
        {"std": (1.0, 2.0, 0.0)},
        {"std": (1.0, 2.0, float("nan"))},
        {"mean": (1.0, 2.0, "3")},
    ],
)
def test_a_model_that_does_not_know_its_classes_or_images_is_told(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the model('s| names)"):
        export.export(replace(model(), **change), tmp_path / "new", Budget())
    assert not (tmp_path / "new").exists()


def test_more_than_one_onnx_file_holds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 1_000)
    with pytest.raises(ModelError, match="are more than the 1,000 that ONNX holds in a file"):
        export.export(model(), tmp_path, Budget(), ["onnx"])


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written"):
        export.export(model(), tmp_path / "file", Budget())


def test_files_of_an_earlier_export_are_named(tmp_path: Path) -> None:
    made = export.export(model(), tmp_path, Budget())
    assert export.left_over(tmp_path, made) == []
    (tmp_path / "model.py").write_text("of before")
    assert export.left_over(tmp_path, made) == ["model.py"]

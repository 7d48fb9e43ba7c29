"""Exported files: each holds the same network and is counted again; a file that does not is refused."""

from __future__ import annotations

import hashlib
import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from nas_budget import Budget, ResNetSpec, build, cost
from nas_budget.errors import ModelError, StorageError, UsageError
from nas_budget.records.paths import CERTIFICATE
from nas_budget.search.samplers.factory import networks_of
from nas_budget.train.engine.weights import Model, load_model, weights_digest
from nas_budget.train.export import certificate, export
from nas_budget.train.export import onnx_export as onnx_file
from nas_budget.train.export.certificate import TOLERANCE, Certificate, max_difference
from nas_budget.train.export.standalone import standalone_text
from nas_budget.train.export.torch_export import RawImages
from nas_budget.train.modules.family import family_space
from tests.train.export.exported_models import SMALL, SPECS, images_of, logits_of, model

ALL = list(export.FORMATS)
Write = Callable[[Path, Model], object]


class Exported:
    def __init__(self, spec: ResNetSpec, folder: Path) -> None:
        self.spec, self.folder, self.model = spec, folder, model(spec)
        self.certificate = export.export(self.model, folder, Budget(), ALL)


@pytest.fixture(scope="module", params=SPECS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(SPECS[request.param], tmp_path_factory.mktemp("export"))


@pytest.mark.slow
def test_onnx_takes_raw_images_in_any_number(exported: Exported) -> None:
    path, spec = exported.folder / "model.onnx", exported.spec
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for n in 1, 3, 11:
        images = images_of(spec, n)
        fed = np.ascontiguousarray(images.numpy().transpose(0, 3, 1, 2), np.float32)
        logits = torch.from_numpy(session.run(["logits"], {"images": fed})[0])
        assert torch.allclose(logits, logits_of(exported.model, images), atol=1e-5, rtol=1e-4)
    made = onnx.load(path, load_external_data=False)
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in made.graph.initializer)
    kinds = [node.op_type for node in made.graph.node]
    modules = [*exported.model.network.modules()]
    assert kinds.count("BatchNormalization") == sum(isinstance(m, nn.BatchNorm2d) for m in modules)
    assert kinds.count("Conv") == sum(isinstance(m, nn.Conv2d) for m in modules)
    assert kinds.count("AveragePool") == 1
    assert not {"Identity", "Slice", "Shape", "Expand", "Reshape"} & set(kinds)
    ours = {name for name in exported.model.network.state_dict() if not name.endswith("num_batches_tracked")}
    assert {t.name for t in made.graph.initializer} == ours | {"image_mean", "image_std"}


def test_torch_loads_the_program_for_any_number_and_both_files_say_how_they_are_used(exported: Exported) -> None:
    metadata = {p.key: p.value for p in onnx.load(exported.folder / "model.onnx").metadata_props}
    assert tuple(json.loads(metadata["classes"])) == exported.model.classes
    assert "0 to 255; normalized inside" in metadata["images"]
    assert metadata["params"] == str(cost(exported.spec).params)
    beside = {f"{name}.txt": "" for name in metadata}
    program = torch.export.load(exported.folder / "model.pt2", extra_files=beside).module()
    assert beside == {f"{name}.txt": value for name, value in metadata.items()}
    for n in 1, 5:
        images = images_of(exported.spec, n)
        logits = program(images.permute(0, 3, 1, 2).float())
        assert torch.allclose(logits, logits_of(exported.model, images), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_python_alone_runs_the_file(exported: Exported) -> None:
    path = exported.folder / "model.py"
    ran = subprocess.run([sys.executable, "-I", "-W", "error", str(path)], capture_output=True, text=True)
    assert ran.stderr == ""
    assert ran.stdout.startswith(f"{cost(exported.spec).params:,} parameters, as certified\n")
    assert ran.stdout.count("random image ") == 4
    module = runpy.run_path(str(path))
    images = images_of(exported.spec, 3)
    probabilities = module["predict"](module["load"](), images.numpy())
    assert torch.allclose(probabilities, logits_of(exported.model, images).softmax(1), atol=1e-5)
    assert module["CLASSES"] == exported.model.classes


def test_the_weights_are_kept_to_the_bit(exported: Exported) -> None:
    found = load_model(exported.folder)
    assert weights_digest(found.network.state_dict()) == weights_digest(exported.model.network.state_dict())
    assert found.about == exported.model.about
    assert ResNetSpec.from_json((exported.folder / "spec.json").read_text()) == exported.spec


def test_every_file_is_counted_again_and_tells_nothing_of_the_machine_that_wrote_it(exported: Exported) -> None:
    params = sum(p.numel() for p in exported.model.network.parameters())
    files, here = exported.certificate.files, Path(export.__file__)
    assert [f.format for f in files] == ["spec", *ALL]
    assert [f.params for f in files] == [params] * 5
    assert all(f.max_difference is not None and f.max_difference <= TOLERANCE for f in files[1:])
    for f in files:
        content = (exported.folder / f.file).read_bytes()
        assert (f.bytes, f.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        for trace in str(here.parent), here.name, str(exported.folder), sys.prefix, "stack_trace":
            assert trace.encode() not in content, f.file


def test_the_certificate_says_what_was_asked(exported: Exported) -> None:
    written, used = json.loads((exported.folder / CERTIFICATE).read_text()), cost(exported.spec)
    assert written == exported.certificate.to_dict()
    assert (written["params"], written["macs"], written["spec"]) == (used.params, used.macs, exported.spec.to_dict())
    margin = {"limit": 5_000_000, "used": used.params, "margin": 5_000_000 - used.params}
    assert (written["fits"], written["margins"]) == (True, {"params": margin})
    assert (written["test_accuracy"], written["test_data"]) == (0.75, "shapes")
    assert written["training"] == {"seed": 3, "weights": "plain"}
    assert written["weights_digest"] == weights_digest(exported.model.network.state_dict())
    assert all(f["params_equal"] for f in written["files"])
    assert set(written["versions"]) == {"nas-budget", "torch", "onnx", "onnxscript", "onnxruntime"}
    assert abs(datetime.fromisoformat(written["date"]) - datetime.now(UTC)) < timedelta(hours=1)


def test_a_network_over_budget_is_exported_and_said_to_be_and_what_is_not_known_is_null(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("of before")
    made = export.export(replace(model(), about={}), tmp_path, Budget(params=100))
    assert not made.verdict.fits
    assert load_model(tmp_path).spec == SMALL
    found = made.to_dict()
    network = build(SMALL)
    everything = [*network.parameters(), *network.buffers()]
    assert found["params"] + found["buffers"] == sum(t.numel() for t in everything if t.is_floating_point())
    assert found["margins"]["params"]["margin"] == 100 - cost(SMALL).params
    assert (found["test_accuracy"], found["test_data"], found["training"]) == (None, None, {})
    assert set(found["versions"]) == {"nas-budget", "torch"}
    assert export.left_over(tmp_path, made) == ["model.py"]
    (tmp_path / "model.py").unlink()
    assert export.left_over(tmp_path, made) == []


class HalfFrozen:
    """A family whose first layer is not trained."""

    space: ClassVar = {"width": (4, 8)}
    knob = "width"

    def build(self, input_shape: tuple[int, ...], classes: int, width: int) -> nn.Module:
        first = nn.Conv2d(input_shape[0], width, 3, stride=2, bias=False).requires_grad_(False)
        return nn.Sequential(
            first, nn.BatchNorm2d(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)
        )


def test_parameters_that_are_not_trained_are_told_apart_in_the_certificate(tmp_path: Path) -> None:
    space = family_space(f"{__name__}:HalfFrozen", image_size=8, in_channels=3, classes=5)
    spec = networks_of(space, Budget()).decode({"width": 8})
    network = build(spec)
    found = export.export(
        Model(spec, network, tuple("abcde"), (0.0,) * 3, (1.0,) * 3), tmp_path, None, ("onnx", "torch")
    )
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    frozen, statistics = 3 * 8 * 9, 2 * 8
    assert found.frozen == frozen
    assert {f.params for f in found.files} == {trained}
    written = json.loads((tmp_path / CERTIFICATE).read_text())
    counts = [written[name] for name in ("params", "frozen_params", "all_params", "buffers")]
    assert counts == [trained, frozen, trained + frozen, statistics]
    assert written["weight_bytes"]["fp32"] == 4 * (trained + frozen + statistics)


class InInt8(nn.Module):
    """A convolution whose weights are a buffer of int8, with a scale."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(width, channels, 3, 3, dtype=torch.int8))
        self.register_buffer("scale", torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight * self.scale, stride=2)


class Int8Family(HalfFrozen):
    """The family with that in place of its first layer."""

    def build(self, input_shape: tuple[int, ...], classes: int, width: int) -> nn.Module:
        return nn.Sequential(InInt8(input_shape[0], width), *[*super().build(input_shape, classes, width)][1:])


def test_weights_in_buffers_of_int8_have_their_bytes_in_the_certificate_and_under_a_limit(tmp_path: Path) -> None:
    space = family_space(f"{__name__}:Int8Family", image_size=8, in_channels=3, classes=5)
    spec = networks_of(space, Budget()).decode({"width": 8})
    stored, floats = 3 * 8 * 9, 1 + 4 * 8 + 9 * 5  # scale; scale, shift, mean and variance of the norm; the last layer
    network = build(spec)
    export.export(Model(spec, network, tuple("abcde"), (0.0,) * 3, (1.0,) * 3), tmp_path, None, ("torch",))
    written = json.loads((tmp_path / CERTIFICATE).read_text())
    assert written["integer_bytes"] == stored
    assert written["weight_bytes"] == {
        "fp32": stored + 4 * floats,
        "fp16": stored + 2 * floats,
        "int8": stored + floats,
    }
    limit = Budget(params=None, weight_bytes=stored + 4 * floats - 1)
    assert not limit.check(spec).fits
    assert networks_of(space, limit).decode({"width": 8}) != spec


NUDGED, LARGER = model(), model(replace(SMALL, channels=(4, 7)))
NUDGED.network.get_submodule("fc").bias.data[0] += 0.01


def of(other: Model, name: str) -> Write:
    write = export.FORMATS[name].write
    return lambda path, _: write(path, other)


def with_text(old: str, new: str) -> Write:
    text = standalone_text(model())
    assert old in text
    return lambda path, _: path.write_text(text.replace(old, new))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "write", "problem"),
    [
        *((name, of(NUDGED, name), "logits differ") for name in ("safetensors", "onnx", "torch")),
        *((name, of(LARGER, name), "parameters are counted in it") for name in ("safetensors", "onnx")),
        ("python", with_text("self.bn2(self.conv2(out))", "self.conv2(out)"), "logits differ"),
        ("python", with_text("(images - mean) / std", "images / 255"), "logits differ"),
        ("python", with_text("import torch\n", "import nas_budget, torch\n"), "does not run .*nas_budget"),
        ("python", with_text("PARAMETERS = 1", "PARAMETERS = 2"), "does not run .*certified are"),
    ],
)
def test_a_file_of_another_network_is_refused_and_removed(
    name: str, write: Write, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = export.FORMATS[name]
    monkeypatch.setitem(export.FORMATS, name, replace(form, write=write))
    (tmp_path / CERTIFICATE).write_text("of before")
    with pytest.raises(ModelError, match=problem) as caught:
        export.export(model(), tmp_path, Budget(), [name])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / form.file).exists()
    assert not (tmp_path / CERTIFICATE).exists()
    assert (tmp_path / "model.safetensors").exists() == (name != "safetensors")


@pytest.mark.filterwarnings("ignore")
def test_folded_batch_norm_is_not_counted(tmp_path: Path) -> None:
    example, names = torch.zeros(2, 3, 8, 8), {"input_names": ["images"], "output_names": ["logits"]}
    shapes = ({0: torch.export.Dim("batch")},)
    made = torch.onnx.export(
        RawImages(model()).eval(), (example,), dynamo=True, verbose=False, dynamic_shapes=shapes, **names
    )
    assert made is not None
    made.save(str(tmp_path / "folded.onnx"))
    images = images_of(SMALL, 3)
    params, logits = certificate.read_onnx(tmp_path / "folded.onnx", images.split([1, 2]))
    assert logits is not None
    assert torch.allclose(logits, logits_of(model(), images), atol=1e-4)
    assert params < cost(SMALL).params


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_give_no_numbers_are_not_certified(value: float, tmp_path: Path) -> None:
    made = model()
    made.network.get_submodule("fc").bias.data[0] = value
    with pytest.raises(ModelError, match="logits differ from torch's by nan"):
        export.export(made, tmp_path, Budget())


def test_whole_numbers_as_mean_and_deviation(tmp_path: Path) -> None:
    made = replace(model(), mean=(1, 2, 3), std=(4, 5, 6))
    found = export.export(made, tmp_path, Budget(), ALL).files
    assert [f.format for f in found] == ["spec", *ALL]


def test_differences_are_relative_to_the_greatest_logit() -> None:
    small, large = torch.tensor([[0.5, -0.1]]), torch.tensor([[50.0, -100.0]])
    assert max_difference(small + 0.01, small) == pytest.approx(0.01)
    assert max_difference(large + 0.01, large) == pytest.approx(0.0001, rel=1e-3)
    assert not max_difference(torch.tensor([[1.0, float("nan")]]), small) <= TOLERANCE


def test_unknown_formats_are_refused() -> None:
    words = "--format: 'tflite' is unknown; allowed are safetensors, onnx, torch, python"
    with pytest.raises(UsageError, match=words):
        export.check_formats(["onnx", "tflite"])


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_missing_packages_are_refused_before_anything_is_written(
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
        *({"classes": classes} for classes in (("a", "b"), ("a", "b", 3))),
        *({"mean": mean} for mean in ((1.0,), (1.0, 2.0, "3"))),
        *({"std": std} for std in ((1.0, 2.0, 0.0), (1.0, 2.0, float("nan")))),
    ],
)
def test_a_model_that_does_not_know_its_classes_or_images_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the model('s| names)"):
        export.export(replace(model(), **change), tmp_path / "new", Budget())
    assert not (tmp_path / "new").exists()


def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        export.export(model(), tmp_path / "file", Budget())
    monkeypatch.setattr(onnx_file, "MOST_BYTES", 1_000)
    with pytest.raises(ModelError, match="are more than the 1,000 that ONNX holds in a file"):
        export.export(model(), tmp_path, Budget(), ["onnx"])

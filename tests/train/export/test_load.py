"""Exported ONNX files are models again: the same logits, classes and accuracy; what is none is refused in one line."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
import torch

from nas_budget.errors import ModelError, UsageError
from nas_budget.train.engine.evaluate import accuracy_of, predict_logits
from nas_budget.train.engine.weights import Model
from nas_budget.train.export import export
from nas_budget.train.export.load import is_exported, load_trained
from tests.train.export.exported_models import SMALL, logits_of, model
from tests.train.export.quantized import to_quantize


@pytest.fixture(scope="module")
def made() -> Model:
    return model()


@pytest.fixture(scope="module")
def folder(made: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export in fp32 and int8."""
    path = tmp_path_factory.mktemp("export")
    images = to_quantize(made)
    record = export.export(made, path, formats=["onnx", "onnx-int8"], images=images)
    assert record.quantization is not None
    assert record.quantization.fp32_accuracy == 1  # its labels are what fp32 says
    (file,) = record.quantization.files
    assert file.accuracy == file.same_class
    found = load_trained(path / file.file)
    logits = predict_logits(found.network, images.test.images, found.normalized)
    assert accuracy_of(logits, images.test.labels) == file.accuracy > 0.9
    return path


def test_a_file_of_fp32_gives_the_logits_of_the_network(made: Model, folder: Path) -> None:
    found, images = load_trained(folder / "model.onnx"), to_quantize(made).test.images
    assert (found.spec, found.classes) == (SMALL, made.classes)
    assert found.about == {"data": "shapes", "weights": "plain", "accuracy": 0.75}
    logits = predict_logits(found.network, images, found.normalized)
    assert torch.allclose(logits, logits_of(made, images), atol=1e-5)
    mirrored = predict_logits(found.network, images, found.normalized, mirrored=True)
    both = (logits_of(made, images) + logits_of(made, images.flip(2))) / 2
    assert torch.allclose(mirrored, both, atol=1e-5)


def test_a_file_of_int8_says_so(folder: Path) -> None:
    assert load_trained(folder / "model-int8.onnx").about["precision"] == "int8"


def test_data_that_are_a_path_are_not_named_in_a_file(made: Model, tmp_path: Path) -> None:
    private = Model(made.spec, made.network, made.classes, made.mean, made.std, {"data": "/home/me/photos,fit=pad"})
    export.export(private, tmp_path, formats=["onnx"])
    assert "data" not in load_trained(tmp_path / "model.onnx").about
    assert b"photos" not in (tmp_path / "model.onnx").read_bytes()


def test_weights_and_folders_are_loaded_as_before(folder: Path) -> None:
    assert not is_exported(folder)
    assert load_trained(folder).spec == load_trained(folder / "model.safetensors").spec == SMALL


def test_what_is_no_exported_file_is_refused_in_one_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged, strange = tmp_path / "damaged.onnx", tmp_path / "strange.onnx"
    damaged.write_bytes((folder / "model.onnx").read_bytes()[:1_000])
    other = onnx.load(folder / "model.onnx")
    del other.metadata_props[:]
    onnx.save(other, strange)
    with pytest.raises(ModelError, match=r"missing.onnx: cannot be read \(No such file"):
        load_trained(tmp_path / "missing.onnx")
    with pytest.raises(ModelError, match=r"damaged.onnx: is no whole ONNX file"):
        load_trained(damaged)
    with pytest.raises(
        ModelError, match=r"strange.onnx: no ONNX file of nas-budget export \(its metadata has no 'spec'"
    ):
        load_trained(strange)
    with pytest.raises(UsageError, match=r"--ema: .*model.onnx holds the weights that it was exported with"):
        load_trained(folder / "model.onnx", ema=True)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"model.onnx: ONNX files need onnxruntime: pip install 'nas-budget\[onnx\]'"):
        load_trained(folder / "model.onnx")

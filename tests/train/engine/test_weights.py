"""Models as files: exact, self-describing, and refused when they are not what they say."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from nas_budget import ResNetSpec, build
from nas_budget.errors import DataError, ModelError, StorageError
from nas_budget.records.paths import EMA_WEIGHTS, WEIGHTS
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.engine.weights import (
    FORMAT,
    Model,
    check_images,
    in_order_of,
    load_model,
    save_model,
    save_tensors,
    weights_digest,
)

SPEC = ResNetSpec((4, 8), blocks=1, image_size=8, classes=3, pool="global")


def model(seed: int = 0) -> Model:
    network = build(SPEC, seed).to(memory_format=torch.channels_last)
    return Model(SPEC, network.eval(), ("a", "b", "c"), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), {"data": "d", "seed": seed})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_model(tmp_path / WEIGHTS, model())
    return tmp_path / WEIGHTS


def test_what_is_read_is_what_was_written(path: Path) -> None:
    found, images = load_model(path), torch.randint(0, 256, (5, 8, 8, 3), dtype=torch.uint8)
    assert (found.spec, found.classes, found.mean, found.std) == (SPEC, ("a", "b", "c"), (1, 2, 3), (4, 5, 6))
    assert found.about == {"data": "d", "seed": 0}
    assert not found.network.training
    image = torch.tensor([[[[5, 12, 21]]]], dtype=torch.uint8)
    assert found.normalized(image).flatten().tolist() == [1.0, 2.0, 3.0]
    with torch.no_grad():
        expected = model().network(model().normalized(images))
        assert torch.equal(found.network(found.normalized(images)), expected)


def test_any_reader_of_safetensors_and_of_json_reads_it(path: Path) -> None:
    expected = model().network.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in load_file(path).items())
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    assert json.loads(header["values"])["classes"] == ["a", "b", "c"]


def test_a_run_folder_has_plain_and_ema_weights(path: Path) -> None:
    other = model(seed=1)
    save_model(path.parent / EMA_WEIGHTS, replace(other, about={**other.about, "weights": "ema"}))
    assert load_model(path.parent).about["seed"] == 0
    assert load_model(path.parent, ema=True).about["seed"] == 1
    with pytest.raises(ModelError, match="holds plain weights; for EMA weights"):
        load_model(path, ema=True)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[:-100],
    "a flipped bit": lambda content: content[:-10] + bytes([content[-10] ^ 1]) + content[-9:],
    "the header cut": lambda content: content[:50],
    "another mean, the tensors as they were": lambda content: content.replace(b"1.0, 2.0, 3.0", b"9.0, 2.0, 3.0"),
    "values that are no JSON": lambda content: content.replace(b"about", b"ab\\\\ut"),
    "a pickle": lambda _: pickle.dumps({"weights": [1, 2, 3]}),
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_reported_and_nothing_is_unpickled(
    path: Path, damage: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("unpickled"))
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    with pytest.raises(ModelError, match=r"model.safetensors: .*(damaged|cut short)"):
        load_model(path)


def test_missing_weights_those_of_another_origin_and_folders_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"ema.safetensors: cannot be read \(No such file"):
        load_model(tmp_path, ema=True)
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="format is 'not one of nas-budget', this version reads 'nas-budget model 2'"):
        load_model(tmp_path / "other.safetensors")
    with pytest.raises(StorageError, match="cannot be written"):
        save_model(tmp_path / "other.safetensors" / WEIGHTS, model())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"spec": replace(SPEC, channels=(4, 9)).to_dict()}, "another network"),
        ({"spec": {"channels": []}}, "describes no network"),
        ({"mean": 3}, "describes no network"),
        ({"classes": None}, "describes no network"),
    ],
)
def test_a_header_that_does_not_fit_the_weights_is_refused(path: Path, change: dict[str, Any], problem: str) -> None:
    values = {"spec": SPEC.to_dict(), "classes": ["a"], "mean": [0], "std": [1], "about": {}} | change
    save_tensors(path, model().network.state_dict(), FORMAT, values)
    with pytest.raises(ModelError, match=problem) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_the_digest_is_of_names_shapes_and_values() -> None:
    tensors = {"a": torch.arange(6.0), "b": torch.ones(2)}
    digest = weights_digest(tensors)
    assert digest == weights_digest(dict(reversed(tensors.items())))
    assert weights_digest({**tensors, "b": torch.tensor([1.0, 1.1])}) != digest
    assert weights_digest({**tensors, "a": torch.arange(6.0).view(2, 3)}) != digest
    assert weights_digest({"a": tensors["a"], "c": tensors["b"]}) != digest


def test_labels_follow_the_names_of_classes_that_stand_in_another_order() -> None:
    model = Model(SPEC, build(SPEC), ("cat", "dog", "owl"), (0.0,) * 3, (1.0,) * 3)
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 2, 0])
    dataset = Dataset("mine", ("owl", "cat", "dog"), 8, 3, 4, 4, "", "", lambda part: (images, labels))
    found = in_order_of(model, dataset)
    assert found.classes == model.classes
    assert found.read("test")[1].tolist() == [2, 0, 1, 2]


@pytest.mark.parametrize(("size", "channels", "classes"), [(16, 3, 3), (8, 1, 3), (8, 3, 4)])
def test_images_of_another_kind_are_refused(size: int, channels: int, classes: int) -> None:
    dataset = Dataset("mine", tuple("abcdefg"[:classes]), size, channels, 9, 9, "", "", lambda part: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(DataError, match=f"mine: images of {size} pixels, {channels} channels and {classes} classes"):
        check_images(SPEC, dataset)

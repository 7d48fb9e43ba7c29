"""`nas-budget export` as a person types it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from nas_budget.arch.cost import cost
from nas_budget.arch.spec import ResNetSpec
from nas_budget.cli.console import progress
from nas_budget.records.paths import EMA_WEIGHTS, WEIGHTS
from nas_budget.train.engine.model import build
from nas_budget.train.engine.weights import Model, load_model, save_model, weights_digest
from tests.conftest import Run
from tests.train.export.exported_models import model
from tests.train.export.quantized import save_images

SPEC = ResNetSpec((4, 8), blocks=1, image_size=8, classes=3, pool="global")
PARAMS = cost(SPEC).params


def _save(path: Path, seed: int, weights: str) -> None:
    about = {"data": "shapes", "seed": seed, "weights": weights, "accuracy": 0.875}
    save_model(path, Model(SPEC, build(SPEC, seed).eval(), ("a", "b", "c"), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), about))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with plain and ema weights."""
    _save(tmp_path / "run" / WEIGHTS, 0, "plain")
    _save(tmp_path / "run" / EMA_WEIGHTS, 1, "ema")
    return tmp_path / "run"


def test_a_run_folder_goes_to_its_export_folder(run: Run, folder: Path) -> None:
    ran = run("export", folder)
    assert (ran.code, ran.err) == (0, "")
    assert {path.name for path in (folder / "export").iterdir()} == {"certificate.json", WEIGHTS, "spec.json"}
    found, expected = (load_model(place).network.state_dict() for place in (folder / "export", folder))
    assert weights_digest(found) == weights_digest(expected)
    assert "accuracy     87.5% of the test images of shapes, plain weights" in ran.out
    assert "limits       no limit" in ran.out
    assert "5,000,000" not in ran.out
    assert load_model(folder / "export").about["seed"] == 0


@pytest.mark.slow
def test_every_format_at_once_is_told_in_a_table_and_nothing_else(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 1e9)  # a slow machine would say how long it has taken
    formats = [part for name in ("python", "onnx", "torch", "onnx") for part in ("--format", name)]
    ran = run("export", folder, *formats, "-o", folder.parent / "out")
    assert (ran.code, ran.err) == (0, "")
    rows = [line.split() for line in ran.out.splitlines()[2:7]]
    assert [row[0] for row in rows] == ["spec.json", "model.safetensors", "model.onnx", "model.pt2", "model.py"]
    assert {row[3] for row in rows} == {f"{PARAMS:,}"}
    for row in rows:
        assert row[2] == f"{(folder.parent / 'out' / row[0]).stat().st_size:,}"
    assert ran.out.splitlines()[7] == ""


def test_ema_weights_of_a_run_folder(run: Run, folder: Path) -> None:
    exported = run("export", folder, "--ema", "--json").json
    expected = load_model(folder, ema=True).network.state_dict()
    assert exported["weights_digest"] == weights_digest(expected)
    assert exported["training"]["weights"] == "ema"
    assert run("export", folder / EMA_WEIGHTS, "--ema", "--json").json["weights_digest"] == exported["weights_digest"]


def test_a_file_goes_to_a_folder_of_its_name(run: Run, folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "model-seed1.safetensors")
    assert run("export", folder / "model-seed1.safetensors").code == 0
    assert (folder / "model-seed1-export" / "certificate.json").exists()


def test_json_is_the_certificate(run: Run, folder: Path) -> None:
    ran = run("export", folder, "--max-macs", "1M", "--json")
    assert ran.json.pop("folder") == str(folder / "export")
    written = json.loads((folder / "export" / "certificate.json").read_text())
    assert {"folder": str(folder / "export"), **written} == ran.json
    assert written["margins"]["macs"] == {"limit": 10**6, "used": cost(SPEC).macs, "margin": 10**6 - cost(SPEC).macs}


def with_limits(folder: Path, budget: object) -> None:
    """A run folder whose weights say under which limits they were trained."""
    made = load_model(folder)
    save_model(folder / WEIGHTS, replace(made, about={**made.about, "budget": budget}))


def test_the_limits_of_the_run_are_certified_and_options_replace_one_each(run: Run, folder: Path) -> None:
    limits = {"params": None, "macs": 10**6, "weight_bytes": 250_000, "activation_bytes": 64_000}
    activations = {"activation_format": "fp32"}
    with_limits(folder, {**limits, "weight_format": "int8"})
    made = run("export", folder, "--json").json
    assert made["budget"] == {**limits, "weight_format": "int8", **activations}
    assert [*made["margins"]] == ["macs", "weight_bytes", "activation_bytes"]
    assert made["activation_bytes"] == {"fp32": 4 * 768, "fp16": 2 * 768, "int8": 768}
    assert made["margins"]["weight_bytes"]["used"] == cost(SPEC).weight_bytes["int8"]
    assert "budget" not in made["training"]
    changed = run("export", folder, "--budget", "9k", "--max-macs", "none", "--weight-format", "fp16", "--json").json
    assert changed["budget"] == {**limits, "params": 9_000, "macs": None, "weight_format": "fp16", **activations}
    (folder / WEIGHTS).rename(folder / "alone.safetensors")
    alone = run("export", folder / "alone.safetensors")
    said = "limits       1,000,000 MACs, 250,000 bytes of int8 weights, 64,000 bytes of activations"
    assert said in alone.out


@pytest.mark.parametrize("budget", [7, {"params": "many"}, {"apples": 3}])
def test_limits_that_cannot_be_read_are_said_to_be(run: Run, folder: Path, budget: object) -> None:
    with_limits(folder, budget)
    assert run("export", folder).refused(2, "the limits recorded with the network cannot be read")


def test_over_budget_is_written_all_the_same_and_exits_with_3(run: Run, folder: Path) -> None:
    ran = run("export", folder, "--budget", PARAMS - 1)
    assert ran.code == 3
    assert f"OVER BUDGET: {PARAMS:,} of {PARAMS - 1:,} parameters, 1 too many" in ran.out
    assert json.loads((folder / "export" / "certificate.json").read_text())["fits"] is False
    assert run("export", folder, "--budget", PARAMS, "--json").json["fits"] is True
    assert run("export", folder, "--budget", "none", "--max-weight-bytes", "1k", "--json").code == 3


def test_files_of_an_earlier_export_are_not_passed_off_as_certified(run: Run, folder: Path) -> None:
    run("export", folder)
    (folder / "export" / "model.onnx").write_bytes(b"of before")
    ran = run("export", folder)
    assert ran.code == 0
    assert "NOTE: " in ran.err
    assert "model.onnx is of an earlier export" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ("nowhere", 2, "nowhere: no such folder"),
        ("run --format tflite", 2, "'tflite' is unknown; allowed are safetensors, onnx, torch, python"),
        ("run --output run", 2, "--output: run holds what is exported; give another folder, such as run/export"),
        ("run/model.safetensors -o run/../run", 2, "holds what is exported"),
        ("run/model.safetensors --ema", 2, "run/model.safetensors: holds plain weights"),
        ("run --budget 5Q", 2, "--budget: cannot read '5Q'"),
        ("run --output file/below", 1, "file/below: cannot be written to"),
        ("file", 2, "file: is no whole safetensors file"),
        ("", 2, "source"),
    ],
)
def test_mistakes_are_one_line(
    run: Run, folder: Path, arguments: str, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    Path("file").write_text("")
    before = sorted(Path().rglob("*"))
    assert run("export", *arguments.split()).refused(code, said)
    assert sorted(Path().rglob("*")) == before


def test_unknown_accuracy_is_said_to_be(run: Run, folder: Path) -> None:
    made = load_model(folder)
    save_model(folder / WEIGHTS, replace(made, about={"accuracy": "high"}))
    assert "accuracy     unknown, plain weights" in run("export", folder).out


def test_int8_is_measured_beside_fp32_and_its_bytes_are_held_to_the_limit(run: Run, tmp_path: Path) -> None:
    made = model()
    save_images(tmp_path / "own.npz", made)
    save_model(tmp_path / WEIGHTS, replace(made, about={}))
    asked = ("export", tmp_path / WEIGHTS, "-f", "onnx-int8", "--calibration-images", 40)
    assert run(*asked).refused(2, "does not name the images that it was trained on; give them by --data")
    limits = ("--max-weight-bytes", "1MB", "--weight-format", "int8", "--data", tmp_path / "own.npz")
    shown = run(*asked, *limits, "--per-layer")
    assert (shown.code, shown.err) == (0, "")
    file = tmp_path / "model-export" / "model-int8.onnx"
    size = file.stat().st_size
    assert f"model-int8.onnx: fits: {size:,} of 1,000,000 bytes of weights, {1_000_000 - size:,} to spare" in shown.out
    assert "layer1.0.conv1" in shown.out
    certified = json.loads((tmp_path / "model-export" / "certificate.json").read_text())
    found = certified["quantization"]
    assert (found["test_images"], found["fp32_accuracy"], found["calibration_images"]) == (30, 1, 40)
    assert next(cost["layer"] for cost in found["layers"]) == "normalize"
    (record,) = found["files"]
    evaluated = run("evaluate", file, "--data", tmp_path / "own.npz", "--json").json
    assert (evaluated["accuracy"], evaluated["precision"]) == (record["accuracy"], "int8")
    assert run("evaluate", file).refused(2, "does not name the images that it was trained on; give them by --data")
    over = run(*asked, *limits[2:], "--max-weight-bytes", size - 1, "--json")
    assert (over.code, over.json["fits"]) == (3, False)
    assert over.json["quantization"]["files"][0]["margins"]["weight_bytes"]["margin"] == -1


def test_files_for_microcontrollers_say_their_ram_and_are_held_to_the_limit(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")
    pytest.importorskip("tflite_micro", reason="TensorFlow Lite Micro is not installed")
    made = model()
    save_images(tmp_path / "own.npz", made)
    save_model(tmp_path / WEIGHTS, replace(made, about={}))
    limits = ("--max-weight-bytes", "1MB", "--weight-format", "int8", "--data", tmp_path / "own.npz")
    asked = ("export", tmp_path / WEIGHTS, "-f", "litert-int8", "-f", "c", "--calibration-images", 40)
    shown = run(*asked, *limits)
    assert (shown.code, shown.err) == (0, "")
    certified = json.loads((tmp_path / "model-export" / "certificate.json").read_text())
    litert, header = certified["quantization"]["files"]
    file = tmp_path / "model-export" / "model-int8.tflite"
    assert litert["bytes"] == litert["model_bytes"] == header["model_bytes"] == file.stat().st_size < header["bytes"]
    assert litert["arena_bytes"] == header["arena_bytes"] > 0
    assert f"#define MODEL_ARENA_BYTES {header['arena_bytes']}\n" in (file.parent / "model.h").read_text()
    assert f"{litert['arena_bytes']:,}" in shown.out and "model.h: fits" in shown.out
    evaluated = run("evaluate", file, "--data", tmp_path / "own.npz", "--json").json
    assert (evaluated["accuracy"], evaluated["precision"]) == (litert["accuracy"], "int8")
    over = run(*asked, *limits[2:], "--max-weight-bytes", litert["bytes"] - 1, "--json")
    assert (over.code, over.json["fits"]) == (3, False)


def test_options_of_int8_without_a_file_of_int8_are_refused(run: Run, folder: Path) -> None:
    said = "--per-layer goes with a format of int8; add --format onnx-int8"
    assert run("export", folder, "--format", "onnx", "--per-layer").refused(2, said)


def test_images_that_the_network_does_not_take_are_refused(run: Run, folder: Path, npz: Path) -> None:
    ran = run("export", folder, "--format", "onnx-int8", "--data", npz)
    assert ran.refused(2, "10 classes, disk, ring, half, crescent, triangle and 5 more; the network knows 3, a, b")
    assert not (folder / "export").exists()

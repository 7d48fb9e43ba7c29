"""LiteRT files and C arrays: the same answers as the graph of int8, in the interpreter of the chip, under gcc."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from nas_budget import ResNetSpec
from nas_budget.arch.cost import cost
from nas_budget.errors import ModelError
from nas_budget.train.export.onnx_network import run_onnx
from nas_budget.train.export.quantize import quantize
from tests.train.export.exported_models import SMALL, SPECS, images_of, logits_of, model
from tests.train.export.quantized import to_quantize

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed")

from nas_budget.train.export.c_export import array_in, c_string, write_c
from nas_budget.train.export.litert_export import litert_model, write_litert
from nas_budget.train.export.litert_network import arena_bytes, open_litert, run_litert

if TYPE_CHECKING:
    from onnx import ModelProto

HERE = Path(__file__).parent
PROGRAM = HERE / "run_model.c"
"""A program that includes a header and runs it on the image on its standard input, by LiteRT's library for C."""
MOST_STEPS = 4
"""Logits are rounded to steps, and so is every map before them: runtimes may differ by some of them."""


def quantized(spec: ResNetSpec = SMALL) -> ModelProto:
    made = model(spec)
    return quantize(made, to_quantize(made))[0]


def steps_between(graph: ModelProto, first: torch.Tensor, second: torch.Tensor) -> float:
    """The greatest difference of logits, in steps of their scale."""
    from onnx import numpy_helper

    (scale,) = [numpy_helper.to_array(t) for t in graph.graph.initializer if t.name == "logits_scale"]
    return ((first - second).abs().max() / scale.item()).item()


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_a_litert_file_answers_as_the_graph_of_int8(name: str) -> None:
    graph, images = quantized(SPECS[name]), images_of(SPECS[name], 48)
    expected = run_onnx(graph.SerializeToString(), images)
    found = run_litert(litert_model(graph), images)
    assert steps_between(graph, found, expected) <= MOST_STEPS
    assert expected.std() > 0 or SPECS[name].classes == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_the_interpreter_of_microcontrollers_answers_the_same(name: str) -> None:
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    graph, images = quantized(SPECS[name]), images_of(SPECS[name], 8)
    interpreter = runtime.Interpreter.from_bytes(litert_model(graph), arena_size=1 << 20)
    details = interpreter.get_output_details(0)["quantization_parameters"]
    logits = []
    for image in images.numpy().astype(np.int16) - 128:
        interpreter.set_input(image[None].astype(np.int8), 0)
        interpreter.invoke()
        logits.append((interpreter.get_output(0)[0].astype(np.float32) - details["zero_points"]) * details["scales"])
    found = torch.from_numpy(np.stack(logits)).float()
    assert steps_between(graph, found, run_onnx(graph.SerializeToString(), images)) <= MOST_STEPS


def test_the_arena_holds_the_activations_that_are_counted_and_little_else() -> None:
    pytest.importorskip("tflite_micro")
    spec = ResNetSpec((16, 32), blocks=2, image_size=32)
    arena = arena_bytes(litert_model(quantized(spec)))
    counted = cost(spec).activation_bytes
    assert arena is not None and counted is not None
    # A border of zeros before a stride, and the tables of some forty tensors, come on top.
    assert counted / 4 <= arena <= counted / 4 + 34 * 34 * 16 + 10_000


def test_the_file_is_read_as_a_model_with_its_spec_and_classes(tmp_path: Path) -> None:
    graph = quantized()
    write_litert(tmp_path / "model.tflite", graph)
    made = open_litert(tmp_path / "model.tflite")
    assert (made.spec, made.classes) == (SMALL, ("class 0", "class 1", "class 2"))
    images = images_of(SMALL, 5)
    assert torch.equal(made.network(made.normalized(images)), run_litert(litert_model(graph), images))


def test_files_that_are_none_are_refused_in_one_line(tmp_path: Path) -> None:
    whole = litert_model(quantized())
    path = tmp_path / "model.tflite"
    for content in (b"", b"text", whole[:100], whole[: len(whole) // 2], whole[:-7], b"\0" * 64):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"model.tflite: ") as error:
            open_litert(path)
        assert "\n" not in str(error.value)
    with pytest.raises(ModelError, match="cannot be read"):
        open_litert(tmp_path / "none.tflite")


def test_a_layer_that_litert_has_no_equal_of_is_named() -> None:
    graph = quantized()
    (node,) = [n for n in graph.graph.node if n.op_type == "GlobalAveragePool"]
    node.op_type, node.name = "LpPool", "pool"
    with pytest.raises(ModelError, match=r"LiteRT has no operator like LpPool \(pool\); export as onnx-int8"):
        litert_model(graph)


def test_a_header_holds_the_file_and_what_a_program_must_know(tmp_path: Path) -> None:
    made = model()
    made = replace(made, classes=("cat", 'a "dog"\\', "Käfer??/"))
    graph = quantize(made, to_quantize(made))[0]
    write_c(tmp_path / "model.h", graph)
    assert array_in(tmp_path / "model.h") == litert_model(graph)
    text = (tmp_path / "model.h").read_text("ascii")
    assert "#define MODEL_INPUT_SIZE 8" in text and "#define MODEL_CLASSES 3" in text
    assert r'{"cat", "a \042dog\042\134", "K\303\244fer\077\077/"}' in text
    assert c_string("plain") == '"plain"'
    (tmp_path / "model.h").write_text("/* nothing */")
    with pytest.raises(ModelError, match="holds no array of a model"):
        array_in(tmp_path / "model.h")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no gcc")
def test_a_program_in_c_puts_ten_images_into_the_same_classes(tmp_path: Path) -> None:
    import ai_edge_litert

    library = Path(ai_edge_litert.__file__).parent / "libLiteRt.so"
    if not library.exists():
        pytest.skip("this build of LiteRT has no library for C")
    made, images = model(), images_of(SMALL, 400)
    bias = made.network.get_submodule("fc").bias
    assert isinstance(bias, torch.Tensor)
    bias.data -= logits_of(made, images).mean(0)  # or one class is ahead on all images
    graph = quantize(made, to_quantize(made))[0]
    answers = run_litert(litert_model(graph), images).argmax(1)
    some = torch.cat([(answers == place).nonzero()[:4, 0] for place in range(SMALL.classes)])[:10]
    images, expected = images[some], answers[some]
    assert (len(images), len(expected.unique())) == (10, 3)
    write_c(tmp_path / "model.h", graph)
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{tmp_path}", str(PROGRAM), str(library)]
    subprocess.run([*command, f"-Wl,-rpath,{library.parent}", "-o", str(tmp_path / "run")], check=True)
    for image, place in zip(images, expected.tolist(), strict=True):
        ran = subprocess.run([tmp_path / "run"], input=image.numpy().tobytes(), capture_output=True, check=True)
        assert ran.stdout.decode() == f"class {place}\n"

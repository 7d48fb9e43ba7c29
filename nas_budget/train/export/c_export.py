"""A LiteRT file as a C array, with all that a program on a chip must know to feed it and to read its answer."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from nas_budget.arch.spec import spec_from_json
from nas_budget.errors import ModelError
from nas_budget.records.atomic_write import write_whole
from nas_budget.train.export.litert_export import litert_model
from nas_budget.train.export.litert_network import arena_bytes
from nas_budget.untrusted import read_json

if TYPE_CHECKING:
    from onnx import ModelProto

BYTES_A_LINE = 20
_ARRAY = re.compile(r"model_data\[\] = \{\n(.*?)\n\};", re.DOTALL)


def write_c(path: Path, graph: ModelProto) -> None:
    """Write a graph of int8, from `quantize`, as a C header that one source file of a program includes."""
    write_whole(path, c_text(graph))


def c_text(graph: ModelProto) -> str:
    """The text of that header: constants, names of the classes, and the LiteRT file as `model_data`."""
    from onnx import numpy_helper

    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    spec, classes = spec_from_json(metadata["spec"]), read_json(metadata["classes"])
    values = {t.name: numpy_helper.to_array(t) for t in graph.graph.initializer}
    _, *logits = next(n for n in reversed(graph.graph.node) if n.op_type == "DequantizeLinear").input
    scale, zero_point = (values[name].item() for name in logits)
    content = litert_model(graph)
    arena = arena_bytes(content)
    lines = [
        f"/* {spec}: written by nas-budget; a LiteRT file of {len(content):,} bytes,",
        f"   SHA-256 {hashlib.sha256(content).hexdigest()}.",
        "   Include it in one source file. */",
        "#ifndef NAS_BUDGET_MODEL_H",
        "#define NAS_BUDGET_MODEL_H",
        "",
        "/* Input: int8 (1, size, size, channels), each pixel of 0 to 255 less 128. */",
        f"#define MODEL_INPUT_SIZE {spec.image_size}",
        f"#define MODEL_INPUT_CHANNELS {spec.in_channels}",
        "#define MODEL_INPUT_SCALE 1.0f",
        "#define MODEL_INPUT_ZERO_POINT (-128)",
        "",
        "/* Output: int8 (1, classes); a logit is (value - zero point) * scale, the greatest one is the class. */",
        f"#define MODEL_CLASSES {len(classes)}",
        f"#define MODEL_OUTPUT_SCALE {scale:.9g}f",
        f"#define MODEL_OUTPUT_ZERO_POINT ({zero_point})",
        f"static const char *const model_classes[] = {{{', '.join(map(c_string, classes))}}};",
        "",
    ]
    if arena is not None:
        lines += [
            "/* Bytes of RAM that TensorFlow Lite Micro took on a 64-bit machine; 32 bits need a little less. */",
            f"#define MODEL_ARENA_BYTES {arena}",
            "",
        ]
    numbers = [str(byte) for byte in content]
    rows = [",".join(numbers[at : at + BYTES_A_LINE]) for at in range(0, len(numbers), BYTES_A_LINE)]
    lines += [
        "#if defined(__GNUC__)",
        "__attribute__((aligned(16)))",
        "#endif",
        "static const unsigned char model_data[] = {",
        ",\n".join(rows),
        "};",
        "#define MODEL_DATA_BYTES sizeof(model_data)",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def c_string(text: str) -> str:
    """A string literal of C: bytes of UTF-8, those that are not plain as octal numbers."""
    plain = [chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode()]
    return f'"{"".join(plain)}"'


def array_in(path: Path) -> bytes:
    """The LiteRT file in a header that `write_c` wrote."""
    found = _ARRAY.search(path.read_text(encoding="ascii"))
    if not found:
        raise ModelError(f"{path}: holds no array of a model")
    return bytes(map(int, found[1].replace("\n", "").split(",")))

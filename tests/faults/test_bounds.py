"""Files that claim or expand to more than anybody needs: one clear line each, before memory is taken."""

from __future__ import annotations

import json
import pickle
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from nas_budget.arch.spec import MAX_STAGES, ResNetSpec
from nas_budget.errors import DataError, ModelError
from nas_budget.records.trials import write_table
from nas_budget.train.data.forms.safe_pickle import read_pickle
from nas_budget.train.data.image_files import read_image
from nas_budget.train.data.open import open_dataset
from nas_budget.train.engine.model import build
from nas_budget.train.engine.weights import FORMAT, load_model, save_tensors
from tests.conftest import Run, save_npz
from tests.faults.fuzzing import peak_bytes
from tests.report import trials

ENDLESS = pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no file without end here")
SPEC = ResNetSpec((4,), blocks=1, image_size=8, classes=2, pool="global")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channels": [10**9]}, "channels: 1000000000 not allowed; allowed are whole numbers from 1 to 65,536"),
        ({"channels": [8] * 10**6}, f"channels: 1,000,000 stages; allowed are 1 to {MAX_STAGES}"),
        ({"channels": [10**9 + i for i in range(50_000)]}, "50,000 stages"),
        ({"channels": [8] * 100, "blocks": 1_000, "strides": 1}, "blocks: 100,000 in all; allowed are up to 10,000"),
        ({"classes": 10**30}, "classes: 1" + 30 * "0"),
    ],
)
def test_a_spec_of_any_size_is_one_line(run: Run, tmp_path: Path, change: dict[str, Any], said: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"channels": [8], **change}))
    ran = run("count", tmp_path / "a.json")
    assert ran.refused(2, said)
    assert len(ran.err) < 2_000


@ENDLESS
@pytest.mark.parametrize("command", ["count /dev/zero", "explore /dev/zero", "search --seed-spec /dev/zero"])
def test_a_file_without_end_is_not_read_to_it(run: Run, command: str) -> None:
    before = peak_bytes()
    ran = run(*command.split())
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert peak_bytes() - before < 300_000_000


def test_a_study_file_of_a_hundred_thousand_keys_shows_twenty(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[space]\n" + "".join(f"k{i}=1\n" for i in range(100_000)))
    ran = run("explore", tmp_path / "a.toml")
    assert ran.code == 2
    assert len(ran.err.splitlines()) <= 21
    (tmp_path / "b.toml").write_text("[space]\n" + "".join(f"a-long-name-of-a-key{i} = 1\n" for i in range(100_000)))
    assert run("explore", tmp_path / "b.toml").refused(2, "b.toml: cannot be read (has more than 1,048,576 bytes")


def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1_000_000))


@pytest.mark.parametrize("part", ["train_images", "train_labels", "classes"])
def test_a_zip_that_expands_to_more_than_there_is_memory_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    large = {
        "train_images": {"train_images": np.zeros((2_000, 32, 32, 3), np.uint8), "train_labels": np.zeros(2_000, int)},
        "train_labels": {"train_labels": np.zeros(1_000_000, int)},
        "classes": {"classes": np.array(["x" * 1_000] * 1_000)},
    }
    save_npz(tmp_path / "a.npz", **large[part])
    little_memory(monkeypatch)
    with pytest.raises(DataError, match=r"a.npz: \w+: needs 0\.0 GB of memory, and 0\.0 GB are free here"):
        open_dataset(str(tmp_path / "a.npz"), tmp_path / "store").read("train")


def png(side: int) -> bytes:
    """A PNG that claims to have so many pixels on each side."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")
    packed = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_an_image_of_four_hundred_million_pixels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(20_000))
    before = peak_bytes()
    with pytest.raises(DataError, match=r"a.png: cannot be read \(Image size \(400000000 pixels\) exceeds limit"):
        read_image(tmp_path / "a.png", 32, 3)
    assert peak_bytes() - before < 100_000_000


def test_a_pickle_of_few_bytes_names_no_lists_without_end(tmp_path: Path) -> None:
    value: Any = [0]
    for _ in range(18):
        value = [value] * 100
    (tmp_path / "a").write_bytes(pickle.dumps(value))
    assert (tmp_path / "a").stat().st_size < 10_000
    assert len(read_pickle(tmp_path / "a")) == 100


def test_weights_that_name_a_network_beyond_memory_are_refused_before_it_is_built(tmp_path: Path) -> None:
    huge = ResNetSpec((65_536,) * 8, blocks=1_000, strides=1, image_size=8, pool="global").to_dict()
    about = {"classes": ["a"] * 10, "mean": [0.0] * 3, "std": [1.0] * 3, "about": {}}
    save_tensors(tmp_path / "a.safetensors", build(SPEC).state_dict(), FORMAT, {"spec": huge, **about})
    with pytest.raises(ModelError, match="holds the weights of another network"):
        load_model(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["params", "macs", "epochs", "validation_images", "budget_params", "latency_s", "of"])
@pytest.mark.parametrize("value", [10**15, 10**18, 10**30, 10**400], ids=lambda value: f"{len(str(value))} digits")
def test_a_trials_table_of_huge_numbers_is_shown_or_refused_in_a_line(
    run: Run, tmp_path: Path, name: str, value: int
) -> None:
    write_table(tmp_path / "a" / "trials.csv", [trials.record(i, spec=SPEC.to_json(), **{name: value}) for i in (0, 1)])
    for arguments in ("show", tmp_path / "a"), ("show", tmp_path / "a", 1, "--json"), ("report", tmp_path / "a", "-q"):
        ran = run(*arguments)
        assert ran.code == 0 or ran.refused(2, "trials.csv: column"), ran.err
    assert run("ls", tmp_path).code == 0


def test_a_table_of_huge_labels_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "label," + ",".join(f"p{i}" for i in range(16)) + f"\n{10**30}" + ",7" * 16 + "\n" * 2
    )
    with pytest.raises(DataError, match="labels"):
        open_dataset(str(tmp_path / "a.csv"), tmp_path / "store", lambda _: None)

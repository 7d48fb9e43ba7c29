"""Pickles of plain values are read; one that names anything else is refused, and runs nothing."""

from __future__ import annotations

import os
import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas_budget.errors import DataError
from nas_budget.train.data.forms import safe_pickle
from nas_budget.train.data.forms.safe_pickle import read_pickle
from tests.train.data.making import python2_pickle

ARRAY = np.arange(12, dtype=np.uint8).reshape(3, 4)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(6))  # in the fifth NumPy names a function that takes a buffer
@pytest.mark.parametrize(
    "array",
    [
        ARRAY, np.asfortranarray(ARRAY), ARRAY.astype(">i4"), ARRAY.astype(np.float32), ARRAY > 3,
        ARRAY.astype("U")[:, ::2], ARRAY.reshape(3, 2, 2).transpose(1, 0, 2),
    ],
)  # fmt: skip
def test_arrays_come_back_from_every_protocol(tmp_path: Path, protocol: int, array: Any) -> None:
    value = {"data": array, "labels": [1, 2.5, True, None], b"b": b"\x00\xff", "t": (1, "ä")}
    found = read_pickle(written(tmp_path / "a", pickle.dumps(value, protocol)))
    assert np.array_equal(found["data"], array)
    assert (found["labels"], found[b"b"], found["t"]) == ([1, 2.5, True, None], b"\x00\xff", (1, "ä"))


@pytest.mark.parametrize("protocol", range(6))
def test_numbers_of_numpy_come_back_as_those_of_python(tmp_path: Path, protocol: int) -> None:
    given = [*ARRAY[0], np.float32(0.5), np.bool_(True), np.str_("ä"), np.array(7)]
    found = read_pickle(written(tmp_path / "a", pickle.dumps(given, protocol)))
    assert found == [0, 1, 2, 3, 0.5, True, "ä", 7]
    assert all(isinstance(value, int | float | str) for value in found)


def test_a_bytearray_takes_no_memory_that_it_only_claims(tmp_path: Path) -> None:
    path = written(tmp_path / "a", b"\x80\x05\x96" + struct.pack("<Q", 2**28) + b"few.")
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="cannot be read"):
            read_pickle(path)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_a_pickle_of_python_2_comes_back_with_texts_as_bytes(tmp_path: Path) -> None:
    found = read_pickle(written(tmp_path / "a", python2_pickle({b"data": ARRAY, b"labels": [3, 1], b"name": b"x"})))
    assert np.array_equal(found.pop(b"data"), ARRAY)
    assert found == {b"labels": [3, 1], b"name": b"x"}


class Runs:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.what = function, arguments

    def __reduce__(self) -> Any:
        return self.what


PRINT = print


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "function",
    [os.system, os.mkdir, eval, exec, getattr, np.load, np.fromfile, np.frombuffer, pickle.loads, open, PRINT],
)
def test_a_hostile_pickle_is_refused_and_runs_nothing(
    tmp_path: Path, protocol: int, function: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.print", PRINT)  # Ray leaves another in this process
    made = tmp_path / "made"
    content = pickle.dumps({"data": Runs(function, f"mkdir {made}")}, protocol)
    with pytest.raises(DataError, match=r"names .*not read for safety; allowed are arrays, texts, numbers"):
        read_pickle(written(tmp_path / "a", content))
    assert not made.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        b"\x80\x02}",
        b"\x80\x02K\x01b.",
        b"\x80\x02]q\x00h\x00a.",  # a list in itself
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nK\x01b.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n.",
        b"\x80\x02cnumpy\nndarray\n.",
        b"\x80\x02cnumpy\ndtype\n)R.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n)R.",  # an array without content
        b"\x80\x02cnumpy.core.multiarray\nscalar\n)R.",
        b"\x80\x02cnumpy.core.numeric\n_frombuffer\n(C\x01aNK\x01\x85X\x01\x00\x00\x00CtR.",
        pickle.dumps(ARRAY.copy(), 5).replace(b"K\x03K\x04", b"K\x03K\x05"),
        pickle.dumps(np.int64(1), 5).replace(b"i8", b"O8"),
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00rot\x86R.",
        b"\x80\x04\x8e" + struct.pack("<Q", 10**15) + b"few.",
        b"\x80\x02]r\xff\xff\xff\xff.",  # a memo that would take gigabytes
        b"\x80\x02P1\n.",
        python2_pickle({b"data": ARRAY}).replace(b"J\x04\x00\x00\x00", b"J\xff\xff\xff\x7f", 1),
    ],
)
def test_what_is_damaged_or_claims_too_much_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path / "a", content)
    if content == b"\x80\x02]r\xff\xff\xff\xff.":
        assert read_pickle(path) == []
        return
    with pytest.raises(DataError) as said:
        read_pickle(path)
    assert str(said.value).startswith(f"{path}: ")
    assert "\n" not in str(said.value)


def test_arrays_of_objects_and_files_that_are_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "a", pickle.dumps(np.array([{}], object), 2))
    with pytest.raises(DataError, match="not read for safety"):
        read_pickle(path)
    monkeypatch.setattr(safe_pickle, "MOST_BYTES", 3)
    with pytest.raises(DataError, match="has more than"):
        read_pickle(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_pickle(tmp_path / "none")

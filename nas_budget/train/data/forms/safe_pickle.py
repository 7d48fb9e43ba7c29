"""`read_pickle`: pickles that hold arrays, texts, numbers, lists and dictionaries, and nothing else.

A pickle is a program: the usual reader runs whatever it names. This one knows a few names, of which none runs anything
of the file: each is a small stand-in that keeps what it is given, and arrays are made from that.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from nas_budget.errors import DataError
from nas_budget.train.data.forms.form import check_room

MOST_BYTES = 2**30
"""Size of a file that is read; those of CIFAR-100 have 155 MB."""
DEEPEST = 20
KINDS = "biufSU"


class _RefusedError(Exception):
    """A pickle that holds something else."""


class _Array:
    """What stands for an array, or a number of NumPy, until the whole file is read."""

    __slots__ = ("state",)

    def __init__(self, state: Any = None) -> None:
        self.state = state

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Type:
    """What stands for the type of an array's elements."""

    __slots__ = ("name", "state")

    def __init__(self, name: Any = None, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reconstruct:
    """NumPy's maker of empty arrays; its arguments are not looked at, so that a huge one takes no memory."""

    __slots__ = ()

    def __call__(self, *_: Any) -> _Array:
        return _Array()


class _FromBuffer:
    """NumPy's maker of arrays in pickles of protocol 5, which is given everything at once."""

    __slots__ = ()

    def __call__(self, content: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> _Array:
        return _Array((None, shape, kind, axes if order == "K" else order == "F", content))


class _Scalar:
    """NumPy's maker of single numbers, such as those of a list of an array."""

    __slots__ = ()

    def __call__(self, kind: Any, content: Any) -> _Array:
        return _Array((None, (), kind, False, content))


class _Encode:
    """Python 3 writes bytes as text in latin-1 in pickles of protocol 2."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1", b"latin1"):
            raise _RefusedError(f"encodes as {encoding!r}")
        return text.encode("latin-1")


class _NoClass:
    """The class that arrays are made of, which is only ever handed to the maker."""

    __slots__ = ()


NAMES: dict[tuple[str, str], Callable[[], Any]] = {
    **{
        (f"numpy.{core}.{name}", maker): stand_in
        for core in ("core", "_core")
        for name, maker, stand_in in (
            ("multiarray", "_reconstruct", _Reconstruct), ("multiarray", "scalar", _Scalar),
            ("numeric", "_frombuffer", _FromBuffer),
        )
    },
    ("numpy", "ndarray"): _NoClass,
    ("numpy", "dtype"): lambda: _Type,
    ("_codecs", "encode"): _Encode,
}  # fmt: skip


class _Reader(pickle._Unpickler):
    """Python's own reader, not the one in C, which takes as much memory as a file claims to need.

    So does its way to read a bytearray, which is read as bytes are.
    """

    dispatch: ClassVar = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],
    }

    def find_class(self, module: str, name: str) -> Any:
        made = NAMES.get((module, name))
        if made is None:
            raise _RefusedError(f"names {module}.{name}")
        return made()

    def persistent_load(self, _: Any) -> Any:
        raise _RefusedError("names an object elsewhere")


def read_pickle(path: Path) -> Any:
    """The content of a pickle of Python 2 or 3: arrays, bytes, texts, numbers, lists, tuples and dictionaries.

    Texts of Python 2 are bytes, as they are in the file.

    Raises:
        DataError: The file is damaged, or it names anything else, which is not run.
    """
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise DataError(f"{path}: has more than {MOST_BYTES >> 30} GB, so it is no part of a known data set")
        check_room(path, size)
        content = path.read_bytes()
        return _Plain().of(_Reader(io.BytesIO(content), encoding="bytes").load())
    except DataError:
        raise
    except _RefusedError as error:
        raise DataError(
            f"{path}: {error}, which is not read for safety; allowed are arrays, texts, numbers, lists and dictionaries"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # a damaged pickle can fail in any way, and runs nothing
        words = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: cannot be read ({words}); it is damaged or no pickle") from None


class _Plain:
    """Values with arrays in place of what stands for them.

    A few bytes can name a list of lists of lists that all are one: each is made once, or there would be no end to it.
    """

    def __init__(self) -> None:
        self.made: dict[int, Any] = {}

    def of(self, value: Any, depth: int = 0) -> Any:
        """A plain value; anything else is refused."""
        if depth > DEEPEST:
            raise _RefusedError("holds lists in lists without end")
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        if id(value) not in self.made:
            self.made[id(value)] = self._new(value, depth)
        return self.made[id(value)]

    def _new(self, value: Any, depth: int) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(self.of(one, depth + 1) for one in value)
        if isinstance(value, dict):
            return {self.of(key, depth + 1): self.of(one, depth + 1) for key, one in value.items()}
        if isinstance(value, _Array):
            return _array(value)
        raise _RefusedError(f"holds a {type(value).__name__.strip('_')}")


def _array(value: _Array) -> Any:
    """The array, or what it holds where that is a single value."""
    _, shape, kind, order, content = value.state
    byte_order, name = (_ascii(text) for text in (kind.state[1], kind.name))
    dtype = np.dtype(f"{byte_order}{name}" if byte_order in ("<", ">") else name)
    if dtype.kind not in KINDS or not isinstance(content, bytes) or not isinstance(shape, tuple):
        raise _RefusedError(f"holds an array of {dtype}")
    array = np.frombuffer(content, dtype)
    if isinstance(order, tuple):  # of its axes in memory
        return array.reshape(shape).transpose(order)
    return array.reshape(shape, order="F" if order else "C") if shape else array.item()


def _ascii(text: Any) -> str:
    return text.decode("ascii") if isinstance(text, bytes) else str(text)

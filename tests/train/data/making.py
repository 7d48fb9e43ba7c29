"""Real files of many forms, made as people and programs make them."""

from __future__ import annotations

import gzip
import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RNG_SEED = 3


def pictures(n: int, size: int = 8, channels: int = 3, seed: int = RNG_SEED) -> NDArray[np.uint8]:
    """Images of noise."""
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, channels), np.uint8)


def as_png(image: NDArray[np.uint8]) -> bytes:
    """The file of an image."""
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def image_folder(path: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 5, **how: Any) -> Path:
    """A folder with a folder of PNG images for each class."""
    for place, name in enumerate(classes):
        (path / name).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(pictures(each, seed=how.get("seed", 0) * 100 + place, size=how.get("size", 8))):
            Image.fromarray(image).save(path / name / f"{number}{how.get('suffix', '.png')}")
    return path


def write_idx(path: Path, array: NDArray[np.uint8]) -> Path:
    """An idx file of bytes, compressed where its name says so."""
    content = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def mnist(path: Path, ending: str = ".gz", n: int = 20) -> Path:
    """A folder with the four files of MNIST, of small images."""
    path.mkdir(parents=True, exist_ok=True)
    for part, count in ("train", n), ("t10k", n // 2):
        write_idx(path / f"{part}-images-idx3-ubyte{ending}", pictures(count, 28, 1, seed=count)[..., 0])
        write_idx(path / f"{part}-labels-idx1-ubyte{ending}", (np.arange(count) % 10).astype(np.uint8))
    return path


def python2_pickle(value: Any) -> bytes:
    """A value as Python 2 pickles it in protocol 2: texts are bytes, and arrays name the modules of an old NumPy."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        kind = value.dtype.str.lstrip("|<>=").encode()
        order = b"|" if value.dtype.itemsize == 1 else b"<"
        maker = (
            b"cnumpy.core.multiarray\n_reconstruct\n" + b"(cnumpy\nndarray\n" + b"K\x00\x85" + _python2(b"b") + b"tR"
        )
        dtype = b"cnumpy\ndtype\n(" + _python2(kind) + b"K\x00K\x01tR(" + b"K\x03" + _python2(order)
        dtype += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        shape = b"(" + b"".join(map(_python2, value.shape)) + b"t"
        return maker + b"(K\x01" + shape + dtype + b"\x89" + _python2(value.tobytes()) + b"tb"
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_python2(key) + _python2(one) for key, one in value.items()) + b"u"
    raise TypeError(type(value))


def cifar10(path: Path, n: int = 10) -> Path:
    """A folder `cifar-10-batches-py` of few images."""
    path.mkdir(parents=True)
    for number, name in enumerate((*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")):
        data = pictures(n, 32, 3, seed=number).transpose(0, 3, 1, 2).reshape(n, -1)
        values = {
            b"batch_label": b"one",
            b"labels": [i % 10 for i in range(n)],
            b"data": data,
            b"filenames": [b"a.png"] * n,
        }
        (path / name).write_bytes(python2_pickle(values))
    names = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]
    (path / "batches.meta").write_bytes(python2_pickle({b"label_names": names, b"num_vis": 3072}))
    return path

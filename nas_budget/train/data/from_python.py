"""`dataset_from`: a data set of arrays, tensors or torch's data sets that are in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas_budget.errors import DataError, UsageError
from nas_budget.train.data.conversion.cache import write_npz
from nas_budget.train.data.conversion.convert import convert
from nas_budget.train.data.conversion.images import AUTO_SIZE, LARGEST_AUTO
from nas_budget.train.data.conversion.options import ReadOptions
from nas_budget.train.data.dataset import KEYS, Dataset, Images, Labels, open_npz
from nas_budget.train.data.forms.form import Part, RawData
from nas_budget.train.data.image_files import GRAY_MODES, UNREADABLE, check_file_channels, image_problem, prepare_pixels

NEEDED = "give (images, labels), or a torch Dataset of (image, label)"


def dataset_from(
    train: Any, test: Any = None, classes: Sequence[str] | None = None, *, name: str = "mine",
    options: ReadOptions | None = None, file: str | Path | None = None, on_message: Callable[[str], None] = print,
) -> Dataset:  # fmt: skip
    """A data set of images and labels that are in memory.

    Images are arrays or tensors of any usual type, channels last or first; labels are whole numbers, names, columns or
    one-hot rows. They are converted as those of files are, with a line for everything that was changed.

    Args:
        train: Training images: a pair (images, labels), or a map-style torch `Dataset` whose items are (image, label),
            the image as a PIL image, array or tensor. A random transform of it would be applied once, so leave it out.
        test: Test images likewise. None sets a fifth of each class of the training images aside.
        classes: Name of each class in the order of the labels. None takes those of the torch `Dataset`, or of the
            one that it is a subset of, if it has any.
        name: Name of the data set, for plans and tables.
        options: Size, channels and shape of the images.
        file: An `.npz` file to write the data set to. A search in several processes, and every command, opens it by
            its path, which is then the name of the data set.
        on_message: Called with a line for everything that was changed, and for warnings.

    Examples:
        >>> import torch
        >>> from torch.utils.data import TensorDataset
        >>> images, labels = torch.rand(20, 3, 8, 8), torch.arange(20) % 2
        >>> dataset = dataset_from((images, labels), classes=["cat", "dog"], on_message=lambda line: None)
        >>> dataset.n_train, dataset.n_test, dataset.image_size, dataset.classes
        (16, 4, 8, ('cat', 'dog'))
        >>> dataset_from(TensorDataset(images, labels), on_message=lambda line: None).digest == dataset.digest
        False

    Raises:
        UsageError: Something that is no images and labels.
        DataError: Images or labels that cannot be used.
        StorageError: A file that cannot be written.
    """
    options = options or ReadOptions()
    path = None if file is None else Path(file).expanduser()
    if path is not None and path.suffix != ".npz":
        raise UsageError(f"file: {path} ends in {path.suffix or 'nothing'}; give a name that ends in .npz")
    if classes is None:
        classes = _classes_of(train)
    parts = [_part(given, which, options) for given, which in ((train, "train"), (test, "test")) if given is not None]
    if not parts:
        raise UsageError(f"train: nothing is given; {NEEDED}")
    raw = RawData(parts[0], parts[1] if len(parts) > 1 else None, None if classes is None else tuple(map(str, classes)))
    try:
        arrays, lines = convert(raw, options)
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    for line in lines:
        on_message(line)
    if path is not None:
        write_npz(path, arrays)
        return open_npz(path, str(path))
    return _in_memory(arrays, name)


def _classes_of(given: Any) -> Sequence[str] | None:
    """Names of the classes of a torch `Dataset`, or of the one that it is a subset of; None where it has none."""
    while not hasattr(given, "classes") and hasattr(given, "dataset"):
        given = given.dataset
    classes: Sequence[str] | None = getattr(given, "classes", None)
    return classes


def _in_memory(arrays: dict[str, NDArray[Any]], name: str) -> Dataset:
    digest = hashlib.sha256()
    for key in KEYS:
        digest.update(f"{key} {arrays[key].dtype} {arrays[key].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[key]).view(np.uint8).data if arrays[key].size else b"")
    shape = arrays["train_images"].shape

    def read(part: str) -> tuple[Images, Labels]:
        return arrays[f"{part}_images"], arrays[f"{part}_labels"]

    return Dataset(
        name, tuple(arrays["classes"].tolist()), shape[1], shape[3], shape[0], len(arrays["test_images"]), "in memory",
        digest.hexdigest()[:16], read,
    )  # fmt: skip


def _part(given: Any, which: str, options: ReadOptions) -> Part:
    """Images and labels of one part, as arrays."""
    if isinstance(given, tuple | list) and len(given) == 2:
        images, labels = given
        if isinstance(images, list | tuple) and len(images) and isinstance(images[0], Image.Image):
            return Part(_of_items(list(images), which, options), _array(labels, which))
        return Part(_array(images, which), _array(labels, which))
    if not (hasattr(given, "__getitem__") and hasattr(given, "__len__")):
        raise UsageError(f"{which}: {type(given).__name__} is not read; {NEEDED}")
    items = [given[place] for place in range(len(given))]
    if any(not isinstance(item, tuple | list) or len(item) != 2 for item in items) or not items:
        raise UsageError(f"{which}: its items are no pairs; {NEEDED}")
    return Part(_of_items([image for image, _ in items], which, options), np.asarray([_plain(one) for _, one in items]))


def _of_items(items: list[Any], which: str, options: ReadOptions) -> NDArray[Any]:
    """Images one by one as one array."""
    if all(isinstance(item, Image.Image) for item in items):
        sizes = {item.size for item in items}
        (width, height) = next(iter(sizes))
        own = width if len(sizes) == 1 and width == height <= LARGEST_AUTO else AUTO_SIZE
        channels = options.channels or (1 if all(item.mode in GRAY_MODES for item in items) else 3)
        check_file_channels(channels)
        try:
            return np.stack([prepare_pixels(item, options.size or own, channels, options.fit) for item in items])
        except UNREADABLE as error:
            raise DataError(f"{which}: an image cannot be read ({image_problem(error)})") from None
    arrays = [_array(item, which) for item in items]
    if len({array.shape for array in arrays}) > 1:
        raise UsageError(f"{which}: its images have several sizes; resize them, or give PIL images, which are resized")
    return np.stack(arrays)


def _array(values: Any, which: str) -> NDArray[Any]:
    """An array of a tensor, on whichever device it is, or of what NumPy takes for one."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if "bfloat16" in str(values.dtype) else values  # which NumPy does not have
    try:
        array: NDArray[Any] = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{which}: no array can be made of it ({error}); {NEEDED}") from None
    if not array.ndim:
        raise UsageError(f"{which}: {type(values).__name__} is no list of images or labels; {NEEDED}")
    return array


def _plain(label: Any) -> Any:
    return label.tolist() if hasattr(label, "tolist") else label

"""`Model`: a trained network with its classes and normalization, saved as safetensors.

The header of the file holds all but the weights. Nothing is ever unpickled, so a file of a residual network cannot run
code. One of a family of the user's own names a module, which is imported to build the network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from nas_budget.arch.budget import NO_LIMIT, Budget
from nas_budget.arch.cost import cost
from nas_budget.arch.spec import AnySpec, spec_from_dict
from nas_budget.errors import DataError, ModelError, QuantityError, SpecError, StorageError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.paths import EMA_WEIGHTS, WEIGHTS
from nas_budget.train.data.conversion.labels import few_of
from nas_budget.train.data.dataset import Dataset, Images, Labels
from nas_budget.train.data.forms.form import check_room
from nas_budget.train.engine.model import build
from nas_budget.untrusted import read_json

FORMAT = "nas-budget model 2"


@dataclass(frozen=True)
class Model:
    """A trained network and what its use needs; `save_model` and `load_model` keep it in one file.

    Attributes:
        spec: Its architecture.
        network: The module, in evaluation mode, in fp32 on the CPU.
        classes: Name of each class, in the order of the logits.
        mean: Of each channel of the images, in 0..255; subtracted from an image before the network sees it.
        std: Standard deviation of each channel, in 0..255; divided by.
        about: What else is known: "data" and its "data_digest", "seed", "weights" ("plain" or "ema"),
            "accuracy" on so many "test_images", "budget".

    Examples:
        >>> import tempfile
        >>> from nas_budget import ResNetSpec
        >>> spec = ResNetSpec((4, 8), blocks=1, image_size=8, classes=2, pool="global")
        >>> model = Model(spec, build(spec).eval(), ("cat", "dog"), mean=(125.0,) * 3, std=(60.0,) * 3)
        >>> images = torch.zeros(5, 8, 8, 3, dtype=torch.uint8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "model.safetensors"
        ...     save_model(path, model)
        ...     same = load_model(path)
        >>> same.network(same.normalized(images)).shape
        torch.Size([5, 2])
    """

    spec: AnySpec
    network: nn.Module
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def budget(self) -> Budget:
        """The limits that it was trained under; no limit where none are recorded.

        Raises:
            ModelError: What is recorded are no limits.
        """
        recorded = self.about.get("budget")
        try:
            return NO_LIMIT if recorded is None else Budget(**recorded)
        except (QuantityError, TypeError) as error:
            raise ModelError(f"the limits recorded with the network cannot be read ({error})") from None

    def normalized(self, images: Tensor) -> Tensor:
        """uint8 (n, H, W, C) to what the network takes, float32 (n, C, H, W)."""
        mean, std = (torch.tensor(values, device=images.device) for values in (self.mean, self.std))
        return ((images - mean) / std).permute(0, 3, 1, 2)


def check_images(spec: AnySpec, dataset: Dataset) -> None:
    """Check that a network takes the images of a data set; a `DataError` says what differs."""
    takes = (spec.image_size, spec.in_channels, spec.classes)
    has = (dataset.image_size, dataset.in_channels, len(dataset.classes))
    if takes != has:
        raise DataError(
            f"{dataset.name}: images of {has[0]} pixels, {has[1]} channels and {has[2]} classes; the network takes "
            f"{takes[0]} pixels, {takes[1]} channels and {takes[2]} classes; give images like those, or such a network"
        )


def in_order_of(model: Model, dataset: Dataset) -> Dataset:
    """The data set with its classes in the order of a network's logits, in whatever order it has them.

    Where the names of either are all numbers, they tell nothing: classes are taken by their places.

    Raises:
        DataError: Images of another size, or of another number of channels, or other classes.
    """
    known, found = model.classes, dataset.classes
    same = set(known) == set(found)
    if not same and not any(all(map(str.isdecimal, names)) for names in (known, found)):
        raise DataError(
            f"{dataset.name}: {len(found)} classes, {few_of(found)}; the network knows {len(known)}, {few_of(known)}; "
            "give images of those classes, or train a network on these"
        )
    check_images(model.spec, dataset)
    if not same or known == found:
        return dataset
    place = np.array([known.index(name) for name in found])

    def read(part: str) -> tuple[Images, Labels]:
        images, labels = dataset.read(part)
        return images, place[labels]

    return replace(dataset, classes=known, read=read)


def save_model(path: Path, model: Model) -> None:
    """Write a model to `path`, all of it or nothing; a `StorageError` says why it cannot be written."""
    kept = {name: getattr(model, name) for name in ("classes", "mean", "std", "about")}
    save_tensors(path, model.network.state_dict(), FORMAT, {"spec": model.spec.to_dict(), **kept})


def load_model(source: Path, ema: bool = False) -> Model:
    """The model of a file or of a run folder, with the run's EMA weights where `ema` is true.

    Raises:
        ModelError: A file that is missing, damaged, or holds the weights of another network.
    """
    path = source / (EMA_WEIGHTS if ema else WEIGHTS) if source.is_dir() else source
    tensors, values = load_tensors(path, FORMAT)
    try:
        spec = spec_from_dict(values["spec"])
        classes, mean, std = (tuple(values[key]) for key in ("classes", "mean", "std"))
        about = dict(values["about"])
    except (SpecError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: its header describes no network ({error})") from None
    if ema and about.get("weights") != "ema":
        raise ModelError(f"{path}: holds plain weights; for EMA weights name the run folder, or their own file")
    if (n := cost(spec).params) > (held := sum(tensor.numel() for tensor in tensors.values())):
        # Before memory is taken for it: a header may name any network.
        raise ModelError(f"{path}: holds the weights of another network ({held:,} numbers, needed are {n:,} at least)")
    network = build(spec)
    fit_tensors(network, tensors, path)
    return Model(spec, network.eval(), classes, mean, std, about)


def fit_tensors(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load tensors into a network that has exactly these names and shapes; a `ModelError` names one that differs."""
    wanted, found = ({name: tuple(t.shape) for name, t in each.items()} for each in (network.state_dict(), tensors))
    if wrong := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        name = wrong[0]
        raise ModelError(
            f"{path}: holds the weights of another network ({name} is {found.get(name, 'missing')}, "
            f"needed is {wanted.get(name, 'none such')}; {len(wrong)} differ)"
        )
    network.load_state_dict(dict(tensors))


def save_tensors(path: Path, tensors: Mapping[str, Tensor], kind: str, values: Mapping[str, Any]) -> None:
    """Write tensors and JSON-ready values, with a digest of both, all of it or nothing."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Tied weights are one tensor of two names, and a file holds each name's own.
    places = [tensor.data_ptr() for tensor in plain.values()]
    plain = {name: t.clone() if places.count(t.data_ptr()) > 1 else t for name, t in plain.items()}
    text = json.dumps(values)
    header = {"format": kind, "values": text, "digest": _file_digest(plain, text)}
    try:
        write_whole(path, save(plain, header))
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror or error})") from None


def load_tensors(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and values that `save_tensors` wrote, on the CPU; a `ModelError` says what is wrong with a file."""
    try:
        check_room(path, 2 * path.stat().st_size)
        content = path.read_bytes()
        tensors = load(content)
        header = read_json(content[8 : 8 + int.from_bytes(content[:8], "little")].decode()).get("__metadata__", {})
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: is no whole safetensors file ({error}); it is damaged or was cut short") from None
    if header.get("format") != kind:
        raise ModelError(
            f"{path}: its format is {header.get('format', 'not one of nas-budget')!r}, this version reads {kind!r}; "
            "train again, under another --name"
        )
    if header.get("digest") != _file_digest(tensors, header.get("values", "")):
        raise ModelError(f"{path}: its content is not what was written; the file is damaged")
    try:
        values = read_json(header["values"])
        if not isinstance(values, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise ModelError(f"{path}: its header cannot be read ({error})") from None
    return tensors, values


def _file_digest(tensors: Mapping[str, Tensor], values: str) -> str:
    return hashlib.sha256(f"{weights_digest(tensors)} {values}".encode()).hexdigest()


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of tensors, in the order of the names; hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        values: Any = tensor.reshape(-1).view(torch.uint8).numpy()  # a buffer, which its type does not say
        digest.update(values)
    return digest.hexdigest()

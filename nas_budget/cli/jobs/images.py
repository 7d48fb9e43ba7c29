"""The labelled images that a trained network is measured or quantized with."""

from __future__ import annotations

from pathlib import Path

from nas_budget.cli.console.output import log, logger
from nas_budget.cli.console.progress import OnShare, progress_if_any
from nas_budget.errors import DataError, UsageError
from nas_budget.train.data.conversion.labels import few_of
from nas_budget.train.data.conversion.options import ReadOptions, split_options
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.image_files import MODES
from nas_budget.train.data.open import open_dataset, open_recorded
from nas_budget.train.engine.run_config import recorded_data
from nas_budget.train.engine.weights import Model, in_order_of


def labelled_for(model: Model, source: Path, data: str | None, data_dir: str | None, quiet: bool) -> Dataset:
    """The images of a name or path, or else those that a network was trained on, with classes in its order.

    Other images are read as the network's own were, in its size and channels. Where classes can only be taken by their
    places, a note says so.

    Raises:
        UsageError: None are given, and the network's own are not known.
        DataError: The network's own are gone or have changed, or others are not of its kind.
    """
    with progress_if_any("converting the images", quiet) as on_share:
        if data:
            # Only files of our own form, which are taken as they are, have other numbers of channels.
            like = read_options(model) if model.spec.in_channels in MODES else None
            dataset = open_dataset(data, data_dir, logger(quiet), on_share, like)
        else:
            dataset = _own(model, source, data_dir, quiet, on_share)
    dataset = in_order_of(model, dataset)
    if dataset.classes != model.classes:
        log(f"NOTE: classes are taken by their places; the network was trained on others: {few_of(model.classes)}")
    return dataset


def _own(model: Model, source: Path, data_dir: str | None, quiet: bool, on_share: OnShare) -> Dataset:
    """The images that a network was trained on."""
    if (name := model.about.get("data")) is None:
        raise UsageError(f"{source}: does not name the images that it was trained on; give them by --data")
    place, digest = recorded_data(source)
    try:
        dataset = open_recorded(name, place, data_dir, logger(quiet), on_share)
    except DataError as error:
        raise DataError(f"{error}; {source} was trained on it: give images by --data") from None
    digest = model.about.get("data_digest", digest)
    if digest and dataset.digest != digest:
        raise DataError(
            f"{name}: the images have changed since {source} was trained, which may have seen those to test on; bring "
            "them back as they were, or give others by --data"
        )
    return dataset


def read_options(model: Model) -> ReadOptions:
    """How images are read for a network: in its size and channels, and made squares as those it was trained on."""
    fit = split_options(model.about.get("data", ""))[1].fit
    return ReadOptions(model.spec.image_size, model.spec.in_channels, fit)

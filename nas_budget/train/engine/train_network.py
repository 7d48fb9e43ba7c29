"""`train_network`: one training from Python, from a spec and a data set to a model.

The package exports it under this name because `nas_budget.train` is the sub-package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nas_budget.arch.spec import AnySpec
from nas_budget.records.trials import EpochResult
from nas_budget.train.data.dataset import Dataset
from nas_budget.train.data.split import split_images
from nas_budget.train.engine.device import choose_device, choose_precision
from nas_budget.train.engine.loop import train
from nas_budget.train.engine.model import build
from nas_budget.train.engine.weights import Model, check_images
from nas_budget.train.optim.recipe import RECIPES, Recipe


@dataclass(frozen=True)
class Trained:
    """A trained model, for `save_model`, and the result of each epoch.

    Examples:
        >>> from nas_budget import ResNetSpec
        >>> from nas_budget.train.data.synthetic import synthetic
        >>> spec, recipe = ResNetSpec((4, 8), blocks=1), Recipe(batch_size=32, epochs=1)
        >>> trained = train_network(spec, synthetic(n_train=84), recipe, n_train=64, n_validation=0)
        >>> trained.model.spec == spec, trained.accuracy  # NaN, as no validation images were left out
        (True, nan)
    """

    model: Model
    epochs: tuple[EpochResult, ...]

    @property
    def accuracy(self) -> float:
        """Validation accuracy after the last epoch, 0 to 1; NaN without validation images."""
        return self.epochs[-1].accuracy


def train_network(
    spec: AnySpec, dataset: Dataset, recipe: Recipe = RECIPES["fast"], *, seed: int = 0, device: str = "auto",
    precision: str = "auto", n_train: int | None = None, n_validation: int | None = None,
    on_epoch: Callable[[EpochResult], None] = lambda _: None,
) -> Trained:  # fmt: skip
    """Train the network of a spec once; nothing is written, and test images are not read.

    `FullTraining` does more: several seeds, checkpoints to resume from, EMA weights, test accuracy.

    Args:
        spec: The network; its image size, channels and classes must be those of the data set.
        dataset: Images, such as `open_dataset` gives.
        recipe: How it is trained.
        seed: Fixes initial weights, order of images, augmentation and dropout.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "auto", "fp32", "bf16" or "fp16".
        n_train: Images to train on; None for all that are not for validation.
        n_validation: Images for validation; None for a tenth of the training images, 0 for none.
        on_epoch: Called after each epoch, for a progress bar; what it raises ends the training.

    Raises:
        UsageError: A device or precision that is not available, or more images than there are.
        DataError: Images of another kind than the network takes.

    Examples:
        >>> from nas_budget import ResNetSpec
        >>> from nas_budget.train.data.synthetic import synthetic
        >>> spec, recipe = ResNetSpec((4, 8), blocks=1), Recipe(batch_size=32, epochs=2)
        >>> trained = train_network(spec, synthetic(n_train=84), recipe, device="cpu", n_train=64, n_validation=20)
        >>> len(trained.epochs), 0 <= trained.accuracy <= 1
        (2, True)
    """
    place = choose_device(device)
    chosen = choose_precision(precision, place)
    check_images(spec, dataset)
    images = split_images(dataset, place, n_train, n_validation)
    network = build(spec, seed)
    epochs = []
    for result in train(network, images, recipe, seed, chosen):
        on_epoch(result)
        epochs.append(result)
    mean, std = (tuple(values.tolist()) for values in (images.mean, images.std))
    about = {"data": dataset.name, "data_digest": dataset.digest, "seed": seed, "weights": "plain"}
    return Trained(Model(spec, network.cpu().eval(), dataset.classes, mean, std, about), tuple(epochs))

"""What a run of `train` leaves in its folder: written by training, read by whoever shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev
from types import NoneType
from typing import Any

from nas_budget.arch.budget import Budget, Verdict
from nas_budget.arch.spec import spec_from_dict
from nas_budget.errors import ModelError, NasBudgetError
from nas_budget.records.atomic_write import write_whole
from nas_budget.records.formatting import percent_with_interval
from nas_budget.records.paths import METRICS, RESULT
from nas_budget.untrusted import read_json, read_text

MOST_DIGITS = 18
MOST_BYTES = 2**27
"""Of a result, whose confusions of 2,000 classes are 40 MB, and of the epochs of a run."""
KINDS: dict[str, Any] = {
    "str": str, "int": int, "bool": bool, "float": (int, float), "float | None": (int, float, NoneType),
    "dict[str, Any]": dict, "dict[str, Any] | None": (dict, NoneType),
}  # fmt: skip
"""What a field of a simple type may hold, read from JSON."""


@dataclass(frozen=True)
class EpochRow:
    """One epoch; the fields are the keys of a line of `metrics.jsonl`.

    Attributes:
        seed: Of the training.
        epoch: Its number, from 1.
        train_loss: Mean loss over its steps.
        accuracy: Share of validation images classified correctly, 0 to 1; None when there are none.
        validation_loss: Mean cross-entropy on them; None likewise.
        ema_accuracy: Their share classified correctly with EMA weights; None where weights are not averaged.
        learning_rate: At its last step.
        seconds: Training and evaluation together.
    """

    seed: int
    epoch: int
    train_loss: float
    accuracy: float | None
    validation_loss: float | None
    ema_accuracy: float | None
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class SeedResult:
    """How the training with one seed ended.

    Attributes:
        seed: The seed.
        validation_accuracy: Accuracy on validation images after the last epoch, 0 to 1; None when there are none.
        accuracy: On test images, of one forward pass with the last weights.
        flipped: The same, of the mean of scores of each image and its mirror image.
        ema: Of one forward pass with EMA weights; None where weights are not averaged.
        ema_flipped: With EMA weights and mirror images; None likewise.
        loss: Mean cross-entropy on test images, of one forward pass with the last weights.
        seconds: Training and the evaluations of its epochs.
        repeated_seconds: Time of epochs that an interruption lost.
        digest: Of the weights.
    """

    seed: int
    validation_accuracy: float | None
    accuracy: float
    flipped: float
    ema: float | None
    ema_flipped: float | None
    loss: float
    seconds: float
    repeated_seconds: float
    digest: str


@dataclass(frozen=True)
class RunResult:
    """A finished run of `train`: the network, how it was trained, and its accuracy with each seed.

    The fields are the keys of `result.json`. `read_result` reads it from a run folder and checks every field.

    Attributes:
        name: Of the run.
        spec: The network, as plain values.
        params: Trainable parameters.
        macs: Multiply-accumulates of one image.
        recipe: How it was trained: its name and every value.
        data: Name of the data set.
        data_digest: Differs when the images or labels differ.
        images: Images it was trained on.
        validation_images: Training images set aside for validation.
        test_images: Test images the accuracies are of.
        classes: Name of each class.
        device: Where it ran, in words; several, joined by " and ", where seeds ran on several.
        precision: Number format it trained in.
        deterministic: Whether only deterministic algorithms were allowed.
        micro_batches: How many micro-batches each batch was computed in; more than 1 where memory did not suffice.
        versions: Of this package and torch.
        finished: When, in UTC, ISO 8601.
        seeds: Each training, by seed.
        confusion: Of the first seed on test images: rows are true classes, columns predicted ones, counts of images.
        mistakes: Of the first seed: the test images misclassified with the most confidence, as
            {"index", "truth", "predicted", "probability"}.
        budget: The limits it was trained under, as `Budget.to_dict` gives them; None of a run that recorded none.

    Examples:
        >>> seeds = tuple(
        ...     SeedResult(seed, None, accuracy, accuracy, None, None, 1.2, 60.0, 0.0, "digest")
        ...     for seed, accuracy in enumerate([0.72, 0.76])
        ... )
        >>> result = RunResult(
        ...     name="mine", spec={"channels": [8, 16]}, params=25_738, macs=9_660_416,
        ...     recipe={"name": "fast", "epochs": 15}, data="cifar10", data_digest="d4ta", images=45_000,
        ...     validation_images=5_000, test_images=10_000, classes=("cat", "dog"), device="CPU", precision="fp32",
        ...     deterministic=True, micro_batches=1, versions="torch 2.14.1", finished="2026-05-04T03:02:01+00:00",
        ...     seeds=seeds, confusion=((4_000, 1_000), (1_800, 3_200)), mistakes=(),
        ... )
        >>> print(f"{result.in_words()}, deviation of seeds {result.deviation():.2%}")
        74.00% ± 0.86%, deviation of seeds 2.83%
        >>> print(result.mean("ema"))
        None
    """

    name: str
    spec: dict[str, Any]
    params: int
    macs: int
    recipe: dict[str, Any]
    data: str
    data_digest: str
    images: int
    validation_images: int
    test_images: int
    classes: tuple[str, ...]
    device: str
    precision: str
    deterministic: bool
    micro_batches: int
    versions: str
    finished: str
    seeds: tuple[SeedResult, ...]
    confusion: tuple[tuple[int, ...], ...]
    mistakes: tuple[dict[str, Any], ...]
    budget: dict[str, Any] | None = None

    @property
    def limits(self) -> Budget | None:
        """The limits it was trained under; None where they are not known."""
        return None if self.budget is None else Budget(**self.budget)

    @property
    def verdict(self) -> Verdict | None:
        """Whether the network keeps those limits; None where they are not known."""
        return None if self.limits is None else self.limits.check(spec_from_dict(self.spec))

    def mean(self, figure: str = "accuracy") -> float | None:
        """Mean over the seeds of a figure such as "accuracy" or "flipped"; None where it was not measured."""
        values = [value for seed in self.seeds if (value := getattr(seed, figure)) is not None]
        return fmean(values) if values else None

    def in_words(self, figure: str = "accuracy") -> str:
        """That mean with half of the 95 % interval that the images leave: "93.08% ± 0.50%"; empty without a mean."""
        mean = self.mean(figure)
        return "" if mean is None else percent_with_interval(mean, self.images_of(figure))

    def images_of(self, figure: str) -> int:
        """How many images a figure such as "flipped" or "validation_accuracy" was measured on."""
        return self.validation_images if figure == "validation_accuracy" else self.test_images

    def deviation(self, figure: str = "accuracy") -> float | None:
        """Standard deviation between seeds; None with fewer than two."""
        values = [value for seed in self.seeds if (value := getattr(seed, figure)) is not None]
        return stdev(values) if len(values) > 1 else None


def write_result(folder: Path, result: RunResult) -> None:
    """Write `result.json`, all of it or nothing.

    Raises:
        OSError: It cannot be written.
    """
    write_whole(folder / RESULT, json.dumps(asdict(result), indent=2) + "\n")


def read_result(folder: Path) -> RunResult:
    """The result in a run folder.

    Raises:
        ModelError: There is none, or it is not what `train` writes.
    """
    path = folder / RESULT
    try:
        values = read_json(read_text(path, MOST_BYTES), _whole)
        json.dumps(values, ensure_ascii=False).encode()  # half of a surrogate pair could be written nowhere
        # Runs of before have no limits in their result. They stay readable, and are shown without.
        known = {f.name: values[f.name] for f in fields(RunResult) if f.name in values or f.default is MISSING}
        known["seeds"] = tuple(SeedResult(**seed) for seed in known["seeds"])
        for name in "classes", "mistakes":
            known[name] = tuple(known[name])
        known["confusion"] = tuple(map(tuple, known["confusion"]))
        result = RunResult(**known)
        for problem in _problems(result):
            raise ValueError(problem)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; a run of nas-budget train writes it when it ends") from None
    except KeyError as error:
        raise ModelError(
            f"{path}: was written by an older nas-budget (no {error}); read it with that version"
        ) from None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as the result of a run ({error})") from None
    return result


def _problems(result: RunResult) -> Iterator[str]:
    """What `train` never writes; who reads a result need not look again."""
    n = len(result.classes)
    for record in (result, *result.seeds):
        yield from _misfits(record)
    if not result.seeds or not all(map(_is_measured, result.seeds)):
        yield "seeds: at least one, each with seconds and accuracies from 0 to 1, expected"
    if not n or not all(isinstance(name, str) for name in result.classes):
        yield "classes: names expected"
    if len(result.confusion) != n or not all(len(row) == n and all(map(_is_count, row)) for row in result.confusion):
        yield f"confusion: {n} rows of {n} counts expected, as there are {n} classes"
    if not isinstance(result.recipe.get("name"), str) or not _is_count(result.recipe.get("epochs")):
        yield "recipe: a name and a number of epochs expected"
    if problem := _budget_problem(result):
        yield f"budget: {problem}"
    if not all(_is_mistake(mistake, n) for mistake in result.mistakes):
        yield f"mistakes: index, truth, predicted (0 to {n - 1}) and probability (0 to 1) expected of each"


def _misfits(record: Any) -> Iterator[str]:
    """Fields of a record that are not of their type."""
    for field in fields(record):
        value, kind = getattr(record, field.name), str(field.type)
        if kind in KINDS and not (_is_count(value) if kind == "int" else isinstance(value, KINDS[kind])):
            yield f"{field.name}: {value!r:.60} is no {kind}"


def _budget_problem(result: RunResult) -> str:
    """Why the limits of a result are none; empty where they can be read."""
    try:
        _ = result.limits
    except (NasBudgetError, TypeError) as error:
        return str(error)
    return ""


def _is_measured(seed: SeedResult) -> bool:
    accuracies = seed.validation_accuracy, seed.accuracy, seed.flipped, seed.ema, seed.ema_flipped
    return isfinite(seed.seconds + seed.repeated_seconds) and all(a is None or 0 <= a <= 1 for a in accuracies)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and value >= 0


def _whole(digits: str) -> int:
    """A whole number that a float can hold too, as everything that shows it expects."""
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"{digits[:MOST_DIGITS]}... has too many digits")
    return int(digits)


def _is_mistake(value: Any, n: int) -> bool:
    if not isinstance(value, dict) or not all(_is_count(value.get(name)) for name in ("index", "truth", "predicted")):
        return False
    probability = value.get("probability")
    return (
        max(value["truth"], value["predicted"]) < n and isinstance(probability, int | float) and 0 <= probability <= 1
    )


def read_epoch(line: bytes) -> EpochRow | None:
    """The epoch of a line of `metrics.jsonl`; None where the line is damaged."""
    try:
        row = EpochRow(**read_json(line.decode(), _whole))
    except (ValueError, TypeError):
        return None
    return None if any(_misfits(row)) else row


def read_metrics(folder: Path) -> list[EpochRow]:
    """Every whole line of `metrics.jsonl`, in its order; none where there is no such file.

    Raises:
        ModelError: It holds something else.
    """
    path = folder / METRICS
    if not path.exists():
        return []
    try:
        lines = read_text(path, MOST_BYTES).splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # a kill may tear the last one
        rows = [EpochRow(**read_json(line, _whole)) for line in whole]
        for problem in (problem for row in rows for problem in _misfits(row)):
            raise ValueError(problem)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as the epochs of a run ({error})") from None
    return rows

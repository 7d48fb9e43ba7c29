"""Training speed predicted from cost after a short calibration, against steps that are then timed.

    python benchmarks/speed.py [networks rounds [study files]]

Networks are random ones of each study's space, none of them calibrated on; on a CPU their batches are up to three times
as large as those of the calibration. Calibrations and timings go in turn, so that a drift of the machine's speed hits
both; of a network the least time of all rounds counts. The peer takes time to be in proportion to MACs, with the
factor that fits the same calibration best.
"""

from __future__ import annotations

from nas_budget.train.engine.process import own_process

own_process()  # before torch is imported

import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch
from scipy.stats import spearmanr

from nas_budget.arch.cost import cost
from nas_budget.search.config.plan import N_PROPOSED, propose, to_time
from nas_budget.search.config.resolve import resolve
from nas_budget.search.config.settings import StudyConfig
from nas_budget.search.config.study_file import read_study_file
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import SplitImages, split_images
from nas_budget.train.engine.device import choose_device, describe_device
from nas_budget.train.profile.time_model import STEP_MACS, TimeModel, Timing, time_step, time_steps

STUDIES = ("studies/quickstart.toml", "studies/cifar10-5m.toml")
LARGER = 3
UNSEEN_SEED = 1_000


def opened(file: str) -> tuple[StudyConfig, SplitImages]:
    """A study on 2,500 of the built-in images, with the threads it would train on."""
    device, dataset = choose_device("auto"), open_dataset("shapes")
    values = {"data.name": "shapes", "data.images": 2_500, "data.validation_images": 1_000}
    torch.set_num_threads(os.cpu_count() or 1)
    settings = resolve("speed", read_study_file(Path(file), values), device, dataset)
    if device.type == "cpu":
        torch.set_num_threads(settings.threads)
    return settings, split_images(dataset, device, settings.n_train, settings.n_validation)


def figures(predicted: np.ndarray, seconds: np.ndarray) -> tuple[float, float, float, float]:
    """Median and 90th percentile of the relative error, rank correlation, and what is predicted for all together."""
    error = np.abs(predicted / seconds - 1)
    total = predicted.sum() / seconds.sum()
    return float(np.median(error)), float(np.quantile(error, 0.9)), spearmanr(predicted, seconds).statistic, total


def both(known: list[Timing], timed: list[Timing], kind: str) -> list[tuple[float, float, float, float]]:
    """The figures of the model and of its peer."""
    seconds = np.array([t.seconds for t in timed])
    model = TimeModel.fit(known, kind)
    ours = np.array([model.step_seconds(t.spec, t.recipe) for t in timed])
    share = macs_of(known) / np.array([t.seconds for t in known])
    return [figures(ours, seconds), figures(macs_of(timed) * share.sum() / (share @ share), seconds)]


def macs_of(timings: list[Timing]) -> np.ndarray:
    """MACs of the batch of each."""
    return np.array([cost(t.spec).macs * t.recipe.batch_size for t in timings], dtype=float)


def run(file: str, n: int, n_rounds: int) -> None:
    """Calibrate, time, compare and print."""
    settings, images = opened(file)
    unseen = propose(settings, n, UNSEEN_SEED)
    timed: dict[object, Timing] = {}
    calibrations, spent = [], []
    for turn in range(n_rounds):
        start = time.perf_counter()
        chosen = to_time(propose(settings, N_PROPOSED, turn))
        calibrations.append(time_steps(chosen, images, settings.recipe, settings.precision))
        spent.append(time.perf_counter() - start)
        for spec in unseen:
            timing = time_step(spec, images, settings.recipe, settings.precision, most_macs=LARGER * STEP_MACS)
            timed[spec] = min(timing, timed.get(spec, timing), key=lambda t: t.seconds)
    rows = [both(known, [*timed.values()], images.mean.device.type) for known in calibrations]
    seconds = [t.seconds for t in timed.values()]
    spread = f"{min(seconds) * 1e3:.0f} to {max(seconds) * 1e3:.0f} ms"
    print(f"\n{file}: {len(timed)} networks, {spread} a step, calibration {median(spent):.1f} s")
    print(f"{describe_device(images.mean.device)}, {settings.precision}, recipe {settings.recipe_name}")
    print(f"{'predicted by':16} {'median error':>13} {'90th percentile':>16} {'Spearman':>9} {'all / timed':>12}")
    for name, found in zip(("model", "MACs alone"), zip(*rows, strict=True), strict=True):
        middle, far, ranks, total = (median(values) for values in zip(*found, strict=True))
        print(f"{name:16} {middle:13.1%} {far:16.1%} {ranks:9.3f} {total:12.2f}")


def main() -> None:
    """Print a table for each study."""
    n, n_rounds = (int(text) for text in (sys.argv[1:3] if len(sys.argv) > 2 else ("20", "3")))
    print(f"torch {version('torch')}; medians of {n_rounds} calibrations")
    for file in sys.argv[3:] or STUDIES:
        run(file, n, n_rounds)


if __name__ == "__main__":
    main()

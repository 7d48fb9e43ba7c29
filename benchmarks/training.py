"""Training speed: the paper's own way against ours, on the same machine, network and images, in turn.

    python benchmarks/training.py [--rounds 5] [--images 40000] [--device auto] [--output FOLDER]

(1) the paper's own way: contiguous fp32, a DataLoader, transforms image by image, a wait for each loss, batch 400,
    Adam, gradients clipped by value. (2) ours with `paper`. (3) ours with `fast`. Beside them the convolutions alone:
    forward and backward of every convolution and linear layer of the network, fp32 or bf16 as ours, nothing else.

Each way is a process of its own, since they want memory handled differently. In a round each trains the same number of
images, one way after the other, so that a drift of the machine's speed hits all. Images are CIFAR-10 where it is there.
With --output the figures of a network are kept after its rounds; the same command resumes with the next network.

Exit codes: 0 done, 1 figures failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

from nas_budget.train.engine.process import keep_freed_memory, set_environment

set_environment()  # before torch is imported

import argparse
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from harness import Figure, Results, Worker, print_table, run_to_end, summary, why_not
from PIL import Image, ImageOps
from torch import nn
from torch.utils.data import DataLoader, Dataset

from nas_budget import ResNetSpec, build, cost
from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import SplitImages, normalized, split_images
from nas_budget.train.engine.device import autocast, choose_device, choose_precision, describe_device, wait_for
from nas_budget.train.engine.trainer import Trainer
from nas_budget.train.optim.recipe import RECIPES

NETWORKS = {
    "reference": ResNetSpec((32, 64, 96, 128, 185), dropout=0.2),
    "64-128-256, blocks 4-4-3": ResNetSpec((64, 128, 256), (4, 4, 3), pool="global", shortcut_kernel=1),
    "100 k": ResNetSpec((16, 32, 64), (1, 2, 1), pool="global", shortcut_kernel=1),
}
WAYS = ("the paper's own way", "ours, paper", "ours, fast", "convolutions alone")
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
PAPER_BATCH = 400
EPOCH_IMAGES, RUN_EPOCHS = 45_000, 150
"""Of the paper's training of the reference."""
GOAL_IMAGES_PER_SECOND, GOAL_RUN_S = 60_000, 120
"""Of training the reference on a GPU."""


class NotebookImages(Dataset[Any]):
    """Images one by one, through the transforms of the paper's notebook as torchvision applies them."""

    def __init__(self, images: SplitImages) -> None:
        self.images, self.labels = images.train.images.cpu().numpy(), images.train.labels.cpu().tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        padded = Image.fromarray(np.pad(self.images[index], ((4, 4), (4, 4), (0, 0)), "reflect"))
        left, top = random.randint(0, 8), random.randint(0, 8)
        crop = padded.crop((left, top, left + 32, top + 32))
        if random.random() < 0.5:
            crop = ImageOps.mirror(crop)
        image = torch.from_numpy(np.array(crop)).permute(2, 0, 1).contiguous().float().div(255)
        mean, std = torch.tensor(CIFAR_MEAN)[:, None, None], torch.tensor(CIFAR_STD)[:, None, None]
        return image.sub_(mean).div_(std), self.labels[index]


def papers_own_way(spec: ResNetSpec, images: SplitImages, _precision: str) -> Callable[[], int]:
    """One pass over the images as a notebook does it."""
    device = images.mean.device
    network = build(spec).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 0.01, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=1_000_000)
    workers = 2 if device.type == "cuda" else 0  # on two cores workers only take time from the network
    batch = min(PAPER_BATCH, len(images.train))
    loader = DataLoader(NotebookImages(images), batch, shuffle=True, num_workers=workers, pin_memory=workers > 0)

    def run() -> int:
        network.train()
        losses = []
        for inputs, labels in loader:
            loss = nn.functional.cross_entropy(network(inputs.to(device)), labels.to(device))
            losses.append(loss.item())
            loss.backward()
            nn.utils.clip_grad_value_(network.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        return len(images.train)

    return run


def ours(recipe: str) -> Callable[[ResNetSpec, SplitImages, str], Callable[[], int]]:
    """One pass over the images as `nas_budget` trains."""

    def make(spec: ResNetSpec, images: SplitImages, precision: str) -> Callable[[], int]:
        trainer = Trainer(build(spec), images, replace(RECIPES[recipe], epochs=10_000), precision=precision)
        trainer.network.train()
        epochs = iter(range(1, 10_000))

        def run() -> int:
            keep_freed_memory()
            total = torch.zeros((), device=trainer.device)
            for chosen in trainer.begin(next(epochs)):
                total += trainer.step(chosen)
            total.item()
            return trainer.n_steps * trainer.batch_size

        return run

    return make


def convolutions(spec: ResNetSpec, images: SplitImages, precision: str) -> Callable[[], int]:
    """Forward and backward of every convolution and linear layer on its own inputs, as often as in a pass."""
    device = images.mean.device
    network = build(spec).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch = min(PAPER_BATCH, len(images.train))
    calls: list[tuple[nn.Module, torch.Tensor, torch.Tensor]] = []
    hooks = [
        m.register_forward_hook(lambda m, i, o: calls.append((m, i[0].detach().clone(), o.detach().clone())))
        for m in network.modules()
        if isinstance(m, (nn.Conv2d, nn.Linear))
    ]
    with torch.no_grad(), autocast(device, precision):
        network(normalized(images.train.images[:batch], images))
    for hook in hooks:
        hook.remove()
    for _, given, _ in calls[1:]:  # the images themselves need no gradient
        given.requires_grad_(True)

    def run() -> int:
        keep_freed_memory()
        for _ in range(len(images.train) // batch):
            for module, given, gradient in calls:
                with autocast(device, precision):
                    made = module(given)
                made.backward(gradient.to(made.dtype))
                module.zero_grad()
                given.grad = None
        return len(images.train) // batch * batch

    return run


MAKERS = dict(zip(WAYS, (papers_own_way, ours("paper"), ours("fast"), convolutions), strict=True))


def images_per_second(run: Callable[[], int], device: torch.device) -> float:
    """Of one pass, which leaves out what does not fill a batch."""
    wait_for(device)
    start = time.perf_counter()
    n_images = run()
    wait_for(device)
    return n_images / (time.perf_counter() - start)


def passes(way: str, network: str, arguments: argparse.Namespace) -> Iterator[float]:
    """Peak memory of a first pass of one way, then images a second of a pass whenever asked."""
    images, device, precision = prepare(arguments)
    few = replace(images, train=images.validation)
    yield peak_bytes(MAKERS[way](NETWORKS[network], few, precision), device)
    run = MAKERS[way](NETWORKS[network], images, precision)
    while True:
        yield images_per_second(run, device)


def peak_bytes(run: Callable[[], int], device: torch.device) -> int:
    """Peak memory of a pass: on a GPU what torch held at most, else resident memory it added."""
    if device.type == "cuda":
        run()
        return torch.cuda.max_memory_allocated(device)
    process, done = psutil.Process(), threading.Event()
    seen = [process.memory_info().rss]

    def look() -> None:
        while not done.wait(0.005):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=look)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return max(seen) - seen[0]


def prepare(arguments: argparse.Namespace) -> tuple[SplitImages, torch.device, str]:
    """Images, device and the precision of ours; one batch of validation images is for first passes and memory."""
    device = choose_device(arguments.device)
    precision = choose_precision("auto", device)
    images = split_images(open_dataset(arguments.data), device, arguments.images, PAPER_BATCH)
    return images, device, precision


def measure(name: str, arguments: argparse.Namespace) -> Figure:
    """Median, least and most images a second of each way for one network, and its peak memory."""
    few = PAPER_BATCH * max(1, min(4, 500_000_000 // cost(NETWORKS[name]).macs))
    theirs = argparse.Namespace(**{**vars(arguments), "images": arguments.images or few})
    workers: dict[str, Worker] = {}
    peaks: dict[str, int] = {}
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    with ExitStack() as stack:
        for way in WAYS:
            workers[way] = stack.enter_context(Worker(passes, way, name, theirs))
            peaks[way] = workers[way].answer()  # one after the other: no first pass runs beside another
        for _ in range(arguments.rounds):
            for way, worker in workers.items():
                worker.ask()
                speeds[way].append(worker.answer())
    found = {way: summary(values) for way, values in speeds.items()}
    return {
        way: {**row, "epoch_s": EPOCH_IMAGES / row["median"], "peak_bytes": peaks[way]} for way, row in found.items()
    }


def print_network(name: str, found: Figure) -> None:
    """Print one network's table, and how near the reference is to its goal."""
    spec = NETWORKS[name]
    print(f"\n{name}: {cost(spec).params:,} parameters, {cost(spec).macs:,} MACs")
    if why := why_not(found):
        print(why, flush=True)
        return
    base, limit = found[WAYS[0]]["median"], found[WAYS[-1]]["median"]
    rows = [
        (way, *(f"{row[key]:,.0f}" for key in ("median", "min", "max", "epoch_s")), f"{row['median'] / base:.2f}",
         f"{row['median'] / limit:.0%}", f"{row['peak_bytes'] / 1e6:,.0f}")
        for way, row in found.items()
    ]  # fmt: skip
    head = ("way", "images/s", "least", "most", "s an epoch", "times the paper's", "of the convolutions", "peak MB")
    print_table(head, rows)
    if name == "reference":
        for way in WAYS[1:3]:
            print(f"{way}: {against_goal(found[way]['median'])}", flush=True)


def against_goal(speed: float) -> str:
    """What share of the goal the reference's images a second are, and how long the paper's training takes at them."""
    return (
        f"{speed / GOAL_IMAGES_PER_SECOND:.2g} of the goal, {RUN_EPOCHS} epochs in "
        f"{RUN_EPOCHS * EPOCH_IMAGES / speed:,.0f} s (goal {GOAL_RUN_S})"
    )


def main(arguments: argparse.Namespace) -> list[str]:
    """Measure every network and print the comparison, with --output also keep it; the names of what failed."""
    device = choose_device(arguments.device)
    precision, data = choose_precision("auto", device), open_dataset(arguments.data).name
    about = {
        "device": describe_device(device), "cores": os.cpu_count(), "torch": version("torch"), "precision": precision,
        "data": data, "images": arguments.images, "rounds": arguments.rounds,
    }  # fmt: skip
    print(
        f"{about['device']}, {about['cores']} cores, torch {about['torch']}, "
        f"precision of ours {precision}, medians of {arguments.rounds} rounds in turn"
    )
    arguments.data = data  # what "auto" is has been said once
    kept = Results(arguments.output and arguments.output / "training.json", about)
    for name in arguments.networks:
        print_network(name, kept.figure("networks", name, measure=partial(measure, name, arguments)))
    return kept.failed


def asked() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, help="of a round; without, few of a large network, as a CPU needs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data", default="auto")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_to_end(main, asked()))

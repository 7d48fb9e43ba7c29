"""Training speed: the paper's own way against ours, on the same machine, network and images, in turn.

    python benchmarks/training.py [--rounds 5] [--images 40000] [--device auto] [--output FOLDER]

(1) the paper's own way: contiguous fp32, a DataLoader, transforms image by image, a synchronisation a step, batch 400,
    Adam, gradients clipped by value. (2) ours with `paper`. (3) ours with `fast`. Beside them the convolutions alone:
    forward and backward of every convolution and linear layer of the network, fp32 or bf16 as ours, nothing else.

Each way is a process of its own, since they want memory handled differently. In a round each trains the same number of
images, one way after the other, so that a drift of the machine's speed hits all. Images are CIFAR-10 where it is there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image, ImageOps
from torch import nn
from torch.utils.data import DataLoader, Dataset

import nas_budget  # noqa: F401 - before torch: idle threads sleep
from nas_budget import ResNetSpec, build, cost
from nas_budget.train.data import open_dataset
from nas_budget.train.device import autocast, choose_device, choose_precision, describe_device, keep_freed_memory
from nas_budget.train.images import SplitImages, normalised, split_images
from nas_budget.train.recipe import RECIPES
from nas_budget.train.stepper import Stepper

NETWORKS = {
    "reference": ResNetSpec((32, 64, 96, 128, 185), dropout=0.2),
    "64-128-256, blocks 4-4-3": ResNetSpec((64, 128, 256), (4, 4, 3), pool="global", shortcut_kernel=1),
    "100 k": ResNetSpec((16, 32, 64), (1, 2, 1), pool="global", shortcut_kernel=1),
}
WAYS = ("the paper's own way", "ours, paper", "ours, fast", "convolutions alone")
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
PAPER_BATCH = 400


class Pictures(Dataset[Any]):
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
        picture = torch.from_numpy(np.array(crop)).permute(2, 0, 1).contiguous().float().div(255)
        mean, std = torch.tensor(CIFAR_MEAN)[:, None, None], torch.tensor(CIFAR_STD)[:, None, None]
        return picture.sub_(mean).div_(std), self.labels[index]


def papers_own_way(spec: ResNetSpec, images: SplitImages, _precision: str) -> Callable[[], int]:
    """One pass over the images as a notebook does it."""
    device = images.mean.device
    network = build(spec).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 0.01, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=1_000_000)
    workers = 2 if device.type == "cuda" else 0  # on two cores workers only take time from the network
    batch = min(PAPER_BATCH, len(images.train))
    loader = DataLoader(Pictures(images), batch, shuffle=True, num_workers=workers, pin_memory=workers > 0)

    def run() -> int:
        network.train()
        losses = []
        for pictures, labels in loader:
            loss = nn.functional.cross_entropy(network(pictures.to(device)), labels.to(device))
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
        stepper = Stepper(build(spec), images, replace(RECIPES[recipe], epochs=10_000), precision=precision)
        stepper.network.train()
        epochs = iter(range(1, 10_000))

        def run() -> int:
            keep_freed_memory()
            total = torch.zeros((), device=stepper.device)
            for chosen in stepper.begin(next(epochs)):
                total += stepper.step(chosen)
            total.item()
            return stepper.n_steps * stepper.batch_size

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
        network(normalised(images.train.images[:batch], images))
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
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    n_images = run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return n_images / (time.perf_counter() - start)


def serve(way: str, network: str, values: dict[str, Any], pipe: Connection) -> None:
    """A process for one way: makes it ready, tells the peak memory of a first pass, then times passes when asked."""
    images, device, precision = prepare(argparse.Namespace(**values))
    few = replace(images, train=images.held_out)
    pipe.send(peak_bytes(MAKERS[way](NETWORKS[network], few, precision), device))
    run = MAKERS[way](NETWORKS[network], images, precision)
    while pipe.recv():
        pipe.send(images_per_second(run, device))


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
    """Images, device and the precision of ours; one batch of held-out images is for first passes and memory."""
    device = choose_device(arguments.device)
    precision = choose_precision("auto", device)
    images = split_images(open_dataset(arguments.data), device, arguments.images, PAPER_BATCH)
    return images, device, precision


def measure(name: str, arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Median, least and most images a second of each way for one network, and its peak memory."""
    arguments.images = arguments.images or PAPER_BATCH * max(1, min(4, 500_000_000 // cost(NETWORKS[name]).macs))
    context, pipes, peaks = multiprocessing.get_context("spawn"), {}, {}
    for way in WAYS:
        pipes[way], theirs = context.Pipe()
        context.Process(target=serve, args=(way, name, vars(arguments), theirs)).start()
        peaks[way] = pipes[way].recv()  # one after the other: no first pass runs beside another
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way, pipe in pipes.items():
            pipe.send(True)
            speeds[way].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    return {
        way: {
            "images_per_second": statistics.median(values), "least": min(values), "most": max(values),
            "epoch_s": 45_000 / statistics.median(values), "peak_bytes": peaks[way],
        }
        for way, values in speeds.items()
    }  # fmt: skip


def tell(name: str, found: dict[str, dict[str, float]]) -> None:
    """Print one network's table."""
    spec, base = NETWORKS[name], found[WAYS[0]]["images_per_second"]
    limit = found[WAYS[-1]]["images_per_second"]
    print(f"\n{name}: {cost(spec).params:,} parameters, {cost(spec).macs:,} MACs")
    columns = ("images/s", "least", "most", "s/epoch", "x paper's", "of limit", "peak MB")
    print(f"{'':22}" + "".join(f"{column:>11}" for column in columns))
    for way, row in found.items():
        speed = row["images_per_second"]
        print(
            f"{way:22}{speed:11,.0f}{row['least']:11,.0f}{row['most']:11,.0f}{row['epoch_s']:11,.1f}"
            f"{speed / base:11.2f}{speed / limit:11.0%}{row['peak_bytes'] / 1e6:11,.0f}"
        )


def main() -> None:
    """Measure every network and print the comparison; with --output also write it as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, help="of a round; without, few of a large network, as a CPU needs")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--data", default="auto")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    print(
        f"{describe_device(device)}, {os.cpu_count()} cores, torch {version('torch')}, "
        f"precision of ours {choose_precision('auto', device)}, medians of {arguments.rounds} rounds in turn"
    )
    found = {}
    for name in arguments.networks:
        found[name] = measure(name, argparse.Namespace(**vars(arguments)))
        tell(name, found[name])
        sys.stdout.flush()
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        about = {"device": describe_device(device), "torch": version("torch"), "rounds": arguments.rounds}
        (arguments.output / "training.json").write_text(json.dumps({**about, "networks": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()

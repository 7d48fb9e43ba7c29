"""Where the time of training goes on a GPU, and how many trials an hour it gives.

    python benchmarks/gpu.py [--output FOLDER] [--networks ...] [--trials 16]

Steps: images a second of forward, backward and optimiser, eager, replayed from a CUDA graph and compiled, at several
batches. Trials: eight-epoch trainings of the reference on all images, one to four processes on the GPU at once.
Compiling takes a minute or more, so it is tried on the first network alone. With --device cpu and few --images it
runs, slowly, to be looked at.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from training import NETWORKS

import nas_budget  # noqa: F401 - before torch: idle threads sleep
from nas_budget import build
from nas_budget.train.data import open_dataset
from nas_budget.train.device import choose_device, choose_precision, describe_device
from nas_budget.train.images import SplitImages, split_images
from nas_budget.train.loop import train
from nas_budget.train.recipe import RECIPES
from nas_budget.train.stepper import Stepper

MODES = ("eager", "graph", "compile")


def images_per_second(mode: str, name: str, batch: int, images: SplitImages, precision: str, n_steps: int) -> float:
    """Median of five stretches of steps, after a first one."""
    recipe = replace(RECIPES["fast"], batch_size=batch, epochs=1_000)
    stepper = Stepper(build(NETWORKS[name]), images, recipe, precision=precision)
    stepper.network.train()
    if mode == "graph":
        stepper.record()
    if mode == "compile":
        torch.compiler.reset()
        stepper.compile()
    indices = torch.arange(batch, device=stepper.device)
    wait: Callable[[], Any] = torch.cuda.synchronize if stepper.device.type == "cuda" else lambda: None
    speeds = []
    for _ in range(6):
        wait()
        start = time.perf_counter()
        for _ in range(n_steps):
            stepper.step(indices)
        wait()
        speeds.append(n_steps * batch / (time.perf_counter() - start))
    return statistics.median(speeds[1:])


def trials(arguments: argparse.Namespace, n_trials: int, epochs: int, barrier: Any, finished: Any) -> None:
    """Train some networks one after the other, as a worker of a search does."""
    images, _device, precision = prepare(arguments)
    recipe = replace(RECIPES["fast"], epochs=epochs)
    barrier.wait()
    for seed in range(n_trials):
        list(train(build(NETWORKS["reference"], seed), images, recipe, seed, precision))
    finished.put(time.time())


def trials_an_hour(arguments: argparse.Namespace, n_processes: int) -> float:
    """Eight-epoch trials of the reference an hour, with so many processes on the device at once."""
    context = multiprocessing.get_context("spawn")
    barrier, finished = context.Barrier(n_processes + 1), context.Queue()
    each = max(1, arguments.trials // n_processes)
    workers = [
        context.Process(target=trials, args=(arguments, each, arguments.epochs, barrier, finished))
        for _ in range(n_processes)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    start = time.time()
    last = max(finished.get() for _ in workers)
    for worker in workers:
        worker.join()
    return 3_600 * each * n_processes / (last - start)


def prepare(arguments: argparse.Namespace) -> tuple[SplitImages, torch.device, str]:
    """Images, device and precision."""
    device = choose_device(arguments.device)
    images = split_images(open_dataset(arguments.data, say=lambda _: None), device, arguments.images, 5_000)
    return images, device, choose_precision("auto", device)


def tell_steps(arguments: argparse.Namespace) -> dict[str, Any]:
    """Print the table of steps and give its figures."""
    images, device, precision = prepare(arguments)
    print(f"\nsteps, images a second, {precision}")
    print(f"{'network':28}{'batch':>8}" + "".join(f"{mode:>12}" for mode in MODES))
    found: dict[str, Any] = {}
    for name in arguments.networks:
        for batch in arguments.batches:
            n_steps = max(1, arguments.stretch // batch)
            compiles = name == arguments.networks[0] and batch in arguments.compile
            modes = [m for m in MODES if (m != "graph" or device.type == "cuda") and (m != "compile" or compiles)]
            row = {mode: images_per_second(mode, name, batch, images, precision, n_steps) for mode in modes}
            found[f"{name}, batch {batch}"] = row
            cells = "".join(f"{row[mode]:12,.0f}" if mode in row else f"{'-':>12}" for mode in MODES)
            print(f"{name:28}{batch:8}{cells}", flush=True)
    return found


def tell_trials(arguments: argparse.Namespace) -> dict[str, float]:
    """Print the trials an hour and give them."""
    print(f"\ntrials of {arguments.epochs} epochs of the reference, an hour")
    found = {}
    for n_processes in arguments.processes:
        found[str(n_processes)] = trials_an_hour(arguments, n_processes)
        print(f"{n_processes} process{'es' if n_processes > 1 else ''}: {found[str(n_processes)]:,.0f}", flush=True)
    return found


def main() -> None:
    """Print both tables; with --output also write them as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", default="auto")
    parser.add_argument("--images", type=int, default=None, help="all that are not held out")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--batches", nargs="*", type=int, default=[128, 512, 1024])
    parser.add_argument("--stretch", type=int, default=20_480, help="images of a stretch")
    parser.add_argument("--compile", nargs="*", type=int, default=[512], help="batches at which the first compiles")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--processes", nargs="*", type=int, default=[1, 2, 4])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    device = describe_device(choose_device(arguments.device))
    print(f"{device}, torch {version('torch')}")
    found = {"device": device, "torch": version("torch")}
    found |= {"steps": tell_steps(arguments), "trials_an_hour": tell_trials(arguments)}
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "gpu.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

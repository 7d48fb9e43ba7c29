"""How fast training is on a GPU, where its time goes, and how many trials an hour it gives.

    python benchmarks/gpu.py [--parts steps profile trials] [--output FOLDER]

Steps: images a second of forward, backward and optimizer; eager, replayed from a CUDA graph and, for the first network,
compiled, at several batches. Profile: kernels, launches and what the GPU waits for the host in a step of the first
network. Trials: eight-epoch trainings of the first network on all images an hour, one to four processes on the GPU at
once, without MPS and with it.

Each figure comes from a process of its own. With --output it is kept in FOLDER/gpu.json as soon as it is there: when
interrupted, the same command resumes. With --device cpu and few --images it runs too, slowly, without the profile.

Exit codes: 0 done, 1 figures failed, 2 wrong usage, 130 interrupted. A figure that needs what this
machine lacks, such as MPS or a compiler, is no failure.
"""

from __future__ import annotations

from nas_budget.train.engine.process import own_process

own_process()  # before torch is imported

import argparse
import os
import sys
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path

from gpu_steps import N_VALIDATION, speed, where_time_goes
from gpu_trials import trials_an_hour
from harness import Figure, Results, measured, print_table, run_to_end, why_not
from training import EPOCH_IMAGES, NETWORKS, against_goal

from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import split_sizes
from nas_budget.train.engine.device import choose_device, choose_precision, describe_device

GOAL_TRIALS_PER_HOUR, GOAL_EPOCHS = 400, 8
"""Trials of the reference, each of so many epochs on all images."""


def print_steps(arguments: argparse.Namespace, kept: Results) -> None:
    """Measure and print images a second; compiled last, which takes longest."""
    rows = [*product(arguments.networks, arguments.batches, arguments.modes)]
    rows += [(arguments.networks[0], batch, "compile") for batch in arguments.batches]

    def row(name: str, batch: int, mode: str) -> list[object]:
        measure = partial(measured, speed, arguments, name, batch, mode)
        found = kept.figure("steps", f"{name}, batch {batch}", mode, measure=measure)
        if why := why_not(found):
            return [name, batch, mode, why]
        figures = [f"{found[key]:,.0f}" for key in ("median", "min", "max")]
        goal = against_goal(found["median"]) if name == "reference" else ""
        return [name, batch, mode, *figures, f"{found['ready_s']:.1f}", goal]

    head = ("steps: network", "batch", "mode", "images/s", "min", "max", "ready in s", "")
    print_table(head, (row(*case) for case in rows))


def print_profile(arguments: argparse.Namespace, kept: Results) -> None:
    """Measure and print where the time of a step goes, with the shares of the time in which the device is busy."""
    name = arguments.networks[0]

    def row(batch: int, mode: str) -> list[object]:
        measure = partial(measured, where_time_goes, arguments, name, batch, mode)
        found = kept.figure("profile", f"{name}, batch {batch}", mode, measure=measure)
        if why := why_not(found):
            return [batch, mode, why]
        counts = [f"{found[key]:,.0f}" for key in ("kernels", "launches", "graph_launches")]
        times = [f"{1e3 * seconds:,.2f}" for seconds in (found["wall_s"]["median"], found["busy_s"])]
        shares = ", ".join(f"{group} {share:.0%}" for group, share in found["groups"].items())
        return [batch, mode, *counts, *times, f"{found['host_share']:.0%}", shares]

    head = (f"{name}: batch", "mode", "kernels", "launches", "graphs", "step ms", "busy ms", "idle", "busy with")
    print_table(head, (row(*case) for case in product(arguments.batches, arguments.modes)))


def print_trials(arguments: argparse.Namespace, kept: Results) -> None:
    """Measure and print trials an hour."""
    name = arguments.networks[0]
    comparable = name == "reference" and arguments.epochs == GOAL_EPOCHS and arguments.images >= EPOCH_IMAGES

    def row(with_mps: bool, n_processes: int, mode: str) -> list[object]:
        words = f"{n_processes} process{'es' * (n_processes > 1)}{', MPS' * with_mps}"
        measure = partial(trials_an_hour, arguments, name, mode, n_processes, with_mps)
        found: Figure = kept.figure("trials", words, mode, measure=measure)
        if why := why_not(found):
            return [words, mode, why]
        share = f"{found['trials_per_hour'] / GOAL_TRIALS_PER_HOUR:.2g}" if comparable else "-"
        return [words, mode, f"{found['trials_per_hour']:,.0f}", f"{found['trial_s']['median']:.1f}", share]

    print(f"\n{name}, {arguments.epochs} epochs of {arguments.images:,} images")
    head = ("processes", "mode", "trials an hour", "s a trial", "of the goal")
    print_table(head, (row(*case) for case in product((False, True), arguments.processes, arguments.modes)))


PARTS = {"steps": print_steps, "profile": print_profile, "trials": print_trials}


def main(arguments: argparse.Namespace) -> list[str]:
    """Print the parts asked for, with --output also keep their figures; the names of those that failed."""
    device = choose_device(arguments.device)
    dataset = open_dataset(arguments.data)
    arguments.device, arguments.data, arguments.precision = str(device), dataset.name, choose_precision("auto", device)
    _, arguments.images = split_sizes(dataset, arguments.images, N_VALIDATION)
    arguments.modes = ["eager"] if device.type == "cpu" else ["eager", "graph"]
    names = ("precision", "data", "images", "stretch", "epochs", "trials")
    about = {"device": describe_device(device), "cores": os.cpu_count(), "torch": version("torch")}
    about |= {name: getattr(arguments, name) for name in names}
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    kept = Results(arguments.output and arguments.output / "gpu.json", about)
    for part in arguments.parts:
        PARTS[part](arguments, kept)
    return kept.failed


def asked() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", default="auto")
    parser.add_argument("--images", type=int, help="that train; all that are not set aside for validation")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[128, 512, 1024])
    parser.add_argument("--stretch", type=int, default=20_480, help="images of a stretch of steps")
    parser.add_argument("--epochs", type=int, default=GOAL_EPOCHS, help="of a trial")
    parser.add_argument("--trials", type=int, default=4, help="dealt out to the processes, at least one each")
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2, 3, 4])
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(run_to_end(main, asked()))

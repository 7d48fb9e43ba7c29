"""How fast training is on a GPU, where its time goes, and how many trials an hour it gives.

    python benchmarks/gpu.py [--parts steps profile trials] [--output FOLDER]

Steps: images a second of forward, backward and optimizer; eager, replayed from a CUDA graph and, for the first network,
compiled, at several batches. Profile: kernels, launches and what the GPU waits for the host in a step of the first
network. Trials: how long a CUDA graph takes to record, and eight-epoch trainings of the first network on all images an
hour, one to four processes on the GPU at once, without MPS and with it.

Each figure comes from a process of its own. With --output it is kept in FOLDER/gpu.json as soon as it is there: when
interrupted, the same command resumes. With --device cpu and few --images it runs too, slowly.

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

from gpu_profile import N_VALIDATION, Setting, recording_s, speed, where_time_goes
from gpu_trials import Trials, trials_an_hour
from harness import Figure, Results, measured, run_to_end, why_not
from training import EPOCH_IMAGES, NETWORKS, against_goal

from nas_budget.train.data.open import open_dataset
from nas_budget.train.data.split import split_sizes
from nas_budget.train.engine.device import choose_device, choose_precision, describe_device

GOAL_TRIALS_PER_HOUR, GOAL_EPOCHS = 400, 8
"""Trials of the reference, each of so many epochs on all images."""


def print_steps(arguments: argparse.Namespace, setting: Setting, kept: Results) -> None:
    """Measure and print images a second; compiled last, which takes longest."""
    print(f"\nsteps: {'network':26}{'batch':>6}  {'mode':8}{'images/s':>10}{'min':>10}{'max':>10}{'ready in s':>12}")
    rows = [*product(arguments.networks, arguments.batches, modes(setting))]
    rows += [(arguments.networks[0], batch, "compile") for batch in arguments.compile]
    for name, batch, mode in rows:
        measure = partial(measured, speed, setting, name, batch, mode)
        found = kept.figure("steps", f"{name}, batch {batch}", mode, measure=measure)
        print(f"       {name:26}{batch:6}  {mode:8}{speed_in_words(name, found)}", flush=True)


def speed_in_words(name: str, found: Figure) -> str:
    """The rest of a row of steps."""
    if why := why_not(found):
        return f"  {why}"
    told = f"{found['median']:10,.0f}{found['min']:10,.0f}{found['max']:10,.0f}{found['ready_s']:12.1f}"
    return f"{told}   {against_goal(found['median'])}" if name == "reference" else told


def print_profile(arguments: argparse.Namespace, setting: Setting, kept: Results) -> None:
    """Measure and print where the time of a step goes."""
    name = arguments.networks[0]
    print(f"\nwhere the time of a step goes: {name}")
    print(
        f"{'batch':>5}  {'mode':6}{'kernels':>9}{'launches':>10}{'graphs':>8}{'step ms':>10}{'busy ms':>9}{'idle':>7}"
    )
    for batch, mode in product(arguments.batches, modes(setting)):
        measure = partial(measured, where_time_goes, setting, name, batch, mode)
        found = kept.figure("profile", f"{name}, batch {batch}", mode, measure=measure)
        print(f"{batch:5}  {mode:6}{profile_in_words(found)}", flush=True)


def profile_in_words(found: Figure) -> str:
    """The rest of a row of the profile, and below it the shares of the time in which the device is busy."""
    if why := why_not(found):
        return f"  {why}"
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found["groups"].items())
    return (
        f"{found['kernels']:9,.0f}{found['launches']:10,.0f}{found['graph_launches']:8,.0f}"
        f"{found['wall_s']['median'] * 1e3:10,.2f}{found['busy_s'] * 1e3:9,.2f}{found['host_share']:7.0%}\n"
        f"       {shares}"
    )


def print_trials(arguments: argparse.Namespace, setting: Setting, kept: Results) -> None:
    """Measure and print how long a graph takes to record, and trials an hour."""
    if "graph" in modes(setting):
        print_recording(arguments, setting, kept)
    first, goal = arguments.networks[0], arguments.epochs == GOAL_EPOCHS and setting.n_train >= EPOCH_IMAGES
    print(f"\ntrials of {arguments.epochs} epochs of {setting.n_train:,} images an hour: {first}")
    for with_mps, n_processes, mode in product((False, True), arguments.processes, modes(setting)):
        trials = Trials(first, arguments.epochs, arguments.trials, mode == "graph")
        row = f"{n_processes} process{'es' * (n_processes > 1)}{', MPS' * with_mps}"
        measure = partial(trials_an_hour, setting, trials, n_processes, with_mps)
        found = kept.figure("trials", row, mode, measure=measure)
        print(f"{row:18}{mode:8}{trials_in_words(found, goal and first == 'reference')}", flush=True)


def trials_in_words(found: Figure, goal: bool) -> str:
    """The rest of a row of trials."""
    if why := why_not(found):
        return why
    told = f"{found['trials_per_hour']:7,.0f}, a trial in {found['trial_s']['median']:.1f} s"
    return f"{told}, {found['trials_per_hour'] / GOAL_TRIALS_PER_HOUR:.2g} of the goal" if goal else told


def print_recording(arguments: argparse.Namespace, setting: Setting, kept: Results) -> None:
    """Measure and print how long a CUDA graph takes to record."""
    print("\na CUDA graph is recorded in")
    for name in arguments.networks:
        found = kept.figure("recording_s", name, measure=partial(measured, recording_s, setting, name))
        told = why_not(found) or f"{found['median']:.2f} s (most {found['max']:.2f})"
        print(f"{name:26}{told}", flush=True)


def modes(setting: Setting) -> list[str]:
    """How a step is computed there, compiling aside."""
    return ["eager"] if setting.device == "cpu" else ["eager", "graph"]


PARTS = {"steps": print_steps, "profile": print_profile, "trials": print_trials}


def main(arguments: argparse.Namespace) -> list[str]:
    """Print the parts asked for, with --output also keep their figures; the names of those that failed."""
    device = choose_device(arguments.device)
    dataset = open_dataset(arguments.data)
    _, n_train = split_sizes(dataset, arguments.images, N_VALIDATION)
    setting = Setting(str(device), dataset.name, n_train, choose_precision("auto", device), arguments.stretch)
    about = {
        "device": describe_device(device), "cores": os.cpu_count(), "torch": version("torch"),
        "precision": setting.precision, "data": setting.data, "images": n_train, "stretch": arguments.stretch,
        "epochs": arguments.epochs, "trials": arguments.trials,
    }  # fmt: skip
    print(f"{about['device']}, {about['cores']} cores, torch {about['torch']}, {setting.precision}, {setting.data}")
    kept = Results(arguments.output and arguments.output / "gpu.json", about)
    for part in arguments.parts:
        PARTS[part](arguments, setting, kept)
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
    parser.add_argument("--compile", nargs="*", type=int, help="batches at which the first network compiles; all")
    parser.add_argument("--epochs", type=int, default=GOAL_EPOCHS, help="of a trial")
    parser.add_argument("--trials", type=int, default=4, help="dealt out to the processes, at least one each")
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2, 3, 4])
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    arguments.compile = arguments.batches if arguments.compile is None else arguments.compile
    return arguments


if __name__ == "__main__":
    sys.exit(run_to_end(main, asked()))

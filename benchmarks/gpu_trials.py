"""Trials an hour, with several processes on one GPU, with and without NVIDIA's Multi-Process Service (MPS)."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpu_profile import Setting, images_of, trainer_of
from harness import LIMIT_S, Figure, UnmeasuredError, Worker, summary
from training import NETWORKS

from nas_budget import build
from nas_budget.train.data.split import SplitImages
from nas_budget.train.engine.loop import train
from nas_budget.train.optim.recipe import RECIPES

CONTROL = "nvidia-cuda-mps-control"
CONTROL_LIMIT_S = 60.0
"""How long MPS may take for a command."""


@dataclass(frozen=True)
class Trials:
    """What is trained.

    Attributes:
        name: Of the network.
        epochs: Of a trial.
        n_trials: In all, dealt out to the processes, of which each has at least one.
        graphed: Whether each first records its CUDA graph.
    """

    name: str
    epochs: int
    n_trials: int
    graphed: bool


def trials_an_hour(setting: Setting, trials: Trials, n_processes: int, with_mps: bool) -> Figure:
    """Trials an hour from when all processes are ready to the end of the last, and the seconds of a trial.

    With MPS also its servers' process ids.

    Raises:
        UnmeasuredError: A process failed, or MPS is not installed, had no server or refused.
    """
    each = max(1, trials.n_trials // n_processes)
    with ExitStack() as stack:
        tell = stack.enter_context(mps()) if with_mps else None
        workers = [stack.enter_context(Worker(_train, setting, trials, each)) for _ in range(n_processes)]
        for worker in workers:
            worker.answer(LIMIT_S)
        servers = {"mps_servers": servers_of(tell)} if tell else {}
        start = time.perf_counter()
        for worker in workers:
            worker.ask()
        seconds = [s for worker in workers for s in worker.answer(LIMIT_S)]
        whole_s = time.perf_counter() - start
    per_hour = 3_600 * len(seconds) / whole_s
    return {"trials_per_hour": per_hour, "whole_s": whole_s, "trial_s": summary(seconds), **servers}


def servers_of(tell: Callable[[str], str]) -> list[str]:
    """The process ids of MPS's servers.

    Raises:
        UnmeasuredError: There are none: the processes do without.
    """
    found = [word for word in tell("get_server_list").split() if word.isdigit()]
    if not found:
        raise UnmeasuredError("MPS had no server", "absent")
    return found


def _train(setting: Setting, trials: Trials, n: int) -> Iterator[Any]:
    """Load images and kernels, wait until asked, train some networks one after the other as a search does."""
    images = images_of(setting)
    first = trainer_of(setting, images, trials.name, RECIPES["fast"].batch_size, "eager")
    first.step(next(first.begin(1)))
    del first
    yield "ready"
    yield [_trial_s(setting, images, trials, seed) for seed in range(n)]


def _trial_s(setting: Setting, images: SplitImages, trials: Trials, seed: int) -> float:
    start = time.perf_counter()
    recipe = replace(RECIPES["fast"], epochs=trials.epochs)
    network = build(NETWORKS[trials.name], seed)
    for _ in train(network, images, recipe, seed, setting.precision, graphed=trials.graphed):
        pass
    gc.collect()  # optimizers and schedules hold each other, and with them the weights
    return time.perf_counter() - start


@contextmanager
def mps() -> Iterator[Callable[[str], str]]:
    """MPS for the processes that are started while it lasts; gives what tells it a command and returns its answer.

    Raises:
        UnmeasuredError: It is not installed, or refuses to start or to answer.
    """
    program = shutil.which(CONTROL)
    if not program:
        raise UnmeasuredError(f"{CONTROL} is not installed", "absent")
    with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder, _environment(folder):
        said = Path(folder, "said")
        with said.open("w") as file:  # not a pipe, which the daemon would hold open
            started = _run([program, "-d"], stdin=subprocess.DEVNULL, stdout=file)
        if started.returncode:
            raise UnmeasuredError(f"{CONTROL} ended with {started.returncode}: {' '.join(said.read_text().split())}")
        try:
            yield lambda command: _run([program], input=f"{command}\n", stdout=subprocess.PIPE).stdout
        finally:
            _run([program], input="quit\n", stdout=subprocess.DEVNULL)


@contextmanager
def _environment(folder: str) -> Iterator[None]:
    """Have MPS, and whoever is to use it, meet in a folder."""
    names = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    os.environ.update(dict.fromkeys(names, folder))
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
        os.environ.update(before)


def _run(command: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, stderr=subprocess.STDOUT, text=True, timeout=CONTROL_LIMIT_S, check=False, **given
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UnmeasuredError(f"{CONTROL} did not do as told within {CONTROL_LIMIT_S:.0f} s") from None
    except OSError as error:
        raise UnmeasuredError(str(error)) from None

"""Trials an hour, with several processes on one GPU, with and without NVIDIA's Multi-Process Service (MPS)."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from gpu_steps import images_of, trainer_of
from harness import LIMIT_S, Figure, UnmeasuredError, Worker, summary
from training import NETWORKS

from nas_budget import build
from nas_budget.train.data.split import SplitImages
from nas_budget.train.engine.loop import train
from nas_budget.train.optim.recipe import RECIPES

CONTROL = "nvidia-cuda-mps-control"
CONTROL_LIMIT_S = 60.0
"""How long MPS may take for a command."""
TRIAL_LIMIT_S = 600.0
"""How long a trial may take that has the GPU to itself: a T4, without bf16, takes minutes."""


def trials_an_hour(arguments: Namespace, name: str, mode: str, n_processes: int, with_mps: bool) -> Figure:
    """Trials an hour from when all processes are ready to the end of the last, and the seconds of a trial.

    With MPS also its servers' process ids.

    Raises:
        UnmeasuredError: A process failed, or MPS is not installed, had no server or refused.
    """
    each = max(1, arguments.trials // n_processes)
    with ExitStack() as stack:
        program = stack.enter_context(mps()) if with_mps else None
        workers = [stack.enter_context(Worker(_train, arguments, name, mode, each)) for _ in range(n_processes)]
        for worker in workers:
            worker.answer(LIMIT_S)
        servers = {"mps_servers": servers_of(program)} if program else {}
        start = time.perf_counter()
        for worker in workers:
            worker.ask()
        limit_s = TRIAL_LIMIT_S * each * n_processes  # a GPU that all share gives each a part of its time
        seconds = [s for worker in workers for s in worker.answer(limit_s)]
        whole_s = time.perf_counter() - start
    per_hour = 3_600 * len(seconds) / whole_s
    return {"trials_per_hour": per_hour, "whole_s": whole_s, "trial_s": summary(seconds), **servers}


def _train(arguments: Namespace, name: str, mode: str, n: int) -> Iterator[Any]:
    """Load images and kernels, wait until asked, train some networks one after the other as a search does."""
    images = images_of(arguments)
    first = trainer_of(arguments, images, name, RECIPES["fast"].batch_size, "eager")
    first.step(next(first.begin(1)))
    del first
    yield "ready"
    yield [_trial_s(arguments, images, name, mode, seed) for seed in range(n)]


def _trial_s(arguments: Namespace, images: SplitImages, name: str, mode: str, seed: int) -> float:
    start = time.perf_counter()
    recipe = replace(RECIPES["fast"], epochs=arguments.epochs)
    for _ in train(build(NETWORKS[name], seed), images, recipe, seed, arguments.precision, graphed=mode == "graph"):
        pass
    gc.collect()  # optimizers and schedules hold each other, and with them the weights
    return time.perf_counter() - start


@contextmanager
def mps() -> Iterator[str]:
    """MPS for the processes that are started while it lasts; gives the program that controls it.

    Raises:
        UnmeasuredError: It is not installed, or refuses to start or to answer.
    """
    program = shutil.which(CONTROL)
    if not program:
        raise UnmeasuredError(f"{CONTROL} is not installed", "absent")
    with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder:
        said = Path(folder, "said")
        folders = dict.fromkeys(("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"), folder)
        with patch.dict(os.environ, folders):  # where MPS, and whoever is to use it, meet
            with said.open("w") as file:  # not a pipe, which the daemon would hold open
                started = _run([program, "-d"], stdin=subprocess.DEVNULL, stdout=file)
            if started.returncode:
                raise UnmeasuredError(f"{CONTROL} ended with {started.returncode}: {said.read_text().strip()}")
            try:
                yield program
            finally:
                _run([program], input="quit\n", stdout=subprocess.DEVNULL)


def servers_of(program: str) -> list[str]:
    """The process ids of MPS's servers.

    Raises:
        UnmeasuredError: There are none: the processes do without.
    """
    answer = _run([program], input="get_server_list\n", stdout=subprocess.PIPE).stdout
    found = [word for word in answer.split() if word.isdigit()]
    if not found:
        raise UnmeasuredError("MPS had no server", "absent")
    return found


def _run(command: list[str], **given: Any) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, stderr=subprocess.STDOUT, text=True, timeout=CONTROL_LIMIT_S, check=False, **given
        )  # fmt: skip
    except (subprocess.TimeoutExpired, OSError) as error:
        raise UnmeasuredError(f"{CONTROL}: {error}") from None

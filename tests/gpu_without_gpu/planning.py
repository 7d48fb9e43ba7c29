"""A search with two workers is planned on GPUs that are not there; prints where CUDA was used.

    python -m tests.gpu_without_gpu.planning LIBRARY FOLDER

Processes that it starts run this file too, and compute on fake tensors. This one has none: whatever it asks of a GPU
beyond how many there are is noted, and ends it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from tests.gpu_without_gpu.fake_cuda import install

if __name__ in ("__main__", "__mp_main__"):
    install(Path(sys.argv[1]))

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from nas_budget.search import open_study
from nas_budget.search.open_study import open_search
from nas_budget.train.profile import time_model
from tests.gpu_without_gpu.watch import Watch


def refuse(*_: Any) -> NoReturn:
    """Refuse what makes a context on a GPU."""
    raise AssertionError("the parent process used a GPU")


if __name__ == "__main__":
    for asked in ("_lazy_init", "get_device_capability", "get_device_name", "get_device_properties", "synchronize"):
        setattr(torch.cuda, asked, refuse)
    overrides = {"search.workers": 2, "search.trials": 2, "data.name": "shapes", "budget.params": "20k"}
    opened = open_search(None, overrides, "fake", Path(sys.argv[2]))
    plan = opened.plan(2)
    model = opened.time_model([opened.settings.networks().decode({})], opened.settings.recipe)
    search = opened.search()
    found = {
        "device": opened.device_name,
        "precision": opened.settings.precision,
        "images": str(opened.images.mean.device),
        "gpus": search.gpus,
        "predicts": plan.trial_s > 0 and type(model).__name__,
        "room": plan.room,
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)


def statistics(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of images that have no values to count."""
    return torch.zeros(3, device=images.device), torch.ones(3, device=images.device)


open_study.channel_statistics = statistics
time_model.N_ROUNDS = 1
FakeTensorMode().__enter__()
Watch().__enter__()

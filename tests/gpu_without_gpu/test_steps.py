"""Training steps run on a GPU that is not there: what can be known of them without its numbers and its speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from nas_budget.train.optim.recipe import RECIPES
from nas_budget.train.profile.step_memory import GPU_CONTEXT
from tests.gpu_without_gpu.fake_cuda import COMPILER, build

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="there is no g++"),
]
ROOT = Path(__file__).parents[2]
AT_THE_END = {
    "waits for _local_scalar_dense, train/engine/loop:train_epoch",
    "waits for _local_scalar_dense, train/engine/evaluate:accuracy_of",
    "waits for _local_scalar_dense, train/engine/evaluate:evaluate",
}
"""What an epoch waits for when its steps are done: its loss and its accuracy."""
ON_THE_HOST = {
    "draws on the host by randint, train/data/trivial_augment:trivial_augment",
}
"""Which operation goes to which share of a batch: a recorded step keeps what it was when it was recorded."""
OF_TORCHS_SCALER = {f"makes float64 by {name}, train/engine/trainer:_update" for name in ("_to_copy", "reciprocal")}
"""Where losses are scaled and gradients clipped, which is on NVIDIA's GPUs alone."""
AT_THE_FIRST_REPLAY = {"waits for _local_scalar_dense, train/engine/trainer:_compare"}
TO_TIME_A_STEP = {"waits for synchronize, train/engine/device:wait_for"}
CHANGING = {"_fused_adam_", "_fused_sgd_"}
"""Operators whose numbers differ from step to step: learning rate and momentum."""
MOST_LAUNCHES = {
    "strong": (438, 708),
    "evening": (281, 551),
    "fast": (264, 534),
    "brief": (264, 534),
    "paper": (117, 351),
}
"""Of a step in bf16, of the network of 100 k parameters and of the reference."""
GOAL = (330, 700)
"""Of the recipe of searches, `fast`."""
MOST_LAUNCHES_OF_A_REPLAY = {"strong": 5, "evening": 4, "fast": 5, "brief": 5, "paper": 6}
"""Beside the graph's own: indices, learning rates, the loss, EMA; or the optimizer, where its momentum changes."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a test run have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "gpu-without-gpu"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session", params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> str:
    """The name of a recipe."""
    return str(request.param)


@pytest.fixture(scope="session")
def found(recipe: str, shared: Path) -> dict[str, Any]:
    """What the recipe does in each case, from one process."""
    kept = shared / f"{recipe}.json"
    with FileLock(shared / f"{recipe}.lock"):
        if not kept.exists():
            kept.write_text(json.dumps(ran("steps", shared, recipe)))
    return dict(json.loads(kept.read_text()))


def ran(module: str, shared: Path, given: str) -> dict[str, Any]:
    """What a module of this folder prints, in a process with the device that is not there."""
    library = shared / "libfakecuda.so"
    with FileLock(shared / "lock"):
        if not library.exists():
            build(shared)
    command = [sys.executable, "-m", f"tests.gpu_without_gpu.{module}", str(library), given]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def steps(found: dict[str, Any]) -> dict[str, Any]:
    """What its steps do in each case."""
    return {case: epoch for case, epoch in found.items() if case not in ("automatic", "recorded", "statistics")}


def test_no_step_waits_mixes_devices_copies_between_them_or_is_refused(steps: dict[str, Any]) -> None:
    for case, epoch in steps.items():
        assert {*epoch["faults"]} <= ON_THE_HOST | OF_TORCHS_SCALER, case
        assert {*epoch["faults_between"]} == AT_THE_END, case


def test_a_training_that_chooses_waits_in_its_first_steps_alone(found: dict[str, Any]) -> None:
    assert {*found["automatic"]["first"]} <= ON_THE_HOST | AT_THE_FIRST_REPLAY | TO_TIME_A_STEP
    assert {*found["automatic"]["first"]} >= AT_THE_FIRST_REPLAY | TO_TIME_A_STEP
    assert {*found["automatic"]["later"]} <= ON_THE_HOST


def test_two_steps_run_the_same_operators_so_that_a_step_could_be_recorded(steps: dict[str, Any]) -> None:
    for case, epoch in steps.items():
        assert epoch["same_operators"], case
        assert {*epoch["other_numbers"]} <= CHANGING, case


def test_all_is_on_the_device_that_was_asked_for(steps: dict[str, Any]) -> None:
    assert {device for epoch in steps.values() for device in epoch["devices"]} == {"cuda:0"}


def test_a_step_launches_no_more_than_is_known(found: dict[str, Any], recipe: str) -> None:
    small, reference = MOST_LAUNCHES[recipe]
    assert found["bf16"]["launches"] <= small, found["bf16"]["counts"]
    assert found["reference"]["launches"] <= reference, found["reference"]["counts"]
    if recipe == "fast":
        assert found["bf16"]["launches"] <= GOAL[0]
        assert found["reference"]["launches"] <= GOAL[1]


def test_the_statistics_of_images_need_no_float64_of_a_gpu(found: dict[str, Any]) -> None:
    assert found["statistics"] == []


def test_an_epoch_is_evaluated_in_large_batches(found: dict[str, Any]) -> None:
    n_convolutions = 1 + 2 * 4 + 2  # stem, two of each block, and the shortcuts that change shape
    for case in "fp32", "bf16":
        assert found[case]["evaluation"] == n_convolutions  # all 1,536 images at once, or fewer


def test_steps_are_recorded_on_the_device_that_was_asked_for_and_replayed_in_few_launches(
    found: dict[str, Any], recipe: str
) -> None:
    recorded = found["recorded"]
    assert recorded["not_recorded"] == ""
    assert recorded["devices"] == ["cuda:1"]
    one = [1, "memory 0 on cuda:1", "stream on cuda:1", "cuda:1", 2]
    assert recorded["graphs"] == [one, one]  # which share their memory
    assert {*recorded["faults"]} <= ON_THE_HOST | AT_THE_FIRST_REPLAY
    assert recorded["launches"] <= MOST_LAUNCHES_OF_A_REPLAY[recipe], recorded["counts"]


def test_a_search_with_workers_uses_no_gpu_in_its_parent_process(shared: Path, tmp_path: Path) -> None:
    found = ran("planning", shared, str(tmp_path))
    assert found == {
        "device": "H100",
        "precision": "bf16",
        "images": "cpu",
        "gpus": ["0", "1"],
        "predicts": "TimeModel",
        "room": 80 * 1024**3 - GPU_CONTEXT,  # each worker has a GPU
    }

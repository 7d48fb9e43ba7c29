"""The real images, where they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_budget.train.data import data_folder, open_dataset
from nas_budget.train.images import split_images
from tests.conftest import Ran

pytestmark = [
    pytest.mark.cifar10,
    pytest.mark.skipif(not (data_folder() / "cifar10.npz").exists(), reason="cifar10.npz is not in the data folder"),
]


def test_the_split_is_the_one_promised_with_the_published_statistics() -> None:
    split = split_images(open_dataset("cifar10"), torch.device("cpu"))
    assert (len(split.train), len(split.held_out)) == (45_000, 5_000)
    assert torch.bincount(split.held_out.labels).tolist() == [500] * 10
    assert split.mean.numpy() / 255 == pytest.approx(np.array([0.4914, 0.4822, 0.4465]), abs=2e-3)
    assert split.std.numpy() / 255 == pytest.approx(np.array([0.2470, 0.2435, 0.2616]), abs=2e-3)


@pytest.mark.slow
def test_a_search_on_real_images_finds_networks_that_learn(run: Callable[..., Ran], tmp_path: Path) -> None:
    options = [
        "--budget",
        "30k",
        "--images",
        2000,
        "--epochs",
        3,
        "--trials",
        4,
        "--max-macs",
        "2M",
        "--pruner",
        "none",
    ]
    ran = run("search", "--data", "cifar10", *options, "--runs-dir", tmp_path, "--json")
    assert ran.code == 0, ran.err
    best = ran.json["best"]
    assert best["accuracy"] > 0.2  # ten classes: chance is 0.1
    assert best["params"] <= 30_000
    assert "the reference paper" in (tmp_path / "cifar10-30k" / "report.html").read_text()

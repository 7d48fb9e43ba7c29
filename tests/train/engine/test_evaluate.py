"""Logits, confusion and mistakes are what they say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nas_budget.train.engine.evaluate import EVALUATION_BATCH, accuracy_of, confusion_of, mistakes_of, predict_logits

LOGITS = torch.tensor([[9.0, 0, 0], [0, 2, 0], [0, 1, 0], [0, 0, 3], [5, 0, 0], [0.1, 0, 0]])
LABELS = torch.tensor([0, 1, 2, 2, 1, 2])


class LeftMinusRight(nn.Module):
    """Says class 1 of images that are brighter on the left, class 0 of others."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left = x[..., : x.shape[-1] // 2].mean((1, 2, 3)) - x[..., x.shape[-1] // 2 :].mean((1, 2, 3))
        return torch.stack([torch.zeros_like(left), left], 1)


def as_floats(images: torch.Tensor) -> torch.Tensor:
    return images.float().permute(0, 3, 1, 2)


def random_images(n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 4, 4, 3), dtype=torch.uint8)


def test_scores_are_of_every_image_in_its_place_over_several_batches() -> None:
    images, network = random_images(2 * EVALUATION_BATCH + 7), LeftMinusRight().train()
    found = predict_logits(network, images, as_floats)
    assert torch.allclose(found, network(as_floats(images)), atol=1e-3)
    assert not network.training


def test_mirrored_scores_are_the_mean_with_the_mirror_image() -> None:
    found = predict_logits(LeftMinusRight(), random_images(9), as_floats, mirrored=True)
    assert torch.allclose(found, torch.zeros(9, 2), atol=1e-3)  # left minus right and right minus left


def test_confusion_counts_true_classes_by_row_and_accuracy_is_the_share_of_its_diagonal() -> None:
    assert accuracy_of(LOGITS, LABELS) == pytest.approx(3 / 6)
    assert confusion_of(LOGITS, LABELS) == ((1, 0, 0), (1, 1, 0), (1, 1, 1))


def test_mistakes_are_the_most_confident_ones_first() -> None:
    found = mistakes_of(LOGITS, LABELS, 2)
    assert [(m["index"], m["truth"], m["predicted"]) for m in found] == [(4, 1, 0), (2, 2, 1)]
    assert found[0]["probability"] == pytest.approx(float(torch.tensor([5.0, 0, 0]).softmax(0)[0]), abs=1e-6)
    assert [m["index"] for m in mistakes_of(LOGITS, LABELS, 99)] == [4, 2, 5]
    assert mistakes_of(LOGITS, LOGITS.argmax(1), 5) == []


def test_too_little_memory_takes_fewer_images_at_a_time() -> None:
    class Cramped(LeftMinusRight):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 100:
                raise RuntimeError("could not create a primitive")
            return super().forward(x)

    images = random_images(700)
    found, expected = (predict_logits(network, images, as_floats) for network in (Cramped(), LeftMinusRight()))
    assert torch.equal(found, expected)
    with pytest.raises(MemoryError):
        predict_logits(Cramped(), images, lambda images: (_ for _ in ()).throw(MemoryError()))

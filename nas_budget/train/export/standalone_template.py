"""What follows the network's source in the file that `standalone.standalone_text` makes: weights, images, predictions.

The functions are written into that file as they are here, after constants of the exported network. The constants
below stand in for these.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from nas_budget.arch.spec import ResNetSpec
from nas_budget.train.engine.model import ResNet

SPEC = ResNetSpec((8,))
PARAMETERS = 0
CLASSES: tuple[str, ...] = ()
MEAN: tuple[float, ...] = ()
STD: tuple[float, ...] = ()
WEIGHTS = Path("model.safetensors")
DTYPES = {"F32": torch.float32, "I64": torch.int64}


def build() -> nn.Module:
    """The network with random weights; its parameters are counted."""
    network = ResNet(SPEC)
    count = sum(p.numel() for p in network.parameters())
    if count != PARAMETERS:
        raise ValueError(f"{count:,} parameters, certified are {PARAMETERS:,}")
    return network


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors by name. The file is: 8 bytes of length, a header in JSON, numbers."""
    content = Path(path).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    tensors = {}
    for name, entry in json.loads(content[8:start]).items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            numbers = bytearray(content[start + begin : start + end])
            tensor = torch.frombuffer(numbers, dtype=DTYPES[entry["dtype"]])
            tensors[name] = tensor.reshape(entry["shape"])
    return tensors


def load(path: Path = WEIGHTS) -> nn.Module:
    """The network with the weights of a file, ready to classify."""
    network = build()
    network.load_state_dict(read_safetensors(path))
    return network.eval()


def normalize(images: Tensor) -> Tensor:
    """Input of the network from images: uint8 (n, size, size, channels), 0..255."""
    expected = (SPEC.image_size, SPEC.image_size, SPEC.in_channels)
    if images.shape[1:] != expected:
        raise ValueError(f"images of shape {tuple(images.shape[1:])}, not {expected}")
    mean = torch.tensor(MEAN, device=images.device)
    std = torch.tensor(STD, device=images.device)
    return ((images - mean) / std).permute(0, 3, 1, 2)


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor) -> Tensor:
    """Probability of each class (n, classes), of images as `normalize` takes them."""
    images = torch.as_tensor(images, device=next(network.parameters()).device)
    return network(normalize(images)).softmax(1)  # type: ignore[no-any-return]


def main() -> None:
    """Count, load the weights, classify random images."""
    build()
    print(f"{PARAMETERS:,} parameters, as certified")
    if not WEIGHTS.exists():
        print(f"no weights: {WEIGHTS.name} is not beside this file")
        return
    images = torch.randint(0, 256, (4, SPEC.image_size, SPEC.image_size, SPEC.in_channels), dtype=torch.uint8)
    for number, probabilities in enumerate(predict(load(), images), start=1):
        best = int(probabilities.argmax())
        print(f"random image {number}: {CLASSES[best]}, {probabilities[best]:.1%}")

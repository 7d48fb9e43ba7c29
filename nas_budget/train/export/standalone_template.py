"""The pieces of the file that `standalone.standalone_text` makes.

Each is Python with `$names` to be filled in. A line marked `#? feature` is kept where the network has that feature.
"""

HEAD = '''"""Tells $n_classes classes of images apart with $params parameters.

Written by nas-budget $version. It needs PyTorch alone.
Its weights are in model.safetensors, beside this file.

    python model.py     # counts, loads the weights, classifies random images

    from model import load, predict
    chances = predict(load(), images)  # images: uint8 (n, $size, $size, $channels)
"""

import json
from collections import OrderedDict  #? preact
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

PARAMETERS = $count
$CLASSES
# Of each channel of the images, in 0..255: subtracted from a pixel, and divided by.
$MEAN
$STD
WEIGHTS = Path(__file__).with_name("model.safetensors")
DTYPES = {"F32": torch.float32, "I64": torch.int64}


def conv(n_in, n_out, kernel, stride=1):
    """A convolution without bias, padded to keep the size of the map."""
    return nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, bias=False)
'''

CONV_NORM = '''

class ConvNorm(nn.Sequential):
    """A convolution, then batch norm."""

    def __init__(self, n_in, n_out, kernel, stride=1):
        super().__init__()
        self.add_module("conv", conv(n_in, n_out, kernel, stride))
        self.add_module("norm", nn.BatchNorm2d(n_out))
'''

SQUEEZE = '''

class SqueezeExcite(nn.Module):
    """Scales each channel by what the means of all channels say."""

    def __init__(self, width):
        super().__init__()
        n_few = max(1, width // $reduction)
        self.reduce = nn.Linear(width, n_few)
        self.expand = nn.Linear(n_few, width)

    def forward(self, x):
        factors = self.expand(F.relu(self.reduce(x.mean((2, 3))))).sigmoid()
        return x * factors[:, :, None, None]
'''

INIT = """
    def __init__(self, n_in, n_out, kernel, stride=1, project=False):  #? project
    def __init__(self, n_in, n_out, kernel, stride=1):  #? no project
        super().__init__()
"""

POSTACT_SHORTCUT = """        self.squeeze = SqueezeExcite(n_out)  #? squeeze
        self.shortcut = nn.Identity()  #? project
        if project:  #? project
            self.shortcut = ConvNorm(n_in, n_out, $shortcut_kernel, stride)  #? project
"""

POSTACT_JOIN = """        out = self.squeeze(out)  #? squeeze
        return F.relu(out + self.shortcut(x))  #? project
        return F.relu(out + x)  #? no project
"""

BASIC = (
    '''

class Block(nn.Module):
    """Two convolutions, each with batch norm; the input is added to what they give."""
'''
    + INIT
    + """        self.conv1 = conv(n_in, n_out, kernel, stride)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = conv(n_out, n_out, kernel)
        self.norm2 = nn.BatchNorm2d(n_out)
"""
    + POSTACT_SHORTCUT
    + """
    def forward(self, x):
        out = F.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
"""
    + POSTACT_JOIN
)

BOTTLENECK = (
    '''

class Block(nn.Module):
    """1x1 to a quarter of the width, a convolution, 1x1 back; the input is added."""
'''
    + INIT
    + """        n_mid = max(1, n_out // 4)
        self.conv1 = conv(n_in, n_mid, 1)
        self.norm1 = nn.BatchNorm2d(n_mid)
        self.conv2 = conv(n_mid, n_mid, kernel, stride)
        self.norm2 = nn.BatchNorm2d(n_mid)
        self.conv3 = conv(n_mid, n_out, 1)
        self.norm3 = nn.BatchNorm2d(n_out)
"""
    + POSTACT_SHORTCUT
    + """
    def forward(self, x):
        out = F.relu(self.norm1(self.conv1(x)))
        out = F.relu(self.norm2(self.conv2(out)))
        out = self.norm3(self.conv3(out))
"""
    + POSTACT_JOIN
)

PREACT = (
    '''

class Block(nn.Module):
    """Batch norm and ReLU before each of two convolutions; the input is added."""
'''
    + INIT
    + """        self.norm1 = nn.BatchNorm2d(n_in)
        self.conv1 = conv(n_in, n_out, kernel, stride)
        self.norm2 = nn.BatchNorm2d(n_out)
        self.conv2 = conv(n_out, n_out, kernel)
        self.squeeze = SqueezeExcite(n_out)  #? squeeze
        self.shortcut = None  #? project
        if project:  #? project
            self.shortcut = conv(n_in, n_out, $shortcut_kernel, stride)  #? project

    def forward(self, x):
        active = F.relu(self.norm1(x))
        out = self.conv2(F.relu(self.norm2(self.conv1(active))))
        out = self.squeeze(out)  #? squeeze
        return out + (x if self.shortcut is None else self.shortcut(active))  #? project
        return out + x  #? no project
"""
)

BLOCKS = {"basic": BASIC, "preact": PREACT, "bottleneck": BOTTLENECK}

STAGE = '''

def stage(n_in, n_out, blocks, kernel, stride, project=False):  #? project
def stage(n_in, n_out, blocks, kernel, stride):  #? no project
    """Blocks of one width; the first has the stride and may project its shortcut."""  #? project
    """Blocks of one width; the first has the stride."""  #? no project
    first = Block(n_in, n_out, kernel, stride, project)  #? project
    first = Block(n_in, n_out, kernel, stride)  #? no project
    later = (Block(n_out, n_out, kernel) for _ in range(blocks - 1))
    return nn.Sequential(first, *later)
'''

NETWORK = '''

class Network(nn.Module):
    """Normalised images (n, $channels, $size, $size) to scores (n, $n_classes)."""

    def __init__(self):
        super().__init__()
        self.stem = ConvNorm($channels, $stem, $stem_kernel)  #? postact
        stem = conv($channels, $stem, $stem_kernel)  #? preact
        self.stem = nn.Sequential(OrderedDict(conv=stem))  #? preact
        self.stages = nn.Sequential(
$STAGES
        )
        self.norm = nn.BatchNorm2d($last)  #? preact
        self.pool = nn.AvgPool2d($pool)
        self.dropout = nn.Dropout($dropout)  #? dropout
        self.linear = nn.Linear($features, $n_classes)

    def forward(self, x):
        x = self.stages(F.relu(self.stem(x)))  #? postact
        x = F.relu(self.norm(self.stages(self.stem(x))))  #? preact
        x = self.pool(x).flatten(1)
        x = self.dropout(x)  #? dropout
        return self.linear(x)
'''

USE = '''

def build():
    """The network with random weights; its parameters are counted."""
    network = Network()
    count = sum(p.numel() for p in network.parameters())
    if count != PARAMETERS:
        raise ValueError(f"{count:,} parameters, certified are {PARAMETERS:,}")
    return network


def read_safetensors(path):
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


def load(path=WEIGHTS):
    """The network with the weights of a file, ready to classify."""
    network = build()
    network.load_state_dict(read_safetensors(path))
    return network.eval()


def normalise(images):
    """What the network takes, of images: uint8 (n, $size, $size, $channels), 0..255."""
    wanted = ($size, $size, $channels)
    if images.shape[1:] != wanted:
        raise ValueError(f"images of shape {tuple(images.shape[1:])}, not {wanted}")
    mean = torch.tensor(MEAN, device=images.device)
    std = torch.tensor(STD, device=images.device)
    return ((images - mean) / std).permute(0, 3, 1, 2)


@torch.inference_mode()
def predict(network, images):
    """Probability of each class (n, $n_classes), of images as `normalise` takes them."""
    images = torch.as_tensor(images).to(network.linear.weight.device)
    return network(normalise(images)).softmax(1)


def main():
    build()
    print(f"{PARAMETERS:,} parameters, as certified")
    if not WEIGHTS.exists():
        print(f"no weights: {WEIGHTS.name} is not beside this file")
        return
    images = torch.randint(0, 256, (4, $size, $size, $channels), dtype=torch.uint8)
    for number, chances in enumerate(predict(load(), images), start=1):
        best = int(chances.argmax())
        print(f"random image {number}: {CLASSES[best]}, {chances[best]:.1%}")


if __name__ == "__main__":
    main()
'''

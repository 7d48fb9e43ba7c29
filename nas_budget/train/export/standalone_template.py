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

SQUEEZE = '''

class SqueezeExcite(nn.Module):
    """Scales each channel by what the means of all channels say."""

    def __init__(self, width):
        super().__init__()
        n_few = max(1, width // $reduction)
        self.fc1 = nn.Linear(width, n_few)
        self.fc2 = nn.Linear(n_few, width)

    def forward(self, x):
        factors = self.fc2(F.relu(self.fc1(x.mean((2, 3))))).sigmoid()
        return x * factors[:, :, None, None]
'''

INIT = """
    def __init__(self, n_in, n_out, kernel, stride=1, project=False):  #? project
    def __init__(self, n_in, n_out, kernel, stride=1):  #? no project
        super().__init__()
"""

POSTACT_SHORTCUT = """        self.se = SqueezeExcite(n_out)  #? squeeze
        self.downsample = nn.Identity()  #? project
        if project:  #? project
            self.downsample = nn.Sequential(  #? project
                conv(n_in, n_out, $shortcut_kernel, stride),  #? project
                nn.BatchNorm2d(n_out),  #? project
            )  #? project
"""

POSTACT_JOIN = """        out = self.se(out)  #? squeeze
        return F.relu(out + self.downsample(x))  #? project
        return F.relu(out + x)  #? no project
"""

BASIC = (
    '''

class Block(nn.Module):
    """Two convolutions, each with batch norm; the input is added to what they give."""
'''
    + INIT
    + """        self.conv1 = conv(n_in, n_out, kernel, stride)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = conv(n_out, n_out, kernel)
        self.bn2 = nn.BatchNorm2d(n_out)
"""
    + POSTACT_SHORTCUT
    + """
    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
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
        self.bn1 = nn.BatchNorm2d(n_mid)
        self.conv2 = conv(n_mid, n_mid, kernel, stride)
        self.bn2 = nn.BatchNorm2d(n_mid)
        self.conv3 = conv(n_mid, n_out, 1)
        self.bn3 = nn.BatchNorm2d(n_out)
"""
    + POSTACT_SHORTCUT
    + """
    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
"""
    + POSTACT_JOIN
)

PREACT = (
    '''

class Block(nn.Module):
    """Batch norm and ReLU before each of two convolutions; the input is added."""
'''
    + INIT
    + """        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = conv(n_in, n_out, kernel, stride)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.conv2 = conv(n_out, n_out, kernel)
        self.se = SqueezeExcite(n_out)  #? squeeze
        self.downsample = None  #? project
        if project:  #? project
            self.downsample = nn.Sequential(conv(n_in, n_out, $shortcut_kernel, stride))  #? project

    def forward(self, x):
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        out = self.se(out)  #? squeeze
        return out + (x if self.downsample is None else self.downsample(active))  #? project
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
        self.conv1 = conv($channels, $stem, $stem_kernel)
        self.bn1 = nn.BatchNorm2d($stem)  #? postact
$STAGES
        self.bn = nn.BatchNorm2d($last)  #? preact
        self.avgpool = nn.AvgPool2d($pool)
        self.dropout = nn.Dropout($dropout)  #? dropout
        self.fc = nn.Linear($features, $n_classes)

    def forward(self, x):
        x = self.conv1(x)
        x = F.relu(self.bn1(x))  #? postact
        for number in range(1, $n_stages + 1):
            x = getattr(self, f"layer{number}")(x)
        x = F.relu(self.bn(x))  #? preact
        x = self.avgpool(x).flatten(1)
        x = self.dropout(x)  #? dropout
        return self.fc(x)
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
    images = torch.as_tensor(images).to(network.fc.weight.device)
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

"""Reference values for the parity tests, computed with PyTorch.

    pip install torch numpy safetensors
    python make_reference.py            # writes resnet34.json and lookalike-mini.json beside itself

ResNet-34 gets seeded random weights (batch norm statistics included), made by the same formula
here and in the Rust test, so that the file stays tiny; lookalike-mini gets its own weights. The
pictures are drawn by a formula as well. Each file holds the unit vectors of both pictures.
"""
import json
import pathlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def random_bits(name, count):
    """SplitMix64 of (FNV-1a of the name) + 0, 1, 2, ...: one 64-bit number each."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = (np.uint64(seed) + np.arange(count, dtype=np.uint64)) * GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(name, count):
    """24-bit numbers in [0, 1), exact in single precision."""
    return (random_bits(name, count) >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def seeded(name, shape):
    """The numbers of one tensor; its kind follows from name and shape."""
    count = int(np.prod(shape))
    u = uniform(name, count)
    if len(shape) == 4:
        fan_in = shape[1] * shape[2] * shape[3]
        values = (u - np.float32(0.5)) * np.float32(2 * np.sqrt(6 / fan_in))
    elif name.endswith("running_var"):
        values = u + np.float32(0.5)
    elif name.endswith("weight"):
        values = u * np.float32(0.5) + np.float32(0.5)
    else:  # bias, running_mean
        values = (u - np.float32(0.5)) * np.float32(0.5)
    return torch.from_numpy(values.reshape(shape))


def pictures(side):
    """Two drawn pictures, 2 x side x side x 3 bytes: noise, and slanted bands."""
    noise = (random_bits("pixels", side * side * 3) & np.uint64(255)).astype(np.uint8)
    y, x, c = np.meshgrid(np.arange(side), np.arange(side), np.arange(3), indexing="ij")
    bands = ((3 * x + 2 * y + 40 * c) % 256).astype(np.uint8)
    return np.stack([noise.reshape(side, side, 3), bands])


def to_input(pixels):
    x = torch.from_numpy(pixels).float().permute(0, 3, 1, 2) / 255
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


class Block(nn.Module):
    """Basic block; `shortcut` names the shape-changing convolution and its norm."""

    def __init__(self, cin, cout, stride, style):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.beside = lambda x: x
        if stride != 1 or cin != cout:
            conv, norm = nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout)
            if style == "mini":
                self.proj, self.proj_bn = conv, norm
            else:
                self.downsample = nn.Sequential(conv, norm)
            self.beside = lambda x: norm(conv(x))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.beside(x))


class ResNet34(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        cin = 64
        for i, (cout, depth) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
            blocks = []
            for j in range(depth):
                blocks.append(Block(cin, cout, 2 if i > 0 and j == 0 else 1, "resnet"))
                cin = cout
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return F.normalize(x.mean((2, 3)), dim=1)


class Mini(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(32)
        blocks, cin = [], 32
        for cout, stride in [(64, 2), (128, 2), (128, 1), (256, 2), (256, 1), (384, 2)]:
            blocks.append(Block(cin, cout, stride, "mini"))
            cin = cout
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(cin, 384)

    def forward(self, x):
        x = F.relu(self.stem_bn(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return F.normalize(self.head(x.mean((2, 3))), dim=1)


@torch.no_grad()
def write(name, net, side):
    vectors = net.eval()(to_input(pictures(side))).double().numpy()
    text = json.dumps({"vectors": [[float(f"{v:.7g}") for v in row] for row in vectors]})
    (HERE / f"{name}.json").write_text(text + "\n")
    print(name, vectors.shape, "cosine of the two:", float(vectors[0] @ vectors[1]))


def main():
    net = ResNet34()
    state = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    net.load_state_dict({k: seeded(k, tuple(v.shape)) for k, v in state.items()}, strict=False)
    write("resnet34", net, 224)

    from safetensors.torch import load_file

    weights = load_file(HERE.parent / "models/lookalike-mini/lookalike-mini.safetensors")
    net = Mini()
    missing, extra = net.load_state_dict({k: v.float() for k, v in weights.items()}, strict=False)
    assert not extra and all(k.endswith("num_batches_tracked") for k in missing)
    write("lookalike-mini", net, 128)


if __name__ == "__main__":
    main()

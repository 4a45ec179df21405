"""lookalike-mini: a small residual network, photo -> unit vector of 384 numbers."""
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn
from torch.nn import functional as F

DIM, SIZE, ZOOM = 384, 128, 1.14  # side of the input; short side before the crop, relative to it
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """ResNet basic block: two 3x3 convolutions and a shortcut (1x1 where the shape changes)."""

    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.proj = self.proj_bn = None
        if stride != 1 or cin != cout:
            self.proj = nn.Conv2d(cin, cout, 1, stride, 0, bias=False)
            self.proj_bn = nn.BatchNorm2d(cout)

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        s = x if self.proj is None else self.proj_bn(self.proj(x))
        return F.relu(y + s)


class Mini(nn.Module):
    """A 3x3 stem of stride 2, four stages each opening with stride 2, average pool, linear, L2."""

    def __init__(self, stem=32, widths=(64, 128, 256, 384), depths=(1, 2, 2, 1), dim=DIM):
        super().__init__()
        self.stem = nn.Conv2d(3, stem, 3, 2, 1, bias=False)
        self.stem_bn = nn.BatchNorm2d(stem)
        blocks, cin = [], stem
        for w, d in zip(widths, depths):
            for i in range(d):
                blocks.append(Block(cin, w, 2 if i == 0 else 1))
                cin = w
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(cin, dim)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
        for b in blocks:  # every block starts as the identity of its shortcut
            nn.init.zeros_(b.bn2.weight)

    def map(self, x):
        """N x 3 x H x W -> N x H/32 * W/32 x dim: applies the head to every cell of the last map."""
        x = F.relu(self.stem_bn(self.stem(x)))
        for b in self.blocks:
            x = b(x)
        return self.head(x.flatten(2).transpose(1, 2))

    def forward(self, x):
        return F.normalize(self.map(x).mean(1), dim=1)


def load_photo(file):
    """Returns the image upright and in RGB."""
    return ImageOps.exif_transpose(Image.open(file)).convert("RGB")


def centre(im, size=SIZE):
    """Short side to size * ZOOM (antialiased bicubic), centre crop; uint8, H x W x 3.

    Photos longer than 3:2 are cropped less and squeezed more, from 3:1 on not cropped at all.
    """
    resize = round(size * ZOOM)
    whole = min(1, (max(im.size) / min(im.size) - 1.5) / 1.5)
    if whole > 0:
        shares = [size / resize / (1.5 if v == max(im.size) else 1) for v in im.size]
        shares = [share + (1 - share) * whole for share in shares]
        box = [v * (1 - share) / 2 for v, share in zip(im.size, shares)]
        box += [v * (1 + share) / 2 for v, share in zip(im.size, shares)]
        return np.asarray(im.resize((size, size), Image.BICUBIC, box=box))
    k = resize / min(im.size)
    w, h = (max(resize, round(v * k)) for v in im.size)
    im = im.resize((w, h), Image.BICUBIC)
    x, y = (w - size) // 2, (h - size) // 2
    return np.asarray(im.crop((x, y, x + size, y + size)))


def to_input(u8):
    """uint8 or float in 0..255, N x H x W x 3 -> normalised float N x 3 x H x W."""
    x = torch.as_tensor(u8).float().permute(0, 3, 1, 2) / 255
    x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    return x.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def embed(net, u8, batch=64):
    """Returns unit vectors, N x dim, of uint8 images N x H x W x 3."""
    mode = net.training
    net.eval()
    out = torch.cat([net(to_input(u8[a:a + batch])) for a in range(0, len(u8), batch)])
    net.train(mode)
    return out.float()


def load(path):
    """Loads the network from a safetensors file; it computes in single precision."""
    from safetensors.torch import load_file
    net = Mini()
    missing, extra = net.load_state_dict({k: v.float() for k, v in load_file(path).items()}, strict=False)
    assert not extra and all(k.endswith("num_batches_tracked") for k in missing)
    return net.eval().to(memory_format=torch.channels_last)

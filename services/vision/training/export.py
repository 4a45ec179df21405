#!/usr/bin/env python3
"""Writes the trained network for lookalike: weights in half precision, and the description.

    export.py --out OUT --cache CACHE --dest ../models/lookalike-mini --version 2

First scales the principal directions of the output by eigenvalue ** 0.125 of its covariance over the
training photos, folded into the last layer, because the student is most accurate in the strong directions.
Then run calibrate.py for the bands, ../reference/make_reference.py for the reference values of the parity
tests, and `lookalike-loadtest quality` for the numbers of the model card.
"""
import argparse, hashlib, json, os, random
import numpy as np
import torch
from safetensors.torch import save_file
from model import DIM, MEAN, SIZE, STD, ZOOM, Mini, centre, embed, load
from train import Photos, agreement


def layers(net):
    """Returns one entry per convolution and linear layer, and the number of multiplications."""
    found, hooks = [], []
    for name, m in net.named_modules():
        if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear)):
            def hook(m, _, out, name=name):
                conv = isinstance(m, torch.nn.Conv2d)
                d = dict(name=name, type="conv" if conv else "linear", weight=list(m.weight.shape))
                n = out.numel() * m.weight.shape[1:].numel() if conv else m.weight.numel()
                if conv:
                    bn = name + "_bn" if "conv" not in name else name.replace("conv", "bn")
                    d.update(stride=m.stride[0], padding=m.padding[0], batch_norm=bn, out_side=out.shape[2])
                found.append((d, n))
            hooks.append(m.register_forward_hook(hook))
    with torch.no_grad():
        net(torch.zeros(1, 3, SIZE, SIZE))
    for h in hooks:
        h.remove()
    return [d for d, _ in found], sum(n for _, n in found)


@torch.no_grad()
def weigh(net, pictures, power):
    """Scales the output's principal directions by eigenvalue ** (power / 2), folded into the head."""
    v = embed(net, pictures).double()
    lam, u = torch.linalg.eigh(torch.cov(v.T))
    a = ((u * lam.clamp(min=1e-9) ** (power / 2)) @ u.T).float()
    a = a / a.diagonal().mean()
    net.head.weight.copy_(a @ net.head.weight)
    net.head.bias.copy_(a @ net.head.bias)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", required=True, help="folder of ema.pt")
    p.add_argument("--cache", required=True, help="what prepare.py left")
    p.add_argument("--dest", required=True)
    p.add_argument("--version", type=int, required=True)
    p.add_argument("--power", type=float, default=0.25)
    args = p.parse_args()
    saved = torch.load(os.path.join(args.out, "ema.pt"), weights_only=True)
    net = Mini()
    net.load_state_dict(saved["ema"])
    net.eval().to(memory_format=torch.channels_last)
    photos = Photos(args.cache)
    photos.look()
    held = photos.held()[:2000]
    x = np.stack([centre(photos.photo(i)) for i in held])
    t = torch.from_numpy(np.stack([photos.centre_target(i) for i in held]))
    before = agreement(embed(net, x), t)
    some = random.Random(0).sample(photos.kept(), min(4000, len(photos.kept())))
    weigh(net, np.stack([centre(photos.photo(i)) for i in some]), args.power)
    print(f"neighbours shared with the teacher, held out: {before:.4f}, weighed {agreement(embed(net, x), t):.4f}")

    os.makedirs(args.dest, exist_ok=True)
    tensors = {k: v.half().contiguous() for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert all(torch.isfinite(v).all() for v in tensors.values())
    path = os.path.join(args.dest, "lookalike-mini.safetensors")
    save_file(tensors, path)
    os.chmod(path, 0o644)
    print("half against single precision, least cosine", (embed(load(path), x) * embed(net, x)).sum(1).min().item())
    described, macs = layers(net)
    info = dict(
        name="lookalike-mini", version=args.version, crops=saved["crops"], photos=saved["photos"],
        dimension=DIM, input=[3, SIZE, SIZE], dtype="float16",
        sha256=hashlib.sha256(open(path, "rb").read()).hexdigest(), bytes=os.path.getsize(path),
        params=sum(p.numel() for p in net.parameters()), gmac=round(macs / 1e9, 4),
        preprocessing=dict(
            orientation="turn upright by EXIF, then 8-bit RGB (alpha dropped)", resize_short_side=round(SIZE * ZOOM),
            long_side="round(long * resize / short) to 3:2, whole from 3:1",
            filter="antialiased bicubic (Pillow BICUBIC, a = -0.5)",
            crop=[SIZE, SIZE], crop_offset="floor((side - crop) / 2)", scale="value / 255", mean=MEAN, std=STD),
        network=dict(
            batch_norm_epsilon=1e-5, activation="relu", blocks=len(net.blocks),
            stem="relu(stem_bn(stem(x)))",
            block="relu(bn2(conv2(relu(bn1(conv1(x))))) + s), s = proj_bn(proj(x)) where there is a proj, else x",
            head="head(mean over height and width), then divided by its L2 norm (at least 1e-12)"),
        layers=described)
    with open(os.path.join(args.dest, "lookalike-mini.json"), "w") as f:
        top = json.dumps({k: v for k, v in info.items() if k != "layers"}, indent=1)[:-2]
        f.write(top + ',\n "layers": [\n  ' + ",\n  ".join(map(json.dumps, described)) + "\n ]\n}\n")
    print({k: info[k] for k in ("gmac", "params", "bytes", "crops", "photos")})


if __name__ == "__main__":
    main()

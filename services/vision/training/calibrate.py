#!/usr/bin/env python3
"""Measures the bands of a model (the meaning of a cosine) and writes them to its description.

    calibrate.py --model ../models/lookalike-mini FOLDER [FOLDER ...]

A FOLDER contains class folders of photos, or an index.csv with shards and a column `label` (labels of
different sources are separate). None of these photos may be used for an evaluation. Classes with fewer
than --least photos are left out.

similar        half of the hits (among the ten nearest other photos) with this cosine are of the
               query's class: a logistic curve fitted to the hits crosses 0.5 here
very_similar   three of four hits with this cosine are of the query's class
near_duplicate separates altered copies (cropped to 80 % of the area, JPEG quality 30, half size, 20 %
               brighter, mirrored) from other photos: the share of copies below it equals the share
               of photos with another photo above it
same_picture   reached by 95 of 100 copies that differ only as files: JPEG quality 75, 80 % of the size

If the numbers would overlap, a band begins just above the next one. The curve is printed with the share
of hits and of right hits in each step of 0.05.
"""
import argparse, collections, csv, io, json, os, random
import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from prepare import open_photo, photos_of


def open_model(folder):
    """Returns the description's path, and a function from photos to unit vectors."""
    name = os.path.basename(os.path.normpath(folder))
    if name == "lookalike-mini":
        from model import centre, embed, load
        net = load(os.path.join(folder, "lookalike-mini.safetensors"))
        compute = lambda photos: embed(net, np.stack([centre(photo) for photo in photos])).numpy()
    else:
        from efficientnet import load, squash
        net = load(folder)
        compute = lambda photos: net.embed(np.stack([squash(photo, net.side) for photo in photos]))
    return os.path.join(folder, name + ".json"), compute


def labelled(folder):
    """Returns (label, function that reads the bytes) of every labelled photo."""
    index = os.path.join(folder, "index.csv")
    if os.path.exists(index):
        rows = list(csv.DictReader(open(index)))
        pairs = zip(rows, photos_of(folder))
        return [(r["source"] + "/" + r["label"], read) for r, (_, read) in pairs if r["label"]]
    return [(folder + "/" + os.path.relpath(path, folder).split(os.sep)[0], read) for path, read in photos_of(folder)]


def jpeg(im, quality):
    f = io.BytesIO()
    im.save(f, "JPEG", quality=quality)
    return Image.open(f).convert("RGB")


def scaled(im, k):
    return im.resize([max(1, round(v * k)) for v in im.size], Image.BICUBIC)


def cropped(im, r):
    """Crops 80 % of the area at a random position."""
    w, h = (round(v * 0.8 ** 0.5) for v in im.size)
    x, y = r.randint(0, im.width - w), r.randint(0, im.height - h)
    return im.crop((x, y, x + w, y + h))


COPIES = [lambda im, r: jpeg(im, 75), lambda im, r: scaled(im, 0.8), lambda im, r: jpeg(scaled(im, 0.8), 85)]
ALTERED = [cropped, lambda im, r: jpeg(im, 30), lambda im, r: scaled(im, 0.5),
           lambda im, r: ImageEnhance.Brightness(im).enhance(1.2), lambda im, r: ImageOps.mirror(im)]


def logistic(x, y, steps=200):
    """Weights (a, b) of P(y) = 1 / (1 + exp(-(a x + b))) by Newton's method."""
    X, w = np.stack([x, np.ones_like(x)], 1), np.zeros(2)
    for _ in range(steps):
        p = 1 / (1 + np.exp(-X @ w))
        grad = X.T @ (y - p)
        hess = (X * (p * (1 - p))[:, None]).T @ X + 1e-6 * np.eye(2)
        step = np.linalg.solve(hess, grad)
        w += step
        if np.abs(step).max() < 1e-9:
            break
    return w


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+")
    p.add_argument("--model", required=True, help="folder of the description and the weights or the projection")
    p.add_argument("--least", type=int, default=20)
    p.add_argument("--copies", type=int, default=600, help="photos of which copies are made")
    args = p.parse_args()
    path, embed = open_model(args.model)
    found = [x for folder in args.folders for x in labelled(folder)]
    sizes = collections.Counter(label for label, _ in found)
    found = [(label, read) for label, read in found if sizes[label] >= args.least]
    labels = np.array([label for label, _ in found])
    print(f"{len(found)} photos of {len(set(labels))} classes")
    v = np.concatenate([embed([open_photo(read()) for _, read in found[a:a + 256]])
                        for a in range(0, len(found), 256)])
    scores = v @ v.T
    np.fill_diagonal(scores, -2)
    near = np.argsort(-scores, axis=1)[:, :10]
    x = np.take_along_axis(scores, near, 1).ravel()
    y = (labels[near] == labels[:, None]).ravel().astype(float)
    a, b = logistic(x, y)
    half, most = (float((np.log(q / (1 - q)) - b) / a) for q in (0.5, 0.75))
    print("cosine  hits  right  fitted")
    for lo in np.arange(-0.2, 1, 0.05):
        use = (x >= lo) & (x < lo + 0.05)
        if use.sum() >= 20:
            print(f"{lo:6.2f} {use.mean():6.3f} {y[use].mean():6.3f} {1 / (1 + np.exp(-(a * (lo + 0.025) + b))):6.3f}")

    r = random.Random(0)
    pick = r.sample(range(len(found)), min(args.copies, len(found)))
    images = [open_photo(found[i][1]()) for i in pick]

    def reached(changes):
        return np.concatenate([(embed([c(im, r) for im in images]) * v[pick]).sum(1) for c in changes])
    altered, copies = reached(ALTERED), reached(COPIES)
    others = scores.max(1)
    steps = np.linspace(0.5, 1, 1001)
    near_duplicate = float(min(steps, key=lambda t: abs((altered < t).mean() - (others >= t).mean())))
    same = max(float(np.quantile(copies, 0.05)), near_duplicate + 0.01)
    for t in (0.9, 0.92, 0.94, near_duplicate, 0.96, 0.98):
        print(f"{t:.3f}: reached by {(altered >= t).mean():.3f} of altered copies, {(copies >= t).mean():.3f} of copies; "
              f"{(others >= t).mean():.3f} of photos have another one there")
    most = min(most, near_duplicate - 0.02)
    bands = dict(same=same, near_duplicate=near_duplicate, very_similar=most, similar=min(half, most - 0.02))
    bands = {k: round(q, 3) for k, q in bands.items()}
    text = open(path).read()
    info = json.loads(text)
    line = ' "bands": ' + json.dumps(bands)
    if "bands" in info:
        start = text.index(' "bands": ')
        text = text[:start] + line + text[text.index("}", start) + 1:]
    else:
        text = text.replace(' "preprocessing": {', line + ',\n "preprocessing": {', 1)
    assert json.loads(text)["bands"] == bands
    with open(path, "w") as f:
        f.write(text)
    print(bands)


if __name__ == "__main__":
    main()

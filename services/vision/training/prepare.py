#!/usr/bin/env python3
"""Converts photos to the input of the training: reduced pixels, and the teacher's targets per position.

    prepare.py --cache CACHE --teacher a.onnx,b.onnx FOLDER[:MOST] [FOLDER[:MOST] ...]

A FOLDER contains photos in any subfolders, or an index.csv with shards of concatenated JPEG files
(columns shard, offset, bytes). MOST limits the number of its photos; their order is always the same. Run the
script again with more folders at any time, even during the training: photos in the cache are skipped, new
photos are written to new blocks, and the training reads new blocks at the beginning of each epoch.

The teacher is a pair of MobileNetV2 1.0 networks. Each processes the whole photo once, with a short side of
256 pixels, and its map of 8 x 8 to 8 x 16 cells before the average pool is used: both halves are
divided by the norm of their mean, joined (2,560 numbers), centred, projected to DIM numbers by a lightly
whitened PCA (eigenvalue ** -0.125), and stored as bytes. The target of a crop is the mean of the map under
it. The PCA is computed from the first photos (--sample, drawn from all folders of the first run) and then
kept.

Licences of the two networks: Apache-2.0. The first takes (rgb / 255 - mean) / std of ImageNet, the
second rgb / 127.5 - 1.
"""
import argparse, csv, hashlib, io, json, os, random, time
import numpy as np
import torch
from PIL import Image, ImageOps
from model import DIM, MEAN, STD, ZOOM

WHITEN = 0.25    # 0 plain PCA, 1 fully whitened
SHORT = 160      # short side of the kept pixels, at most
CELL, GRID = 32, 8
BLOCK = 2000     # photos in a block


def photos_of(folder):
    """Returns (name, function that reads the bytes) of every photo."""
    index = os.path.join(folder, "index.csv")
    if os.path.exists(index):
        def shard(r):
            def read():
                with open(os.path.join(folder, r["shard"]), "rb") as f:
                    f.seek(int(r["offset"]))
                    return f.read(int(r["bytes"]))
            return read
        return [(f"{folder}/{r['shard']}@{r['offset']}", shard(r)) for r in csv.DictReader(open(index))]
    found = []
    for root, _, names in os.walk(folder):
        for n in names:
            if n.lower().endswith((".jpg", ".jpeg", ".png", ".webp")):
                path = os.path.join(root, n)
                found.append((path, lambda path=path: open(path, "rb").read()))
    return found


def by_hash(photo):
    """Sort key: a hash of the name, so that every block is a fair sample of all folders."""
    return hashlib.sha1(photo[0].encode()).digest()


def some_of(folder):
    """Returns the photos of FOLDER or FOLDER:MOST."""
    path, _, most = folder.rpartition(":")
    return sorted(photos_of(path), key=by_hash)[:int(most)] if most.isdigit() and path else photos_of(folder)


def open_photo(blob):
    """Decodes a photo upright; crops very long ones (over 2.1:1) to the middle 2:1."""
    im = ImageOps.exif_transpose(Image.open(io.BytesIO(blob))).convert("RGB")
    w, h = im.size
    c = 2 * min(w, h)
    if w > 1.05 * c:
        im = im.crop(((w - c) // 2, 0, (w - c) // 2 + c, h))
    elif h > 1.05 * c:
        im = im.crop((0, (h - c) // 2, w, (h - c) // 2 + c))
    return im


def grid_of(im):
    """Rows and columns of the teacher's map."""
    return tuple(min(2 * GRID, max(GRID, round(v * GRID / min(im.size)))) for v in im.size[::-1])


class Teacher:
    """RGB images of one size -> N x rows x columns x 2560, halves scaled by the norm of their means."""

    def __init__(self, paths, threads):
        import onnx, onnxruntime as ort
        opt = ort.SessionOptions()
        opt.intra_op_num_threads = threads
        self.sessions = []
        for path in paths.split(","):
            m = onnx.load(path)
            pool, = (n.input[0] for n in m.graph.node if n.op_type == "GlobalAveragePool")
            m.graph.output.append(onnx.helper.make_tensor_value_info(pool, 1, None))
            session = ort.InferenceSession(m.SerializeToString(), opt, providers=["CPUExecutionProvider"])
            self.sessions.append((session, pool))

    def __call__(self, u8):
        x = np.ascontiguousarray(u8.transpose(0, 3, 1, 2), np.float32) / 255
        mean, std = (np.float32(v).reshape(3, 1, 1) for v in (MEAN, STD))
        halves = []
        for (session, pool), v in zip(self.sessions, ((x - mean) / std, x * 2 - 1)):
            m, = session.run([pool], {session.get_inputs()[0].name: v})
            halves.append((m / np.linalg.norm(m.mean((2, 3), keepdims=True), axis=1, keepdims=True)).transpose(0, 2, 3, 1))
        return np.concatenate(halves, 3)

    def maps(self, images, batch=8):
        """Yields (position, map) of images of any sizes, in batches of equal size."""
        grids = [grid_of(im) for im in images]
        order = sorted(range(len(images)), key=lambda i: grids[i])
        a = 0
        while a < len(order):
            rows, cols = grids[order[a]]
            pick = [i for i in order[a:a + batch] if grids[i] == (rows, cols)]
            size = (cols * CELL, rows * CELL)
            yield from zip(pick, self(np.stack([np.asarray(images[i].resize(size, Image.BICUBIC)) for i in pick])))
            a += len(pick)


def shares(lo, hi, n, parts):
    """parts x n: how the span lo..hi of 0..1, cut into parts, covers n cells; rows sum to 1."""
    edge, cut = np.arange(n + 1) / n, np.linspace(lo, hi, parts + 1)
    w = np.minimum(cut[1:, None], edge[None, 1:]) - np.maximum(cut[:-1, None], edge[None, :-1])
    w = np.clip(w, 0, None)
    return (w / w.sum(1, keepdims=True)).astype(np.float32)


def pooled(fmap, box, parts):
    """rows x columns x C -> parts x parts x C: the mean of the map under each part of box (0..1)."""
    y, x = shares(box[1], box[3], fmap.shape[0], parts), shares(box[0], box[2], fmap.shape[1], parts)
    return np.einsum("ay,yxc,bx->abc", y, fmap, x, optimize=True)


def centre_box(w, h):
    """Returns the part of a photo that the network sees, in relative coordinates."""
    s = min(w, h) / ZOOM
    return (w - s) / 2 / w, (h - s) / 2 / h, (w + s) / 2 / w, (h + s) / 2 / h


def projection(teacher, images):
    """Mean and matrix of the whitened PCA, from pooled crops."""
    rng, sample = random.Random(0), []
    for i, m in teacher.maps(images):
        w, h = images[i].size
        s = rng.uniform(0.5, 1) * min(w, h)
        x, y = rng.uniform(0, w - s), rng.uniform(0, h - s)
        for box in (centre_box(w, h), (x / w, y / h, (x + s) / w, (y + s) / h)):
            v = pooled(m, box, 1)[0, 0]
            sample.append(np.concatenate([p / np.linalg.norm(p) for p in (v[:1280], v[1280:])]))
    sample = np.stack(sample)
    mean = sample.mean(0)
    lam, u = np.linalg.eigh(np.cov((sample - mean).T.astype(np.float64)))
    lam, u = np.maximum(lam[::-1], 1e-9), u[:, ::-1]
    print(f"PCA keeps {lam[:DIM].sum() / lam.sum():.4f} of the variance of {len(sample)} crops", flush=True)
    matrix = (u[:, :DIM] * lam[:DIM] ** (-WHITEN / 2)).astype(np.float32)
    return mean.astype(np.float32), matrix / np.float32(((sample - mean) @ matrix).std())


def write_block(path, images, teacher, mean, matrix):
    """Writes one block (concatenated pixels and maps, and sizes) completely or not at all."""
    sizes = np.array([im.size for im in images], np.int32)
    grids = np.array([grid_of(im) for im in images], np.int32)
    maps, scales = [None] * len(images), np.zeros(len(images), np.float32)
    mean, matrix = torch.from_numpy(mean), torch.from_numpy(matrix)
    for i, m in teacher.maps(images):
        t = ((torch.from_numpy(m) - mean) @ matrix).numpy()  # much faster than numpy on some machines
        scales[i] = np.abs(t).max() / 127
        maps[i] = np.round(t / scales[i]).astype(np.int8).ravel()
    tmp = path + ".tmp"
    os.makedirs(tmp, exist_ok=True)
    np.save(os.path.join(tmp, "pixels.npy"), np.concatenate([np.asarray(im).ravel() for im in images]))
    np.save(os.path.join(tmp, "maps.npy"), np.concatenate(maps))
    np.savez(os.path.join(tmp, "shapes.npz"), sizes=sizes, grids=grids, scales=scales)
    os.rename(tmp, path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+")
    p.add_argument("--cache", required=True)
    p.add_argument("--teacher", required=True, help="the two networks, separated by a comma")
    p.add_argument("--sample", type=int, default=6000, help="photos for the PCA")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--most", type=int, default=0, help="at most so many new photos")
    args = p.parse_args()
    os.makedirs(args.cache, exist_ok=True)
    done_path, pca_path = (os.path.join(args.cache, n) for n in ("done.jsonl", "pca.npz"))
    done = {json.loads(line) for line in open(done_path)} if os.path.exists(done_path) else set()
    todo = [x for folder in args.folders for x in some_of(folder) if x[0] not in done]
    todo.sort(key=by_hash)
    todo = todo[:args.most or None]
    torch.set_num_threads(args.threads)
    teacher = Teacher(args.teacher, args.threads)

    def shrunk(read):
        try:
            im = open_photo(read())
        except Exception as error:
            print("left out:", error)
            return None
        k = SHORT / min(im.size)
        return im if k >= 1 else im.resize([max(SHORT, round(v * k)) for v in im.size], Image.BICUBIC)

    if not os.path.exists(pca_path):
        images = [im for im in (shrunk(read) for _, read in todo[:args.sample]) if im and min(im.size) >= 64]
        mean, matrix = projection(teacher, images)
        np.savez(pca_path + ".tmp.npz", mean=mean, matrix=matrix)
        os.rename(pca_path + ".tmp.npz", pca_path)
    pca = np.load(pca_path)
    begin = time.time()
    for a in range(0, len(todo), BLOCK):
        part = todo[a:a + BLOCK]
        images = [im for im in (shrunk(read) for _, read in part) if im and min(im.size) >= 64]
        n = len([d for d in os.listdir(args.cache) if d.startswith("block") and not d.endswith(".tmp")])
        write_block(os.path.join(args.cache, f"block{n:04}"), images, teacher, pca["mean"], pca["matrix"])
        with open(done_path, "a") as f:
            f.writelines(json.dumps(name) + "\n" for name, _ in part)
        rate = (a + len(part)) / (time.time() - begin)
        print(f"{a + len(part)} of {len(todo)} photos, {rate:.0f} a second", flush=True)


if __name__ == "__main__":
    main()

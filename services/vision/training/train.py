#!/usr/bin/env python3
"""Trains lookalike-mini from scratch by knowledge distillation on the output of prepare.py.

    train.py --cache CACHE --out OUT --minutes 100     (or --steps 20000)
    train.py --cache CACHE --out OUT --minutes 100 --start OUT/state.pt     resumes, also with more photos

Every step draws a random crop of each photo of a batch. The student returns a vector for every cell of
its last map (32 pixels of the crop). The target of a cell is the mean of the teacher's map under it. The
target of the crop is the mean of all cells, moved slightly towards that of the whole photo. Augmentations:
mirroring, colour, low resolution, JPEG, sharpening; in a third of each batch, cells of another photo are
pasted in with their targets (CutMix).

Loss: cosine to the crop's target and to each cell's, and KL (temperature 0.1) between student's
and teacher's similarities within the batch and to a sample of all photos. Convolutions and the
head are trained by Muon (https://kellerjordan.github.io/posts/muon/), the rest by AdamW. The learning
rate is warmed up, stays constant, and falls linearly over the last share of the time (--decay). The forward
pass uses bf16 autocast; the saved weights are an exponential moving average.

Every 27th photo is held out. OUT/curve.csv lists their mean cosine to the teacher, and the share of the ten
nearest held-out neighbours that student and teacher have in common.
"""
import argparse, copy, io, math, multiprocessing, os, random, time
import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.nn import functional as F
from model import DIM, Mini, centre, embed, to_input
from prepare import CELL, centre_box, pooled

HOLD = 27
STAGES = ((0.0, 96), (0.45, 128), (0.92, 160))  # crop side from this share of the training on
TOWARDS_WHOLE = 0.2


class Photos:
    """All blocks of a cache, mapped into memory."""

    def __init__(self, cache):
        self.cache, self.names, self.items = cache, [], []

    def look(self):
        """Maps new blocks; returns whether there were any."""
        new = sorted(d for d in os.listdir(self.cache) if d.startswith("block") and not d.endswith(".tmp"))
        new = [d for d in new if d not in self.names]
        for d in new:
            pixels, maps = (np.load(os.path.join(self.cache, d, n), mmap_mode="r") for n in ("pixels.npy", "maps.npy"))
            s = np.load(os.path.join(self.cache, d, "shapes.npz"))
            sizes, grids, scales = s["sizes"], s["grids"], s["scales"]
            a = np.concatenate([[0], np.cumsum(sizes.prod(1, dtype=np.int64) * 3)])
            b = np.concatenate([[0], np.cumsum(grids.prod(1, dtype=np.int64) * DIM)])
            for i in range(len(sizes)):
                self.items.append((pixels, a[i], tuple(map(int, sizes[i])), maps, b[i], tuple(map(int, grids[i])), scales[i]))
        self.names += new
        return bool(new)

    def __len__(self):
        return len(self.items)

    def held(self):
        return [i for i in range(len(self)) if i % HOLD == 0]

    def kept(self):
        return [i for i in range(len(self)) if i % HOLD]

    def photo(self, i):
        pixels, a, (w, h), *_ = self.items[i]
        return Image.fromarray(pixels[a:a + w * h * 3].reshape(h, w, 3))

    def map(self, i):
        *_, maps, b, (rows, cols), scale = self.items[i]
        return maps[b:b + rows * cols * DIM].reshape(rows, cols, DIM).astype(np.float32) * scale

    def centre_target(self, i):
        v = pooled(self.map(i), centre_box(*self.items[i][2]), 1)[0, 0]
        return v / np.linalg.norm(v)


# ---------------------------------------------------------------- batches
def random_box(w, h, r):
    """Draws a crop of 45 .. 105 % of the short side, aspect up to about 4:3; sometimes the whole photo."""
    if r.random() < 0.06:
        return 0, 0, w, h
    side, a = min(w, h) * r.uniform(0.45, 1.05), math.exp(r.uniform(-0.15, 0.15))
    cw, ch = min(w, side * a), min(h, side / a)
    x, y = r.uniform(0, w - cw), r.uniform(0, h - ch)
    return x, y, x + cw, y + ch


def crop(photos, i, size, r):
    """uint8 size x size x 3, and targets of its cells, size/32 x size/32 x DIM."""
    im, m = photos.photo(i), photos.map(i)
    w, h = im.size
    box = random_box(w, h, r)
    t = pooled(m, (box[0] / w, box[1] / h, box[2] / w, box[3] / h), size // CELL)
    t = (1 - TOWARDS_WHOLE) * t + TOWARDS_WHOLE * m.mean((0, 1))
    small = size
    if r.random() < 0.15:  # a low resolution
        small = round(size * r.uniform(0.4, 0.9))
    im = im.resize((small, small), r.choice((Image.BILINEAR, Image.BICUBIC)), box=box)
    if r.random() < 0.15:  # compression
        f = io.BytesIO()
        im.save(f, "JPEG", quality=r.randint(20, 75))
        im = Image.open(f).convert("RGB")
    if small != size:
        im = im.resize((size, size), Image.BICUBIC)
    elif r.random() < 0.3:  # small photos are slightly blurred
        im = im.filter(ImageFilter.UnsharpMask(1, r.randint(30, 120), 0))
    x = np.asarray(im)
    if r.random() < 0.5:
        x, t = x[:, ::-1], t[:, ::-1]
    return x, t


def cutmix(x, t, rng, share=0.35):
    """Pastes whole cells of another photo into some, with their targets."""
    n, cells = t.shape[:2]
    other = rng.permutation(n)
    source_x, source_t = x.copy(), t.copy()
    for i in np.flatnonzero(rng.random(n) < share):
        h, w = (int(rng.integers(1, cells)) for _ in "hw")
        top, left = rng.integers(0, cells - h + 1), rng.integers(0, cells - w + 1)
        t[i, top:top + h, left:left + w] = source_t[other[i], top:top + h, left:left + w]
        top, left, h, w = top * CELL, left * CELL, h * CELL, w * CELL
        x[i, top:top + h, left:left + w] = source_x[other[i], top:top + h, left:left + w]


def draw(cache, batch, seed, size, mix, out):
    """A process that draws batches without end; maps new blocks after each pass over the photos."""
    os.nice(1)
    photos, r, rng = Photos(cache), random.Random(seed), np.random.default_rng(seed)
    while True:
        photos.look()
        order = photos.kept()
        r.shuffle(order)
        for a in range(0, len(order) - batch + 1, batch):
            pairs = [crop(photos, i, size.value, r) for i in order[a:a + batch]]
            x, t = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
            if mix.value:
                cutmix(x, t, rng)
            out.put((x, t.astype(np.float16), len(order)))


def colour(u8):
    """Slightly changes the colours of each photo of a uint8 batch; returns uint8-scaled floats."""
    x = torch.from_numpy(u8).float()
    n = len(x)

    def factor(a):
        return 1 + (torch.rand(n, 1, 1, 1) * 2 - 1) * a
    grey = (x * torch.tensor([0.299, 0.587, 0.114])).sum(-1, keepdim=True)
    x = grey + (x - grey) * factor(0.35) * (torch.rand(n, 1, 1, 1) > 0.03)
    mid = grey.mean((1, 2), keepdim=True)
    x = (mid + (x - mid) * factor(0.25)) * factor(0.25)
    return (x * (1 + torch.randn(n, 1, 1, 3) * 0.03)).clamp(0, 255)


# ---------------------------------------------------------------- training
class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made orthogonal by Newton-Schulz steps (Keller Jordan, 2024)."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            for p in g["params"]:
                buf = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buf.lerp_(p.grad, 1 - g["momentum"])
                u = p.grad.lerp(buf, g["momentum"]).flatten(1).bfloat16()
                tall = u.shape[0] > u.shape[1]
                u = u.T if tall else u
                u = u / (u.norm() + 1e-7)
                for _ in range(5):
                    s = u @ u.T
                    u = 3.4445 * u + (-4.7750 * s + 2.0315 * s @ s) @ u
                u = (u.T if tall else u).float()
                scale = max(1, u.shape[0] / u.shape[1]) ** 0.5
                p.mul_(1 - g["lr"] * g["weight_decay"])
                p.add_(u.view_as(p), alpha=-g["lr"] * scale)


def similarity_loss(s, t, bank, tau=0.1):
    """KL of the student's similarities from the teacher's: to a bank, and within the batch."""
    every = F.kl_div(F.log_softmax(s @ bank.T / tau, 1), F.softmax(t @ bank.T / tau, 1), reduction="batchmean")
    off = ~torch.eye(len(s), dtype=torch.bool)
    ss, tt = ((v @ v.T)[off].view(len(s), -1) / tau for v in (s, t))
    return every, F.kl_div(F.log_softmax(ss, 1), F.softmax(tt, 1), reduction="batchmean")


def agreement(a, b, k=10):
    """Returns the mean share of the k nearest neighbours that two sets of vectors have in common."""
    near = [(v @ v.T - 2 * torch.eye(len(v))).topk(k).indices.tolist() for v in (a, b)]
    return float(np.mean([len(set(x) & set(y)) / k for x, y in zip(*near)]))


def rate(done, decay):
    return min(1, done / 0.01) * min(1, (1 - done) / decay if decay else 1)


def save(path, **what):
    torch.save(what, path + ".tmp")
    os.replace(path + ".tmp", path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--minutes", type=float, default=0, help="train this long instead of --steps")
    p.add_argument("--steps", type=int, default=20000)
    p.add_argument("--decay", type=float, default=0.3, help="last share of the training, in which the rate falls")
    p.add_argument("--start", help="state.pt to go on from")
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--muon", type=float, default=0.01, help="rate of Muon; 0 for AdamW alone")
    p.add_argument("--adam", type=float, default=2e-3, help="rate of AdamW")
    p.add_argument("--cells", type=float, default=1.0, help="weight of the cells' loss")
    p.add_argument("--stages", default=",".join(f"{a}:{b}" for a, b in STAGES), help="share:side,…")
    p.add_argument("--report", type=int, default=250, help="steps between lines of the curve")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    os.makedirs(args.out, exist_ok=True)
    stages = [(float(a), int(b)) for a, b in (s.split(":") for s in args.stages.split(","))]

    size, mix = multiprocessing.Value("i", stages[0][1]), multiprocessing.Value("i", 1)
    feed = multiprocessing.Queue(6)
    multiprocessing.Process(target=draw, args=(args.cache, args.batch, args.seed, size, mix, feed), daemon=True).start()
    photos = Photos(args.cache)
    photos.look()
    held = photos.held()[:600]
    held_t = torch.from_numpy(np.stack([photos.centre_target(i) for i in held]))
    held_x = np.stack([centre(photos.photo(i)) for i in held])

    def new_bank():
        some = random.Random(len(photos)).sample(photos.kept(), min(6000, len(photos.kept())))
        return torch.from_numpy(np.stack([photos.centre_target(i) for i in some]))
    bank = new_bank()

    net = Mini().to(memory_format=torch.channels_last)
    matrices = [p for n, p in net.named_parameters() if p.ndim > 1]
    vectors = [p for p in net.parameters() if p.ndim == 1]
    small = [net.stem.weight] if args.muon else matrices
    adam = torch.optim.AdamW([dict(params=small, weight_decay=0.05), dict(params=vectors, weight_decay=0.0)],
                             lr=args.adam, betas=(0.9, 0.98))
    muon = Muon([p for p in matrices if p is not net.stem.weight], args.muon, weight_decay=0.1) if args.muon else None
    ema, seen_before = copy.deepcopy(net), 0
    if args.start:
        saved = torch.load(args.start, weights_only=True)
        net.load_state_dict(saved["net"])
        ema.load_state_dict(saved["ema"])
        seen_before = saved["seen"]
        if muon and saved["muon"]:
            muon.load_state_dict(saved["muon"])
        adam.load_state_dict(saved["adam"])

    begin, step, seen, sums, count = time.time(), 0, 0, np.zeros(4), 0
    log = open(os.path.join(args.out, "curve.csv"), "a")
    print("crops,minutes,photos,size,rate,cos,cells,bank,batch,held_cos,held_top10", file=log, flush=True)
    while True:
        done = (time.time() - begin) / (60 * args.minutes) if args.minutes else step / args.steps
        if done >= 1:
            break
        size.value = [s for share, s in stages if done >= share][-1]
        mix.value = done < 0.92
        k = rate(done, args.decay)
        for g in adam.param_groups:
            g["lr"] = args.adam * k
        if muon:
            muon.param_groups[0]["lr"] = args.muon * k
        u8, cells, known = feed.get()
        cells = torch.from_numpy(cells).float().flatten(1, 2)
        t = F.normalize(cells.mean(1), dim=1)
        with torch.autocast("cpu", torch.bfloat16):
            y = net.map(to_input(colour(u8)))
        y = y.float()
        s = F.normalize(y.mean(1), dim=1)
        cos = 1 - (s * t).sum(1).mean()
        cell = 1 - F.cosine_similarity(y, cells, dim=2).mean()
        every, batch = similarity_loss(s, t, bank)
        loss = 2 * cos + args.cells * cell + every + batch
        net.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        adam.step()
        if muon:
            muon.step()
        decay = 0.998 if args.start else min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for a, b in zip(ema.state_dict().values(), net.state_dict().values()):
                a.lerp_(b, 1 - decay) if a.is_floating_point() else a.copy_(b)
        step, seen, count = step + 1, seen + len(u8), count + 1
        sums += [v.item() for v in (cos, cell, every, batch)]
        if step % args.report == 0:
            e = embed(ema, held_x)
            line = [seen_before + seen, (time.time() - begin) / 60, known, u8.shape[1], k, *(sums / count),
                    (e * held_t).sum(1).mean().item(), agreement(e, held_t)]
            line = ",".join(f"{v:.7g}" if v > 1000 else f"{v:.4g}" for v in line)
            print(line, file=log, flush=True)
            print(line, f"{seen / (time.time() - begin):.0f} crops/s", flush=True)
            sums[:], count = 0, 0
            state = dict(net=net.state_dict(), ema=ema.state_dict(), adam=adam.state_dict(),
                         muon=muon.state_dict() if muon else None, seen=seen_before + seen)
            # A longer training can resume from the last state at the full learning rate.
            save(os.path.join(args.out, "state.pt" if k == 1 else "late.pt"), **state)
            if photos.look():
                bank = new_bank()
    save(os.path.join(args.out, "ema.pt"), ema=ema.state_dict(), crops=seen_before + seen, photos=known,
         seconds=time.time() - begin)


if __name__ == "__main__":
    main()

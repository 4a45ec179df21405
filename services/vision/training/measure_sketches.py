#!/usr/bin/env python3
"""Measures the limits of sketches (src/sketch): which changes of a picture keep it the same, and which
different pictures are told apart.

    measure_sketches.py [--photos N] FOLDER [FOLDER ...]

A FOLDER contains training photos, as for calibrate.py. For each change the script prints the share of copies
that are the same picture, and quantiles of the correlation in the best part. For pages of text, ruled sheets
and night skies, which it draws itself, it prints the excess of the largest difference of a cell over its
limit: copies have negative numbers, other pictures positive ones.
"""
import argparse, random
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps
from calibrate import cropped, jpeg, scaled
from prepare import open_photo, photos_of

SIDE, PART = 16, 8


def overlap(start, end, cells, side=SIDE):
    """Weights of `side` values in the means of equal cells from start to end, in rows of a matrix."""
    edges = np.linspace(start, end, cells + 1)
    at = np.arange(side)
    low, high = np.maximum(edges[:-1, None], at), np.minimum(edges[1:, None], at + 1)
    return np.maximum(0, high - low) / (edges[1:, None] - edges[:-1, None])


def parts():
    for share, positions in ((1, 1), (.95, 2), (.9, 3), (.85, 4), (.8, 5), (.75, 6)):
        starts = np.linspace(0, 1 - share, positions) if positions > 1 else [0]
        spans = [overlap(a * SIDE, (a + share) * SIDE, PART) for a in starts]
        yield from ((rows, columns) for rows in spans for columns in spans)


PARTS = list(parts())


def sketch(im):
    """Levels of SIDE x SIDE cells minus their mean, rounded as in the index."""
    gray = np.asarray(im.convert("RGB"), float) @ [.299, .587, .114]
    rows, columns = (overlap(0, side, SIDE, side) for side in gray.shape)
    cells = rows @ gray @ columns.T
    levels = cells - cells.mean()
    largest = max(np.abs(levels).max(), .25)
    step = .25 * 2 ** (np.ceil(np.log2(largest / .25) * 4 - 1e-9) / 4) / 31
    return np.round(levels / step) * step, step


def excess(a, b):
    """The largest difference of a cell minus its limit."""
    (a, step), (b, other) = a, b
    step = max(step, other)
    contrast = (np.sqrt((a * a).mean()) + np.sqrt((b * b).mean())) / 2
    limit = .1 * (contrast + (np.abs(a) + np.abs(b)) / 2) + step + np.clip(.35 * 31 * step, .08, 1.25)
    return (np.abs(a - b) - limit).max()


def correlation(a, b):
    """The largest correlation of a part of one with the whole of the other."""
    def best(a, b):
        whole = PARTS[0][0] @ b @ PARTS[0][1].T
        views = [rows @ a @ columns.T for rows, columns in PARTS]
        return max(np.corrcoef(view.ravel(), whole.ravel())[0, 1] for view in views)
    return max(best(a[0], b[0]), best(b[0], a[0]))


def page(seed, lines, changed=None):
    letters = "abcdefghijklmnopqrstuvwxyz"
    def words(r):
        return " ".join("".join(r.choices(letters, k=r.randint(2, 10))) for _ in range(4 + lines // 6))
    im, pitch = Image.new("RGB", (1240, 1754), "white"), 1460 // lines
    draw, font = ImageDraw.Draw(im), ImageFont.load_default(pitch * 3 // 5)
    for line in range(lines):
        key = f"{seed} {line} other" if line == changed else f"{seed} {line}"
        draw.text((124, 146 + line * pitch), words(random.Random(key)), "black", font)
    return im


def sheet(y):
    im = Image.new("RGB", (1240, 1754), "white")
    ImageDraw.Draw(im).rectangle((150, y, 700, y + 1), "black")
    return im


def sky(seed, size):
    r, im = random.Random(seed), Image.new("RGB", size, (4, 4, 7))
    for _ in range(50):
        x, y = r.randrange(size[0] - 2), r.randrange(size[1] - 2)
        im.paste((230, 230, 230), (x, y, x + 2, y + 2))
    return im


COPIES = {"JPEG quality 75": lambda im, r: jpeg(im, 75), "JPEG quality 30": lambda im, r: jpeg(im, 30),
          "80 %, quality 85": lambda im, r: jpeg(scaled(im, .8), 85), "half size": lambda im, r: scaled(im, .5),
          "a third, quality 75": lambda im, r: jpeg(scaled(im, 1 / 3), 75)}
ALTERED = {"80 % of the area": cropped, "20 % brighter": lambda im, r: ImageEnhance.Brightness(im).enhance(1.2),
           "frame": lambda im, r: ImageOps.expand(im, round(min(im.size) * .06), "white"),
           "tilted by 5 degrees": lambda im, r: im.rotate(5, Image.BICUBIC)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+")
    p.add_argument("--photos", type=int, default=150)
    args = p.parse_args()
    r = random.Random(0)
    found = [read for folder in args.folders for _, read in photos_of(folder)]
    photos = [open_photo(read()) for read in r.sample(found, min(args.photos, len(found)))]
    sketches = [sketch(photo) for photo in photos]
    for name, change in (COPIES | ALTERED).items():
        copies = [sketch(change(photo, r)) for photo in photos]
        same = np.mean([excess(a, b) <= 0 for a, b in zip(sketches, copies)])
        near = np.quantile([correlation(a, b) for a, b in zip(sketches, copies)], [.01, .05, .5])
        print(f"{name:22} same {same:.3f}, correlation (1, 5, 50 of 100) {near.round(3)}")
    others = [max(correlation(a, b) for b in r.sample(sketches, 31) if b is not a) for a in sketches[::3]]
    print("best of 30 other photos, correlation (50, 90, 97 of 100)", np.quantile(others, [.5, .9, .97]).round(3))
    for lines in (20, 30, 60):
        first = sketch(page(0, lines))
        copy, other = sketch(jpeg(page(0, lines), 30)), sketch(page(1, lines))
        edits = [excess(first, sketch(page(0, lines, line))) for line in range(1, lines, 5)]
        print(f"page of {lines} lines: copy {excess(first, copy):.1f}, other page {excess(first, other):.1f} "
              f"(correlation {correlation(first, other):.3f}), another line {np.round(edits, 1)}")
    print(f"sheets with lines at 200 and 290: {excess(sketch(sheet(200)), sketch(sheet(290))):.2f}")
    for size in ((320, 240), (800, 600), (1600, 1200)):
        a, copy, b = sketch(sky(0, size)), sketch(jpeg(sky(0, size), 75)), sketch(sky(1, size))
        print(f"sky of {size}: copy {excess(a, copy):.2f}, other sky {excess(a, b):.2f}")


if __name__ == "__main__":
    main()

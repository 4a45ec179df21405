#!/usr/bin/env python3
"""Measures the limits of sketches (src/sketch): which changes of a picture keep it the same, and which
different pictures are distinguished.

    measure_sketches.py [--photos N] FOLDER [FOLDER ...]

A FOLDER contains training photos, as for calibrate.py. The script draws pages of text, ruled sheets, night skies
and icons itself. For each change it prints the share of copies that are the same picture and near-duplicates, and
for pairs of different pictures the same shares. It contains the formulas of src/sketch; a change there belongs here,
too.
"""
import argparse, random
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps
from calibrate import cropped, jpeg, scaled
from prepare import open_photo, photos_of

SIDE, PART, STRIPS = 16, 8, 64
LETTERS = "abcdefghijklmnopqrstuvwxyz"
FREQUENCIES = [8, 1.5, 2.8, 4.2, 12.7, 2.2, 2, 6, 7, .2, .8, 4, 2.4, 6.7, 7.5, 1.9, .1, 6, 6.3, 9, 2.8, 1, 2.4, .2, 2, .1]


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
        yield from (np.kron(rows, columns) for rows in spans for columns in spans)


PARTS = np.array(list(parts()))


def quantised(levels):
    largest = max(np.abs(levels).max(), .25)
    step = .25 * 2 ** (np.ceil(np.log2(largest / .25) * 4 - 1e-9) / 4) / 127
    return np.round(levels / step) * step, step


class Sketch:
    def __init__(self, im):
        rgb = np.asarray(im.convert("RGB"), float)
        height, width = rgb.shape[:2]
        gray = rgb @ [.299, .587, .114]
        cells = overlap(0, height, SIDE, height) @ gray @ overlap(0, width, SIDE, width).T
        self.mean = cells.mean()
        self.cells, self.step = quantised(cells - self.mean)
        self.strips = [quantised(overlap(0, side, STRIPS, side) @ gray.mean(1 - axis) - self.mean)
                       for axis, side in ((0, height), (1, width))]
        rows, columns = overlap(0, height, 4, height), overlap(0, width, 4, width)
        self.chroma = np.stack([np.round(rows @ (rgb[..., c] - gray) @ columns.T * f)
                                for c, f in ((2, .5 / .886), (0, .5 / .701))])
        self.shape, self.pixels, self.sides = np.log2(width / height), (width * height) ** .5 / SIDE, (height, width)
        self.contrast = np.sqrt((self.cells ** 2).mean())
        views = PARTS @ self.cells.ravel()
        views = views - views.mean(1, keepdims=True)
        self.views = views / np.maximum(np.sqrt((views ** 2).sum(1, keepdims=True)), 1e-9)


def common_noise(contrast, steps, side):
    return (.06 + .4 * steps + .2 * min(contrast, 20) / max(side / 8, 1) + .006 * contrast
            + .05 * max(contrast - 24, 0))


def point_change(largest, contrast):
    return np.clip(1.3 * (largest - 1.7 * contrast), 0, 3)


def neighbourhood(values, axes):
    """The largest value of each position and those next to it, along all axes together."""
    for axis in axes:
        padded = np.pad(values, [(1, 1) if a == axis else (0, 0) for a in range(values.ndim)], mode="edge")
        values = np.max([np.roll(padded, -shift, axis).take(range(values.shape[axis]), axis) for shift in range(3)], 0)
    return values


def edges(values):
    """The largest difference of each position from those next to it, along each axis."""
    largest = np.zeros_like(values)
    for axis in range(values.ndim):
        step = np.abs(np.diff(values, axis=axis))
        zero = np.zeros_like(values.take([0], axis))
        largest = np.maximum(largest, np.maximum(np.concatenate([step, zero], axis), np.concatenate([zero, step], axis)))
    return largest


def is_same(a, b):
    if (abs(a.shape - b.shape) > .07 or abs(a.mean - b.mean) > 3 or np.abs(a.chroma - b.chroma).max() > 6
            or np.abs(a.chroma.mean((1, 2)) - b.chroma.mean((1, 2))).max() > 3):
        return False
    most = np.interp((a.contrast + b.contrast) / 2, [20, 40], [1.15, 1.04])
    gain = 1 if min(a.contrast, b.contrast) < .01 else np.clip(b.contrast / a.contrast, 1 / most, most) ** .5

    def compare(x, y, steps, width, side):
        x, y = x * gain, y / gain
        contrast = (np.sqrt((x ** 2).mean()) + np.sqrt((y ** 2).mean())) / 2
        noise = common_noise(contrast, steps, side) + .25 * np.maximum(edges(x), edges(y)) / width
        largest = neighbourhood(np.maximum(np.abs(x), np.abs(y)), range(x.ndim))
        return np.abs(x - y), noise, point_change(largest, contrast)
    pixels = min(a.pixels, b.pixels)
    d, noise, point = compare(a.cells, b.cells, a.step * gain + b.step / gain, pixels, pixels)
    if (d > 1.9 * noise + point).any():
        return False
    if any(((d ** 2).sum(axis) > ((.62 * noise + point) ** 2).sum(axis)).any() for axis in (0, 1)):
        return False
    for (x, step), (y, other), side in zip(a.strips, b.strips, map(min, a.sides, b.sides)):
        width = side / STRIPS
        d, noise, point = compare(x, y, step * gain + other / gain, width, (max(width, .5) * pixels) ** .5)
        if (d > 2 * noise + point).any():
            return False
    return True


def is_flat(s):
    right, below = np.abs(np.diff(s.cells, axis=1))[:-1], np.abs(np.diff(s.cells, axis=0))[:, :-1]
    return (np.maximum(right, below) <= .04 * s.contrast + s.step).mean() >= .33


def is_altered(a, b):
    """Whether a part of one is like the whole of the other. Captions and pages of one colour are left out here."""
    both_flat = is_flat(a) and is_flat(b)
    for x, y in ((a, b), (b, a)):
        found = x.views @ y.views[0] >= .8
        if both_flat:
            found &= np.abs(x.views - y.views[0]).max(1) <= .6 / PART
        if found.any():
            return True
    return False


def page(seed, lines, changed=None, is_justified=False):
    im, pitch = Image.new("RGB", (1240, 1754), "white"), 1460 // lines
    draw, font = ImageDraw.Draw(im), ImageFont.load_default(pitch * 3 // 5)
    for line in range(lines):
        r = random.Random(f"{seed} {line} other" if line == changed else f"{seed} {line}")
        words, width = [], 0
        while True:
            word = "".join(r.choices(LETTERS, FREQUENCIES, k=r.randint(1, 9)))
            words.append(word)
            width += font.getlength(word + " ")
            if width > 880 if is_justified else len(words) > 4 + lines // 6:
                break
        gap = (992 - sum(map(font.getlength, words))) / max(1, len(words) - 1) if is_justified else font.getlength(" ")
        x = 124
        for word in words:
            draw.text((x, 146 + line * pitch), word, "black", font)
            x += font.getlength(word) + gap
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


def icon(glyph, style, size=192):
    im = Image.new("RGB", (size * 2, size * 2), "white")
    draw, edge = ImageDraw.Draw(im), (size * .08, size * .08, size * 1.92, size * 1.92)
    color = ((32, 96, 208), (208, 64, 48), (40, 150, 90))[style % 3]
    if style < 3:
        draw.ellipse(edge, color)
    elif style < 6:
        draw.rounded_rectangle(edge, size * .36, color)
    draw.text((size, size), "ABCDEFGHKMNPRSTXYZ0123456789"[glyph], "white" if style < 6 else "black",
              ImageFont.load_default(size * 1.1), anchor="mm")
    return im.resize((size, size), Image.LANCZOS)


COPIES = {"JPEG quality 75": lambda im, r: jpeg(im, 75), "JPEG quality 30": lambda im, r: jpeg(im, 30),
          "80 %, quality 85": lambda im, r: jpeg(scaled(im, .8), 85), "half size": lambda im, r: scaled(im, .5),
          "half, quality 50": lambda im, r: jpeg(scaled(im, .5), 50),
          "a third, quality 75": lambda im, r: jpeg(scaled(im, 1 / 3), 75)}
ALTERED = {"80 % of the area": cropped, "20 % brighter": lambda im, r: ImageEnhance.Brightness(im).enhance(1.2),
           "frame": lambda im, r: ImageOps.expand(im, round(min(im.size) * .06), "white"),
           "tilted by 5 degrees": lambda im, r: im.rotate(5, Image.BICUBIC)}


def report(name, pairs):
    pairs = list(pairs)
    same, near = (np.mean([of(a, b) for a, b in pairs]) for of in (is_same, is_altered))
    print(f"{name:44} {len(pairs):5} same {same:.3f}, altered {near:.3f}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+")
    p.add_argument("--photos", type=int, default=150)
    args = p.parse_args()
    r = random.Random(0)
    found = [read for folder in args.folders for _, read in photos_of(folder)]
    photos = [open_photo(read()) for read in r.sample(found, min(args.photos, len(found)))]
    icons = [icon(n % 28, n % 9, (64, 128, 192)[n % 3]) for n in range(36)]
    kinds = {"photos": photos, "pages of 30 lines": [page(n, 30, None, n % 2 == 1) for n in range(4)],
             "pages of 60 lines": [page(n, 60, None, n % 2 == 1) for n in range(6)], "icons": icons,
             "skies of 800 x 600": [sky(n, (800, 600)) for n in range(6)],
             "skies of 320 x 240": [sky(n, (320, 240)) for n in range(6)]}
    for kind, pictures in kinds.items():
        sketches = [Sketch(picture) for picture in pictures]
        for name, change in (COPIES | (ALTERED if kind in ("photos", "icons") else {})).items():
            report(f"{kind}: {name}", ((a, Sketch(change(im, r))) for a, im in zip(sketches, pictures)))
        pairs = [(a, b) for n, a in enumerate(sketches) for b in sketches[:n]]
        report(f"different {kind}", r.sample(pairs, min(600, len(pairs))))
    for is_justified in (False, True):
        for lines in (30, 60):
            first = Sketch(page(0, lines, None, is_justified))
            others = [Sketch(page(0, lines, line, is_justified)) for line in range(0, lines, 2)]
            name = f"{'justified' if is_justified else 'ragged'} page of {lines} lines, one other line"
            report(name, ((first, other) for other in others))
    for distance in (10, 20, 40):
        name = f"sheets with a line {distance} pixels lower"
        report(name, ((Sketch(sheet(y)), Sketch(sheet(y + distance))) for y in range(200, 1500, 97)))
    for style in range(9):
        sketches = [Sketch(icon(n, style)) for n in range(12)]
        report(f"icons of style {style}, other glyph", ((a, b) for n, a in enumerate(sketches) for b in sketches[:n]))


if __name__ == "__main__":
    main()

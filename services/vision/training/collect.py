#!/usr/bin/env python3
"""Collects photos, without labels, to train the embedding network.

    collect.py --out DIR --name SOURCE FOLDER_OR_GIT_DIR... [--most N] [--per-folder N]
               [--only REGEX] [--skip REGEX] [--least PIXELS] [--revision COMMIT]
               [--workers N] [--evaluation FOLDER...]

Reads every photo below the given folders, or in one commit (HEAD without --revision) of the given git
directories, bare or not. Writes DIR/SOURCE/000000.jpg and so on: upright by EXIF, RGB, with a short side of
at most 192 pixels (never enlarged), cropped to the middle 2:1 if longer than 2.1:1.

Drops files that do not decode, photos with a short side below --least, blank photos, photos within 2
bits (64-bit difference hash) of a photo already kept below DIR, in this or another source, and photos
within 4 bits of a photo in the --evaluation folders. Both comparisons also use the mirrored photo. --only
and --skip match the path of the file inside its source. --per-folder limits how many photos are read from
one folder, --most how many are kept. The order of the photos is random, but the same every time.

DIR/SOURCE/hashes.npy contains the hashes of the kept photos, DIR/SOURCE/counts.json the reasons of drops.
Needs Pillow and numpy 2.
"""
import argparse
import collections
import io
import json
import multiprocessing
import os
import pathlib
import random
import re
import subprocess
import sys

import numpy
from PIL import Image, ImageOps

SHORT_SIDE = 192
LONGEST_RATIO = 2.1
SAME_BITS = 2
EVALUATION_BITS = 4
BLANK_DEVIATION = 6.0
BANDS = ((0, 21), (21, 21), (42, 22))  # one more than SAME_BITS, so that one band must be equal
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

readers = {}  # git directory -> its running `git cat-file --batch`, one per worker


def difference_hash(image):
    cells = numpy.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(numpy.packbits(cells[:, 1:] > cells[:, :-1]).tobytes(), "big")


def shrink(data, least):
    """Returns the photo upright, RGB and reduced; None if it is below `least` pixels or blank."""
    image = Image.open(io.BytesIO(data))
    if min(image.size) < least:
        return None
    image.draft("RGB", (image.width * 2 * SHORT_SIDE // min(image.size),
                        image.height * 2 * SHORT_SIDE // min(image.size)))
    image = ImageOps.exif_transpose(image)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    (width, height), short = image.size, min(image.size)
    if max(image.size) > LONGEST_RATIO * short:
        left, top = max(0, width - 2 * short) // 2, max(0, height - 2 * short) // 2
        image = image.crop((left, top, width - left, height - top))
    if short > SHORT_SIDE:
        size = [max(SHORT_SIDE, round(side * SHORT_SIDE / short)) for side in image.size]
        image = image.resize(size, Image.Resampling.LANCZOS)
    return None if numpy.asarray(image.convert("L")).std() < BLANK_DEVIATION else image


def read(source, name):
    """Returns the bytes of a file; `name` is a path below a folder, or an object of a git directory."""
    if not is_git(source):
        return pathlib.Path(source, name).read_bytes()
    if source not in readers:
        readers[source] = subprocess.Popen(["git", "-C", source, "cat-file", "--batch"],
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    git = readers[source]
    git.stdin.write(name.encode() + b"\n")
    git.stdin.flush()
    size = int(git.stdout.readline().split()[2])
    return git.stdout.read(size + 1)[:size]


def prepare(task):
    """Returns the reason to drop a photo, or its JPEG bytes and its two hashes."""
    source, name, least = task
    try:
        image = shrink(read(source, name), least)
    except Exception:  # decoders raise all kinds of exceptions on broken files
        return "undecodable", None, None
    if image is None:
        return "small or blank", None, None
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=88)
    return jpeg.getvalue(), difference_hash(image), difference_hash(ImageOps.mirror(image))


def is_git(source):
    return pathlib.Path(source, "HEAD").is_file() or pathlib.Path(source, ".git").exists()


def listing(source, revision="HEAD"):
    """Returns pairs of path and name (the argument of `read`) of the photos in a source."""
    if is_git(source):
        lines = subprocess.check_output(["git", "-C", source, "ls-tree", "-rz", revision])
        pairs = [line.split("\t", 1) for line in lines.decode(errors="replace").split("\0") if line]
        pairs = [(path, entry.split()[2]) for entry, path in pairs]  # entry: mode, kind, object
    else:
        paths = (path.relative_to(source) for path in pathlib.Path(source).rglob("*"))
        pairs = [(path.as_posix(), path.as_posix()) for path in paths]
    return sorted(pair for pair in pairs if pair[0].lower().endswith(SUFFIXES))


def bands(value):
    return [(start, value >> start & (1 << width) - 1) for start, width in BANDS]


def add(value, table):
    for band in bands(value):
        table[band].append(value)


def near(value, table):
    """Returns whether the table contains a hash within SAME_BITS of this one."""
    return any((value ^ other).bit_count() <= SAME_BITS
               for band in bands(value) for other in table.get(band, ()))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("sources", nargs="+", metavar="FOLDER_OR_GIT_DIR")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--only", type=re.compile, default=re.compile(""))
    parser.add_argument("--skip", type=re.compile, default=re.compile(r"(?!)"))
    parser.add_argument("--revision", default="HEAD")
    parser.add_argument("--evaluation", nargs="+", default=[])
    for name, number in (("--most", sys.maxsize), ("--per-folder", sys.maxsize),
                         ("--least", 96), ("--workers", 2)):
        parser.add_argument(name, type=int, default=number)
    return parser.parse_args()


def chosen(options):
    folders, tasks = collections.Counter(), []
    for source in options.sources:
        pairs = listing(source, options.revision)
        random.Random(0).shuffle(pairs)
        for path, name in pairs:
            folder = (source, os.path.dirname(path))
            if (options.only.search(path) and not options.skip.search(path)
                    and folders[folder] < options.per_folder):
                folders[folder] += 1
                tasks.append((source, name, options.least))
    random.Random(0).shuffle(tasks)
    return tasks


def main():
    options = arguments()
    target = options.out / options.name
    target.mkdir(parents=True)
    counts, kept, table = collections.Counter(read=0, kept=0), [], collections.defaultdict(list)
    for store in options.out.glob("*/hashes.npy"):
        for value in numpy.load(store).tolist():
            add(value, table)
    with multiprocessing.Pool(options.workers) as pool:
        photos = [(folder, name, 1) for folder in options.evaluation for _, name in listing(folder)]
        hashes = [value for _, value, _ in pool.imap(prepare, photos, 32) if value is not None]
        evaluation = numpy.array(hashes, numpy.uint64)
        for jpeg, value, mirrored in pool.imap(prepare, chosen(options), 16):
            counts["read"] += 1
            if value is None:
                counts[jpeg] += 1
            elif any((numpy.bitwise_count(evaluation ^ numpy.uint64(h)) <= EVALUATION_BITS).any()
                     for h in (value, mirrored)):
                counts["near an evaluation photo"] += 1
            elif near(value, table) or near(mirrored, table):
                counts["duplicate"] += 1
            else:
                (target / "partial").write_bytes(jpeg)
                (target / "partial").replace(target / f"{counts['kept']:06}.jpg")
                add(value, table)
                kept.append(value)
                counts["kept"] += 1
                if counts["kept"] >= options.most:
                    break
        pool.terminate()
    numpy.save(target / "hashes.npy", numpy.array(kept, numpy.uint64))
    (target / "counts.json").write_text(json.dumps(counts, indent=1) + "\n")
    print(options.name, dict(counts))


if __name__ == "__main__":
    main()

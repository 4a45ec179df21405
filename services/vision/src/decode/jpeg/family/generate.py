"""Writes family.bin, small JPEG files of many kinds one after the other, and family.tsv, a line per
file: name, length, width, height, and the mean colours of a grid of at most 4 x 4 cells as
libjpeg-turbo decodes the file (hexadecimal RGB, row by row).

Needs Pillow, numpy, and cjpeg (Debian: libjpeg-turbo-progs).
"""

import io
import subprocess
import tempfile

import numpy
from PIL import Image

# Sampling factors of luma and both chroma components.
SAMPLINGS = [
    "1x1,1x1,1x1", "2x1,1x1,1x1", "1x2,1x1,1x1", "2x2,1x1,1x1",
    "4x1,1x1,1x1", "1x4,1x1,1x1", "4x2,1x1,1x1", "2x4,1x1,1x1", "3x1,1x1,1x1", "1x3,1x1,1x1",
    "2x1,2x1,2x1", "1x2,1x2,1x2", "2x2,2x1,2x1", "2x2,1x2,1x2", "2x2,2x1,1x2", "2x2,1x1,2x2",
    "1x1,2x2,1x1", "1x1,1x1,2x2", "1x1,2x1,2x1", "1x1,1x2,1x2", "2x1,1x2,1x1", "1x2,2x1,1x1",
    "4x1,2x1,1x1", "2x1,1x1,2x1", "1x1,4x1,1x1", "3x1,3x1,1x1", "1x1,2x2,2x2",
]
# The first eight are what cameras, phones and editors write.
MODES = {
    "baseline": ["-optimize"],
    "standard": [],
    "progressive": ["-progressive"],
    "separate": ["-optimize", "-scans"],
}
SIZES = [(1, 1), (7, 9), (8, 8), (16, 15), (17, 33), (33, 17), (31, 64), (65, 63), (49, 40), (5, 65)]
SEPARATE_SCANS = "0;\n1;\n2;\n"


def draw(width, height):
    """A smooth picture without two alike corners."""
    x = numpy.linspace(0, 1, width)[None, :]
    y = numpy.linspace(0, 1, height)[:, None]
    red = 40 + 180 * x + 0 * y
    green = 200 - 150 * y * (1 - x / 2)
    blue = 60 + 120 * (x * y) + 60 * (1 - x)
    return Image.fromarray(numpy.stack([red, green, blue], 2).astype("uint8"))


def encode(picture, *options, scans=None):
    with tempfile.NamedTemporaryFile("w", suffix=".scans") as script:
        options = list(options)
        if scans:
            script.write(scans)
            script.flush()
            options[options.index("-scans") + 1:options.index("-scans") + 1] = [script.name]
        source = io.BytesIO()
        picture.save(source, "PPM")
        done = subprocess.run(["cjpeg", "-quality", "90", *options], input=source.getvalue(), capture_output=True)
        if done.returncode:
            raise SystemExit(f"{options}: {done.stderr.decode()}")
        return done.stdout


def drop_segment(file, marker):
    """Removes the first segment with this marker."""
    at = file.index(bytes([0xff, marker]))
    length = int.from_bytes(file[at + 2:at + 4], "big")
    return file[:at] + file[at + 2 + length:]


def grid_of(file):
    picture = Image.open(io.BytesIO(file)).convert("RGB")
    pixels = numpy.asarray(picture).astype(float)
    height, width = pixels.shape[:2]
    columns, rows = min(4, width), min(4, height)
    cells = []
    for row in range(rows):
        for column in range(columns):
            part = pixels[row * height // rows:(row + 1) * height // rows,
                          column * width // columns:(column + 1) * width // columns]
            cells.append("".join(f"{round(value):02x}" for value in part.mean((0, 1))))
    return width, height, " ".join(cells)


def encode_four(picture, transform, **options):
    """Encodes four components: inverted CMYK, or YCbCr and black with `transform` 2."""
    rgb = numpy.asarray(picture).astype(int)
    black = numpy.full(rgb.shape[:2] + (1,), 200)
    if transform == 2:
        # The colours are inverted before the conversion to YCbCr.
        ink = Image.fromarray((255 - rgb).astype("uint8")).convert("YCbCr")
        rgb = numpy.asarray(ink).astype(int)
    stored = numpy.concatenate([rgb, black], 2)
    # Pillow inverts what it writes.
    image = Image.fromarray((255 - stored).astype("uint8"), "CMYK")
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92, **options)
    file = bytearray(out.getvalue())
    at = file.index(b"Adobe")
    file[at + 11] = transform
    return bytes(file)


def family():
    number = 0
    for sampling in SAMPLINGS:
        is_common = SAMPLINGS.index(sampling) < 4
        for mode, options in MODES.items():
            for restart in [None, "1", "3B"] if is_common else [None, "2B"]:
                for _ in range(2 if is_common and not restart else 1):
                    size = SIZES[number % len(SIZES)]
                    number += 3
                    extra = ["-restart", restart] if restart else []
                    scans = SEPARATE_SCANS if mode == "separate" else None
                    file = encode(draw(*size), "-sample", sampling, *options, *extra, scans=scans)
                    yield f"{sampling} {mode} restart {restart} {size[0]}x{size[1]}", file
            number += 1
    for size in [(1, 1), (9, 7), (65, 33)]:
        picture, text = draw(*size), f"{size[0]}x{size[1]}"
        for sampling in ["1x1", "2x2", "4x1"]:
            for mode in ["-optimize", "-progressive"]:
                file = encode(picture, "-grayscale", "-sample", sampling, mode, "-restart", "1")
                yield f"gray {sampling} {mode} {text}", file
        for mode in ["-optimize", "-progressive"]:
            rgb = encode(picture, "-rgb", mode)
            yield f"rgb {mode} {text}", rgb
            # Without the Adobe segment, the names of the components tell that they are RGB.
            yield f"rgb by names {mode} {text}", drop_segment(rgb, 0xee)
            yield f"rgb subsampled {mode} {text}", encode(picture, "-rgb", "-sample", "2x2", mode)
        for transform, name in [(0, "cmyk"), (2, "ycck")]:
            for options in [{}, {"progressive": True}]:
                file = encode_four(picture, transform, **options)
                yield f"{name} {options} {text}", file
            for subsampling in (["4:4:4", "4:2:0"] if transform == 0 else []):
                file = encode_four(picture, transform, subsampling=subsampling)
                yield f"{name} {subsampling} {text}", file
        yield f"cmyk without adobe {text}", drop_segment(encode_four(picture, 0), 0xee)


def main():
    with open("family.bin", "wb") as binary, open("family.tsv", "w") as table:
        for name, file in family():
            width, height, cells = grid_of(file)
            binary.write(file)
            print(name, len(file), width, height, cells, sep="\t", file=table)


main()

"""Compares what a running lookalike shows of each file with what Pillow reads.

usage: compare_with_pillow.py URL LIBRARY=FOLDER...

Prints one line per file: library, name, mean difference of the thumbnail from Pillow's picture (0 to 255, both fitted to
64 x 64 over white in sRGB), marks, and what each of the two read. Needs numpy, pillow, pillow-heif and requests from PyPI.
"""

import io
import sys
import warnings
from pathlib import Path

import numpy
import pillow_heif
import requests
from PIL import Image, ImageCms, ImageOps

# A larger difference is marked.
MAX_DIFFERENCE = 6.0


def list_all(url, path, key):
    cursor = None
    while True:
        answer = requests.get(url + path, params={"limit": 200, "cursor": cursor}, timeout=60).json()
        yield from answer[key]
        cursor = answer["cursor"]
        if cursor is None:
            return


def fit_range(picture):
    """Pillow clips the samples of 16-bit and floating-point pictures when it converts them."""
    if picture.mode not in ("I", "I;16", "F"):
        return picture
    samples = numpy.asarray(picture).astype(float)
    highest = samples.max()
    if picture.mode == "F" and highest <= 1.5:
        samples *= 255
    elif highest > 255:
        samples /= 257
    return Image.fromarray(samples.clip(0, 255).astype("uint8"))


def read_with_pillow(path):
    picture = Image.open(path)
    picture.load()
    profile = picture.info.get("icc_profile")
    picture = fit_range(ImageOps.exif_transpose(picture))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        ground = Image.new("RGBA", picture.size, "white")
        ground.alpha_composite(picture.convert("RGBA"))
        picture = ground.convert("RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(picture, source, target, outputMode="RGB")
        except ImageCms.PyCMSError:
            pass
    return picture.convert("RGB")


def difference(a, b):
    small = [numpy.asarray(picture.resize((64, 64), Image.BOX)).astype(float) for picture in (a, b)]
    return float(numpy.abs(small[0] - small[1]).mean())


def compare_file(url, path, image, failure):
    marks, measured = [], None
    try:
        reference = read_with_pillow(path)
        theirs = "{}x{}".format(*reference.size)
    except Exception as error:
        reference, theirs = None, f"{type(error).__name__}: {str(error)[:60]}"
    ours = "absent"
    if failure:
        ours = f"{failure['code']}: {failure['detail'][:110]}"
    if image:
        ours = "{format} {width}x{height} {taken_at} {camera}".format(**image)
        thumbnail = requests.get(url + image["thumbnail_url"], timeout=60)
        if reference and thumbnail.ok:
            shown = Image.open(io.BytesIO(thumbnail.content)).convert("RGB")
            measured = difference(reference, shown)
            if measured > MAX_DIFFERENCE:
                marks.append("DIFFERENT")
        if reference and reference.size != (image["width"], image["height"]):
            marks.append("SIZE")
    if bool(reference) != bool(image):
        marks.append("ONLY-PILLOW" if reference else "ONLY-LOOKALIKE")
    return measured, marks, ours, theirs


def main():
    url, libraries = sys.argv[1].rstrip("/"), dict(word.split("=", 1) for word in sys.argv[2:])
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None
    pillow_heif.register_heif_opener()
    images = {(image["library"], image["path"]): image for image in list_all(url, "/v1/images", "images")}
    failures = {(file["library"], file["path"]): file for file in list_all(url, "/v1/failures", "failures")}
    differences = []
    for library, folder in libraries.items():
        for path in sorted(file for file in Path(folder).iterdir() if file.is_file()):
            key = library, path.name
            measured, marks, ours, theirs = compare_file(url, path, images.get(key), failures.get(key))
            shown = "" if measured is None else f"{measured:.1f}"
            print(library, path.name, shown, " ".join(marks), ours, theirs, sep="\t")
            if measured is not None:
                differences.append(measured)
    print(f"{len(differences)} pictures compared, median difference {numpy.median(differences):.2f} of 255")


if __name__ == "__main__":
    main()

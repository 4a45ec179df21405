#!/usr/bin/env python3
"""Fits the projection of EfficientNet-Lite to 384 numbers and writes it to the model's folder.

    fit_projection.py --model ../models/efficientnet-lite0 [--cache FILE.npz] FOLDER [FOLDER ...]

A FOLDER contains photos in any subfolders, or an index.csv with shards. None of these photos may be used for an
evaluation. Labels are not used.

The fit is a PCA in a metric that knows what the network was trained to tell apart. With C the covariance of the averages
over the photos and G = F^T F of the network's 1,000 centred classifier rows F, both scaled to a mean diagonal of 1:

    S = C ^ POWER                            shrinks directions of large variance (-0.5 would be full whitening)
    V = the 384 first eigenvectors of S (C + CLASSES * G) S
    weight = V^T S, bias = -weight * mean of the averages

CLASSES and POWER were chosen by precision at 10 on labelled training photos of sources that the fit had left out; the
model card tells the numbers. The classifier itself is not kept.
"""
import argparse, io, os
import numpy as np
from PIL import Image, ImageOps
from safetensors.numpy import save_file
from efficientnet import EfficientNet, pooling, squash
from prepare import photos_of

DIMENSION = 384
CLASSES, POWER = 0.3, -0.25


def matrix_power(matrix, exponent, least=1e-6):
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.maximum(values, least * values.max()) ** exponent @ vectors.T


def mean_diagonal_1(matrix):
    return matrix / np.trace(matrix) * len(matrix)


def fit(averages, classifier, classes=CLASSES, power=POWER, dimension=DIMENSION):
    """Returns weight [dimension, F] and bias [dimension] for averages [N, F] and classifier rows [K, F]."""
    mean = averages.mean(0, dtype=np.float64)
    covariance = mean_diagonal_1(np.cov(averages.T.astype(np.float64)))
    rows = classifier - classifier.mean(0)
    metric = covariance + classes * mean_diagonal_1(rows.T @ rows)
    shrink = matrix_power(covariance, power)
    _, vectors = np.linalg.eigh(shrink @ metric @ shrink)
    weight = vectors[:, ::-1][:, :dimension].T @ shrink
    # The sign of an eigenvector is arbitrary: its largest number becomes positive.
    weight *= np.sign(weight[np.arange(dimension), np.abs(weight).argmax(1)])[:, None]
    # Vectors of about unit length keep the numbers within the range of half precision.
    weight /= np.sqrt((((averages - mean) @ weight.T) ** 2).sum(1).mean())
    return weight, -weight @ mean


def averages_of(net, folders, batch=16):
    found = [read for folder in folders for _, read in photos_of(folder)]
    out = []
    for a in range(0, len(found), batch):
        photos = [ImageOps.exif_transpose(Image.open(io.BytesIO(read()))).convert("RGB") for read in found[a:a + batch]]
        out.append(net.pooled(np.stack([squash(photo, net.side) for photo in photos])))
        if a % 1024 == 0:
            print(f"{a} of {len(found)} photos", flush=True)
    return np.concatenate(out)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+")
    p.add_argument("--model", required=True, help="folder of the model; its name selects the network")
    p.add_argument("--cache", help="keep the averages of the photos in this file")
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    net = EfficientNet(os.path.basename(os.path.normpath(args.model)), threads=args.threads)
    if args.cache and os.path.exists(args.cache):
        averages = np.load(args.cache)["averages"]
    else:
        averages = averages_of(net, args.folders)
        if args.cache:
            np.savez(args.cache, averages=averages)
    weight, bias = fit(averages, net.classifier)
    tensors = {
        "pooling.weight": pooling(-(-net.side // 32)),
        "projection.weight": weight.astype(np.float16),
        "projection.bias": bias.astype(np.float32),
    }
    path = os.path.join(args.model, "projection.safetensors")
    save_file(tensors, path)
    print(f"{path}: {weight.shape[0]} x {weight.shape[1]}, from {len(averages)} photos")


if __name__ == "__main__":
    main()

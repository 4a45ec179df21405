"""Decodes and preprocesses photos as timm and torchvision do it, on request.

Usage: decode.py LIST, a file with one path per line. Reads {"seconds": 2} per line and answers with the number of
images and the time.
"""

import itertools
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import PIL
import timm
import torch
from PIL import Image


def main():
    threads = int(os.environ.get("LOOKALIKE_BENCH_THREADS", "0")) or os.cpu_count()
    torch.set_num_threads(1)
    paths = open(sys.argv[1], encoding="utf-8").read().splitlines()
    model = timm.create_model("resnet34", pretrained=False)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))

    def prepare(path):
        return transform(Image.open(path).convert("RGB"))

    pool = ThreadPoolExecutor(threads)
    cycle = itertools.cycle(paths)
    print(json.dumps({"version": PIL.__version__, "threads": threads}), flush=True)
    for line in sys.stdin:
        seconds = json.loads(line)["seconds"]
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            done += sum(1 for _ in pool.map(prepare, itertools.islice(cycle, threads * 8)))
        print(json.dumps({"images": done, "seconds": time.perf_counter() - started}), flush=True)


if __name__ == "__main__":
    main()

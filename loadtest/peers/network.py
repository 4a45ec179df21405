"""Runs a network in ONNX Runtime or PyTorch on request.

Reads one JSON object per line, {"batch": 8, "seconds": 2}, and answers with the number of images and the time.
The inputs are those of lookalike's network, already normalised, so this side does less work per image.
"""

import argparse
import json
import os
import sys
import tempfile
import time

import numpy as np
import torch
from safetensors.torch import load_file

from weights import create_network, lite_keys


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--weights", required=True, help="folder with model.safetensors")
    parser.add_argument("--inputs", required=True, help="8-bit RGB inputs, one after the other")
    parser.add_argument("--max-batch", required=True, type=int)
    parser.add_argument(
        "--engine", required=True, choices=["onnxruntime", "torch-f32", "torch-bf16", "torch-cuda-bf16"]
    )
    return parser.parse_args()


def load_network(name, folder):
    """Returns the network without its classifier, and whether the weights fit."""
    model = create_network(name, classes=0).eval()
    state = load_file(os.path.join(folder, "model.safetensors"))
    wanted = model.state_dict()
    if "_conv_stem.weight" in state:
        names = lite_keys(wanted)
        state = {key: state[names[key]] for key in wanted if names[key] in state}
    fitting = {key: value.float() for key, value in state.items() if key in wanted and value.shape == wanted[key].shape}
    missing = model.load_state_dict(fitting, strict=False).missing_keys
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    return model, not missing


def read_inputs(path, model, max_batch):
    """Returns normalised inputs; repeats them up to the largest batch."""
    config = model.pretrained_cfg
    side = config["input_size"][1]
    pixels = np.fromfile(path, dtype=np.uint8).reshape(-1, side, side, 3)
    pixels = np.resize(pixels, (max(max_batch, len(pixels)), side, side, 3))
    mean = np.array(config["mean"], dtype=np.float32)
    deviation = np.array(config["std"], dtype=np.float32)
    images = (pixels.astype(np.float32) / 255 - mean) / deviation
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def make_onnx_runner(model, images, threads):
    import onnxruntime

    folder = tempfile.mkdtemp()
    path = os.path.join(folder, "model.onnx")
    batch = torch.export.Dim("batch", min=1, max=max(2, len(images)))
    torch.onnx.export(
        model, (images[:2],), path, input_names=["images"], dynamo=True, dynamic_shapes=({0: batch},), verbose=False
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    arrays = images.numpy()
    return lambda start, stop: session.run(None, {name: arrays[start:stop]}), onnxruntime.__version__


def make_torch_runner(model, images, engine):
    device = "cuda" if "cuda" in engine else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("PyTorch finds no CUDA device")
    layout = torch.contiguous_format if engine == "torch-f32" else torch.channels_last
    model = model.to(device, memory_format=layout)
    images = images.to(device, memory_format=layout)

    def run(start, stop):
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled="bf16" in engine):
            result = model(images[start:stop])
            if device == "cuda":
                torch.cuda.synchronize()
            return result

    return run, torch.__version__


def measure(run, count, batch, seconds):
    """Runs whole batches for about the given time."""
    starts = range(0, count - batch + 1, batch)
    run(0, batch)
    images, started = 0, time.perf_counter()
    while True:
        for start in starts:
            run(start, start + batch)
            images += batch
            elapsed = time.perf_counter() - started
            if elapsed >= seconds:
                return images, elapsed


def main():
    arguments = parse_arguments()
    threads = int(os.environ.get("LOOKALIKE_BENCH_THREADS", "0")) or os.cpu_count()
    torch.set_num_threads(threads)
    # The exporter prints to standard output, which carries the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    try:
        model, weights_fit = load_network(arguments.name, arguments.weights)
        images = read_inputs(arguments.inputs, model, arguments.max_batch)
        if arguments.engine == "onnxruntime":
            run, version = make_onnx_runner(model, images, threads)
        else:
            run, version = make_torch_runner(model, images, arguments.engine)
        greeting = {"version": version, "weights_fit": weights_fit, "threads": threads}
    except Exception as error:
        greeting = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    print(json.dumps(greeting), file=answers, flush=True)
    if "error" in greeting:
        return
    for line in sys.stdin:
        request = json.loads(line)
        images_done, seconds = measure(run, len(images), request["batch"], request["seconds"])
        print(json.dumps({"images": images_done, "seconds": seconds}), file=answers, flush=True)


if __name__ == "__main__":
    main()

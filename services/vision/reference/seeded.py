"""Writes a model folder of a supported network with seeded random weights, to measure its speed.

    python seeded.py NAME FOLDER        # NAME as in ../models
"""
import json
import pathlib
import shutil
import sys

import timm
import torch
from make_reference import HERE, seeded
from safetensors.torch import save_file

TIMM = {
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "mobilenetv2": "mobilenetv2_100",
    "vit-s16": "vit_small_patch16_224",
    "dinov2-s14": "vit_small_patch14_dinov2",
    "dinov2-s14-reg": "vit_small_patch14_reg4_dinov2",
}


def shapes(name):
    if name in TIMM:
        net = timm.create_model(TIMM[name], num_classes=0)
        return {k: tuple(v.shape) for k, v in net.state_dict().items() if v.is_floating_point()}
    return json.loads((HERE / f"{name}-shapes.json").read_text())


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: seeded(k, tuple(shape)).half() for k, shape in shapes(name).items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    description = json.loads((HERE.parent / f"models/{name}/{name}.json").read_text())
    if "text" in description:
        # The tokenizer of the tiny model: its tokens are the first ones of a larger vocabulary.
        tiny = f"tiny-{description['architecture']}"
        shutil.copy(HERE / tiny / "tokenizer.json", folder)
        tokenizer = json.loads((folder / "tokenizer.json").read_text())
        ends = [t["id"] for t in tokenizer["added_tokens"] if t["content"] == "<|endoftext|>"]
        description["text"]["end_token"] = ends[0] if ends else description["text"]["end_token"]
    (folder / f"{name}.json").write_text(json.dumps(description, indent=1) + "\n")


if __name__ == "__main__":
    main()

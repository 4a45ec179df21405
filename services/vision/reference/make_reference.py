"""Reference values for the parity tests, computed with PyTorch, timm, transformers and efficientnet-lite-pytorch.

    pip install torch torchvision timm transformers efficientnet-lite-pytorch numpy safetensors pillow
    python make_reference.py            # writes the .json files and the tiny models to this folder
    python make_reference.py tiny-siglip siglip2-b16-shapes        # only these

The networks are those of the three packages. They have seeded random weights (including batch norm
statistics), computed by the same formula here and in the Rust test, so that the files stay small;
lookalike-mini has its own weights. Two images are drawn by a formula. The third is a photo, which the
reference implementation decodes and preprocesses from its file. Each file contains the unit vectors of all
three, and block means of the preprocessed photo, so that a crop that is off by one pixel is detected even if
random weights hardly distinguish images.

tiny-clip/ and tiny-siglip/ are complete model folders: an image and a text encoder with random weights and a
tokenizer, the first as transformers saves it, the second with our own description. Their reference
values are in the .json files of the same names.
"""
import json
import pathlib
import sys

import numpy as np
import timm
import torch
from PIL import Image
from torch.nn import functional as F

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "training"))
from model import centre as trained_on, load as trained  # noqa: E402

PHOTO = HERE.parents[2] / "images/objects/cat-4.jpg"
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def random_bits(name, count):
    """SplitMix64 of (FNV-1a of the name) + 0, 1, 2, ...: one 64-bit number each."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = (np.uint64(seed) + np.arange(count, dtype=np.uint64)) * GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(name, count):
    """24-bit numbers in [0, 1), exact in single precision."""
    return (random_bits(name, count) >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)


def seeded(name, shape):
    """The numbers of one tensor; its kind follows from name and shape."""
    count = int(np.prod(shape))
    u = uniform(name, count)
    if len(shape) in (2, 4):  # of a linear layer or a convolution
        fan_in = int(np.prod(shape[1:]))
        values = (u - np.float32(0.5)) * np.float32(2 * np.sqrt(6 / fan_in))
    elif name.endswith("running_var"):
        values = u + np.float32(0.5)
    elif name.endswith("weight"):
        values = u * np.float32(0.5) + np.float32(0.5)
    else:  # biases, running means, tokens, positions, layer scales
        values = (u - np.float32(0.5)) * np.float32(0.5)
    return torch.from_numpy(values.reshape(shape))


def seed_weights(net):
    """Gives every tensor of a network its seeded numbers."""
    state = {k: v for k, v in net.state_dict().items() if v.is_floating_point()}
    state = {k: seeded(k, tuple(v.shape)) for k, v in state.items()}
    net.load_state_dict(state, strict=False)
    return net.eval()


def pictures(side):
    """Two drawn images, 2 x side x side x 3 bytes: noise, and slanted bands."""
    noise = (random_bits("pixels", side * side * 3) & np.uint64(255)).astype(np.uint8)
    y, x, c = np.meshgrid(np.arange(side), np.arange(side), np.arange(3), indexing="ij")
    bands = ((3 * x + 2 * y + 40 * c) % 256).astype(np.uint8)
    return np.stack([noise.reshape(side, side, 3), bands])


def to_input(pixels, mean, std):
    x = torch.from_numpy(pixels).float().permute(0, 3, 1, 2) / 255
    return (x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def blocks(photo, mean, std):
    """Means of 14 x 14 blocks of the preprocessed photo, in levels of 0 to 255."""
    levels = photo * torch.tensor(std).view(3, 1, 1) + torch.tensor(mean).view(3, 1, 1)
    means = F.avg_pool2d(levels[None] * 255, photo.shape[-1] // 14)[0]
    return means.permute(1, 2, 0).flatten().tolist()


def rounded(values, digits):
    return [float(f"{value:.{digits}g}") for value in values]


def write(name, found):
    (HERE / f"{name}.json").write_text(json.dumps(found) + "\n")


@torch.no_grad()
def reference(name, embed, side, mean, std, photo=None):
    """Vectors of the drawn images and the photo."""
    inputs = to_input(pictures(side), mean, std)
    if photo is not None:
        inputs = torch.cat([inputs, photo[None]])
    vectors = F.normalize(embed(inputs), dim=1).double().numpy()
    found = {"vectors": [rounded(row, 6) for row in vectors]}
    if photo is not None:
        found["blocks"] = rounded(blocks(photo, mean, std), 4)
    print(name, vectors.shape, "cosines:", np.round(vectors @ vectors.T, 4).tolist())
    return found


def timm_reference(name, tagged, **options):
    """A network of timm with seeded weights; `tagged` names the pretrained model that defines the preprocessing."""
    net = seed_weights(timm.create_model(tagged, num_classes=0, **options))
    config = timm.data.resolve_data_config({}, model=net)
    if "img_size" in options:
        config["input_size"] = (3, options["img_size"], options["img_size"])
    photo = timm.data.create_transform(**config)(Image.open(PHOTO).convert("RGB"))
    side = config["input_size"][-1]
    return reference(name, net, side, config["mean"], config["std"], photo)


def dinov2_reference(name, tagged):
    """Seeded weights like pretrained ones: with positions for 518 pixels, resampled to 224 by timm."""
    large = seed_weights(timm.create_model(tagged, num_classes=0))
    small = timm.create_model(tagged, num_classes=0, img_size=224)
    state = timm.models.vision_transformer.checkpoint_filter_fn(large.state_dict(), small)
    small.load_state_dict(state)
    config = timm.data.resolve_data_config({}, model=small)
    config["input_size"] = (3, 224, 224)
    photo = timm.data.create_transform(**config)(Image.open(PHOTO).convert("RGB"))
    found = reference(name, small.eval(), 224, config["mean"], config["std"], photo)
    found["pos_embed"] = list(large.pos_embed.shape)
    return found


def efficientnet_lite_reference(name, side, dimension=None):
    """A network of efficientnet-lite-pytorch with seeded weights, with a projection if there is a dimension."""
    from efficientnet_lite_pytorch import EfficientNet
    from torchvision import transforms

    net = seed_weights(EfficientNet.from_name(name))
    mean, std = (127 / 255,) * 3, (128 / 255,) * 3
    embed = lambda x: net.extract_features(x).mean((2, 3))
    if dimension is not None:
        weight, bias = seeded("projection.weight", (dimension, 1280)), seeded("projection.bias", (dimension,))
        features = embed
        embed = lambda x: F.linear(features(x), weight, bias)
    preprocess = transforms.Compose([
        transforms.Resize(side + 32, transforms.InterpolationMode.BICUBIC),
        transforms.CenterCrop(side),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ])
    return reference(name, embed, side, mean, std, preprocess(Image.open(PHOTO).convert("RGB")))


def mini_reference():
    net = trained(HERE.parent / "models/lookalike-mini/lookalike-mini.safetensors")
    photo = torch.from_numpy(trained_on(Image.open(PHOTO).convert("RGB")).copy()).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in IMAGENET)
    return reference("lookalike-mini", net, 128, *IMAGENET, (photo - mean) / std)


def seed_and_save(net, folder):
    """Writes seeded weights in half precision to a model folder and loads them into the network."""
    from safetensors.torch import save_file

    state = {k: v for k, v in net.state_dict().items() if v.is_floating_point()}
    state = {k: seeded(k, tuple(v.shape)).half() for k, v in state.items()}
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    net.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    net.eval()


def with_texts(found, ids, output):
    """The reference of the images together with that of the texts from the same run."""
    same = output.image_embeds[0].numpy() @ np.array(found["vectors"][2])
    assert same > 0.999999, same
    found["texts"] = [
        {"text": text, "tokens": row, "vector": rounded(vector.tolist(), 6)}
        for text, row, vector in zip(TEXTS, ids, output.text_embeds)
    ]
    print([row["tokens"] for row in found["texts"]])
    return found


TEXTS = [
    "a photo of a cat",
    "Two  dogs,\n playing in the GARDEN!",
    "it's 2024 and we'll go to the café; naïve façade",
    "",
    "猫と犬 🐱🐶 – привет",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen",
    "the end <|endoftext|> is not the end",
]
CORPUS = [
    "a photo of a cat and a dog playing in the garden",
    "the red house by the sea, a black and white photo of two dogs",
    "one two three four five six seven eight nine ten flowers in the garden",
]


def tiny_tokenizer():
    """A tokenizer like CLIP's with a small vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    trained.train_from_iterator(CORPUS, trainer)
    merges = [tuple(pair) for pair in json.loads(trained.to_str())["model"]["merges"]]
    words = alphabet + [letter + "</w>" for letter in alphabet]
    words += [a + b for a, b in merges]
    words = list(dict.fromkeys(words)) + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: i for i, word in enumerate(words)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=16), len(words)


@torch.no_grad()
def clip_reference():
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = HERE / "tiny-clip"
    tokenizer, vocabulary = tiny_tokenizer()
    tower = {"num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=tower
        | {
            "hidden_size": 32,
            "intermediate_size": 96,
            "vocab_size": vocabulary,
            "max_position_embeddings": 16,
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            "pad_token_id": vocabulary - 1,
        },
        vision_config=tower
        | {"hidden_size": 32, "intermediate_size": 96, "image_size": 64, "patch_size": 16},
        projection_dim=24,
    )
    processor = CLIPImageProcessor(
        size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
    )
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    net = CLIPModel(config)
    seed_and_save(net, folder)

    photo = processor(Image.open(PHOTO).convert("RGB"), return_tensors="pt").pixel_values[0]
    embed = lambda x: net.visual_projection(net.vision_model(pixel_values=x).pooler_output)
    mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    found = reference("tiny-clip", embed, 64, mean, std, photo)
    tokens = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    output = net(pixel_values=photo[None], **tokens)
    # Up to the first end token, which is also the padding of shorter texts.
    ids = [row[: row.index(vocabulary - 1) + 1] for row in tokens.input_ids.tolist()]
    return with_texts(found, ids, output)


def clip_shapes():
    """Names and shapes of CLIP ViT-B/32, the default configuration of transformers."""
    from transformers import CLIPConfig, CLIPModel

    return shapes(CLIPModel, CLIPConfig())


def shapes(kind, config):
    with torch.device("meta"):
        net = kind(config)
    state = net.state_dict().items()
    return {k: list(v.shape) for k, v in state if v.is_floating_point() and not k.startswith("logit_")}


def gemma_tokenizer():
    """A tokenizer like Gemma's with a small vocabulary and an end token after every text."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Replace(" ", "\u2581")
    trained.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    trainer = trainers.BpeTrainer(vocab_size=240, special_tokens=special, show_progress=False)
    trained.train_from_iterator(CORPUS, trainer)
    model = json.loads(trained.to_str())["model"]
    words = special + [f"<0x{i:02X}>" for i in range(256)]
    words += [word for word in model["vocab"] if word not in special]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={word: i for i, word in enumerate(words)},
            merges=[tuple(pair) for pair in model["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing("$A <eos>", "$A <eos> $B <eos>", [("<eos>", 1)])
    return tokenizer, len(words)


@torch.no_grad()
def siglip_reference():
    from transformers import PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessor, SiglipModel

    folder = HERE / "tiny-siglip"
    folder.mkdir(exist_ok=True)
    backend, vocabulary = gemma_tokenizer()
    backend.save(str(folder / "tokenizer.json"))
    tower = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 32, "intermediate_size": 96}
    config = SiglipConfig(
        text_config=tower | {"vocab_size": vocabulary, "max_position_embeddings": 16},
        vision_config=tower | {"image_size": 64, "patch_size": 16},
    )
    ours = json.loads((HERE.parent / "models/siglip2-b16/siglip2-b16.json").read_text())
    ours["name"] = "tiny-siglip"
    ours["dimension"] = tower["hidden_size"]
    ours["input"] = [3, 64, 64]
    ours["preprocessing"] |= {"resize_short_side": 64, "crop": [64, 64]}
    small = {"width": 32, "depth": 2, "heads": 2, "mlp": 96}
    ours["vision"] |= small
    ours["text"] |= small | {"vocabulary": vocabulary, "positions": 16}
    (folder / "tiny-siglip.json").write_text(json.dumps(ours, indent=1) + "\n")

    net = SiglipModel(config)
    seed_and_save(net, folder)

    processor = SiglipImageProcessor(size={"height": 64, "width": 64}, resample=2)
    photo = processor(Image.open(PHOTO).convert("RGB"), return_tensors="pt").pixel_values[0]
    mean, std = tuple(processor.image_mean), tuple(processor.image_std)
    embed = lambda x: net.vision_model(pixel_values=x).pooler_output
    found = reference("tiny-siglip", embed, 64, mean, std, photo)
    # SigLIP 2 was trained on lower case, keeps the end token of a cut text, and pads to all positions.
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="right", model_max_length=16
    )
    texts = [text.lower() for text in TEXTS]
    tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    output = net(pixel_values=photo[None], input_ids=tokens)
    ids = [row[: row.index(1) + 1] for row in tokens.tolist()]
    return with_texts(found, ids, output)


def siglip_shapes():
    """Names and shapes of SigLIP 2 ViT-B/16 for 224 pixels."""
    from transformers import SiglipConfig, SiglipModel

    return shapes(SiglipModel, SiglipConfig(text_config={"vocab_size": 256000}))


def main():
    vit = "vit_small_patch16_224.augreg_in21k_ft_in1k"
    dinov2 = "vit_small_patch14_{}.lvd142m"
    every = {
        "resnet34": lambda name: timm_reference(name, "resnet34.a1_in1k"),
        "resnet50": lambda name: timm_reference(name, "resnet50.a1_in1k"),
        "mobilenetv2": lambda name: timm_reference(name, "mobilenetv2_100.ra_in1k"),
        "efficientnet-lite0": lambda name: efficientnet_lite_reference(name, 224),
        "efficientnet-lite2": lambda name: efficientnet_lite_reference(name, 260, 384),
        "vit-s16": lambda name: timm_reference(name, vit),
        "dinov2-s14": lambda name: dinov2_reference(name, dinov2.format("dinov2")),
        "dinov2-s14-reg": lambda name: dinov2_reference(name, dinov2.format("reg4_dinov2")),
        "lookalike-mini": lambda name: mini_reference(),
        "tiny-clip": lambda name: clip_reference(),
        "clip-b32-shapes": lambda name: clip_shapes(),
        "tiny-siglip": lambda name: siglip_reference(),
        "siglip2-b16-shapes": lambda name: siglip_shapes(),
    }
    for name in sys.argv[1:] or every:
        write(name, every[name](name))


if __name__ == "__main__":
    main()

"""The usual system for image search: a batch script and a web service with timm, PyTorch and pymilvus.

usual_system.py index FOLDER --milvus URL --weights FOLDER    embeds a folder once
usual_system.py serve --milvus URL --weights FOLDER           answers uploads with the most similar pictures

It is written as tutorials and many production services write it: a data loader with worker processes, batches
without gradients, vectors of unit length, an index by inner product, one upload form.
"""

import argparse
import asyncio
import io
import json
import os
import socket
import sys
import time
from pathlib import Path

import timm
import torch
from PIL import Image
from pymilvus import Collection, CollectionSchema, DataType, FieldSchema, connections, utility
from safetensors.torch import load_file

COLLECTION = "usual_system"
DIMENSION = 512
BATCH_SIZE = 32
EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}
INDEX = {"index_type": "HNSW", "metric_type": "IP", "params": {"M": 16, "efConstruction": 200}}
SEARCH = {"metric_type": "IP", "params": {"ef": 64}}
THREADS = int(os.environ.get("LOOKALIKE_BENCH_THREADS", "0")) or os.cpu_count()


def load_model(folder):
    model = timm.create_model("resnet34", pretrained=False, num_classes=0).eval()
    model.load_state_dict(load_file(Path(folder) / "model.safetensors"), strict=False)
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, model=model))
    return model, transform


def embed(model, batch):
    with torch.no_grad():
        return torch.nn.functional.normalize(model(batch)).numpy()


class PhotoDataset(torch.utils.data.Dataset):
    def __init__(self, paths, transform):
        self.paths = paths
        self.transform = transform

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, number):
        path = self.paths[number]
        try:
            return self.transform(Image.open(path).convert("RGB")), str(path)
        except OSError as error:
            print(f"skipped {path}: {error}", file=sys.stderr)
            return None


def collate(items):
    items = [item for item in items if item is not None]
    if not items:
        return torch.empty(0), []
    images, paths = zip(*items)
    return torch.stack(images), list(paths)


def create_collection():
    if utility.has_collection(COLLECTION):
        utility.drop_collection(COLLECTION)
    fields = [
        FieldSchema("id", DataType.INT64, is_primary=True, auto_id=True),
        FieldSchema("path", DataType.VARCHAR, max_length=4096),
        FieldSchema("vector", DataType.FLOAT_VECTOR, dim=DIMENSION),
    ]
    return Collection(COLLECTION, CollectionSchema(fields))


def index_folder(arguments):
    model, transform = load_model(arguments.weights)
    started = time.perf_counter()
    paths = sorted(path for path in Path(arguments.folder).rglob("*") if path.suffix.lower() in EXTENSIONS)
    collection = create_collection()
    loader = torch.utils.data.DataLoader(
        PhotoDataset(paths, transform), batch_size=BATCH_SIZE, num_workers=THREADS, collate_fn=collate
    )
    count = 0
    for images, names in loader:
        if names:
            collection.insert([names, embed(model, images)])
            count += len(names)
    collection.flush()
    collection.create_index("vector", INDEX)
    collection.load()
    print(json.dumps({"images": count, "seconds": time.perf_counter() - started}), flush=True)


def serve(arguments):
    import uvicorn
    from fastapi import FastAPI, File, UploadFile

    model, transform = load_model(arguments.weights)
    collection = Collection(COLLECTION)
    collection.load()
    app = FastAPI()

    @app.post("/search")
    def search(file: UploadFile = File(...), limit: int = 10):
        image = Image.open(io.BytesIO(file.file.read())).convert("RGB")
        vector = embed(model, transform(image).unsqueeze(0))
        hits = collection.search(vector, "vector", SEARCH, limit, output_fields=["path"])[0]
        return {"hits": [{"path": hit.entity.get("path"), "score": hit.distance} for hit in hits]}

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    print(f"address=127.0.0.1:{listener.getsockname()[1]}", flush=True)
    asyncio.run(server.serve(sockets=[listener]))


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    index = commands.add_parser("index")
    index.add_argument("folder")
    for command in (index, commands.add_parser("serve")):
        command.add_argument("--milvus", required=True)
        command.add_argument("--weights", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    connections.connect(uri=arguments.milvus)
    if arguments.command == "index":
        index_folder(arguments)
    else:
        serve(arguments)


if __name__ == "__main__":
    main()

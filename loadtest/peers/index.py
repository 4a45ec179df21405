"""Builds and searches vector indexes of a Milvus collection on request, one JSON object per line.

{"wait": true}                                           waits until all rows are indexed
{"build": {"index_type": "HNSW", "params": {"M": 16}}}   replaces the index
{"search": {"ef": 64}}                                   latency and recall of all queries

The collection is lookalike's own; its rows have the row number as id, in hexadecimal.
"""

import argparse
import json
import sys
import time

import numpy as np
from pymilvus import Collection, connections, utility

FIELD = "vector"
METRIC = "COSINE"
BUILD_TIMEOUT = 3600


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--milvus", required=True)
    parser.add_argument("--collection", required=True)
    parser.add_argument("--queries", required=True, help="little-endian f32")
    parser.add_argument("--truth", required=True, help="the ten nearest row numbers of each query, u32")
    parser.add_argument("--dimension", required=True, type=int)
    return parser.parse_args()


class IndexBench:
    def __init__(self, arguments):
        connections.connect(uri=arguments.milvus)
        self.collection = Collection(arguments.collection)
        self.queries = np.fromfile(arguments.queries, dtype="<f4").reshape(-1, arguments.dimension)
        self.truth = np.fromfile(arguments.truth, dtype="<u4").reshape(len(self.queries), -1)
        self.index_name = next(index.index_name for index in self.collection.indexes if index.field_name == FIELD)

    def vector_index(self):
        return next((index for index in self.collection.indexes if index.field_name == FIELD), None)

    def wait(self):
        """Waits until no row waits for its index. Loads the collection again, so that searches use this index and not
        the rows as they arrived."""
        self.collection.flush()
        started = time.perf_counter()
        name = self.index_name
        while time.perf_counter() - started < BUILD_TIMEOUT:
            progress = utility.index_building_progress(self.collection.name, index_name=name)
            if progress.get("pending_index_rows", 0) == 0 and progress["indexed_rows"] >= progress["total_rows"]:
                seconds = time.perf_counter() - started
                self.collection.release()
                self.collection.load()
                return {"seconds": seconds, "rows": progress["total_rows"]}
            time.sleep(0.2)
        raise RuntimeError("the index was not built within an hour")

    def build(self, index_type, params):
        self.collection.release()
        if self.vector_index():
            self.collection.drop_index(index_name=self.index_name)
        index = {"index_type": index_type, "metric_type": METRIC, "params": params}
        started = time.perf_counter()
        # Returns when the index is built.
        self.collection.create_index(FIELD, index, index_name=self.index_name)
        created = time.perf_counter() - started
        return {"seconds": created + self.wait()["seconds"]}

    def search(self, params):
        search = {"metric_type": METRIC, "params": params}
        depth = self.truth.shape[1]
        latencies, found = [], 0
        for number in [0, *range(len(self.queries))]:
            started = time.perf_counter()
            hits = self.collection.search(self.queries[number : number + 1], FIELD, search, depth)[0]
            latencies.append((time.perf_counter() - started) * 1000)
            if len(latencies) > 1:
                found += len({int(hit.id, 16) for hit in hits} & set(self.truth[number].tolist()))
        latencies = sorted(latencies[1:])
        return {
            "recall": found / self.truth.size,
            "p50_ms": latencies[len(latencies) // 2],
            "p99_ms": latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
        }

    def answer(self, request):
        if "wait" in request:
            return self.wait()
        if "build" in request:
            return self.build(**request["build"])
        return self.search(request["search"])


def main():
    try:
        bench = IndexBench(parse_arguments())
        print(json.dumps({"queries": len(bench.queries)}), flush=True)
    except Exception as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}".splitlines()[0]}), flush=True)
        return
    for line in sys.stdin:
        try:
            answer = bench.answer(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

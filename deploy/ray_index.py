"""Describe a folder of photos on a Ray cluster: each task describes one shard into a Parquet file.

    python deploy/ray_index.py PHOTOS --encoder teacher.onnx --shards 64 --out OUT [--payloads known.csv] [--cores 4]

PHOTOS, the encoder and the folder OUT must have the same paths on every machine (a shared file system), and every machine's
environment needs ray beside askew-server. A task whose machine is lost is started elsewhere and continues with what it had
described. The same command again describes only what is new. Then: askew items import OUT/*.parquet --expect-shards 64
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def describe(options: argparse.Namespace, number: int) -> str:
    """Describe one shard, in a Ray task: what became of its files."""
    from askew_server.ingest.index_shard import ShardWork, index_shard
    from askew_server.ingest.shards import Shard

    shard = Shard(number, options.shards)
    output = options.out / f"shard-{number:05d}-of-{options.shards:05d}.parquet"
    work = ShardWork(
        options.photos, options.encoder, shard, output, options.pictures, options.payloads, workers=options.cores
    )
    files = index_shard(work).files
    return "\n".join([f"shard {shard}: {files.summary()}", *files.lines()])


def _path(text: str) -> Path:
    # Tasks on other machines begin in other folders.
    return Path(text).absolute()


def main() -> int:
    """Run it from a command line. Exit code 1: a shard failed; run it again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=_path)
    parser.add_argument("--encoder", type=_path, required=True)
    parser.add_argument("--shards", type=int, required=True, help="several for each task that runs at a time")
    parser.add_argument("--out", type=_path, required=True)
    parser.add_argument("--payloads", type=_path)
    parser.add_argument("--pictures", choices=["copies", "originals", "none"], default="copies")
    parser.add_argument("--cores", type=int, default=2, help="of one task; each describes one photo at a time")
    parser.add_argument("--gpus", type=float, default=0, help="of one task; needs onnxruntime-gpu")
    parser.add_argument("--address", help="of a running cluster; without it, Ray starts on this machine")
    options = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    ray.init(address=options.address, include_dashboard=None if options.address else False)
    options.out.mkdir(parents=True, exist_ok=True)
    # A machine that is lost is not the shard's fault; an error of ours is, and is reported.
    task = ray.remote(num_cpus=options.cores, num_gpus=options.gpus, max_retries=-1)(describe)
    waiting = {task.remote(options, number): number for number in range(1, options.shards + 1)}
    failed = 0
    while waiting:
        (ended,), _ = ray.wait(list(waiting))
        number = waiting.pop(ended)
        try:
            print(ray.get(ended), flush=True)
        except ray.exceptions.RayError as error:
            failed += 1
            reason = getattr(error, "cause", None) or error
            print(f"shard {number}/{options.shards} failed: {reason}", file=sys.stderr, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

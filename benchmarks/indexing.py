"""`askew index`, compared with a bare ONNX Runtime loop over the same photos, decoded beforehand.

    python benchmarks/indexing.py [--encoder demo/encoders/teacher.onnx] [--photos demo/gallery]

The bare loop has its photos in memory as arrays and uses ONNX Runtime's default threads (all cores). Indexing reads
and decodes the files, describes them, and commits vectors, payloads and photos to the disk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from askew_client.cli.taken import Intake
from askew_client.encoding.encoder import Encoder
from askew_client.encoding.photos import read_photo
from askew_client.encoding.runtime import load_onnxruntime
from askew_server.gallery.catalog import Catalog
from askew_server.ingest.index_photos import IndexReport, LocalGallery, index_photos
from askew_server.ingest.photo_folder import PhotoFile, find_photos

onnxruntime = load_onnxruntime()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", type=Path, default=Path("demo/encoders/teacher.onnx"))
    parser.add_argument("--photos", type=Path, default=Path("demo/gallery"))
    options = parser.parse_args()
    photos = find_photos(options.photos, None).photos
    session = onnxruntime.InferenceSession(str(options.encoder), providers=["CPUExecutionProvider"])
    decoded = [read_photo(photo.path) for photo in photos]
    session.run(["descriptor"], {"image": decoded[0][None]})
    ratios = []
    for turn in (1, 2, 3):
        started = time.perf_counter()
        for pixels in decoded:
            session.run(["descriptor"], {"image": pixels[None]})
        bare = len(photos) / (time.perf_counter() - started)
        indexed = indexing_rate(photos, options.encoder)
        ratios.append(indexed / bare)
        print(f"turn {turn}: bare loop {bare:.1f} photos/s, askew index {indexed:.1f} photos/s, ratio {ratios[-1]:.2f}")
    print(f"median ratio {sorted(ratios)[1]:.2f}")


def indexing_rate(photos: list[PhotoFile], path: Path) -> float:
    """Photos per second, from reading the files to the last commit, without loading the encoder."""
    encoder = Encoder(path, threads=1)
    encoder.encode(photos[0].path)
    with tempfile.TemporaryDirectory() as folder:
        galleries = Catalog(Path(folder), owner="the benchmark")
        gallery, _ = galleries.get_or_create("bench", encoder.manifest)
        started = time.perf_counter()
        report = IndexReport(Intake("files"))
        index_photos(photos, encoder, LocalGallery(gallery), report, lambda: None)
        seconds = time.perf_counter() - started
        galleries.close()
    assert report.files.taken == len(photos), report.files.as_json()
    return len(photos) / seconds


if __name__ == "__main__":
    main()

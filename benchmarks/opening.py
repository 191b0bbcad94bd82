"""How long it takes to open encoder files: ONNX Runtime's session on one thread, the median of some rounds.

    python benchmarks/opening.py demo/encoders/teacher.onnx demo/encoders/student.onnx [--rounds 10]

The files take turns, so that all of them see the same load of the machine. The first round is not counted.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

from askew_client.contract.encoder_file import read_encoder_file
from askew_client.encoding.runtime import load_onnxruntime

onnxruntime = load_onnxruntime()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    seconds: dict[Path, list[float]] = {file: [] for file in arguments.files}
    for _ in range(arguments.rounds + 1):
        for file in arguments.files:
            began = time.perf_counter()
            onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            seconds[file].append(time.perf_counter() - began)
    for file, measured in seconds.items():
        encoder = read_encoder_file(file)
        print(
            f"{file}: {encoder.manifest.encoder_id}, {encoder.size / 1e6:.1f} MB, opened in "
            f"{median(measured[1:]) * 1000:.0f} ms"
        )


if __name__ == "__main__":
    main()

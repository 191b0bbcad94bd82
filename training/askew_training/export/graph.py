"""The whole graph of an encoder: preprocessing and network, joined at `pixels`."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import onnx
import torch
from onnx import TensorProto, compose, helper

from askew_training.errors import DataError
from askew_training.export.preprocessing import IR_VERSION, OPSET, preprocessing_graph
from askew_training.networks.network import Network


def encoder_graph(network: Network, photo_size: int) -> onnx.ModelProto:
    """Build the graph `image` uint8 [N, H, W, 3] → `descriptor` float32 [N, D] of a network in eval mode.

    Batch normalisation is folded into the convolutions; the weights are float32.
    """
    merged = compose.merge_models(
        preprocessing_graph(photo_size),
        network_graph(network),
        io_map=[("pixels", "pixels")],
        inputs=["image"],
        outputs=["descriptor"],
    )
    merged.graph.name = "encoder"
    merged.producer_name = "askew"
    merged.ClearField("doc_string")
    merged.graph.ClearField("doc_string")
    del merged.graph.value_info[:]
    # After merging, the operator set is listed once for each part.
    del merged.opset_import[:]
    merged.opset_import.append(helper.make_opsetid("", OPSET))
    onnx.checker.check_model(merged)
    return merged


def network_graph(network: Network) -> onnx.ModelProto:
    """Trace a network: `pixels` uint8 [N, h, w, 3] → `descriptor` float32 [N, D], N, h and w free.

    The tracing exporter is used, because the newer one never finishes on the padding of `tf_` trunks. Raises DataError if the
    folder for temporary files has no room.
    """
    example = torch.randint(0, 256, (1, 96, 131, 3), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        path = Path(folder) / "network.onnx"
        # It warns that it is deprecated, and of each size that becomes a constant of the graph; the gate checks those.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network.eval(),
                (example,),
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=["pixels"],
                output_names=["descriptor"],
                dynamic_axes={"pixels": {0: "N", 1: "h", 2: "w"}, "descriptor": {0: "N"}},
            )
        except OSError as error:
            raise DataError(
                f"The graph cannot be written to the folder for temporary files, {path.parent.parent}: {error.strerror or error}. Make "
                "room there, or name another folder with TMPDIR."
            ) from None
        model = onnx.load(path)
    model.ir_version = IR_VERSION
    output = model.graph.output[0]
    output.CopyFrom(helper.make_tensor_value_info("descriptor", TensorProto.FLOAT, ["N", network.dim]))
    return model

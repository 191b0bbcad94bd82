"""From a network checkpoint to one self-describing ONNX file with its preprocessing inside."""

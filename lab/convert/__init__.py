"""Network files: to ONNX, to TensorRT, and whether they agree."""

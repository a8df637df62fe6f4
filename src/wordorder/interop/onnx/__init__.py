"""Exports to ONNX, run and compared by onnxruntime."""

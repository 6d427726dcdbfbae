"""Integer networks as ONNX in QDQ form, and the check of such a file in onnxruntime. Needs no torch."""

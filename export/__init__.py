"""Checkpoint → verified ONNX file → TorchServe archive."""

"""Start, check and ask a server: TorchServe with the handler of `handlers` on ONNX Runtime."""

"""`sngan bench serve`: load on a running server, beside ONNX Runtime without one."""

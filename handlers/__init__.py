"""What runs inside TorchServe: standard library, NumPy, ONNX Runtime and Pillow, never torch.

The package travels inside the archive, and the rest of the project imports its modules, so that training,
evaluation, export, the command line and the server draw the same latents and read the same metadata.
"""

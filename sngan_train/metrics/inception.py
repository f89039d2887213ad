"""The Inception network of the published FIDs and Inception scores, through torch-fidelity.

TensorFlow's network of 2015-12-05 ported to PyTorch, with TensorFlow 1.x's way of resizing. Its weights are one file of
91 MiB: given, found, or downloaded once, and in each case compared with the published file's SHA-256.
"""

from __future__ import annotations

import hashlib
import http.client
import io
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, BasicConv2d, FeatureExtractorInceptionV3

from sngan_train.errors import DataError
from sngan_train.metrics.extractor import ExtractorFacts, Features, Report, extract_in_chunks
from sngan_train.sources import CACHE

NAME = "inception"
FEATURE_DIM = 2048
CHUNK = 32  # images at a time; each has 64 × 147 × 147 float32 activations at the widest, 5.5 MB
RESIZE = "TensorFlow 1.x bilinear, align_corners=False, no antialiasing"
# The whole SHA-256 as public projects that use the file record it; its first eight digits are in the file's own name.
# pytorch-fid's pt_inception-2015-12-05-6726825d.pth is the same file.
WEIGHTS_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
WITHOUT = "--features efficientnet-lite0 needs no download"


class InceptionExtractor:
    """The network in float32, folded and laid out for speed. See FeatureExtractor."""

    def __init__(self, network: FeatureExtractorInceptionV3, facts: ExtractorFacts, device: torch.device) -> None:
        """`network` gives "2048" and "logits_unbiased", in this order."""
        self.facts = facts
        self._network = network
        self._device = device

    def __call__(self, images: Tensor) -> Features:
        """Features float32 (N, 2048), ≥ 0, and logits (N, 1008) of uint8 (N, C, S, S).

        The logits are without the last layer's bias, as the Inception score's first code had them and all since.
        """
        return extract_in_chunks(images, CHUNK, self._run)

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor]:
        # Without TF32, which `choose_device` allows: FIDs are compared to two decimals. Not yet run on a GPU.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
            features, logits = self._network(images.to(self._device))
        return features, logits


def load_inception(
    device: torch.device,
    *,
    weights: Path | None = None,
    report: Report = lambda text: None,
    sha256: str = WEIGHTS_SHA256,
    url: str = URL_INCEPTION_V3,
) -> InceptionExtractor:
    """The extractor on `device`, with the file `weights`, or else the one that `find_weights` finds.

    Raises:
        DataError: the weights cannot be had, or are not the file of that SHA-256.
        ModuleNotFoundError: torch-fidelity is missing; on import of this module already.
    """
    content = given_weights(weights, sha256) if weights is not None else find_weights(report, sha256=sha256, url=url)
    network = fold_batch_norm(published_network(content)).to(device, memory_format=torch.channels_last)
    facts = ExtractorFacts(
        name=NAME,
        feature_dim=FEATURE_DIM,
        input_size=FeatureExtractorInceptionV3.INPUT_IMAGE_SIZE,
        resize=RESIZE,
        precision="float32",
        weights_sha256=sha256,
    )
    return InceptionExtractor(network, facts, device)


def given_weights(file: Path, sha256: str = WEIGHTS_SHA256) -> bytes:
    """What `file` holds; raises DataError unless it is the file of that SHA-256."""
    try:
        content = file.expanduser().read_bytes()
    except OSError as error:
        raise DataError(f"--inception-weights {file}: {error.strerror or error}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(
            f"--inception-weights {file} is not the published file, FIDs of it would compare with nothing: its SHA-256 "
            f"begins {found[:8]}, not {sha256[:8]}; get it from {URL_INCEPTION_V3}, or {WITHOUT}"
        )
    return content


def find_weights(
    report: Report = lambda text: None,
    *,
    sha256: str = WEIGHTS_SHA256,
    url: str = URL_INCEPTION_V3,
    folders: Sequence[Path] | None = None,
) -> bytes:
    """The weights from the first of `folders` that has them intact; from `url` into the last, if none has.

    Args:
        report: is told of a download and of a damaged file.
        sha256: of the file.
        url: whose last part is the file's name in the folders.
        folders: None is where torch-fidelity's own download ends up, then sngan's cache.

    Raises DataError, which says how to go on, when it can be had nowhere.
    """
    if folders is None:
        folders = (Path(torch.hub.get_dir()) / "checkpoints", CACHE)
    name = url.rpartition("/")[2]
    for file in (folder / name for folder in folders):
        if file.exists():
            content = file.read_bytes()
            if hashlib.sha256(content).hexdigest() == sha256:
                return content
            report(f"{file} is damaged (its SHA-256 is not the published one) and is passed over")
    target = folders[-1] / name
    report(f"downloading the Inception weights (91 MiB) to {target}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Writes under another name, and renames it only if the hash is right.
        torch.hub.download_url_to_file(url, str(target), hash_prefix=sha256, progress=False)
        return target.read_bytes()
    except (OSError, http.client.HTTPException, RuntimeError) as error:  # the last is a wrong hash
        raise DataError(
            f"the Inception weights could not be downloaded ({error}): get {url} where there is internet and pass it "
            f"as --inception-weights FILE; {WITHOUT}, but gives no FID"
        ) from error


def published_network(content: bytes) -> FeatureExtractorInceptionV3:
    """torch-fidelity's network with the weights of a file's `content`, in evaluation mode."""
    # torch-fidelity unpickles whatever it is given. It is given what a loader that runs no code has read, and the very
    # bytes that were hashed, not the file again.
    harmless = io.BytesIO()
    torch.save(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), harmless)
    harmless.seek(0)
    return FeatureExtractorInceptionV3(
        NAME, [str(FEATURE_DIM), "logits_unbiased"], feature_extractor_weights_path=harmless
    )


def fold_batch_norm(network: FeatureExtractorInceptionV3) -> FeatureExtractorInceptionV3:
    """Each batch norm into the convolution before it; changes `network`, whose function stays but for rounding."""
    for module in network.modules():
        if isinstance(module, BasicConv2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()
    return network

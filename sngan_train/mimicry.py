"""The rival of `sngan bench train`: torch-mimicry 0.1.16's cGAN-PD for 32 pixels, stepped by its own code.

That release (2020) does not import beside the torch and Python of today: it names a module that torch has dropped, and
TensorFlow and scikit-image for metrics and data sets that no training step touches. Empty stand-ins take their places
while it is imported, and only then; nothing of it is changed.

Its step has what its users get: float32, eager, NCHW, real and generated images in two passes, a graph of the generator
also in a discriminator update.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from sngan_train.config import RunConfig
from sngan_train.errors import ConfigError

PACKAGE = "torch_mimicry"
HOW_TO_GET_IT = "pip install --no-deps torch-mimicry==0.1.16 (the extra `bench` adds the TensorFlow it asks for)"
# Adam as in the package's examples for this network.
LEARNING_RATE = 2e-4
BETAS = (0.0, 0.9)


def reason_against(config: RunConfig) -> str | None:
    """Why the rival cannot run what `config` runs, or None."""
    wanted = {
        "data.image_size": (config.data.image_size, 32),
        "data.channels": (config.data.channels, 3),
        "generator.network": (config.generator.network, "resnet"),
        "discriminator.network": (config.discriminator.network, "resnet"),
        "discriminator.conditioning": (config.discriminator.conditioning, "projection"),
        "discriminator.normalization": (config.discriminator.normalization, "spectral-norm"),
        "training.loss": (config.training.loss, "hinge"),
    }
    for key, (value, needed) in wanted.items():
        if value != needed:
            return f"its conditional network is for {key} = {needed}, not {value}"
    if importlib.util.find_spec(PACKAGE) is None:
        return f"not installed: {HOW_TO_GET_IT}"
    return None


class MimicryTraining:
    """Its two networks at the config's widths, batch and number of critic steps, and its own optimiser settings."""

    def __init__(self, config: RunConfig, num_classes: int, device: torch.device) -> None:
        """Raises ConfigError if the package cannot be imported."""
        nets, metric_log = import_mimicry()
        torch.manual_seed(config.training.seed)
        width, latent_dim = config.generator.channels, config.generator.latent_dim
        self.generator = nets.CGANPDGenerator32(num_classes=num_classes, nz=latent_dim, ngf=width).to(device)
        self.discriminator = nets.CGANPDDiscriminator32(num_classes=num_classes, ndf=config.discriminator.channels)
        self.discriminator.to(device)
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), LEARNING_RATE, betas=BETAS)
        self.discriminator_optimizer = torch.optim.Adam(self.discriminator.parameters(), LEARNING_RATE, betas=BETAS)
        self.critic_steps = config.optimizer.critic_steps
        self.metric_log = metric_log
        self.device = device

    def iteration(self, images: Tensor, labels: Tensor) -> None:
        """All discriminator updates and the generator's, in its trainer's order; images (N, 3, 32, 32), labels (N,)."""
        batch = (images, labels)
        log = self.metric_log.MetricLog()
        for _ in range(self.critic_steps):
            self.discriminator.train_step(
                real_batch=batch,
                netG=self.generator,
                optD=self.discriminator_optimizer,
                log_data=log,
                device=self.device,
            )
        self.generator.train_step(
            real_batch=batch,
            netD=self.discriminator,
            optG=self.generator_optimizer,
            log_data=log,
            device=self.device,
        )


def import_mimicry() -> tuple[Any, Any]:
    """The package's modules with the networks and with the metric log; ConfigError if it does not import."""
    importlib.import_module("torch.utils.tensorboard")  # so that it does not take the stand-in for TensorFlow
    try:
        with _stand_ins(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in its docstrings
            nets = importlib.import_module(f"{PACKAGE}.nets.cgan_pd.cgan_pd_32")
            metric_log = importlib.import_module(f"{PACKAGE}.training.metric_log")
    except ImportError as error:
        raise ConfigError(f"--forms mimicry: it does not import ({error}); {HOW_TO_GET_IT}") from error
    return nets, metric_log


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    """Empty modules in place of what the package imports and does not use while it trains."""
    names = ("tensorflow", "skimage", "skimage.io", "torch._six")
    before = {name: sys.modules[name] for name in names if name in sys.modules}
    modules = {name: types.ModuleType(name) for name in names}
    for name, module in modules.items():
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)  # other packages ask whether TensorFlow has one
    modules["skimage"].io = modules["skimage.io"]  # type: ignore[attr-defined]
    modules["torch._six"].PY3 = True  # type: ignore[attr-defined]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]
        sys.modules.update(before)

"""A generator file in ONNX Runtime: open, check, draw.

On the CPU provider images are run one by one. That costs nothing there (the convolutions are compute bound:
the same images a second at every batch size), and it makes an image's bytes independent of its neighbours.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.errors import GeneratorFileError, ProviderError
from handlers.metadata import METADATA_KEY, GeneratorMetadata

# Our name → ONNX Runtime's. "auto" is the first of these that loads, in this order.
PROVIDERS = {"cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}
# ONNX Runtime's severity "error": its warnings are about graphs, not for whoever waits for an image.
QUIET = 3


def usable_cores() -> int:
    """Cores that this process may run on (ONNX Runtime itself would count the host's)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity
        return os.cpu_count() or 1


def import_onnxruntime() -> Any:
    """The package `onnxruntime`; raises ProviderError with the remedy if none is installed.

    Everything of ours imports it through here: its official builds for Linux report what they run to their maker
    (since 1.29) unless this variable is set before the import. Whoever sets it otherwise is heard.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise ProviderError(
            "ONNX Runtime is not installed: `pip install 'sngan[cpu]'`, or 'sngan[gpu]' with an NVIDIA GPU"
        ) from error
    return onnxruntime


class GeneratorSession:
    """An open generator.

    Attributes:
        metadata: what the file says of itself.
        provider: our name of the execution provider that really runs it.
        fallback: why "auto" did not take a better provider, or None.
    """

    def __init__(self, path: Path, provider: str = "auto", threads: int | None = None) -> None:
        """Open `path`.

        Args:
            path: an ONNX file written by `sngan export`.
            provider: "cpu", "cuda" or "auto".
            threads: threads of one run on the CPU; None is every core this process may use.

        Raises:
            GeneratorFileError: missing, not ONNX, or without metadata of a known schema.
            ProviderError: the named provider is unknown or did not load.
        """
        if not path.is_file():
            raise GeneratorFileError(f"{path}: no such file; `sngan export RUN -o DIR` writes one")
        self._session, self.provider, self.fallback = _open(path, provider, threads or usable_cores())
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise GeneratorFileError(
                f"{path}: an ONNX file without sngan metadata; only files written by `sngan export` are run"
            )
        self.metadata = GeneratorMetadata.from_json(text, str(path))
        names = sorted(value.name for value in self._session.get_inputs())
        self._conditional = self.metadata.num_classes > 0
        if names != (["label", "z"] if self._conditional else ["z"]):
            classes = self.metadata.num_classes
            raise GeneratorFileError(f"{path}: inputs {names} do not fit the file's own metadata of {classes} classes")

    def generate(self, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Images in [-1, 1], float32 (n, c, height, width), of latents (n, latent_dim) and labels (n,).

        `labels` is None for a model without classes, and for no other.
        """
        assert self._conditional == (labels is not None)
        size = 1 if self.provider == "cpu" else max(1, len(z))
        chunks = []
        for start in range(0, len(z), size):
            feed: dict[str, Any] = {"z": z[start : start + size]}
            if labels is not None:
                feed["label"] = labels[start : start + size]
            chunks.append(self._session.run(["image"], feed)[0])
        return np.concatenate(chunks)


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(n, c, h, w) in [-1, 1] → uint8 (n, h, w, c): clip(round-half-even((x + 1) · 127.5), 0, 255)."""
    levels = np.clip(np.rint((images + np.float32(1.0)) * np.float32(127.5)), 0, 255)
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(0, 2, 3, 1))


def _open(path: Path, provider: str, threads: int) -> tuple[Any, str, str | None]:
    """Try the provider asked for, or each of "auto": the session, the provider in use, the fallback."""
    onnxruntime = import_onnxruntime()
    if provider != "auto" and provider not in PROVIDERS:
        raise ProviderError(f"unknown provider {provider!r}; one of auto, {', '.join(PROVIDERS)}")

    available = onnxruntime.get_available_providers()
    wanted = list(PROVIDERS) if provider == "auto" else [provider]
    fallback: str | None = None
    for name in wanted:
        # What a wheel lists as available is what it was built with, and a provider that fails to load is
        # replaced without an exception: only the session itself tells the truth.
        if PROVIDERS[name] in available:
            session = _session(path, PROVIDERS[name], threads)
            if session.get_providers()[0] == PROVIDERS[name]:
                return session, name, fallback
            reason = f"the {name} provider did not load"
        elif provider == "auto":
            continue  # this wheel never had it: nothing fell back
        else:
            reason = f"this ONNX Runtime package has no {name} provider"
        if provider != "auto":
            raise ProviderError(f"{reason}; `sngan doctor` says why and what to install")
        fallback = reason
    raise ProviderError("no ONNX Runtime provider could be loaded; `sngan doctor` says why")


def _session(path: Path, provider: str, threads: int) -> Any:
    """One InferenceSession; what ONNX Runtime throws at a broken file becomes one line."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning keeps idle threads busy between requests, which starves the JVM and the neighbours.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if provider == PROVIDERS["cuda"]:
        onnxruntime.preload_dlls()  # CUDA and cuDNN come as Python packages, which the loader does not search
    providers = [provider] if provider == PROVIDERS["cpu"] else [provider, PROVIDERS["cpu"]]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's exception classes share no public base
        reason = str(error).strip().splitlines()[0]
        raise GeneratorFileError(f"{path}: not a readable ONNX generator ({reason})") from error

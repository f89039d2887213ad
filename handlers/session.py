"""A generator file in ONNX Runtime: open, check, draw.

On the CPU provider images are run one by one, which makes an image's bytes independent of its neighbours. Against
whole batches it costs up to a tenth of the images a second with a wide float32 network, a fifth with int8, more with
a small network, and nothing where images are asked for one at a time (measured: docs/bench-infer.md).
"""

from __future__ import annotations

import contextlib
import importlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from handlers.bound_runs import BoundRuns
from handlers.errors import GeneratorFileError, ProviderError
from handlers.metadata import METADATA_KEY, GeneratorMetadata
from handlers.processor import usable_cores
from handlers.providers import (
    AUTO_ORDER,
    PROVIDERS,
    TENSORRT_MAX_BATCH,
    check_name,
    notes_on,
    reason_against,
    with_options,
)

__all__ = ["PROVIDERS", "GeneratorSession", "import_onnxruntime", "session_options", "to_uint8", "usable_cores"]

# ONNX Runtime's severity "error": its warnings are about graphs, not for whoever waits for an image.
QUIET = 3
LEVELS_OUTPUT = "image_u8"


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
        notes: what whoever runs this file on this provider should know; mostly nothing.
    """

    def __init__(self, path: Path, provider: str = "auto", threads: int | None = None) -> None:
        """Open `path`.

        Args:
            path: an ONNX file written by `sngan export`.
            provider: "auto" or one of `handlers.providers.PROVIDERS`. One that is named must run, or this fails;
                "auto" takes the first of `AUTO_ORDER` that does, and says in `fallback` if one failed.
            threads: threads of one run on the CPU; None is every core this process may use.

        Raises:
            GeneratorFileError: missing, not ONNX, or without metadata of a known schema.
            ProviderError: the named provider is unknown, not in this package, or did not load.
        """
        if not path.is_file():
            raise GeneratorFileError(f"{path}: no such file; `sngan export RUN -o DIR` writes one")
        opened = _open(path, provider, threads or usable_cores())
        self._session, self.provider, self.metadata, self.fallback = opened
        self.notes = notes_on(self.provider, self.metadata)
        self._conditional = self.metadata.num_classes > 0
        self._has_levels = LEVELS_OUTPUT in {value.name for value in self._session.get_outputs()}
        self._bound = _bound_runs(self._session, self.metadata) if self.provider == "cuda" else None

    def generate(self, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Images in [-1, 1], float32 (n, c, height, width), of latents (n, latent_dim) and labels (n,).

        `labels` is None for a model without classes, and for no other.
        """
        images: NDArray[np.float32] = self._run("image", z, labels)
        return images

    def generate_levels(self, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[np.uint8]:
        """The same images as grey levels, uint8 (n, height, width, c): `to_uint8` of what `generate` returns.

        A graph with the output `image_u8` computes them itself, so that a quarter of the bytes leaves it.
        """
        if not self._has_levels:
            return to_uint8(self.generate(z, labels))
        levels: NDArray[np.uint8] = self._run(LEVELS_OUTPUT, z, labels)
        return levels

    def _run(self, output: str, z: NDArray[np.float32], labels: NDArray[np.int64] | None) -> NDArray[Any]:
        """One output for all latents, in parts of the size that the provider allows for."""
        assert self._conditional == (labels is not None)
        size = {"cpu": 1, "tensorrt": TENSORRT_MAX_BATCH}.get(self.provider, max(1, len(z)))
        parts = []
        for start in range(0, len(z), size):
            feed: dict[str, Any] = {"z": z[start : start + size]}
            if labels is not None:
                feed["label"] = labels[start : start + size]
            parts.append(self._bound.run(output, feed) if self._bound else self._session.run([output], feed)[0])
        return np.concatenate(parts)


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(n, c, h, w) in [-1, 1] → uint8 (n, h, w, c): clip(round-half-even((x + 1) · 127.5), 0, 255)."""
    levels = np.clip(np.rint((images + np.float32(1.0)) * np.float32(127.5)), 0, 255)
    return np.ascontiguousarray(levels.astype(np.uint8).transpose(0, 2, 3, 1))


def _bound_runs(session: Any, metadata: GeneratorMetadata) -> BoundRuns:
    channels, height, width = metadata.channels, metadata.height, metadata.width
    shapes = {"image": (channels, height, width), LEVELS_OUTPUT: (height, width, channels)}
    return BoundRuns(session, import_onnxruntime(), "cuda", shapes)


class _Opened(NamedTuple):
    session: Any
    provider: str
    metadata: GeneratorMetadata
    fallback: str | None


def _open(path: Path, provider: str, threads: int) -> _Opened:
    """Try the provider asked for, or each of "auto"."""
    check_name(provider)
    available = import_onnxruntime().get_available_providers()
    fallback: str | None = None
    for name in AUTO_ORDER if provider == "auto" else (provider,):
        if provider == "auto" and PROVIDERS[name] not in available:
            continue  # this package never had it: nothing fell back
        if name == "cpu":
            session, metadata = _open_on_cpu(path, threads)
            return _Opened(session, name, metadata, fallback)
        reason = reason_against(name, available)
        if reason is None:
            # First on the CPU, without a thought for speed: what fails after that is the provider, not the file.
            _, metadata = _open_on_cpu(path, threads=1, optimized=False)
            session, reason = _open_accelerated(path, name, threads, metadata, available)
            if reason is None:
                return _Opened(session, name, metadata, fallback)
        if provider != "auto":
            raise ProviderError(f"{reason}; `sngan doctor` says more")
        fallback = reason
    raise ProviderError("no ONNX Runtime provider could be loaded; `sngan doctor` says why")


def _open_on_cpu(path: Path, threads: int, optimized: bool = True) -> tuple[Any, GeneratorMetadata]:
    """A session on the CPU provider and the file's metadata; what is wrong with the file becomes one line."""
    onnxruntime = import_onnxruntime()
    options = session_options(threads)
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[PROVIDERS["cpu"]])
    except Exception as error:  # onnxruntime's exception classes share no public base
        raise GeneratorFileError(f"{path}: not a readable ONNX generator ({_first_line(error)})") from error
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise GeneratorFileError(
            f"{path}: an ONNX file without sngan metadata; only files written by `sngan export` are run"
        )
    metadata = GeneratorMetadata.from_json(text, str(path))
    names = sorted(value.name for value in session.get_inputs())
    if names != (["label", "z"] if metadata.num_classes else ["z"]):
        raise GeneratorFileError(
            f"{path}: inputs {names} do not fit the file's own metadata of {metadata.num_classes} classes"
        )
    return session, metadata


def _open_accelerated(
    path: Path, name: str, threads: int, metadata: GeneratorMetadata, available: list[str]
) -> tuple[Any, str | None]:
    """A session on the provider `name`, and None; or no session that is of use, and the reason."""
    onnxruntime = import_onnxruntime()
    if name in ("cuda", "tensorrt"):  # not yet run on a GPU
        onnxruntime.preload_dlls()  # CUDA and cuDNN come as Python packages, which the loader does not search
    if name == "tensorrt":
        with contextlib.suppress(ImportError):
            importlib.import_module("tensorrt")  # loads its library, which preload_dlls leaves out
    session, reason = None, ""
    # A graph with a node that CUDA leaves to the CPU cannot be recorded: it runs node by node.
    for cuda_graphs in (True, False) if name == "cuda" else (False,):
        try:
            session = onnxruntime.InferenceSession(
                str(path),
                session_options(threads),
                providers=with_options(name, threads, metadata, available, cuda_graphs=cuda_graphs),
                enable_fallback=0,  # or it would print a banner and go on with the CPU
            )
            break
        except Exception as error:  # as above
            reason = _first_line(error)
    if session is None:
        return None, f"the {name} provider did not load ({reason})"
    # What a package lists as available is what it was built with, and a provider that fails to load is mostly
    # replaced without an exception: only the session itself tells the truth.
    if session.get_providers()[0] != PROVIDERS[name]:
        return None, f"the {name} provider did not load"
    return session, None


def session_options(threads: int) -> Any:
    """ONNX Runtime's `SessionOptions` as every session of ours has them; `threads` are of one run on the CPU."""
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = QUIET
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning keeps idle threads busy between requests, which starves the JVM and the neighbours.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

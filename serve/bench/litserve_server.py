"""A rival of the benchmark: the least LitServe server of a generator file, as LitServe's documentation builds one.

    python -m serve.bench.litserve_server generator.onnx --port 8000 --workers 2 --threads 1

`POST /predict` with JSON `n` (1), `class` (an id, 0) and `seed` (0); the answer is a PNG, a grid of several images. The
whole of a request is one run of ONNX Runtime's CPU provider. Latents are NumPy's, not ours: the pictures are not those
that `sngan serve` draws. Nothing of what is asked is checked: it serves measurements and nothing else.

What its documentation advises for production is done: quiet logs, as many HTTP servers as workers (its default), no
accelerator, and the ZeroMQ queue that is meant for more than 100 requests a second.
"""

# Annotations are not postponed here: LitServe reads those of `decode_request` and `encode_response` as types.
import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.encodings import encode_png
from handlers.layouts import one_picture
from handlers.session import LEVELS_OUTPUT, import_onnxruntime, to_uint8

try:
    import litserve
    from fastapi import Response
except ModuleNotFoundError as error:
    raise SystemExit(f"the LitServe server needs {error.name}: `pip install litserve`, or the extra `bench`") from None


class GeneratorAPI(litserve.LitAPI):  # type: ignore[misc]  # LitServe has no types
    """What LitServe does with one request: decode, predict, encode, all in a worker."""

    def __init__(self, generator: Path, threads: int) -> None:
        super().__init__()
        self._generator = generator
        self._threads = threads

    def setup(self, device: str) -> None:
        """Open the session, once in each worker."""
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        self._session: Any = onnxruntime.InferenceSession(
            str(self._generator), options, providers=["CPUExecutionProvider"]
        )
        inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self._latent_dim = int(inputs["z"][1])
        self._conditional = "label" in inputs
        names = [value.name for value in self._session.get_outputs()]
        self._output = LEVELS_OUTPUT if LEVELS_OUTPUT in names else "image"

    def decode_request(self, request: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """JSON → the session's inputs."""
        n = int(request.get("n", 1))
        latents = np.random.default_rng(request.get("seed", 0)).standard_normal((n, self._latent_dim))
        feed: dict[str, NDArray[Any]] = {"z": latents.astype(np.float32)}
        if self._conditional:
            feed["label"] = np.full(n, request.get("class", 0), dtype=np.int64)
        return feed

    def predict(self, feed: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
        """Grey levels, uint8 (n, height, width, channels)."""
        images: NDArray[Any] = self._session.run([self._output], feed)[0]
        return images if self._output == LEVELS_OUTPUT else to_uint8(images)

    def encode_response(self, images: NDArray[np.uint8]) -> Response:
        """A PNG file."""
        return Response(content=encode_png(one_picture(images)), media_type="image/png")


def main() -> None:
    """Serve on loopback until a signal comes."""
    parser = argparse.ArgumentParser(description="A minimal LitServe server of a generator file, for measurements.")
    parser.add_argument("generator", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of one run, in each worker")
    given = parser.parse_args()
    api = GeneratorAPI(given.generator.resolve(), given.threads)
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=given.workers, fast_queue=True)
    server.run(host="127.0.0.1", port=given.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()

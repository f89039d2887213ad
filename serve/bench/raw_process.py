"""ONNX Runtime without a server: a program that runs a generator on and on, and says how fast it was.

    python -m serve.bench.raw_process generator.onnx cpu 1

opens the file as a worker of the server does, and then does nothing but `run`: latents are drawn beforehand, images are
thrown away, as many are computed at once as a request asks for. It reads lines "IMAGES SECONDS" and answers each with
a line of JSON: the calls, the seconds that they took, and their median in milliseconds.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from handlers.latents import draw_latents
from handlers.metadata import METADATA_KEY, GeneratorMetadata
from handlers.providers import with_options
from handlers.session import LEVELS_OUTPUT, import_onnxruntime, session_options

SEED = 0


def main(path: Path, provider: str, threads: int) -> None:
    """Answer on standard output until standard input ends."""
    onnxruntime = import_onnxruntime()
    plain = onnxruntime.InferenceSession(str(path), session_options(1), providers=["CPUExecutionProvider"])
    metadata = GeneratorMetadata.from_json(plain.get_modelmeta().custom_metadata_map[METADATA_KEY], str(path))
    session = onnxruntime.InferenceSession(
        str(path),
        session_options(threads),
        providers=with_options(provider, threads, metadata, onnxruntime.get_available_providers()),
    )
    names = [output.name for output in session.get_outputs()]
    output = LEVELS_OUTPUT if LEVELS_OUTPUT in names else names[0]
    print("ready", flush=True)
    for line in sys.stdin:
        images, seconds = line.split()
        feed = _feed(metadata, int(images))
        durations = _durations(session, output, feed, float(seconds))
        answer = {"calls": len(durations), "seconds": sum(durations), "median_ms": statistics.median(durations) * 1000}
        print(json.dumps(answer), flush=True)


def _feed(metadata: GeneratorMetadata, images: int) -> dict[str, Any]:
    z = draw_latents(SEED, range(images), metadata.latent_dim, distribution=metadata.latent_distribution)
    if not metadata.num_classes:
        return {"z": z}
    return {"z": z, "label": np.arange(images, dtype=np.int64) % metadata.num_classes}


def _durations(session: Any, output: str, feed: dict[str, Any], seconds: float) -> list[float]:
    """Of the calls of one burst, at least one; a call before them does not count."""
    session.run([output], feed)
    durations: list[float] = []
    marks = [time.perf_counter()]
    while not durations or marks[-1] - marks[0] < seconds:
        session.run([output], feed)
        marks.append(time.perf_counter())
        durations.append(marks[-1] - marks[-2])
    return durations


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))

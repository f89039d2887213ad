"""IO binding in the CPU's memory, against plain runs; CUDA graphs have not been run on a GPU yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from handlers.bound_runs import MAX_BINDINGS, BoundRuns
from handlers.metadata import GeneratorMetadata
from handlers.session import GeneratorSession, _Opened


@pytest.fixture
def session(tiny_generator_onnx: Path) -> Any:
    return onnxruntime.InferenceSession(str(tiny_generator_onnx), providers=["CPUExecutionProvider"])


@pytest.fixture
def bound(session: Any, tiny_metadata: GeneratorMetadata) -> BoundRuns:
    shape = (tiny_metadata.channels, tiny_metadata.height, tiny_metadata.width)
    return BoundRuns(session, onnxruntime, "cpu", {"image": shape})


def feed(size: int, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {"z": random.standard_normal((size, 8), dtype=np.float32), "label": random.integers(0, 3, size)}


@pytest.mark.parametrize("size", [1, 2, 8])
def test_equal_to_plain_runs_again_and_again(bound: BoundRuns, session: Any, size: int) -> None:
    for seed in range(3):
        given = feed(size, seed)
        np.testing.assert_array_equal(bound.run("image", given), session.run(["image"], given)[0])


def test_a_later_run_leaves_an_earlier_result_alone(bound: BoundRuns, session: Any) -> None:
    first = bound.run("image", feed(2, seed=1))
    bound.run("image", feed(2, seed=2))
    np.testing.assert_array_equal(first, session.run(["image"], feed(2, seed=1))[0])


def test_strided_inputs_are_taken_as_they_look(bound: BoundRuns, session: Any) -> None:
    given = {name: array[::2] for name, array in feed(6).items()}
    for _ in range(2):
        np.testing.assert_array_equal(bound.run("image", given), session.run(["image"], given)[0])


def test_only_so_many_sizes_keep_memory(bound: BoundRuns, session: Any) -> None:
    for size in range(1, MAX_BINDINGS + 4):
        given = feed(size)
        np.testing.assert_array_equal(bound.run("image", given), session.run(["image"], given)[0])
    assert len(bound._bound) == MAX_BINDINGS


def test_a_session_on_cuda_runs_through_it(
    tiny_generator_onnx: Path, tiny_metadata: GeneratorMetadata, monkeypatch: pytest.MonkeyPatch, session: Any
) -> None:
    """With the CPU in the GPU's place."""
    asked: list[str] = []

    def in_main_memory(session: Any, package: Any, device: str, shapes: dict[str, tuple[int, ...]]) -> BoundRuns:
        asked.append(device)
        return BoundRuns(session, package, "cpu", shapes)

    opened = _Opened(session, "cuda", tiny_metadata, None)
    monkeypatch.setattr("handlers.session._open", lambda path, provider, threads: opened)
    monkeypatch.setattr("handlers.session.BoundRuns", in_main_memory)
    given = feed(4)
    images = GeneratorSession(tiny_generator_onnx, provider="cuda").generate(given["z"], given["label"])
    np.testing.assert_array_equal(images, session.run(["image"], given)[0])
    assert asked == ["cuda"]

"""A generator file in ONNX Runtime, against NumPy's own arithmetic."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from handlers.errors import GeneratorFileError, ProviderError
from handlers.metadata import METADATA_KEY, GeneratorMetadata
from handlers.session import GeneratorSession, to_uint8

# Eight products a pixel and a tanh in float32, in another order.
FLOAT32_TOLERANCE = 2e-6

MakeGenerator = Callable[[Path, GeneratorMetadata], Path]


def test_generate_equals_numpy(tiny_session: GeneratorSession, tiny_generator_onnx: Path) -> None:
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in onnx.load(tiny_generator_onnx).graph.initializer}
    z = np.linspace(-2, 2, 5 * 8, dtype=np.float32).reshape(5, 8)
    labels = np.array([0, 1, 2, 1, 0])
    expected = np.tanh(z @ constants["weight"] + constants["table"][labels]).reshape(5, 3, 6, 4)
    images = tiny_session.generate(z, labels)
    np.testing.assert_allclose(images, expected, atol=FLOAT32_TOLERANCE)
    assert tiny_session.provider == "cpu"
    assert tiny_session.fallback is None


def test_unconditional(tmp_path: Path, make_generator: MakeGenerator, tiny_metadata: GeneratorMetadata) -> None:
    metadata = dataclasses.replace(tiny_metadata, class_names=())
    session = GeneratorSession(make_generator(tmp_path / "g.onnx", metadata))
    assert session.generate(np.zeros((2, 8), np.float32), None).shape == (2, 3, 6, 4)


def test_to_uint8_rounds_and_clips() -> None:
    # 0 is 127.5, the only half among the levels that float32 holds exactly; its even neighbour is 128.
    levels = np.array([-1.5, -1, 1, 1.5, 0, 0.6 / 127.5 - 1], dtype=np.float32)
    pixels = to_uint8(levels.reshape(1, 1, 1, 6))
    assert pixels.shape == (1, 1, 6, 1)
    assert pixels.ravel().tolist() == [0, 0, 255, 255, 128, 1]


def test_a_missing_file_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(GeneratorFileError, match="no such file; `sngan export"):
        GeneratorSession(tmp_path / "g.onnx")


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x0a"])
def test_what_is_no_onnx_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "g.onnx").write_bytes(content)
    with pytest.raises(GeneratorFileError) as caught:
        GeneratorSession(tmp_path / "g.onnx")
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path: Path, tiny_generator_onnx: Path) -> None:
    content = tiny_generator_onnx.read_bytes()
    (tmp_path / "g.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(GeneratorFileError, match="not a readable ONNX generator"):
        GeneratorSession(tmp_path / "g.onnx")


def test_a_stranger_s_onnx_file_is_refused(tmp_path: Path, tiny_generator_onnx: Path) -> None:
    model = onnx.load(tiny_generator_onnx)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "g.onnx")
    with pytest.raises(GeneratorFileError, match="without sngan metadata"):
        GeneratorSession(tmp_path / "g.onnx")


@pytest.mark.parametrize(
    ("in_graph", "in_metadata", "words"),
    [(("a", "b"), (), r"\['label', 'z'\] do not .* of 0 classes"), ((), ("a", "b"), r"\['z'\] do not .* of 2 classes")],
)
def test_metadata_that_contradict_the_graph_are_refused(
    tmp_path: Path,
    make_generator: MakeGenerator,
    tiny_metadata: GeneratorMetadata,
    in_graph: tuple[str, ...],
    in_metadata: tuple[str, ...],
    words: str,
) -> None:
    path = make_generator(tmp_path / "g.onnx", dataclasses.replace(tiny_metadata, class_names=in_graph))
    model = onnx.load(path)
    contradicting = dataclasses.replace(tiny_metadata, class_names=in_metadata)
    onnx.helper.set_model_props(model, {METADATA_KEY: contradicting.to_json()})
    onnx.save(model, path)
    with pytest.raises(GeneratorFileError, match=words):
        GeneratorSession(tmp_path / "g.onnx")


def test_an_unknown_provider_is_refused(tiny_generator_onnx: Path) -> None:
    with pytest.raises(ProviderError, match="one of auto, cuda, cpu"):
        GeneratorSession(tiny_generator_onnx, provider="gpu")


def test_a_provider_that_is_not_there_is_refused(tiny_generator_onnx: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has the provider")
    with pytest.raises(ProviderError, match="no cuda provider"):
        GeneratorSession(tiny_generator_onnx, provider="cuda")


def test_onnx_runtime_is_told_to_report_nothing_unless_somebody_says_otherwise() -> None:
    program = "import os, handlers.session as s; s.import_onnxruntime(); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    without = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    for environment, expected in ((without, "1"), ({**without, "ORT_DISABLE_TELEMETRY": "0"}, "0")):
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


def test_nothing_of_ours_imports_onnx_runtime_past_that() -> None:
    import handlers

    root = Path(handlers.__file__).parent.parent
    packages = ("handlers", "export", "serve", "sngan_cli", "sngan_train")
    importing = {
        str(file.relative_to(root))
        for package in packages
        for file in (root / package).rglob("*.py")
        if re.search(r"^\s*(import|from) onnxruntime", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert importing == {"handlers/session.py"}

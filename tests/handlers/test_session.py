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

from handlers.errors import GeneratorFileError
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


def with_levels(path: Path, generator: Path) -> Path:
    """`generator` with the output `image_u8`, by hand from the definition; images reach past [-1, 1]."""
    model = onnx.load(generator)
    graph = model.graph
    graph.node[-1].output[0] = "within"
    constants = {"wide": 1.25, "one": 1.0, "half": 127.5, "low": 0.0, "high": 255.0}
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(value, dtype=np.float32), name) for name, value in constants.items()
    )
    make = onnx.helper.make_node
    graph.node.extend(
        [
            make("Mul", ["within", "wide"], ["image"]),
            make("Add", ["image", "one"], ["above"]),
            make("Mul", ["above", "half"], ["scaled"]),
            make("Round", ["scaled"], ["rounded"]),
            make("Clip", ["rounded", "low", "high"], ["clipped"]),
            make("Cast", ["clipped"], ["bytes"], to=onnx.TensorProto.UINT8),
            make("Transpose", ["bytes"], ["image_u8"], perm=[0, 2, 3, 1]),
        ]
    )
    graph.output.append(onnx.helper.make_tensor_value_info("image_u8", onnx.TensorProto.UINT8, ["batch", 6, 4, 3]))
    onnx.save(model, path)
    return path


def test_levels_from_the_graph_are_the_levels_of_its_image(tmp_path: Path, tiny_generator_onnx: Path) -> None:
    session = GeneratorSession(with_levels(tmp_path / "g.onnx", tiny_generator_onnx), provider="cpu")
    z = np.random.default_rng(0).standard_normal((40, 8), dtype=np.float32)
    labels = np.arange(40) % 3
    images = session.generate(z, labels)
    assert images.min() < -1
    assert images.max() > 1
    levels = session.generate_levels(z, labels)
    assert levels.dtype == np.uint8
    assert levels.tobytes() == to_uint8(images).tobytes()
    # They come from the graph's output, and would be others if that output were.
    model = onnx.load(tmp_path / "g.onnx")
    next(c for c in model.graph.initializer if c.name == "half").CopyFrom(
        onnx.numpy_helper.from_array(np.array(100, dtype=np.float32), "half")
    )
    onnx.save(model, tmp_path / "other.onnx")
    assert (GeneratorSession(tmp_path / "other.onnx", provider="cpu").generate_levels(z, labels) != levels).any()


def test_levels_without_the_output(tiny_session: GeneratorSession) -> None:
    z, labels = np.ones((3, 8), dtype=np.float32), np.array([0, 1, 2])
    expected = to_uint8(tiny_session.generate(z, labels))
    np.testing.assert_array_equal(tiny_session.generate_levels(z, labels), expected)


def with_gossip(path: Path, generator: Path) -> Path:
    """`generator`, but every image takes something from all that are computed in one run with it."""
    model = onnx.load(generator)
    nodes = list(model.graph.node)
    add = next(i for i, node in enumerate(nodes) if node.op_type == "Add")
    nodes[add].output[0] = "own"
    gossip = [
        onnx.helper.make_node("ReduceMean", ["own", "first_axis"], ["heard"]),
        onnx.helper.make_node("Add", ["own", "heard"], ["flat"]),
    ]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "first_axis"))
    del model.graph.node[:]
    model.graph.node.extend([*nodes[: add + 1], *gossip, *nodes[add + 1 :]])
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("method", ["generate", "generate_levels"])
def test_on_the_cpu_an_image_does_not_depend_on_its_neighbours(
    tmp_path: Path, tiny_generator_onnx: Path, method: str
) -> None:
    """Not even in a graph that mixes them: convolutions of different batch sizes round differently, this is cruder."""
    gossiping = with_gossip(tmp_path / "mixed.onnx", tiny_generator_onnx)
    session = GeneratorSession(with_levels(tmp_path / "g.onnx", gossiping), provider="cpu")
    z = np.random.default_rng(1).standard_normal((16, 8), dtype=np.float32)
    labels = np.arange(16) % 3
    draw = getattr(session, method)
    together = draw(z, labels)
    for i in range(16):
        assert draw(z[i : i + 1], labels[i : i + 1]).tobytes() == together[i].tobytes()


def test_onnx_runtime_is_told_to_report_nothing_unless_somebody_says_otherwise() -> None:
    program = "import os, handlers.session as s; s.import_onnxruntime(); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    without = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    for environment, expected in ((without, "1"), ({**without, "ORT_DISABLE_TELEMETRY": "0"}, "0")):
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected


def test_nothing_of_ours_imports_onnx_runtime_past_that() -> None:
    """A submodule may be imported by its name once `import_onnxruntime` has been called in the same function."""
    import handlers

    root = Path(handlers.__file__).parent.parent
    packages = ("handlers", "export", "serve", "sngan_cli", "sngan_train")
    past: set[str] = set()
    for file in (path for package in packages for path in (root / package).rglob("*.py")):
        told = False
        for line in file.read_text(encoding="utf-8").splitlines():
            told = not line.lstrip().startswith("def ") and (told or "import_onnxruntime()" in line)
            if re.match(r"\s*(import|from) onnxruntime", line) and not told:
                past.add(str(file.relative_to(root)))
    assert past == {"handlers/session.py"}

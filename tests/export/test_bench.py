"""The arithmetic with a clock that only the contenders move; who is measured, on generators of no size."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export.bench import Result, Spread, measure
from export.bench_contenders import NAIVE, Contender, Field, assemble
from export.errors import ExportError
from handlers.metadata import GeneratorMetadata
from handlers.session import GeneratorSession, import_onnxruntime

MakeGenerator = Callable[[Path, GeneratorMetadata], Path]


class FakeTime:
    """A clock that only the contenders move."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now_s

    def contender(
        self, metadata: GeneratorMetadata, name: str, call_s: float, slow_rounds: tuple[int, ...] = ()
    ) -> Contender:
        """One whose first call of a burst takes a minute, and whose calls take ten times as long in slow rounds.

        Bursts are told apart by that others have worked in between; two calls a burst count.
        """

        def draw(z: object, labels: object) -> None:
            first = not self.order or self.order[-1] != name
            if first:
                self.order.append(name)
            warm_up = self.order.count(name) == 1
            number = self.order.count(name) - 2  # the first appearance is the warm-up
            slow = 10.0 if number in slow_rounds else 1.0
            self.now_s += 60.0 if first or warm_up else call_s * slow

        return Contender(file=name, provider="cpu", metadata=metadata, draw=draw)


def names(results: list[Result]) -> list[str]:
    return [result.contender.file for result in results]


def test_ratios_are_of_one_round_and_first_calls_do_not_count(tiny_metadata: GeneratorMetadata) -> None:
    clock = FakeTime()
    # The whole machine is ten times as slow in rounds 1 and 2; the ratio of 4 does not show it.
    naive = clock.contender(tiny_metadata, "naive", 2.0, (1, 2))
    quick = clock.contender(tiny_metadata, "quick", 0.5, (1, 2))
    third = clock.contender(tiny_metadata, "third", 4.0, (1, 2))
    said: list[str] = []
    field = Field(naive=naive, contenders=(quick, third), left_out={})
    results, failed = measure(field, [16], 4 * 2.0, clock, said.append, rounds=4)
    assert failed == {}
    assert names(results) == ["naive", "quick", "third"]
    assert results[0].ratio == Spread(lower=1.0, median=1.0, upper=1.0)
    assert results[1].ratio == Spread(lower=4.0, median=4.0, upper=4.0)
    assert results[2].ratio == Spread(lower=0.5, median=0.5, upper=0.5)
    assert results[1].rates == (32.0, 3.2, 3.2, 32.0)
    assert results[1].images_per_second == pytest.approx(17.6)
    # Bursts of 2 s: four calls of 0.5 s, or one of 5 s.
    assert results[1].calls_s == (0.5,) * 4 + (5.0,) * 2 + (0.5,) * 4
    assert results[1].latency_ms(50) == 500.0
    assert results[1].latency_ms(95) == pytest.approx(np.percentile([0.5] * 8 + [5.0] * 2, 95) * 1000)
    assert sum("of 4; about" in text for text in said) == 4
    assert said[-1] == "batch 16: round 4 of 4; about 0 s left"


def test_everybody_begins_in_turn_and_follows_others(tiny_metadata: GeneratorMetadata) -> None:
    order: list[str] = []

    def contender(name: str) -> Contender:
        return Contender(file=name, provider="cpu", metadata=tiny_metadata, draw=lambda z, y: order.append(name))

    field = Field(naive=contender("a"), contenders=(contender("b"), contender("c")), left_out={})
    ticks = iter(range(1000))  # a call a second, so that a burst is one call after the one that does not count
    measure(field, [1], 0.001, lambda: float(next(ticks)), lambda text: None, rounds=4)
    assert "".join(order[:3]) == "abc"  # the warm-up
    assert "".join(order[3::2]) == "abc" + "acb" + "cab" + "cba"


def test_latents_and_labels_are_a_server_s(tiny_metadata: GeneratorMetadata) -> None:
    shapes: list[tuple[tuple[int, ...], list[int] | None]] = []

    def contender(name: str, metadata: GeneratorMetadata) -> Contender:
        def draw(z: np.ndarray, labels: np.ndarray | None) -> None:
            assert z.dtype == np.float32
            shapes.append((z.shape, None if labels is None else labels.tolist()))

        return Contender(file=name, provider="cpu", metadata=metadata, draw=draw)

    ticks = iter(range(1000))
    field = Field(
        naive=contender("naive", tiny_metadata),
        contenders=(contender("unconditional", dataclasses.replace(tiny_metadata, class_names=())),),
        left_out={},
    )
    measure(field, [5], 0.001, lambda: float(next(ticks)), lambda text: None, rounds=2)
    assert shapes[:2] == [((5, 8), [0, 1, 2, 0, 1]), ((5, 8), None)]


def test_who_does_not_run_is_left_out_and_the_naive_one_may_not_be(tiny_metadata: GeneratorMetadata) -> None:
    def fail(z: object, labels: object) -> None:
        raise RuntimeError("no kernel\nfor this node")

    def contender(name: str, draw: Callable[[object, object], object]) -> Contender:
        return Contender(file=name, provider="cpu", metadata=tiny_metadata, draw=draw)

    ticks = iter(range(1000))
    good, bad = contender("good", lambda z, y: None), contender("bad", fail)
    arguments = ([1], 0.001, lambda: float(next(ticks)), lambda text: None, 2)
    results, failed = measure(Field(naive=good, contenders=(bad,), left_out={}), *arguments)
    assert names(results) == ["good"]
    assert failed == {"bad on cpu": "no kernel"}
    with pytest.raises(ExportError, match="bad on cpu does not run: no kernel"):
        measure(Field(naive=bad, contenders=(good,), left_out={}), *arguments)


def test_spread_is_numpys_quartiles() -> None:
    values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6]
    spread = Spread.of(values)
    assert [spread.lower, spread.median, spread.upper] == pytest.approx(np.percentile(values, [25, 50, 75]).tolist())


@pytest.fixture
def folder(tmp_path: Path, make_generator: MakeGenerator, tiny_metadata: GeneratorMetadata) -> Path:
    """An export's files: the plain one, the CPU's, and one of another checkpoint."""
    for name, target, weights in (
        ("generator.onnx", "cpu", "a"),
        ("generator-portable.onnx", "portable", "a"),
        ("generator-gpu.onnx", "gpu", "b"),
    ):
        facts = dataclasses.replace(tiny_metadata, target=target, provenance={"generator_ema_sha256": weights})
        make_generator(tmp_path / name, facts)
    return tmp_path


def test_every_file_meets_every_provider_of_the_package(folder: Path) -> None:
    field = assemble(folder, 1, lambda text: None)
    files = {(one.file, one.provider) for one in field.contenders}
    assert {("generator.onnx", "cpu"), ("generator-portable.onnx", "cpu")} <= files
    assert (field.naive.file, field.naive.provider) == ("generator-portable.onnx", NAIVE)
    assert "other weights" in field.left_out["generator-gpu.onnx on cpu"]
    if "CUDAExecutionProvider" not in import_onnxruntime().get_available_providers():
        assert "sngan[gpu]" in field.left_out["everything on cuda"]


def test_the_naive_way_draws_the_same_in_one_batch(folder: Path) -> None:
    field = assemble(folder, 1, lambda text: None)
    z = np.random.default_rng(0).standard_normal((4, 8), dtype=np.float32)
    labels = np.array([0, 1, 2, 0])
    (image,) = field.naive.draw(z, labels)  # type: ignore[misc]
    expected = GeneratorSession(folder / "generator-portable.onnx", provider="cpu").generate(z, labels)
    np.testing.assert_allclose(image, expected, atol=1e-6)  # float32, sums in another order


def test_without_files_or_a_plain_one_the_remedy_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ExportError, match="`sngan export RUN"):
        assemble(tmp_path / "empty", 1, lambda text: None)
    (folder / "generator-portable.onnx").unlink()
    with pytest.raises(ExportError, match="nothing to compare with; `sngan export RUN -o DIR --target cpu,portable`"):
        assemble(folder, 1, lambda text: None)


def test_files_that_do_not_open_are_told(folder: Path) -> None:
    (folder / "generator.onnx").write_bytes(b"garbage")
    field = assemble(folder, 1, lambda text: None)
    assert "not a readable ONNX generator" in field.left_out["generator.onnx on cpu"]
    for path in folder.glob("*.onnx"):
        path.write_bytes(b"garbage")
    with pytest.raises(ExportError, match="nothing can be measured"):
        assemble(folder, 1, lambda text: None)

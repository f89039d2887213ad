from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from export.precision import gate as gate_module
from export.precision.budgets import CLASS_AGREEMENT_LOSS
from export.precision.gate import SECOND_LOOK, Gate
from export.precision.gate_result import GateResult
from export.precision.judges import NotMeasured
from export.precision.sessions import open_session
from handlers.metadata import GeneratorMetadata
from sngan_train.metrics.extractor import ExtractorFacts, Features

SIDE = 8
CLASSES = 4
Graph = tuple[onnx.ModelProto, GeneratorMetadata]


class Thumbnail:
    """Features that see a single grey level: the pixels."""

    facts = ExtractorFacts(
        name="pixels", feature_dim=SIDE * SIDE, input_size=SIDE, resize="none", precision="float32", weights_sha256=""
    )

    def __call__(self, images: torch.Tensor) -> Features:
        features = images.float().flatten(1)
        return Features(features=features, logits=features)


@pytest.fixture
def thumbnails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "load_judge_of_features", lambda report: Thumbnail())


@pytest.fixture
def pixels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "load_judge_of_features", lambda report: NotMeasured(reason="for the test"))


def patterns(amplitude: float) -> np.ndarray:
    """A pattern of ± amplitude for each class; any two classes differ in half of the pixels."""
    signs = np.random.default_rng(0).permuted(np.tile([-1.0, 1.0], (CLASSES, SIDE * SIDE // 2)), axis=1)
    return (amplitude * signs).astype(np.float32)


def drawn(tables: np.ndarray, latent_weight: float = 0.2) -> onnx.ModelProto:
    """A graph of image = tables[label] + a little of z."""
    weight = np.random.default_rng(1).normal(0, latent_weight / 2, (4, SIDE * SIDE)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["tables", "label"], ["pattern"]),
            helper.make_node("MatMul", ["z", "weight"], ["variation"]),
            helper.make_node("Add", ["pattern", "variation"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["image"]),
        ],
        "g",
        [
            helper.make_tensor_value_info("z", TensorProto.FLOAT, ["batch", 4]),
            helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [
            numpy_helper.from_array(tables, "tables"),
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(np.array([-1, 1, SIDE, SIDE]), "shape"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


METADATA = GeneratorMetadata(
    name="x",
    version="1",
    latent_dim=4,
    class_names=("a", "b", "c", "d"),
    channels=1,
    height=SIDE,
    width=SIDE,
    color_mode="L",
)


def gate_of(model: onnx.ModelProto, num_images: int = 200, **options: Any) -> Gate:
    return Gate(model, METADATA, num_images=num_images, **options)


def judge(precision: str, variant: onnx.ModelProto, float32: onnx.ModelProto, **options: Any) -> GateResult:
    return gate_of(float32, **options).compare(precision, open_session(variant))


@pytest.mark.usefixtures("thumbnails")
def test_the_same_graph_passes_with_no_difference() -> None:
    model = drawn(patterns(0.3))
    result = judge("float16", model, model)
    assert result.passed
    assert result.pixels.num_images == 200
    assert result.pixels.mean_squared_error == 0.0
    assert result.feature_distance == 0.0
    assert result.class_agreement == result.float32_class_agreement == 1.0
    report = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert report["psnr_db"] is None
    assert report["passed"] is True
    assert report["class_agreement"] == 1.0
    assert "of the float32 model" in report["class_probe"]


@pytest.mark.usefixtures("pixels_alone")
@pytest.mark.parametrize(
    ("precision", "levels", "passes"),
    [  # 20·log10(255 / levels): 48.1, 42.1, 38.6, 36.1, 34.2 dB
        ("float16", 1, True),
        ("float16", 2, True),
        ("float16", 3, False),
        ("bfloat16", 2, True),
        ("bfloat16", 3, False),
        ("int8", 4, True),
        ("int8", 5, False),
    ],
)
def test_the_budget_of_the_pixels(precision: str, levels: int, passes: bool) -> None:
    model, shifted = drawn(patterns(0.3)), drawn(patterns(0.3) + np.float32(levels / 127.5))
    result = judge(precision, shifted, model, num_images=40)
    assert result.pixels.psnr_db == pytest.approx(
        20 * np.log10(255 / levels), abs=0.05
    )  # a level rounded here and there
    assert result.passed == passes
    if not passes:
        (reason,) = result.reasons
        assert "below the budget" in reason
    assert isinstance(result.class_agreement, NotMeasured)
    assert result.to_dict()["class_agreement"] == {"not measured": "for the test"}


@pytest.mark.usefixtures("thumbnails")
def test_the_budget_of_the_classes_where_pixels_hardly_change() -> None:
    tables = patterns(2.5 / 127.5)  # two and a half levels: two classes swapped are above 35 dB
    model, swapped = drawn(tables, 0.01), drawn(tables[[1, 0, 2, 3]], 0.01)
    result = judge("int8", swapped, model)
    assert result.pixels.psnr_db > 36.0
    assert result.float32_class_agreement == 1.0
    assert result.class_agreement == 0.5
    assert not result.passed
    (reason,) = result.reasons
    assert "class agreement falls from 1.000 to 0.500" in reason


class Mistaken:
    """A graph's own pictures, of which those at some places are of the next class."""

    def __init__(self, model: onnx.ModelProto, wrong: Collection[int]) -> None:
        self.session, self.wrong, self.done = open_session(model), list(wrong), 0

    def run(self, outputs: list[str], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        place = np.arange(self.done, self.done + len(feed["z"]))
        self.done += len(feed["z"])
        label = np.where(np.isin(place, self.wrong), (feed["label"] + 1) % CLASSES, feed["label"])
        return list(self.session.run(outputs, {**feed, "label": label}))


@pytest.mark.usefixtures("thumbnails")
@pytest.mark.parametrize(
    ("wrong", "compared", "agreement", "passes"),
    [
        (range(2), 200, 0.99, True),  # exactly one point
        (range(3), 800, 1 - 3 / 800, True),  # a point and a half, which more images show to be chance
        (range(0, 800, 100), 200, 0.99, True),  # not asked for more, though they would be no better
        (range(0, 800, 60), 800, 1 - 14 / 800, False),  # a point and three quarters, also of more
    ],
)
def test_one_point_of_class_agreement_passes_and_no_more(
    wrong: range, compared: int, agreement: float, passes: bool
) -> None:
    assert SECOND_LOOK * 200 == 800
    assert CLASS_AGREEMENT_LOSS == 0.01
    model = drawn(patterns(2.5 / 127.5), 0.01)
    result = gate_of(model).compare("int8", Mistaken(model, wrong))
    assert result.pixels.num_images == compared
    assert result.class_agreement == pytest.approx(agreement)
    assert result.float32_class_agreement == 1.0
    assert result.passed == passes


@pytest.mark.usefixtures("pixels_alone")
def test_values_that_are_no_numbers_are_refused() -> None:
    model, tables = drawn(patterns(0.3)), patterns(0.3)
    tables[2, 5] = np.nan
    result = judge("int8", drawn(tables), model, num_images=40)
    assert result.not_finite == 10
    assert "10 images have values that are not finite" in result.reasons


@pytest.mark.usefixtures("thumbnails")
def test_a_gate_that_has_judged_another_variant_says_the_same() -> None:
    tables = patterns(2.5 / 127.5)
    model = drawn(tables, 0.01)
    first, second = drawn(tables + np.float32(0.01), 0.01), drawn(1.5 * tables, 0.01)
    shared = gate_of(model)
    shared.compare("int8", open_session(first))
    assert shared.compare("int8", Mistaken(model, range(800))).pixels.num_images == 800
    assert shared.compare("int8", open_session(second)) == judge("int8", second, model)


def test_an_unconditional_model_has_no_classes_to_agree_with(cnn: Graph) -> None:
    """With the real extractor, a real network and few pictures."""
    model, metadata = cnn
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(model)
    weight = next(tensor for tensor in spoilt.graph.initializer if tensor.name == "conv.weight")
    values = numpy_helper.to_array(weight)
    noise = np.random.default_rng(0).normal(0, 5 * values.std(), values.shape)
    weight.CopyFrom(numpy_helper.from_array((values + noise).astype(np.float32), weight.name))
    gate = Gate(model, metadata, num_images=48)
    good = gate.compare("int8", open_session(model))
    assert good.passed
    assert good.features == "efficientnet-lite0, float32"
    assert good.feature_distance == 0.0
    assert good.class_agreement == NotMeasured(reason="the model is unconditional")
    bad = gate.compare("int8", open_session(spoilt))
    assert isinstance(bad.feature_distance, float)
    assert bad.feature_distance > 0.05
    assert not bad.passed
    assert "below the budget of 35 dB" in bad.reasons[0]

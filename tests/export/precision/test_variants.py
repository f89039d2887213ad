from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.errors import OptionError
from export.precision import gate as gate_module
from export.precision import variants
from export.precision.gate import Gate
from export.precision.int8 import Int8
from export.precision.judges import NotMeasured
from export.precision.serving_draws import serving_draws
from export.precision.sessions import draw_images, open_session
from export.precision.variants import make_variant
from handlers.metadata import METADATA_KEY, GeneratorMetadata

Graph = tuple[onnx.ModelProto, GeneratorMetadata]
WORDS = {"fp32": "float32", "fp16": "float16", "int8": "int8"}


@pytest.fixture(autouse=True)
def pixels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judges of features have their own tests, and take their time."""
    monkeypatch.setattr(gate_module, "load_judge_of_features", lambda report: NotMeasured(reason="for the test"))


def rich(metadata: GeneratorMetadata) -> GeneratorMetadata:
    """Every field filled."""
    return dataclasses.replace(
        metadata,
        default_truncation=0.75 if metadata.latent_distribution == "normal" else None,
        metrics=({"values": {"FID": 12.5}, "protocol": {"name": "ours"}},),
        provenance={"checkpoint_meta_sha256": "ab" * 32},
        verification={"num_images": 74, "sigmas": [{"layer": "linear", "sigma": 1.5}]},
    )


@pytest.mark.parametrize("which", ["for_integers", "cnn"])
def test_metadata_survives_every_conversion(which: str, request: pytest.FixtureRequest) -> None:
    model, metadata = request.getfixturevalue(which)
    metadata = rich(metadata)
    gate = Gate(model, metadata, num_images=32)
    for precision, word in WORDS.items():
        variant = make_variant(precision, model, metadata=metadata, gate=gate)
        assert variant.model is not None, variant.reasons
        assert variant.reasons == ()
        (draw,) = serving_draws(metadata, seed=0, images=range(3), batch=3)
        session = open_session(variant.model)
        entries = session.get_modelmeta().custom_metadata_map
        assert entries["licence"] == "of somebody"
        read = GeneratorMetadata.from_json(entries[METADATA_KEY], "the test")
        assert read == dataclasses.replace(metadata, precision=word) == variant.metadata
        # Compared as JSON too: nothing is lost that the dataclass does not know.
        assert json.loads(entries[METADATA_KEY]) == {**json.loads(metadata.to_json()), "precision": word}
        assert draw_images(session, draw).shape == (3, metadata.channels, metadata.height, metadata.width)
        report = json.loads(json.dumps(variant.to_dict(), allow_nan=False))
        assert report["written"] is True
        assert (report["gate"] is None) == (precision == "fp32")


def test_a_spoilt_conversion_is_not_handed_over(for_integers: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    model, metadata = for_integers
    convert = variants.to_float16

    def spoil(float32: onnx.ModelProto) -> onnx.ModelProto:
        converted: onnx.ModelProto = convert(float32)
        weight = next(tensor for tensor in converted.graph.initializer if tensor.name == "conv.weight")
        values = numpy_helper.to_array(weight)
        noise = np.random.default_rng(0).normal(0, 5 * values.std(), values.shape)
        weight.CopyFrom(numpy_helper.from_array((values + noise).astype(values.dtype), weight.name))
        return converted

    monkeypatch.setattr(variants, "to_float16", spoil)
    told: list[str] = []
    variant = make_variant("fp16", model, metadata=metadata, num_images=32, say=told.append)
    assert variant.model is None
    assert "below the budget of 40 dB" in variant.reasons[0]
    assert variant.gate is not None
    assert not variant.gate.passed
    report = variant.to_dict()
    assert report["written"] is False
    assert report["reasons"] == list(variant.reasons)
    assert told[-1].startswith("float16 refused: PSNR against float32 is ")


def test_a_value_that_only_a_gpu_would_lose_refuses_float16(portable: Graph) -> None:
    """The CPU provider computes in float32, so there the file draws the same pictures."""
    model = onnx.ModelProto()
    model.CopyFrom(portable[0])
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    large = np.float32(2.0**20)  # undone by the statistics and the shortcut that read the linear layer
    for name, factor in (
        ("linear.weight", large),
        ("linear.bias", large),
        ("blocks.0.norm1.normalization.running_mean", large),
        ("blocks.0.norm1.normalization.running_var", large**2),
        ("blocks.0.shortcut.weight", 1 / large),
    ):
        values = numpy_helper.to_array(tensors[name])
        tensors[name].CopyFrom(numpy_helper.from_array((values * factor).astype(np.float32), name))
    variant = make_variant("fp16", model, metadata=portable[1], num_images=32)
    assert variant.model is None
    assert any("above the largest float16" in reason for reason in variant.reasons)


def test_without_an_int8_graph_the_reason_is_told(for_integers: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    model, metadata = for_integers

    def nothing(*args: object, **kwargs: object) -> Int8:
        from export.precision.number_format import U8_S7

        return Int8(model=None, numbers=U8_S7, calibration_images=0, choice=None)

    monkeypatch.setattr(variants, "to_int8", nothing)
    variant = make_variant("int8", model, metadata=metadata, num_images=32)
    assert variant.model is None
    assert variant.gate is None
    assert variant.reasons == ("the graph has no convolution that ONNX Runtime computes in 8-bit numbers",)


def test_an_unknown_precision_is_refused_with_the_known_ones(for_integers: Graph) -> None:
    with pytest.raises(OptionError, match="--precision 'fp8' is not one of fp32, fp16, int8"):
        make_variant("fp8", for_integers[0], metadata=for_integers[1])

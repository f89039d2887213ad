from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from export.precision.calibration import calibrate
from export.precision.layers import find_layers
from export.precision.number_format import S8_S8, U8_S7, NumberFormat
from export.precision.pixels import PixelDifferenceSum
from export.precision.quantize import quantize_layers
from export.precision.serving_draws import CALIBRATION_SEED, serving_draws
from export.precision.sessions import draw_images, open_session
from handlers.metadata import GeneratorMetadata
from handlers.session import import_onnxruntime, to_uint8

Graph = tuple[onnx.ModelProto, GeneratorMetadata]
IMAGES = 32  # for the ranges
U8_S8 = NumberFormat(name="as the library's default", activation=np.uint8, largest_weight=127)


def quantized(graph: Graph, numbers: NumberFormat = U8_S7, only: Collection[int] | None = None) -> onnx.ModelProto:
    model, metadata = graph
    inferred = ir.from_proto(onnx.shape_inference.infer_shapes(model))
    layers = find_layers(inferred)
    names = {str(value.name) for layer in layers for value in (layer.source, layer.output)}
    chosen = [layer for place, layer in enumerate(layers) if only is None or place in only]
    quantize_layers(inferred, chosen, calibrate(model, names, metadata, IMAGES), numbers)
    result: onnx.ModelProto = ir.to_proto(inferred)
    onnx.checker.check_model(result, full_check=True)
    return result


def psnr_db(model: onnx.ModelProto, other: onnx.ModelProto, metadata: GeneratorMetadata) -> float:
    (draw,) = serving_draws(metadata, seed=5, images=range(32), batch=32)
    total = PixelDifferenceSum()
    total.add(*(to_uint8(draw_images(open_session(graph), draw)) for graph in (model, other)))
    return total.result().psnr_db


def operators_in_onnx_runtime(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    """What the CPU provider makes of the graph."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node)


@pytest.mark.parametrize("numbers", [U8_S7, S8_S8])
def test_the_same_pictures_within_the_rounding_of_8_bits(any_graph: Graph, numbers: NumberFormat) -> None:
    model, metadata = any_graph
    assert 35.0 < psnr_db(quantized(any_graph, numbers), model, metadata) < 80.0


def test_every_convolution_runs_in_integers(any_graph: Graph, tmp_path: Path) -> None:
    before = Counter(node.op_type for node in any_graph[0].graph.node)
    operators = operators_in_onnx_runtime(quantized(any_graph), tmp_path)
    assert operators["QLinearConv"] == before["Conv"]
    assert operators["Conv"] + operators["FusedConv"] + operators["NhwcFusedConv"] == 0


def test_onnx_runtime_turns_no_tensor_round_between_the_layers(for_integers: Graph, tmp_path: Path) -> None:
    """What is turned in the graph cancels against its own turning; a class's rows and the two ends are left."""
    model = quantized(for_integers)
    written = Counter(node.op_type for node in model.graph.node)
    assert written["DepthToSpace"] == written["Resize"] == 0
    operators = operators_in_onnx_runtime(model, tmp_path)
    class_rows, first_source_twice, image_and_its_bytes = 8, 2, 2
    assert operators["Transpose"] <= class_rows + first_source_twice + image_and_its_bytes < written["Transpose"]


def test_between_the_layers_of_a_graph_without_classes_there_are_no_floats(cnn_for_integers: Graph) -> None:
    operators = Counter(node.op_type for node in quantized(cnn_for_integers).graph.node)
    assert operators["Relu"] == 0
    # In once, out of each of the 13 convolutions (to bytes) and of the last layer (to floats), and nothing between.
    assert operators["QuantizeLinear"] == 1 + 13
    dequantized_inputs_weights_and_biases = 13 * 3
    assert operators["DequantizeLinear"] == dequantized_inputs_weights_and_biases + 1


def test_onnx_runtimes_integers_are_what_is_written(any_graph: Graph) -> None:
    """ONNX's reference implementation computes rounding, convolution in floats, rounding, one after the other."""
    model = quantized(any_graph)
    (draw,) = serving_draws(any_graph[1], seed=6, images=range(3), batch=3)
    newer = onnx.ModelProto()
    newer.CopyFrom(model)
    newer.opset_import[0].version = 21  # the reference has these operators from 19 on; they say the same here
    (reference,) = ReferenceEvaluator(newer).run(["image"], draw.feed)
    difference = np.abs(to_uint8(reference).astype(int) - to_uint8(draw_images(open_session(model), draw)))
    assert difference.max() <= 4  # sums that end next to the middle of two integers are rounded to either
    assert difference.mean() < 0.2


def test_weights_and_pictures_are_those_of_onnx_runtimes_own_quantizer(portable: Graph, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    model, metadata = portable

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.draws = serving_draws(metadata, seed=CALIBRATION_SEED, images=range(IMAGES), batch=16)

        def get_next(self) -> dict[str, Any] | None:
            draw = next(self.draws, None)
            return None if draw is None else draw.feed

    onnx.save(model, tmp_path / "float32.onnx")
    quantization.quantize_static(
        tmp_path / "float32.onnx",
        tmp_path / "library.onnx",
        Reader(),
        op_types_to_quantize=["Conv"],
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    library, ours = onnx.load(tmp_path / "library.onnx"), quantized(portable, U8_S8)
    theirs = {tensor.tobytes() for tensor in int8_constants(library)}
    assert {tensor.tobytes() for tensor in int8_constants(ours)} == theirs
    assert len(theirs) == 7
    noise = psnr_db(ours, model, metadata)
    assert noise > psnr_db(library, model, metadata) - 1.0
    assert psnr_db(ours, library, metadata) > noise - 3.0  # no further from one another than two independent roundings


def int8_constants(model: onnx.ModelProto) -> list[np.ndarray]:
    arrays = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    return [array for array in arrays if array.dtype == np.int8 and array.ndim == 4]


@pytest.mark.parametrize("place", range(7))
def test_one_layer_alone_leaves_the_others_as_they_were(for_integers: Graph, place: int, tmp_path: Path) -> None:
    model = quantized(for_integers, only=[place])
    operators = operators_in_onnx_runtime(model, tmp_path)
    phases = place in (0, 3)
    assert operators["QLinearConv"] == (4 if phases else 1)
    assert (
        psnr_db(model, for_integers[0], for_integers[1])
        > psnr_db(quantized(for_integers), for_integers[0], for_integers[1]) - 0.5
    )


def test_weights_of_7_bits_cannot_overflow_the_pair_sums_of_old_processors(for_integers: Graph) -> None:
    for weights in int8_constants(quantized(for_integers, U8_S7)):
        assert np.abs(weights).max() == 64
    assert 2 * 255 * 64 < 2**15


def test_a_huge_bias_and_a_dead_channel_are_held(portable: Graph) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(portable[0])
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weight = numpy_helper.to_array(tensors["conv.weight"]).copy()
    tensors["conv.weight"].CopyFrom(numpy_helper.from_array(weight * 0, "conv.weight"))
    tensors["conv.bias"].CopyFrom(numpy_helper.from_array(np.array([0.75], np.float32), "conv.bias"))
    (draw,) = serving_draws(portable[1], seed=6, images=range(2), batch=2)
    images = draw_images(open_session(quantized((model, portable[1]))), draw)
    np.testing.assert_allclose(images, np.tanh(0.75), atol=1e-2)  # the output has 255 steps up to 0.75

from __future__ import annotations

import itertools

import onnx
import onnx_ir as ir

from export.precision.layers import Layer, find_layers
from handlers.metadata import GeneratorMetadata

Graph = tuple[onnx.ModelProto, GeneratorMetadata]
CHANNELS = 8


def layers_of(model: onnx.ModelProto) -> list[Layer]:
    return find_layers(ir.from_proto(onnx.shape_inference.infer_shapes(model)))


def test_the_phases_of_an_upsampling_are_one_layer_that_ends_behind_their_interleaving(for_integers: Graph) -> None:
    layers = layers_of(for_integers[0])
    assert [len(layer.convolutions) for layer in layers] == [4, 1, 1, 4, 1, 1, 1]  # conv1, conv2, shortcut; twice; last
    producers = [layer.output.producer() for layer in layers]
    assert [node.op_type for node in producers if node is not None] == [
        "DepthToSpace", "Conv", "Resize", "DepthToSpace", "Conv", "Resize", "Conv",
    ]  # fmt: skip


def test_a_layer_starts_before_the_repetition_of_pixels(portable: Graph) -> None:
    layers = layers_of(portable[0])
    assert [len(layer.convolutions) for layer in layers] == [1] * 7
    first = layers[0]
    repeated = first.convolutions[0].inputs[0]
    assert repeated is not None
    resize, relu = repeated.producer(), first.source.producer()
    assert resize is not None
    assert relu is not None
    assert (resize.op_type, relu.op_type) == ("Resize", "Relu")


def test_multiply_adds_are_kernel_times_channels_times_pixels(portable: Graph, for_integers: Graph) -> None:
    """Widths 8 throughout, 8×8 after the first block, 16×16 after the second, one grey channel at the end."""
    three, one = 9 * CHANNELS**2, CHANNELS**2
    plain = [layer.multiply_adds for layer in layers_of(portable[0])]
    assert sorted(plain) == sorted(
        [three * 64, three * 64, one * 16, three * 256, three * 256, one * 64, 9 * CHANNELS * 256]
    )
    phases = [layer.multiply_adds for layer in layers_of(for_integers[0]) if len(layer.convolutions) == 4]
    assert phases == [4 * 4 * CHANNELS**2 * 16, 4 * 4 * CHANNELS**2 * 64]


def test_a_transposed_convolution_is_no_layer_and_its_phases_are_one(cnn: Graph, cnn_for_integers: Graph) -> None:
    assert [len(layer.convolutions) for layer in layers_of(cnn[0])] == [1]  # the last convolution alone
    assert [len(layer.convolutions) for layer in layers_of(cnn_for_integers[0])] == [4, 4, 4, 1]


def test_without_classes_a_relu_belongs_to_the_layer_before_it(cnn_for_integers: Graph) -> None:
    layers = layers_of(cnn_for_integers[0])
    for before, behind in itertools.pairwise(layers):
        relu = before.output.producer()
        assert relu is not None
        assert relu.op_type == "Relu"
        assert behind.source is before.output

from __future__ import annotations

import numpy as np
import onnx

from export.precision.calibration import calibrate
from export.precision.serving_draws import CALIBRATION_SEED, serving_draws
from export.precision.sessions import open_session
from handlers.metadata import GeneratorMetadata

Graph = tuple[onnx.ModelProto, GeneratorMetadata]


def test_ranges_are_the_extremes_of_the_values_themselves(for_integers: Graph) -> None:
    model, metadata = for_integers
    inferred = onnx.shape_inference.infer_shapes(model)
    values = {value.name: value for value in inferred.graph.value_info}
    names = [node.output[0] for node in model.graph.node if node.op_type in ("Gemm", "Relu", "DepthToSpace", "Conv")]
    watched = onnx.ModelProto()
    watched.CopyFrom(inferred)
    watched.graph.output.extend(values[name] for name in names)
    session = open_session(watched)
    (draw,) = serving_draws(metadata, seed=CALIBRATION_SEED, images=range(40), batch=40)
    expected = dict(zip(names, session.run(names, draw.feed), strict=True))
    found = calibrate(model, names, metadata, num_images=40)
    assert set(found) == set(names)
    for name, range_ in found.items():  # float32 sums of another batch size differ in the last digits
        np.testing.assert_allclose([range_.low, range_.high], [expected[name].min(), expected[name].max()], rtol=1e-5)


def test_uniform_latents_and_graphs_without_classes(cnn: Graph) -> None:
    model, metadata = cnn
    latents = np.concatenate(
        [draw.z for draw in serving_draws(metadata, seed=CALIBRATION_SEED, images=range(33), batch=8)]
    )
    found = calibrate(model, ["z"], metadata, num_images=33)
    assert (found["z"].low, found["z"].high) == (latents.min(), latents.max())

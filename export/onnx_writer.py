"""The only file that calls torch's ONNX exporter; what its versions do differently stays here."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch

from export.seal import GENERATOR_SEAL, UNSEALED, seal
from handlers.metadata import METADATA_KEY, GeneratorMetadata
from sngan_train.models import Generator

OPSET = 18
IR_VERSION = 10  # the newest that ONNX Runtime 1.18 reads
BATCH = "batch"


def generator_to_onnx(folded: Generator) -> onnx.ModelProto:
    """The graph of a folded generator: inputs `z` and, if it has classes, `label`; output `image`; a free batch.

    Traces of where the graph came from (source paths, module names) are removed: they name folders of the
    machine that exported, and would make equal exports differ.
    """
    assert not folded.training, "an export in training mode would freeze batch statistics into the graph"
    inputs = {"z": torch.zeros(2, folded.latent_dim)}  # a batch of 1 would become a constant
    if folded.conditional:
        inputs["label"] = torch.zeros(2, dtype=torch.int64)
    with _quiet():
        program = torch.onnx.export(
            folded,
            tuple(inputs.values()),
            dynamo=True,
            input_names=list(inputs),
            output_names=["image"],
            opset_version=OPSET,
            dynamic_shapes=tuple({0: BATCH} for _ in inputs),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _name_batch(model)
    _remove_traces(model)
    model.ir_version = min(model.ir_version, IR_VERSION)
    model.producer_name, model.producer_version = "sngan", ""
    model.graph.name = "sngan_generator"
    return model


def write_with_metadata(model: onnx.ModelProto, metadata: GeneratorMetadata, path: Path) -> None:
    """Put `metadata`, with a seal in its provenance, into `model`, check it, and write one file.

    Equal models give equal bytes.
    """
    sealed = dataclasses.replace(metadata, provenance={**metadata.provenance, GENERATOR_SEAL: UNSEALED})
    onnx.helper.set_model_props(model, {METADATA_KEY: sealed.to_json()})
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(seal(model.SerializeToString(deterministic=True), GENERATOR_SEAL))


def traces_of_power_iteration(model: onnx.ModelProto) -> list[str]:
    """Names in the graph that belong to spectral norm, and operations that only its arithmetic needs."""
    graph = model.graph
    names = [value.name for value in (*graph.initializer, *graph.input, *graph.output)]
    names += [name for node in graph.node for name in (node.name, *node.input, *node.output)]
    suspicious = sorted({name for name in names if _belongs_to_spectral_norm(name)})
    # u, v products are matrix-vector products and σ divides: a folded generator has neither.
    return suspicious + [
        f"{node.op_type} {node.name}" for node in graph.node if node.op_type in ("Div", "MatMul", "ReduceL2")
    ]


def _belongs_to_spectral_norm(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last in ("u", "v", "sigma") or "spectral" in name or "parametrization" in name


def _name_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        dimension = value.type.tensor_type.shape.dim[0]
        dimension.ClearField("dim_value")
        dimension.dim_param = BATCH


def _remove_traces(model: onnx.ModelProto) -> None:
    graph = model.graph
    del graph.value_info[:]  # shapes in symbols of the tracer; consumers infer their own
    for item in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("doc_string")
        del item.metadata_props[:]
    del model.metadata_props[:]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's talk is about its own progress and deprecations inside torch; failures are exceptions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)

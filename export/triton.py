"""A model repository for NVIDIA's Triton Inference Server: the same generator file beside a `config.pbtxt`.

Written from the description of `ModelConfig` in triton-inference-server/common, protobuf/model_config.proto.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from export.archive import MODEL_NAME
from handlers.metadata import GeneratorMetadata

CONFIG_NAME = "config.pbtxt"
VERSION_FOLDER = "1"  # Triton's own numbering, whole numbers; the model's version is a parameter
MODEL_FILE = "model.onnx"  # what Triton's ONNX Runtime backend looks for
MAX_BATCH_SIZE = 64  # as many images as our own server draws for one request
# How long a request may wait for others to share its batch: little beside the time that one image takes.
MAX_QUEUE_DELAY_MICROSECONDS = 2000


def write_triton_repository(generator: Path, metadata: GeneratorMetadata, folder: Path) -> tuple[Path, ...]:
    """Write `folder`/sngan/config.pbtxt and `folder`/sngan/1/model.onnx; `tritonserver --model-repository folder`.

    Args:
        generator: the generator file, copied byte for byte.
        metadata: that of `generator`.
        folder: made if it is not there.

    Returns:
        The files written.

    Raises:
        OSError: they cannot be written.
    """
    config = folder / MODEL_NAME / CONFIG_NAME
    model = folder / MODEL_NAME / VERSION_FOLDER / MODEL_FILE
    model.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(generator, model)
    config.write_text(triton_config(metadata), encoding="ascii")
    return config, model


def triton_config(metadata: GeneratorMetadata) -> str:
    """The text of `config.pbtxt`: `ModelConfig` in protobuf's text format, in ASCII whatever the classes are called.

    Triton sees `z` as (batch, latent_dim) and `label` as (batch, 1): it knows no input without a dimension beside the
    batch, and reshapes what comes to the (batch,) that the graph takes. The class names are the parameter
    `class_names`, JSON, which a client reads from /v2/models/sngan/config.
    """
    image = [metadata.channels, metadata.height, metadata.width]
    inputs = [_tensor("z", "TYPE_FP32", [metadata.latent_dim])]
    if metadata.num_classes:
        inputs.append(_tensor("label", "TYPE_INT64", [1], reshape="reshape { shape: [ ] }"))
    outputs = [_tensor("image", "TYPE_FP32", image)]
    if metadata.target != "portable":  # its graph gives grey levels beside the image
        outputs.append(_tensor("image_u8", "TYPE_UINT8", [*image[1:], image[0]]))
    parameters = {
        "class_names": json.dumps(metadata.class_names),
        "latent_distribution": metadata.latent_distribution,
        "model_name": metadata.name,
        "model_version": metadata.version,
    }
    return "\n".join(
        [
            f"name: {_quoted(MODEL_NAME)}",
            'backend: "onnxruntime"',
            f"max_batch_size: {MAX_BATCH_SIZE}",
            *(f"input {tensor}" for tensor in inputs),
            *(f"output {tensor}" for tensor in outputs),
            f"dynamic_batching {{ max_queue_delay_microseconds: {MAX_QUEUE_DELAY_MICROSECONDS} }}",
            "instance_group [ { count: 1 kind: KIND_AUTO } ]  # on each GPU, or on the CPU where there is none",
            *(
                f"parameters {{ key: {_quoted(key)} value {{ string_value: {_quoted(value)} }} }}"
                for key, value in parameters.items()
            ),
            "",
        ]
    )


def _tensor(name: str, data_type: str, dims: list[int], reshape: str = "") -> str:
    shape = ", ".join(map(str, dims))
    return f"{{ name: {_quoted(name)} data_type: {data_type} dims: [ {shape} ] {reshape}".rstrip() + " }"


def _quoted(text: str) -> str:
    """A string of protobuf's text format: bytes that are no plain ASCII, quotes and backslashes in octal."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b"\"'\\" else f"\\{byte:03o}" for byte in text.encode())
    return '"' + "".join(plain) + '"'

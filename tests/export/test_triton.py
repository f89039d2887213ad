"""`config.pbtxt` is read by protobuf's own parser of its text format, into the messages of Triton's model_config.proto.

The fields below are those of triton-inference-server/common, protobuf/model_config.proto, that the file uses; a name, a
type or an enumerator that is not theirs is an error of the parser.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from export.archive import MODEL_NAME
from export.triton import MAX_BATCH_SIZE, triton_config, write_triton_repository
from handlers.metadata import GeneratorMetadata

# Message → field → (number, type, is it repeated). A capital is a message or an enumeration of this package.
MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "ModelTensorReshape": {"shape": (1, "int64", True)},
    "ModelInput": {
        "name": (1, "string", False),
        "data_type": (2, "DataType", False),
        "dims": (4, "int64", True),
        "reshape": (5, "ModelTensorReshape", False),
    },
    "ModelOutput": {
        "name": (1, "string", False),
        "data_type": (2, "DataType", False),
        "dims": (3, "int64", True),
        "reshape": (5, "ModelTensorReshape", False),
        "label_filename": (4, "string", False),
    },
    "ModelDynamicBatching": {
        "preferred_batch_size": (1, "int32", True),
        "max_queue_delay_microseconds": (2, "uint64", False),
    },
    "ModelInstanceGroup": {"name": (1, "string", False), "count": (2, "int32", False), "kind": (4, "Kind", False)},
    "ModelParameter": {"string_value": (1, "string", False)},
    "ParametersEntry": {"key": (1, "string", False), "value": (2, "ModelParameter", False)},
    "ModelConfig": {
        "name": (1, "string", False),
        "platform": (2, "string", False),
        "backend": (17, "string", False),
        "max_batch_size": (4, "int32", False),
        "input": (5, "ModelInput", True),
        "output": (6, "ModelOutput", True),
        "dynamic_batching": (11, "ModelDynamicBatching", False),
        "instance_group": (7, "ModelInstanceGroup", True),
        "default_model_filename": (8, "string", False),
        "parameters": (14, "ParametersEntry", True),  # a map, which the text format writes as such entries
    },
}
ENUMERATIONS = {
    "DataType": {
        "TYPE_INVALID": 0,
        "TYPE_UINT8": 2,
        "TYPE_INT64": 9,
        "TYPE_FP16": 10,
        "TYPE_FP32": 11,
        "TYPE_STRING": 13,
    },
    "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2, "KIND_MODEL": 3},
}
METADATA = GeneratorMetadata(
    name="digits",
    version="1.0",
    latent_dim=128,
    class_names=(
        "plain",
        "with space & 'quotes'",
        'double "quotes" \\ and { braces }',
        "Ünïcode 猫",
        "line\nbreak # ?",
    ),
    channels=3,
    height=32,
    width=48,
    color_mode="RGB",
)


@pytest.fixture(scope="module")
def model_config() -> type:
    """The class of the message ModelConfig."""
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    for name, values in ENUMERATIONS.items():
        file.enum_type.add(name=name).value.extend(
            descriptor_pb2.EnumValueDescriptorProto(name=value, number=number) for value, number in values.items()
        )
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for name, (number, type_name, repeated) in fields.items():
            field = described.field.add(name=name, number=number)
            field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if type_name in MESSAGES or type_name in ENUMERATIONS:
                field.type = field.TYPE_MESSAGE if type_name in MESSAGES else field.TYPE_ENUM
                field.type_name = f".inference.{type_name}"
            else:
                field.type = getattr(field, f"TYPE_{type_name.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found: type = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))
    return found


def parsed(metadata: GeneratorMetadata, model_config: type) -> Any:
    return text_format.Parse(triton_config(metadata), model_config())


def tensors(values: Any) -> list[tuple[str, int, list[int]]]:
    return [(value.name, value.data_type, list(value.dims)) for value in values]


def test_the_parser_refuses_what_is_no_config(model_config: type) -> None:
    for text in ("nam: 'x'", "name: x", "max_batch_size: 'a'", "input { data_type: TYPE_FLOAT }", "name: 'a"):
        with pytest.raises(text_format.ParseError):
            text_format.Parse(text, model_config())


def test_what_triton_is_told(model_config: type) -> None:
    config = parsed(METADATA, model_config)
    types = ENUMERATIONS["DataType"]
    assert (config.name, config.backend, config.platform) == (MODEL_NAME, "onnxruntime", "")
    assert config.max_batch_size == MAX_BATCH_SIZE == 64
    assert tensors(config.input) == [("z", types["TYPE_FP32"], [128]), ("label", types["TYPE_INT64"], [1])]
    assert config.input[1].HasField("reshape")
    assert list(config.input[1].reshape.shape) == []
    assert not config.input[0].HasField("reshape")
    assert tensors(config.output) == [("image", types["TYPE_FP32"], [3, 32, 48])]
    assert config.HasField("dynamic_batching")
    assert [(group.count, group.kind) for group in config.instance_group] == [(1, 0)]


def test_a_model_without_classes_has_no_label(model_config: type) -> None:
    config = parsed(dataclasses.replace(METADATA, class_names=(), latent_distribution="uniform"), model_config)
    assert [value.name for value in config.input] == ["z"]
    assert {entry.key: entry.value.string_value for entry in config.parameters}["latent_distribution"] == "uniform"


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_graph_of_a_target_also_gives_grey_levels(model_config: type, target: str) -> None:
    config = parsed(dataclasses.replace(METADATA, target=target), model_config)
    assert tensors(config.output)[1] == ("image_u8", ENUMERATIONS["DataType"]["TYPE_UINT8"], [32, 48, 3])


def test_class_names_of_any_letters_arrive(model_config: type) -> None:
    text = triton_config(METADATA)
    assert text.isascii()
    config = text_format.Parse(text, model_config())
    found = {entry.key: entry.value.string_value for entry in config.parameters}
    assert tuple(json.loads(found["class_names"])) == METADATA.class_names
    assert (found["model_name"], found["model_version"]) == ("digits", "1.0")


def test_a_name_of_any_letters_arrives(model_config: type) -> None:
    name = "a \"b\" \\ 'c' \n Ünï 猫 7"
    config = parsed(dataclasses.replace(METADATA, name=name), model_config)
    assert {entry.key: entry.value.string_value for entry in config.parameters}["model_name"] == name


def test_the_repository_as_triton_looks_for_it(tiny_generator_onnx: Path, tmp_path: Path) -> None:
    written = write_triton_repository(tiny_generator_onnx, METADATA, tmp_path / "triton")
    config, model = tmp_path / "triton/sngan/config.pbtxt", tmp_path / "triton/sngan/1/model.onnx"
    assert written == (config, model)
    assert {path for path in (tmp_path / "triton").rglob("*") if path.is_file()} == set(written)
    assert model.read_bytes() == tiny_generator_onnx.read_bytes()
    assert config.read_text(encoding="utf-8") == triton_config(METADATA)

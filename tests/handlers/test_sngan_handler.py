"""The handler under TorchServe's own `Context`, without a server."""

from __future__ import annotations

import dataclasses
import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from handlers import sngan_handler
from handlers.metadata import METADATA_KEY, GeneratorMetadata
from handlers.sngan_handler import SnganHandler

ts_context = pytest.importorskip("ts.context")

JSON = {"Content-Type": "application/json", "body": {"content-type": "application/json"}}


def make_context(generator: Path, settings: dict[str, Any] | None) -> Any:
    return ts_context.Context(
        "sngan",
        str(generator.parent),
        {"model": {"serializedFile": generator.name}},
        4,
        None,
        "0.12.0",
        model_yaml_config=settings,
    )


def handle(
    handler: SnganHandler,
    context: Any,
    data: list[dict[str, Any]],
    headers: list[dict[str, Any]] | None = None,
) -> list[Any]:
    """What a batch of `data` gives; JSON is the content type unless `headers` say otherwise."""
    headers = headers or [JSON] * len(data)
    context.request_processor = [ts_context.RequestProcessor(dict(one)) for one in headers]
    context.request_ids = {index: f"r{index}" for index in range(len(data))}
    return handler.handle(data, context)


@pytest.fixture
def context(tiny_generator_onnx: Path) -> Any:
    return make_context(tiny_generator_onnx, {"handler": {"provider": "cpu", "threads": 1}})


@pytest.fixture
def handler(context: Any) -> SnganHandler:
    result = SnganHandler()
    result.initialize(context)
    return result


def test_torchserve_finds_exactly_one_class() -> None:
    classes = [
        value for _, value in inspect.getmembers(sngan_handler, inspect.isclass)
        if value.__module__ == sngan_handler.__name__
    ]  # fmt: skip
    assert classes == [SnganHandler]
    assert not hasattr(sngan_handler, "handle"), "TorchServe would take it for the entry point"


def test_neither_torch_nor_torchserve_is_imported() -> None:
    program = (
        "import sys, handlers.sngan_handler;"
        "print([n for n in ('torch', 'ts', 'onnx', 'onnxruntime') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_without_classes_and_with_uniform_latents(
    tmp_path: Path,
    make_generator: Callable[[Path, GeneratorMetadata], Path],
    tiny_metadata: GeneratorMetadata,
) -> None:
    metadata = dataclasses.replace(tiny_metadata, class_names=(), latent_distribution="uniform")
    context = make_context(make_generator(tmp_path / "g.onnx", metadata), {"handler": {"provider": "cpu"}})
    handler = SnganHandler()
    handler.initialize(context)
    fields = [{"seed": 5, "n": 2}, {"class": "cat"}, {"truncation": 1}, {"seed": 5, "n": 2, "format": "json"}]
    answers = handle(handler, context, [{"body": one} for one in fields])
    assert [context.get_response_status(index)[0] for index in range(4)] == [200, 422, 422, 200]
    assert answers[0].startswith(b"\x89PNG")
    assert "X-SNGAN-Classes" not in context.get_response_headers(0)
    assert context.get_response_headers(0)["X-SNGAN-Seed"] == "5"
    assert "this model has no classes" in json.loads(answers[1])["message"]
    assert "latents are uniform" in json.loads(answers[2])["message"]
    record = json.loads(answers[3])
    assert record["truncation"] is None
    assert [(image["class"], image["class_name"]) for image in record["images"]] == [(None, None)] * 2


def test_neighbours_do_not_change_an_image(handler: SnganHandler, context: Any) -> None:
    good = {"body": {"class": "frog", "seed": 7, "n": 2}}
    [alone] = handle(handler, context, [good])
    batch = [{"body": {"clas": 1}}, good, {"body": bytearray(b"{")}, {"body": {"n": 64}}]
    answers = handle(handler, context, batch)
    assert answers[1] == alone
    assert [context.get_response_status(i) for i in range(4)] == [
        (400, "Bad Request"),
        (200, "OK"),
        (400, "Bad Request"),
        (200, "OK"),
    ]
    assert [context.get_response_content_type(i) for i in range(4)] == [
        "application/json",
        "image/png",
        "application/json",
        "image/png",
    ]
    assert context.get_response_headers(1)["X-SNGAN-Classes"] == "2,2"
    assert json.loads(answers[0])["request_id"] == "r0"
    assert json.loads(answers[2])["request_id"] == "r2"
    assert all(isinstance(body, bytes) for body in answers)


def test_header_names_may_be_in_any_case(handler: SnganHandler, context: Any) -> None:
    [body] = handle(handler, context, [{"body": bytearray(b"{}")}], [{"ACCEPT": "application/json"}])
    assert json.loads(body)["n"] == 1


def test_a_form_field_named_like_a_header_is_no_header(handler: SnganHandler, context: Any) -> None:
    headers = [{"accept": {"content-type": ""}, "content-type": "application/json"}]
    handle(handler, context, [{"body": bytearray(b"{}")}], headers)
    assert context.get_response_status(0)[0] == 200


def test_headers_are_handed_back(handler: SnganHandler, context: Any) -> None:
    headers = [{**JSON, "x-correlation-id": "job-7", "TraceParent": "nonsense"}, {**JSON, "X-Correlation-Id": "job-8"}]
    handle(handler, context, [{"body": {}}, {"body": {"n": 0}}], headers)
    assert context.get_response_headers(0)["X-Correlation-ID"] == "job-7"
    assert context.get_response_headers(1)["X-Correlation-ID"] == "job-8"
    assert "traceparent" not in context.get_response_headers(0)


def test_what_was_done_is_told(tiny_generator_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "access.jsonl"
    settings = {"provider": "cpu", "access_log": str(log)}
    context = make_context(tiny_generator_onnx, {"handler": settings})
    handler = SnganHandler()
    handler.initialize(context)
    capsys.readouterr()
    answers = handle(handler, context, [{"body": {"n": 3}}, {"body": {"n": 0}}])
    told = capsys.readouterr().out
    assert "[METRICS]sngan_images_total.count:3|" in told
    assert "reason:InvalidField" in told
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["request_id"], line["status"], line["images"], line["bytes"]) for line in lines] == [
        ("r0", 200, 3, len(answers[0])),
        ("r1", 422, 0, len(answers[1])),
    ]
    assert lines[0]["encoding_seconds"] > 0


def test_an_answer_over_the_cap_is_413(tiny_generator_onnx: Path) -> None:
    context = make_context(tiny_generator_onnx, {"handler": {"max_response_bytes": 100}})
    handler = SnganHandler()
    handler.initialize(context)
    handle(handler, context, [{"body": {"n": 64}}])
    assert context.get_response_status(0) == (413, "Content Too Large")


def test_the_describe_job_gets_the_metadata(handler: SnganHandler, context: Any) -> None:
    [description] = handle(handler, context, [{}], [{"describe": "True"}])
    record = json.loads(json.dumps(description))
    assert record["model"]["class_names"] == ["cat", "Dog", "frog"]
    assert record["provider"] == "cpu"
    assert record["openapi"]["openapi"] == "3.1.0"
    assert record["openapi"]["info"]["version"] == "1.2"


def test_a_client_cannot_make_a_describe_job(handler: SnganHandler, context: Any) -> None:
    headers = [{"describe": "True"}, {"describe": "True"}]
    answers = handle(handler, context, [{"body": bytearray()}, {"body": bytearray()}], headers)
    assert [body[:4] for body in answers] == [b"\x89PNG"] * 2
    [body] = handle(handler, context, [{"body": bytearray()}], headers[:1])
    assert body[:4] == b"\x89PNG"


@pytest.mark.parametrize("settings", [None, {}, {"handler": None}])
def test_no_setting_is_required(tiny_generator_onnx: Path, settings: dict[str, Any] | None) -> None:
    SnganHandler().initialize(make_context(tiny_generator_onnx, settings))


@pytest.mark.parametrize(
    ("content", "settings", "words"),
    [
        (b"garbage", {}, "not a readable ONNX generator"),
        (None, {}, "no such file"),
        (None, {"handler": {"max_response_bytes": "many"}}, "ValueError"),
        (None, {"handler": 5}, "AttributeError"),
    ],
)
def test_load_problems_are_a_runtime_error_of_one_line(
    tmp_path: Path, content: bytes | None, settings: dict[str, Any], words: str
) -> None:
    generator = tmp_path / "generator.onnx"
    if content is not None:
        generator.write_bytes(content)
    with pytest.raises(RuntimeError, match=words) as caught:
        SnganHandler().initialize(make_context(generator, settings))
    assert str(caught.value).startswith("sngan: ")
    assert "\n" not in str(caught.value)


def test_an_unknown_provider_is_a_load_problem(tiny_generator_onnx: Path) -> None:
    with pytest.raises(RuntimeError, match="unknown provider 'gpu'"):
        SnganHandler().initialize(make_context(tiny_generator_onnx, {"handler": {"provider": "gpu"}}))


def test_a_graph_that_loads_and_does_not_run_is_a_load_problem(
    tmp_path: Path,
    make_generator: Callable[[Path, GeneratorMetadata], Path],
    tiny_metadata: GeneratorMetadata,
) -> None:
    path = make_generator(tmp_path / "generator.onnx", tiny_metadata)
    model = onnx.load(path)
    wrong = dataclasses.replace(tiny_metadata, latent_dim=9)
    onnx.helper.set_model_props(model, {METADATA_KEY: wrong.to_json()})
    onnx.save(model, path)
    with pytest.raises(RuntimeError, match="the model does not run"):
        SnganHandler().initialize(make_context(path, {"handler": {"provider": "cpu"}}))

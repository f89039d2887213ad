"""A batch of bodies → answers: whatever arrives, each gets its own answer and nobody a neighbour's."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handlers import answering, response
from handlers.answer import Answer
from handlers.answering import Call, answer_all
from handlers.drawing import draw
from handlers.request import request_from_fields
from handlers.session import GeneratorSession

NO_LIMIT_BYTES = 10**9
JSON = {"content-type": "application/json"}
GOOD = {"class": "frog", "seed": 7, "n": 2}
# The ways in which a request can be bad, with the status that each must get.
BAD: list[tuple[bytes, int]] = [
    (b"{", 400),
    (b"[" * 100_000, 400),
    (b'{"z":' + b"[" * 100_000, 400),
    (b'{"a":' * 100_000, 400),
    (b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
    (b'{"seed": NaN}', 400),
    (b'{"z": [[Infinity]]}', 400),
    (b'{"seed": 18446744073709551616}', 422),
    (b'{"seed": -9223372036854775809}', 422),
    (b'{"seed": 1' + b"0" * 5000 + b"}", 400),
    (b'{"truncation": 1e999}', 422),
    (b'{"n": "2"}', 422),
    (b'{"n": true}', 422),
    (b'{"class": {"a": 1}}', 422),
    (b'{"z": [[1, 2]]}', 422),
    (b'{"n": 1, "n": 2}', 400),
    (b'{"clas": 1}', 400),
    (b"\xff", 400),
    (b"7", 400),
    (b'{"inputs": 3}', 422),
    (b'{"instances": [{"n": 65}]}', 422),
    (b'{"n": 64, "scale": 8, "format": "npy", "class": 0}', 413),
]


def call(body: bytes | dict[str, Any], **headers: str) -> Call:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Call(data={"body": bytearray(content)}, headers={**JSON, **headers}, request_id="r")


def answers(
    session: GeneratorSession, *bodies: bytes | dict[str, Any], max_bytes: int = NO_LIMIT_BYTES
) -> list[Answer]:
    return answer_all([call(body) for body in bodies], session, max_bytes)


def without_time(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    headers = {name: value for name, value in answer.headers.items() if name != "Server-Timing"}
    return answer.status, answer.body, headers


def test_every_bad_request_has_its_own_answer_and_good_ones_theirs(tiny_session: GeneratorSession) -> None:
    [alone] = answers(tiny_session, GOOD)
    mixed: list[bytes | dict[str, Any]] = []
    for body, _ in BAD:
        mixed += [body, GOOD]
    # What 64 images of 6 x 4 pixels 8 times as large take as an array is more than this.
    found = answers(tiny_session, *mixed, max_bytes=200_000)
    for index, (body, status) in enumerate(BAD):
        bad, good = found[2 * index], found[2 * index + 1]
        record = json.loads(bad.body)
        assert (bad.status, record["code"]) == (status, status), body[:60]
        assert without_time(good) == without_time(alone)


def test_long_answers_at_once_are_put_off(tiny_session: GeneratorSession) -> None:
    long = {"n": 4, "seed": 3, "format": "npy"}
    [alone] = answers(tiny_session, long)
    found = answers(tiny_session, {"n": 0}, long, long, long, {"n": 0}, max_bytes=len(alone.body) + 200)
    assert [answer.status for answer in found] == [422, 200, 200, 503, 422]
    assert found[1].body == found[2].body == alone.body
    assert json.loads(found[3].body)["type"] == found[3].reason == "AnswersTooLarge"


def test_a_fault_in_drawing_fails_its_own_request_alone(
    tiny_session: GeneratorSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = GeneratorSession.generate_levels
    bad_z = 0.125

    def failing(self: GeneratorSession, z: Any, labels: Any) -> Any:
        if bad_z in z:
            raise MemoryError("secret CUDA detail")
        return real(self, z, labels)

    monkeypatch.setattr(GeneratorSession, "generate_levels", failing)
    bad, good = answers(tiny_session, {"z": [[bad_z] * 8]}, GOOD)
    assert (bad.status, good.status) == (500, 200)
    record = json.loads(bad.body)
    assert (record["type"], record["details"]) == ("InternalError", [])
    assert "secret" not in bad.body.decode()
    log = capsys.readouterr().err
    assert "request r failed" in log
    assert "secret CUDA detail" in log


def test_a_fault_in_writing_fails_its_own_request_alone(
    tiny_session: GeneratorSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = answering.image_answer

    def failing(images: Any, request: Any, *others: Any, **more: Any) -> Answer:
        if request.seed == 13:
            raise RecursionError
        return real(images, request, *others, **more)

    monkeypatch.setattr(answering, "image_answer", failing)
    assert [answer.status for answer in answers(tiny_session, {"seed": 13}, {"seed": 14})] == [500, 200]
    assert "RecursionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 3},
        {"n": 3, "format": "json"},
        {"n": 3, "format": "zip"},
        {"n": 3, "format": "npy"},
        {"instances": [{"n": 3}]},
        {"instances": [{}, {}, {}]},
        {"inputs": [], "parameters": {"n": 3}},
        {"inputs": [], "parameters": {"n": 3}, "outputs": [{"name": "png"}]},
    ],
)
def test_the_cap_holds_for_every_kind_of_answer(fields: dict[str, Any], tiny_session: GeneratorSession) -> None:
    # The length of a seed must be the same each time.
    fields = json.loads(json.dumps(fields))
    for one in [fields.get("parameters"), *fields.get("instances", [fields])]:
        if one is not None and "inputs" not in one:
            one["seed"] = 5
    [whole] = answers(tiny_session, fields)
    assert whole.status == 200
    exact, short = len(whole.body), len(whole.body) - 1
    assert answers(tiny_session, fields, max_bytes=exact)[0].status == 200
    assert answers(tiny_session, fields, max_bytes=short)[0].status == 413


@pytest.mark.parametrize(
    "fields", [{"n": 64, "format": "json"}, {"n": 64, "format": "zip"}, {"instances": [{"n": 2}] * 32}]
)
def test_encoding_stops_where_the_cap_is_reached(
    fields: dict[str, Any], tiny_session: GeneratorSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []

    def encode(*given: Any) -> bytes:
        encoded.append(given)
        return bytes(1000)

    monkeypatch.setattr(response, "encode_image", encode)
    assert answers(tiny_session, fields, max_bytes=4500)[0].status == 413
    assert 3 <= len(encoded) <= 5


def test_what_is_known_to_be_too_large_is_not_drawn(
    tiny_session: GeneratorSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GeneratorSession, "generate_levels", lambda *given: pytest.fail("it was drawn"))
    assert answers(tiny_session, {"n": 64, "format": "npy"}, max_bytes=4000)[0].status == 413


def test_v1_predictions_are_what_each_instance_gets_alone(tiny_session: GeneratorSession) -> None:
    instances = [{"class": 1, "seed": 1}, {"n": 3, "seed": 2, "image_format": "webp", "return_z": True}]
    [answer] = answers(tiny_session, {"instances": instances})
    alone = []
    for instance in instances:
        record = json.loads(answers(tiny_session, {**instance, "format": "json"})[0].body)
        record.pop("request_id")
        alone.append(record)
    assert json.loads(answer.body) == {"predictions": alone}
    assert (answer.media_type, answer.headers["X-SNGAN-Count"]) == ("application/json", "4")
    assert "X-SNGAN-Seed" not in answer.headers


def test_v2_outputs_are_the_pixels_and_the_files(tiny_session: GeneratorSession) -> None:
    body = {
        "id": "a7",
        "inputs": [{"name": "label", "shape": [2], "datatype": "INT64", "data": [2, 0]}],
        "parameters": {"seed": 7},
    }
    pixels, files = answers(tiny_session, body, {**body, "outputs": [{"name": "png"}]})
    expected = draw(tiny_session, request_from_fields({"class": [2, 0], "seed": 7}, tiny_session.metadata))
    record = json.loads(pixels.body)
    [tensor] = record.pop("outputs")
    assert record == {"model_name": "sngan", "model_version": "1.2", "id": "a7"}
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("image_u8", "UINT8", [2, 6, 4, 3])
    np.testing.assert_array_equal(np.array(tensor["data"]).reshape(tensor["shape"]), expected)
    [tensor] = json.loads(files.body)["outputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("png", "BYTES", [2])
    for text, image in zip(tensor["data"], expected, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))), image)


def test_the_two_protocols_share_a_batch_with_plain_requests(tiny_session: GeneratorSession) -> None:
    bodies: list[dict[str, Any]] = [
        {"instances": [{"seed": 1}, {"seed": 2, "n": 2}]},
        GOOD,
        {"inputs": [], "parameters": {"seed": 3, "n": 4}},
    ]
    together = answers(tiny_session, *bodies)
    for body, answer in zip(bodies, together, strict=True):
        assert without_time(answer) == without_time(answers(tiny_session, body)[0])


def test_errors_are_handed_back_with_their_headers(tiny_session: GeneratorSession) -> None:
    [answer] = answer_all([call({"n": 0}, **{"x-correlation-id": "job-7"})], tiny_session, NO_LIMIT_BYTES)
    assert (answer.status, answer.headers) == (422, {"X-Correlation-ID": "job-7"})

"""Bodies → answers, a batch at a time, whatever server is around it.

Every request is read alone, all images are drawn together, and every answer is written alone. What one request does
wrong, or what goes wrong with it, is its own answer and nobody else's.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.accept import MEDIA_TYPES
from handlers.answer import Answer, error_answer, json_bytes
from handlers.batch import Ran, RunAll, draw_all, nobody_asks, with_classes
from handlers.body import read_fields
from handlers.envelopes import Asked, read_envelope
from handlers.errors import RequestError
from handlers.layouts import enlarged, refuse_bytes, refuse_too_large
from handlers.metadata import GeneratorMetadata
from handlers.request import MAX_IMAGES
from handlers.response import good_answer, image_answer, image_record
from handlers.session import GeneratorSession
from handlers.shared_cores import one_after_another
from handlers.tensors import output_tensor, text_tensor
from handlers.tracing import echoed

Images = NDArray[np.uint8] | Exception
# The answers of a batch together have room for so many of the largest: worker and server hold all of them at once, and
# copies of them.
LARGEST_ANSWERS = 2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request as it arrived.

    Attributes:
        data: what TorchServe gives `handle` for it: the body under "body", or other parameters.
        headers: names in lower case.
        request_id: TorchServe's own, to find the request in its log.
    """

    data: Mapping[str, Any]
    headers: Mapping[str, str]
    request_id: str = ""


def answer_all(
    calls: Sequence[Call],
    session: GeneratorSession,
    max_bytes: int,
    ran: Ran = nobody_asks,
    run_all: RunAll = one_after_another,
) -> list[Answer]:
    """The answers to `calls`, in order; nothing is raised.

    Args:
        calls: a batch.
        session: the open generator.
        max_bytes: longer answers become a 413; one that would make all together longer than `LARGEST_ANSWERS` times
            that, a 503, after which its client may come again.
        ran: hears of the session's runs, as for `draw_all`.
        run_all: makes them, as for `draw_all`.
    """
    read = [_guarded(call, functools.partial(_read, call, session.metadata, max_bytes)) for call in calls]
    asked = [one for one in read if isinstance(one, Asked)]
    started = time.perf_counter()
    drawn = iter(draw_all(session, [request for one in asked for request in one.requests], ran, run_all))
    generate_ms = (time.perf_counter() - started) * 1000
    answers: list[Answer] = []
    bytes_left = LARGEST_ANSWERS * max_bytes
    for call, one in zip(calls, read, strict=True):
        answer = one
        if isinstance(one, Asked):
            images = [next(drawn) for _ in one.requests]
            write = functools.partial(_write, call, one, images, session, generate_ms, max_bytes)
            answer = _guarded(call, write)
        assert isinstance(answer, Answer)
        if answer.status == 200 and len(answer.body) > bytes_left:
            answer = _too_much_at_once(call)
        bytes_left -= len(answer.body)
        answers.append(dataclasses.replace(answer, headers={**answer.headers, **echoed(call.headers)}))
    return answers


def _guarded(call: Call, work: Callable[[], Any]) -> Any:
    """What `work` gives, or the answer that says why it gives nothing."""
    try:
        return work()
    except RequestError as error:
        return error_answer(error, call.request_id)
    except Exception:
        # stderr, because a worker's standard output reaches TorchServe's log as mere information
        print(f"sngan: request {call.request_id} failed:", file=sys.stderr)
        traceback.print_exc()
        message = "the server failed on this request; its log says why"
        return error_answer(RequestError(500, "InternalError", message), call.request_id)


def _too_much_at_once(call: Call) -> Answer:
    message = "too many long answers at once; try again, with fewer requests at a time or less in each"
    return error_answer(RequestError(503, "AnswersTooLarge", message), call.request_id)


def _read(call: Call, metadata: GeneratorMetadata, max_bytes: int) -> Asked:
    asked = read_envelope(read_fields(call.data, call.headers), metadata, call.headers.get("accept"))
    assert sum(request.n for request in asked.requests) <= MAX_IMAGES
    refuse_too_large(asked.requests, metadata, max_bytes)
    return dataclasses.replace(asked, requests=tuple(with_classes(request, metadata) for request in asked.requests))


def _write(
    call: Call,
    asked: Asked,
    images: Sequence[Images],
    session: GeneratorSession,
    generate_ms: float,
    max_bytes: int,
) -> Answer:
    drawn = []
    for one in images:
        if isinstance(one, Exception):
            raise one
        drawn.append(one)
    if not asked.envelope:
        return image_answer(
            drawn[0],
            asked.requests[0],
            session.metadata,
            provider=session.provider,
            request_id=call.request_id,
            generate_ms=generate_ms,
            max_bytes=max_bytes,
        )
    started = time.perf_counter()
    record = (_predictions if asked.envelope == "v1" else _outputs)(asked, drawn, session, max_bytes)
    body = json_bytes(record)
    refuse_bytes(len(body), max_bytes)
    timing = (generate_ms, (time.perf_counter() - started) * 1000)
    return good_answer(body, MEDIA_TYPES["json"], asked.requests, session.metadata, session.provider, timing)


def _predictions(
    asked: Asked, drawn: Sequence[NDArray[np.uint8]], session: GeneratorSession, max_bytes: int
) -> dict[str, Any]:
    """V1's answer: what each instance would be answered in JSON alone."""
    predictions = []
    for request, images in zip(asked.requests, drawn, strict=True):
        record = image_record(images, request, session.metadata, session.provider, max_bytes)
        # What is left for the others.
        max_bytes -= sum(len(entry["base64"]) for entry in record["images"])
        predictions.append(record)
    return {"predictions": predictions}


def _outputs(
    asked: Asked, drawn: Sequence[NDArray[np.uint8]], session: GeneratorSession, max_bytes: int
) -> dict[str, Any]:
    """V2's answer: pixels, uint8 [n, height, width, channels], or PNG files in base64."""
    [request], [images], metadata = asked.requests, drawn, session.metadata
    if asked.output == "png":
        record = image_record(images, request, metadata, session.provider, max_bytes)
        output = text_tensor("png", [entry["base64"] for entry in record["images"]])
    else:
        pixels = enlarged(images, request.scale)
        refuse_bytes(2 * pixels.size, max_bytes)  # a digit and a comma at least
        output = output_tensor("image_u8", pixels)
    answer: dict[str, Any] = {"model_name": "sngan", "model_version": metadata.version, "outputs": [output]}
    return answer if asked.id is None else {**answer, "id": asked.id}

"""TorchServe's entry file. It imports this file by its bare name and wants exactly one class in it.

Everything of substance is in the package `handlers`, which lies beside this file in the model folder.
"""

from __future__ import annotations

import dataclasses
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from handlers.drawing import draw
from handlers.errors import HandlersError, RequestError
from handlers.request import FIELDS, MAX_IMAGES, ImageRequest, parse_request
from handlers.response import Answer, encode_png, error_answer, image_answer
from handlers.session import GeneratorSession

# Below TorchServe's own default limit for an answer, 6 553 500 bytes.
DEFAULT_MAX_RESPONSE_BYTES = 6_000_000


class SnganHandler:
    """Answers requests for images.

    Settings, from the block `handler` of the model's `model-config.yaml`, all optional:
        provider: "auto", "cpu" or "cuda".
        threads: of one run on the CPU; all cores that the worker may use without it.
        max_response_bytes: longer answers become a 413. Must be below TorchServe's `max_response_size`.
    """

    def initialize(self, context: Any) -> None:
        """Open the generator, draw and encode one image, so that the first request is as fast as the next.

        Raises:
            RuntimeError: with one readable line. TorchServe reports no other exception as a failed load.
        """
        try:
            settings = (context.model_yaml_config or {}).get("handler") or {}
            model_dir = Path(context.system_properties["model_dir"])
            self._max_response_bytes = int(settings.get("max_response_bytes", DEFAULT_MAX_RESPONSE_BYTES))
            self._session = GeneratorSession(
                model_dir / context.manifest["model"]["serializedFile"],
                provider=settings.get("provider", "auto"),
                threads=settings.get("threads"),
            )
            encode_png(draw(self._session, ImageRequest(n=1, seed=0, classes=None, truncation=None))[0])
        except HandlersError as error:
            raise RuntimeError(f"sngan: {error}") from error
        except Exception as error:
            line = (str(error).strip() or "no message").splitlines()[0]
            raise RuntimeError(f"sngan: the model does not run: {type(error).__name__}: {line}") from error
        if self._session.fallback is not None:
            print(f"sngan: {self._session.fallback}; running on {self._session.provider}", file=sys.stderr)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[bytes]:
        """Answer a batch: one body a request, in order; statuses and headers go into `context`.

        A request that cannot be answered never touches its neighbours, so nothing is raised here.
        """
        bodies = []
        for index, one in enumerate(data):
            headers = {
                name.lower(): value
                for name, value in context.get_all_request_header(index).items()
                if isinstance(value, str)  # TorchServe puts a record of each body parameter among the headers
            }
            # A client may send the header too, but only the management port's describe job has no body.
            if len(data) == 1 and not one and headers.get("describe") == "True":
                context.set_response_content_type(index, "application/json")
                return [self._description()]
            answer = self._answer(one, headers, context.get_request_id(index) or "")
            context.set_response_status(code=answer.status, phrase=answer.phrase, idx=index)
            context.set_response_content_type(index, answer.media_type)
            for name, value in answer.headers.items():
                context.set_response_header(index, name, value)
            bodies.append(answer.body)
        return bodies

    def _answer(self, data: dict[str, Any], headers: dict[str, str], request_id: str) -> Answer:
        """The answer to one request, whatever happens."""
        try:
            request = parse_request(data, headers, self._session.metadata)
            started = time.perf_counter()
            images = draw(self._session, request)
            return image_answer(
                images,
                request,
                self._session.metadata,
                provider=self._session.provider,
                request_id=request_id,
                generate_ms=(time.perf_counter() - started) * 1000,
                max_bytes=self._max_response_bytes,
            )
        except RequestError as error:
            return error_answer(error, request_id)
        except Exception:
            # stderr, because a worker's standard output reaches TorchServe's log as mere information
            print(f"sngan: request {request_id} failed:", file=sys.stderr)
            traceback.print_exc()
            message = "the server failed on this request; its log says why"
            return error_answer(RequestError(500, "InternalError", message), request_id)

    def _description(self) -> Any:
        """What `GET /models/sngan?customized=true` on the management port adds; a dict, for TorchServe."""
        return {
            "model": dataclasses.asdict(self._session.metadata),
            "provider": self._session.provider,
            "fallback": self._session.fallback,
            "fields": list(FIELDS),
            "max_images": MAX_IMAGES,
        }

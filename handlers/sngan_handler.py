"""TorchServe's entry file. It imports this file by its bare name and wants exactly one class in it.

Everything of substance is in the package `handlers`, which lies beside this file in the model folder.
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import sys
from pathlib import Path
from typing import Any

from handlers.access_log import Answered
from handlers.answer import Answer
from handlers.answering import Call, answer_all
from handlers.batch import RunAll, warm_up
from handlers.busy import BusyMark
from handlers.errors import HandlersError
from handlers.metrics import Recorder
from handlers.openapi import document
from handlers.processor import usable_cores
from handlers.request import FIELDS, MAX_IMAGES
from handlers.shared_cores import SharedCores, one_after_another
from handlers.variants import open_session

# Below TorchServe's own default limit for an answer, 6 553 500 bytes.
DEFAULT_MAX_RESPONSE_BYTES = 6_000_000


class SnganHandler:
    """Answers requests for images.

    Settings, from the block `handler` of the model's `model-config.yaml`, all optional:
        provider: "auto" or one of `handlers.providers.PROVIDERS`.
        variant: "auto" or one of `handlers.variants.VARIANTS`: which of the archive's precisions.
        threads: of one run on the CPU; all cores that the worker may use without it.
        max_response_bytes: longer answers become a 413. Must be below TorchServe's `max_response_size`.
        cores: of all workers together; images of one batch run at once on those that the others leave idle.
        busy_file: an existing file, for `handlers.busy.BusyMark`.
        access_log: as for `handlers.metrics.Recorder`.
        log_level: of Python's root logger in this worker, such as "WARNING". TorchServe's own code writes two lines
            a request at INFO, on which both it and the worker spend time.
    """

    def initialize(self, context: Any) -> None:
        """Open the generator and answer once, so that the first request is as fast as the next.

        Raises:
            RuntimeError: with one readable line. TorchServe reports no other exception as a failed load.
        """
        try:
            settings = (context.model_yaml_config or {}).get("handler") or {}
            model_dir = Path(context.system_properties["model_dir"])
            self._max_response_bytes = int(settings.get("max_response_bytes", DEFAULT_MAX_RESPONSE_BYTES))
            self._session = open_session(
                model_dir,
                context.manifest["model"]["serializedFile"],
                provider=settings.get("provider", "auto"),
                threads=settings.get("threads"),
                variant=settings.get("variant", "auto"),
            )
            if "log_level" in settings:
                logging.getLogger().setLevel(settings["log_level"])
            warm_up(self._session)
            answer_all([Call(data={}, headers={})], self._session, self._max_response_bytes)
            # What is loaded by now stays: not to be looked through again with every thousandth object.
            gc.collect()
            gc.freeze()
            mark = BusyMark(settings.get("busy_file"))
            self._run_all = self._shared(settings, mark)
            self._recorder = Recorder(
                settings,
                mark,
                provider=self._session.provider,
                variant=self._session.metadata.precision,
                fallback=self._session.fallback is not None,
            )
        except HandlersError as error:
            raise RuntimeError(f"sngan: {error}") from error
        except Exception as error:
            line = (str(error).strip() or "no message").splitlines()[0]
            raise RuntimeError(f"sngan: the model does not run: {type(error).__name__}: {line}") from error
        if self._session.fallback is not None:
            print(f"sngan: {self._session.fallback}; running on {self._session.provider}", file=sys.stderr)
        for note in self._session.notes:
            print(f"sngan: {note}", file=sys.stderr)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        """Answer a batch: one body a request, in order; statuses and headers go into `context`.

        A request that cannot be answered never touches its neighbours, so nothing is raised here.
        """
        calls = [
            Call(data=one, headers=_headers(context, index), request_id=context.get_request_id(index) or "")
            for index, one in enumerate(data)
        ]
        # A client may send the header too, but only the management port's describe job has no body.
        if len(calls) == 1 and not calls[0].data and calls[0].headers.get("describe") == "True":
            context.set_response_content_type(0, "application/json")
            return [self._description()]
        with self._recorder.batch() as batch:
            answers = answer_all(calls, self._session, self._max_response_bytes, batch.ran, self._run_all)
            for call, answer in zip(calls, answers, strict=True):
                batch.answer(_answered(call, answer))
        for index, answer in enumerate(answers):
            context.set_response_status(code=answer.status, phrase=answer.phrase, idx=index)
            context.set_response_content_type(index, answer.media_type)
            for name, value in answer.headers.items():
                context.set_response_header(index, name, value)
        return [answer.body for answer in answers]

    def _shared(self, settings: dict[str, Any], mark: BusyMark) -> RunAll:
        """How the images of a batch are run: elsewhere than on the CPU provider, a device or one run has all cores."""
        threads = settings.get("threads") or usable_cores()
        if self._session.provider != "cpu":
            return one_after_another
        return SharedCores(mark, cores=settings.get("cores", threads), threads=threads).run_all

    def _description(self) -> Any:
        """What `GET /models/sngan?customized=true` on the management port adds; a dict, for TorchServe."""
        return {
            "model": dataclasses.asdict(self._session.metadata),
            "provider": self._session.provider,
            "fallback": self._session.fallback,
            "notes": list(self._session.notes),
            "fields": list(FIELDS),
            "max_images": MAX_IMAGES,
            "openapi": document(self._session.metadata),
        }


def _answered(call: Call, answer: Answer) -> Answered:
    return Answered(
        request_id=call.request_id,
        status=answer.status,
        media_type=answer.media_type,
        images=answer.images,
        body_bytes=len(answer.body),
        encoding_s=answer.encoding_s,
        reason=answer.reason,
    )


def _headers(context: Any, index: int) -> dict[str, str]:
    """The headers of one request, names in lower case."""
    return {
        name.lower(): value
        for name, value in context.get_all_request_header(index).items()
        if isinstance(value, str)  # TorchServe puts a record of each body parameter among the headers
    }

"""What a worker tells about its work: numbers for Prometheus, a line in the access log, and that it is at work.

TorchServe reads a worker's standard output: a line that begins with [METRICS] updates the metric of that name if the
server's metrics configuration lists it (`METRICS` here, written out by `sngan serve`), and is dropped if not. So a
plain TorchServe is not disturbed. Histograms have TorchServe's fixed buckets, 0.005 … 10: latencies are in seconds.

No label holds what a client sent: every one is from a list of the program's own words, and short of those, a text
that is new after `MAX_VALUES` others is written "other".
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from handlers.access_log import AccessLog, Answered
from handlers.busy import BusyMark

# Name → (type, unit, labels), as TorchServe's metrics configuration wants them.
METRICS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "sngan_requests_total": ("counter", "count", ("status", "format", "provider", "variant")),
    "sngan_rejections_total": ("counter", "count", ("reason",)),
    "sngan_images_total": ("counter", "count", ("provider", "variant")),
    "sngan_padding_images_total": ("counter", "count", ("provider",)),
    "sngan_worker_starts_total": ("counter", "count", ("provider", "variant", "fallback")),
    "sngan_provider_fallback": ("gauge", "count", ("provider",)),
    "sngan_batch_images": ("histogram", "count", ("provider",)),
    "sngan_request_seconds": ("histogram", "s", ("provider",)),
    "sngan_inference_seconds": ("histogram", "s", ("provider",)),
    "sngan_encoding_seconds": ("histogram", "s", ("format",)),
}
MAX_VALUES = 24
OTHER = "other"


class Recorder:
    """Takes down one batch after the other.

    Settings, from the block `handler` of the model's `model-config.yaml`, optional:
        access_log: a file that gets a JSON line for each request.
    """

    def __init__(
        self, settings: Mapping[str, Any], mark: BusyMark, *, provider: str, variant: str, fallback: bool
    ) -> None:
        """Tell that a worker has started on `provider` with the file `variant` ("float32" …).

        `mark` is held while a batch is being answered, so that whoever wants to stop the server can see it.
        """
        self._provider, self._variant = provider, variant
        self._values: dict[str, set[str]] = {}
        self._busy = mark
        self._access_log = AccessLog(settings.get("access_log"))
        self._host = platform.node().replace(",", "_") or "localhost"
        label = "yes" if fallback else "no"
        started = {"provider": provider, "variant": variant, "fallback": label}
        _print(
            [
                self._line("sngan_worker_starts_total", 1, started),
                self._line("sngan_provider_fallback", int(fallback), {"provider": provider}),
            ]
        )

    @contextlib.contextmanager
    def batch(self) -> Iterator[Batch]:
        """Around the work on one batch: it is told to be under way, and afterwards all that `Batch` was given."""
        batch = Batch()
        started = time.perf_counter()
        with self._busy:
            try:
                yield batch
            finally:
                seconds = time.perf_counter() - started
                _print(list(self._lines(batch, seconds)))
                self._access_log.write(batch.answered, provider=self._provider, variant=self._variant, seconds=seconds)

    def _lines(self, batch: Batch, seconds: float) -> Iterator[str]:
        provider = {"provider": self._provider}
        variant = {**provider, "variant": self._variant}
        images = sum(run.images for run in batch.runs)
        if images:
            yield self._line("sngan_batch_images", images, provider)
            yield self._line("sngan_inference_seconds", sum(run.seconds for run in batch.runs), provider)
            yield self._line("sngan_images_total", images, variant)
        padding = sum(run.padding for run in batch.runs)
        if padding:
            yield self._line("sngan_padding_images_total", padding, provider)
        # One line for equal answers: java reads every line, and a batch's are mostly equal.
        kinds: collections.Counter[tuple[str, str]] = collections.Counter()
        for one in batch.answered:
            format = self._known("format", one.media_type.partition(";")[0].rpartition("/")[2])
            kinds[str(one.status), format] += 1
            yield self._line("sngan_request_seconds", seconds, provider)
            if one.encoding_s is not None:
                yield self._line("sngan_encoding_seconds", one.encoding_s, {"format": format})
            if one.reason is not None:
                yield self._line("sngan_rejections_total", 1, {"reason": self._known("reason", one.reason)})
        for (status, format), count in kinds.items():
            yield self._line("sngan_requests_total", count, {"status": status, "format": format, **variant})

    def _known(self, label: str, value: str) -> str:
        """`value` in TorchServe's alphabet for labels; "other" if the label has had its share of values."""
        clean = "".join(character if character.isascii() and character.isalnum() else "_" for character in value)
        seen = self._values.setdefault(label, set())
        if not clean or (clean not in seen and len(seen) >= MAX_VALUES):
            return OTHER
        seen.add(clean)
        return clean

    def _line(self, name: str, value: float, labels: Mapping[str, str]) -> str:
        """One line as TorchServe reads it. Its numbers have no exponent with a plus sign, so none is written."""
        kind, unit, names = METRICS[name]
        assert tuple(labels) == names
        pairs = ",".join(f"{label}:{text}" for label, text in labels.items())
        number = f"{value:.6f}" if isinstance(value, float) else str(value)
        what = f"[METRICS]{name}.{unit}:{number}|#{pairs}|#type:{kind.upper()}"
        return f"{what}|#hostname:{self._host},{int(time.time())}"


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One run of the session: `images` asked for, `padding` more that only filled it up, and what it took."""

    images: int
    seconds: float
    padding: int = 0


class Batch:
    """What the handler tells of the batch that it is working on."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.answered: list[Answered] = []

    def ran(self, images: int, seconds: float, padding: int = 0) -> None:
        """The session has drawn `images` and, to fill up its batch, `padding` that nobody gets."""
        self.runs.append(Run(images, seconds, padding))

    def answer(self, answered: Answered) -> None:
        """One request has its answer."""
        self.answered.append(answered)


def _print(lines: list[str]) -> None:
    """In one write: TorchServe reads a pipe line by line."""
    if lines:
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()

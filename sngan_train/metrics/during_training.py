"""Evaluation while a run goes on: every so many steps, of the checkpoint just written, the best of which is kept."""

from __future__ import annotations

from pathlib import Path

import torch

from sngan_train.checkpoint import mark_best
from sngan_train.config import RunConfig
from sngan_train.data import ImageSource
from sngan_train.distributed import Processes
from sngan_train.metrics.evaluate import Settings
from sngan_train.metrics.extractor import FeatureExtractor, load_extractor
from sngan_train.metrics.measure import REFERENCE_CACHE, measure, open_subject, real_images
from sngan_train.metrics.protocol import find_protocol
from sngan_train.metrics.record import MetricRecord, best_of, save_record, saved_records


class DuringTraining:
    """What a run needs to measure itself. Nothing is loaded before the first measurement.

    It reads the checkpoint from the disk and draws no random number of the run's, so a run that is evaluated has the
    same weights as one that is not.
    """

    def __init__(
        self, config: RunConfig, data: ImageSource, run_dir: Path, device: torch.device, processes: Processes
    ) -> None:
        """`data` is what the run learns from. Raises ConfigError for an unknown protocol."""
        self._protocol = find_protocol(config.training.evaluate_protocol)
        self._data = data
        self._run_dir = run_dir
        self._device = device
        self._processes = processes
        self._extractor: FeatureExtractor | None = None
        self._real: ImageSource | None = None

    def measure(self, checkpoint: Path) -> tuple[MetricRecord, MetricRecord]:
        """The record of `checkpoint`, and the best so far; both are on the disk when this returns."""
        subject = open_subject(checkpoint, weights="ema", device=self._device)
        if self._extractor is None:
            with self._processes.in_turn():  # so that one alone downloads
                self._extractor = load_extractor(self._protocol.extractor, self._device)
                is_train = self._protocol.real_split == "train"
                self._real = self._data if is_train else real_images(subject, "test", None, lambda text: None)
        assert self._real is not None
        settings = Settings(protocol=self._protocol, cache=REFERENCE_CACHE)
        record = measure(subject, self._real, self._extractor, settings, processes=self._processes)
        best = record
        if self._processes.is_first:
            best = best_of(saved_records(self._run_dir), record)
            save_record(self._run_dir, record)
            mark_best(self._run_dir, best.step)
        return record, self._processes.from_first(best)

"""What a preset is."""

from __future__ import annotations

import dataclasses

from sngan_train.config import RunConfig


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A run's config and what a person choosing it wants to know."""

    summary: str
    config: RunConfig
    source: str = ""  # where in which paper
    published: str = ""  # the score printed there
    protocol: str = ""  # how that score was measured

"""How a model is measured, by name. A score means nothing without these numbers beside it."""

from __future__ import annotations

import dataclasses
import difflib

from sngan_train.errors import ConfigError

SPLITS = ("train", "test")
# A Fréchet distance of fewer images than this is of two covariances without full rank: biased, and by how much
# depends on the model.
FEWEST_IMAGES_FOR_FRECHET = 10_000
# Images whose features are kept for what compares pairs: kernel distance, precision, recall, density, coverage.
MOST_KEPT_IMAGES = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """One way of measuring.

    Attributes:
        real_split: which part of the data the real images are from.
        real_images: how many, drawn without repetition by the seed 0; None is all of the split.
        fake_images: generated ones for everything but the Inception score.
        score_sets, score_images: the Inception score is the mean over so many sets of so many images.
        frechet: whether a Fréchet distance is reported at all.
        per_class: whether every class is compared by itself (intra-class FID and MS-SSIM), `fake_images` of each.
        extractor: the default one.
    """

    name: str
    summary: str
    source: str
    real_split: str
    real_images: int | None
    fake_images: int
    score_sets: int = 10
    score_images: int
    frechet: bool = True
    per_class: bool = False
    extractor: str = "inception"

    def to_dict(self) -> dict[str, object]:
        """What a record says of it: all that a score depends on."""
        values = dataclasses.asdict(self)
        return {key: value for key, value in values.items() if key not in ("summary", "source", "extractor")}


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="quick",
            summary="2,000 generated against 5,000 training images: minutes on a laptop, for watching a run",
            source="ours",
            real_split="train",
            real_images=5_000,
            fake_images=2_000,
            score_sets=1,
            score_images=2_000,
            frechet=False,
            extractor="efficientnet-lite0",
        ),
        Protocol(
            name="paper",
            summary="FID of 10,000 real and 5,000 generated images, Inception score of 10 times 5,000",
            source="Miyato et al. 2018, appendix B.1; the split of the real images is not stated there",
            real_split="train",
            real_images=10_000,
            fake_images=5_000,
            score_images=5_000,
        ),
        Protocol(
            name="50k-train",
            summary="50,000 generated against all training images (at most 50,000)",
            source="Heusel et al. 2017 and most tables since",
            real_split="train",
            real_images=50_000,
            fake_images=50_000,
            score_images=5_000,
        ),
        Protocol(
            name="10k-test",
            summary="10,000 generated against all test images (at most 10,000)",
            source="Lucic et al. 2018",
            real_split="test",
            real_images=10_000,
            fake_images=10_000,
            score_images=1_000,
        ),
        Protocol(
            name="intra",
            summary="each class by itself: all its training images against 5,000 generated; MS-SSIM within the class",
            source="Miyato & Koyama 2018 (intra-class FID), Odena et al. 2017 (MS-SSIM)",
            real_split="train",
            real_images=None,
            fake_images=5_000,
            score_images=5_000,
            per_class=True,
        ),
    )
}


def find_protocol(name: str) -> Protocol:
    """The protocol of that name; raises ConfigError with the nearest known one."""
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, n=1)
        advice = f"did you mean {near[0]}?" if near else f"known: {', '.join(PROTOCOLS)}"
        raise ConfigError(f"unknown protocol {name!r}; {advice}")
    return PROTOCOLS[name]

import pytest

from sngan_train.errors import ConfigError
from sngan_train.metrics.protocol import PROTOCOLS, find_protocol


def test_the_papers_protocol_has_the_papers_numbers() -> None:
    """Miyato et al. 2018, appendix B.1."""
    paper = find_protocol("paper")
    assert (paper.real_images, paper.fake_images) == (10_000, 5_000)
    assert (paper.score_sets, paper.score_images) == (10, 5_000)
    assert paper.extractor == "inception"


def test_the_protocols_of_other_papers() -> None:
    assert (find_protocol("50k-train").real_split, find_protocol("50k-train").fake_images) == ("train", 50_000)
    assert (find_protocol("10k-test").real_split, find_protocol("10k-test").real_images) == ("test", 10_000)
    intra = find_protocol("intra")
    assert intra.per_class
    assert (intra.real_images, intra.fake_images) == (None, 5_000)


def test_a_record_holds_all_that_a_score_depends_on() -> None:
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert {"name", "real_split", "real_images", "fake_images", "score_sets", "score_images"} <= set(
            protocol.to_dict()
        )


def test_an_unknown_protocol_names_its_neighbour() -> None:
    with pytest.raises(ConfigError, match="did you mean paper"):
        find_protocol("papr")

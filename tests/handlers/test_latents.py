"""Against an independent Philox, SciPy's distributions, and a golden file that may never change."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from handlers.errors import LatentError
from handlers.latents import (
    CLASS_STREAM,
    LATENT_STREAM,
    MAX_SEED,
    draw_classes,
    draw_latents,
    inverse_normal_cdf,
    raw_integers,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "latents_v1.json"
# AS 241 promises about 1 part in 10**16 and SciPy's ndtri (Cephes) a few; both are float64.
NDTRI_RELATIVE_TOLERANCE = 1e-14
# float32 has 1.2e-7; truncnorm.ppf goes another way in float64, through log-space.
FLOAT32_TOLERANCE = 2e-7

MASK = 2**64 - 1


def philox_block(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 after Salmon et al. 2011, section 3.3, in Python's integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        product_0, product_1 = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [
            (product_1 >> 64) ^ c[1] ^ k[0],
            product_1 & MASK,
            (product_0 >> 64) ^ c[3] ^ k[1],
            product_0 & MASK,
        ]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return c


def philox_integers(seed: int, stream: int, index: int, count: int) -> list[int]:
    """The stream that a bit generator with counter (0, index, 0, 0) gives: it counts before each block."""
    integers: list[int] = []
    block = 0
    while len(integers) < count:
        block += 1
        integers += philox_block([block, index, 0, 0], [seed, stream])
    return integers[:count]


def test_independent_philox_gives_the_authors_known_answer() -> None:
    known = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
    assert philox_block([0, 0, 0, 0], [0, 0]) == known


@pytest.mark.parametrize("seed", [0, 1, 12345, MAX_SEED])
@pytest.mark.parametrize("stream", [LATENT_STREAM, CLASS_STREAM])
@pytest.mark.parametrize("index", [0, 1, 63, 2**40])
def test_raw_integers_equal_the_independent_philox(seed: int, stream: int, index: int) -> None:
    assert raw_integers(seed, stream, index, 10).tolist() == philox_integers(seed, stream, index, 10)


def test_inverse_normal_cdf_equals_scipy() -> None:
    tails = np.logspace(-300, -1, 2000)
    p = np.concatenate([tails, np.linspace(1e-6, 1 - 1e-6, 20001), 1 - np.logspace(-15, -1, 500)])
    np.testing.assert_allclose(inverse_normal_cdf(p), special.ndtri(p), rtol=NDTRI_RELATIVE_TOLERANCE, atol=1e-15)


@pytest.mark.parametrize("truncation", [0.01, 0.5, 1.0, 2.0])
def test_truncated_latents_equal_scipys_truncated_normal(truncation: float) -> None:
    u = (np.array([x >> 11 for x in philox_integers(7, 0, 3, 64)], dtype=np.float64) + 0.5) / 2**53
    expected = stats.truncnorm.ppf(u, -truncation, truncation)
    z = draw_latents(7, [3], 64, truncation=truncation)[0]
    np.testing.assert_allclose(z, expected, rtol=FLOAT32_TOLERANCE, atol=FLOAT32_TOLERANCE * truncation)
    assert np.abs(z).max() <= truncation


def test_a_latent_depends_on_its_own_index_alone() -> None:
    many = draw_latents(5, range(8), 16)
    for index in range(8):
        np.testing.assert_array_equal(draw_latents(5, [index], 16)[0], many[index])
    assert len({row.tobytes() for row in many}) == 8


def test_uniform_latents_fill_minus_one_to_one() -> None:
    z = draw_latents(0, range(64), 64, distribution="uniform")
    assert -1 < z.min() < -0.99
    assert 0.99 < z.max() < 1


@pytest.mark.parametrize(("seed", "index"), [(0, 0), (1, 63), (MAX_SEED, 2**40)])
def test_uniform_latents_are_the_formula_to_the_last_bit(seed: int, index: int) -> None:
    """float32(2u − 1) by Python's own float64, from the independent Philox."""
    uniforms = [((x >> 11) + 0.5) / 2**53 for x in philox_integers(seed, 0, index, 256)]
    expected = np.array([struct.unpack("f", struct.pack("f", 2.0 * u - 1.0))[0] for u in uniforms], dtype=np.float32)
    assert draw_latents(seed, [index], 256, distribution="uniform")[0].tobytes() == expected.tobytes()


def test_the_last_cell_is_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = np.full(4, 2**64 - 1, dtype=np.uint64)
    monkeypatch.setattr("handlers.latents.raw_integers", lambda *_: largest)
    assert np.isfinite(draw_latents(0, [0], 4)).all()
    monkeypatch.setattr("handlers.latents.raw_integers", lambda *_: largest[:1])
    assert draw_classes(0, [0], 10).tolist() == [9]


def test_classes_cover_all_and_equal_the_formula() -> None:
    drawn = draw_classes(11, range(200), 10)
    expected = [(philox_integers(11, 1, i, 1)[0] >> 11) * 10 >> 53 for i in range(200)]
    assert drawn.tolist() == expected
    assert set(drawn.tolist()) == set(range(10))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seed": -1}, "seed must be 0"),
        ({"seed": MAX_SEED + 1}, "seed must be 0"),
        ({"truncation": 0.0}, "greater than 0"),
        ({"truncation": float("nan")}, "greater than 0"),
        ({"distribution": "uniform", "truncation": 1.0}, "uniform"),
        ({"distribution": "cauchy"}, "not one of normal, uniform"),
    ],
)
def test_impossible_wishes_are_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(LatentError, match=words):
        draw_latents(**{"seed": 0, "indices": [0], "latent_dim": 2, **arguments})  # type: ignore[arg-type]


def test_golden_file() -> None:
    golden = json.loads(GOLDEN.read_text())
    for case in golden["integers"]:
        drawn = raw_integers(case["seed"], case["stream"], case["index"], len(case["hex"]))
        assert [f"{x:016x}" for x in drawn.tolist()] == case["hex"]
    for case in golden["latents"]:
        z = draw_latents(case["seed"], [case["index"]], len(case["z"]), case["truncation"], case["distribution"])[0]
        expected = np.array(case["z"], dtype=np.float32)
        assert (np.abs(z - expected) <= np.spacing(np.abs(expected))).all(), case
    for case in golden["classes"]:
        drawn = draw_classes(case["seed"], range(len(case["classes"])), case["num_classes"])
        assert drawn.tolist() == case["classes"]

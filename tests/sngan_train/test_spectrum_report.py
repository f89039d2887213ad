import csv
from pathlib import Path

import numpy as np
import pytest

from sngan_train.errors import TrainError
from sngan_train.operator_norm import OperatorNorm
from sngan_train.spectrum import LayerSpectrum
from sngan_train.spectrum_report import MeasuredLayer, as_text, as_values, write_tables, write_whole


def layer(
    *values: float, run: str = "a", name: str = "conv", sigma: float | None = None, norm: float | None = None
) -> MeasuredLayer:
    """A layer with the singular `values`, with spectral norm if `sigma` is given; σ(W) is then 2."""
    operator = None
    if norm is not None:
        operator = OperatorNorm(input_shape=(3, 8, 8), convolution_norm=norm, layer_norm=norm / 2.0, products=9)
    return MeasuredLayer(
        run=run,
        step=70,
        network="discriminator",
        layer=name,
        kind="Convolution, downsampling",
        weight_shape=(len(values), 3, 3, 3),
        matrix_shape=(len(values), 27),
        sigma_source="" if sigma is None else "u, v",
        spectrum=LayerSpectrum(
            sigma=values[0] if sigma is None else sigma,
            exact_sigma=None if sigma is None else 2.0,
            singular_values=np.array(values),
        ),
        operator=operator,
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_spectrum_csv_has_a_row_a_singular_value(tmp_path: Path) -> None:
    files = write_tables([layer(2.0, 1.0, run="a, b"), layer(0.1)], tmp_path / "new")
    assert files == [tmp_path / "new" / "spectrum.csv", tmp_path / "new" / "layers.csv"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["layers.csv", "spectrum.csv"]
    read = rows(files[0])
    assert list(read[0]) == ["run", "step", "network", "layer", "index", "singular_value", "relative_square"]
    assert [tuple(row.values()) for row in read] == [
        ("a, b", "70", "discriminator", "conv", "1", "2.0", "1.0"),
        ("a, b", "70", "discriminator", "conv", "2", "1.0", "0.25"),
        ("a", "70", "discriminator", "conv", "1", "0.1", "1.0"),
    ]


def test_layers_csv_has_a_row_a_layer_and_leaves_empty_what_there_is_not(tmp_path: Path) -> None:
    _, path = write_tables([layer(1.1, 1.0, sigma=1.8, norm=2.2), layer(3.0)], tmp_path)
    spectral, plain = rows(path)
    assert (spectral["sigma"], spectral["sigma_svd"], spectral["sigma_source"]) == ("1.8", "2.0", "u, v")
    assert float(spectral["lag"]) == pytest.approx(0.1)
    assert (spectral["weight_shape"], spectral["matrix_rows"], spectral["matrix_columns"]) == ("2x3x3x3", "2", "27")
    assert (spectral["reshaped_norm"], spectral["convolution_norm"], spectral["layer_norm"]) == ("1.1", "2.2", "1.1")
    assert float(spectral["operator_ratio"]) == pytest.approx(2.0)
    assert spectral["input_shape"] == "3x8x8"
    empty = {
        "sigma_source",
        "sigma",
        "sigma_svd",
        "lag",
        "input_shape",
        "convolution_norm",
        "operator_ratio",
        "layer_norm",
    }
    assert {key for key, value in plain.items() if value == ""} == empty
    assert float(plain["frobenius_norm"]) == 3.0


def test_a_folder_that_cannot_be_is_one_clear_error_and_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(TrainError, match=r"layers.csv: cannot be written .*; give another folder with -o"):
        write_whole(tmp_path / "taken" / "layers.csv", b"x")
    (tmp_path / "layers.csv").mkdir()
    with pytest.raises(TrainError, match=r"layers.csv: cannot be written"):
        write_whole(tmp_path / "layers.csv", b"x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layers.csv", "taken"]


def test_the_table_tells_what_the_product_of_sigmas_is_not() -> None:
    title, head, first, second, warning = as_text(
        [layer(1.1, 1.0, sigma=1.8, norm=2.2), layer(1.0, 1.0, name="last", sigma=2.0, norm=2.5)]
    ).splitlines()
    assert title == "a, step 70, discriminator"
    assert head.split()[:3] == ["layer", "weight", "σ"]
    assert " ".join(first.split()) == "conv 2×3×3×3 1.800 2.000 10.000 % 2.0 of 2 1.100 2.200 2.00"
    assert second.split()[-3:] == ["1.000", "2.500", "2.50"]
    assert warning.startswith("last itself stretches up to 2.50 times as much")
    assert "not the network's Lipschitz constant" in warning


def test_the_table_leaves_out_columns_without_content() -> None:
    title, head, row = as_text([layer(1.1, 1.0)]).splitlines()
    assert title == "a, step 70, discriminator"
    assert head.split() == ["layer", "weight", "effective", "rank", "‖W̄‖"]
    assert " ".join(row.split()) == "conv 2×3×3×3 2.0 of 2 1.100"


def test_json_has_everything() -> None:
    values = as_values([layer(1.1, 1.0, sigma=1.8, norm=2.2)], [Path("x/spectrum.csv")])
    assert values["schema"] == "sngan-spectrum/1"
    assert values["files"] == ["x/spectrum.csv"]
    assert values["layers"][0]["singular_values"] == [1.1, 1.0]
    assert values["layers"][0]["sigma"] == 1.8


def test_a_zero_weight_has_no_ratio() -> None:
    assert layer(0.0, 0.0, norm=0.0).operator_ratio is None

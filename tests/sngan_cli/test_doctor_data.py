"""What `sngan doctor --data` says, through the command itself."""

import io
import os
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from sngan_cli.errors import CommandError, UsageError
from sngan_cli.main import app
from sngan_train.errors import ConfigError
from sngan_train.presets import find_preset


def png(colour: object, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


def put(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def doctor(*arguments: str) -> tuple[str, BaseException | None]:
    """(stdout, what stopped it)."""
    result = CliRunner().invoke(app, ["doctor", *arguments])
    return result.stdout, result.exception


def test_good_data_gets_the_next_command(tmp_path: Path) -> None:
    source = put(tmp_path / "my cats", {"cat/1.png": png("red"), "cat/2.png": png("lime"), "dog/1.png": png("blue")})
    text, stopped = doctor("--data", f"folder:{source}")
    assert stopped is None
    assert "3 images of 2 classes; images a class, least / median / most: 1 / 1 / 2" in text
    assert "smallest      dog (1), cat (2)" in text
    assert "64x64 pixels; RGB 3" in text
    assert "would be held in memory" in text
    command = shlex.split(text.splitlines()[-1].partition("next")[2])
    assert command[:5] == ["sngan", "train", "--preset", "custom-64", "--data"]
    assert command[5] == f"folder:{source}"
    assert command[-2:] == ["--set", "training.augmentation=color,translation,cutout"]
    find_preset(command[3])


def test_everything_that_is_wrong_is_listed_at_once(tmp_path: Path) -> None:
    bad = {f"dog/{index:02}.png": b"x" for index in range(23)}
    put(tmp_path, {"cat/1.png": png("red"), "dog/a.png": png("red"), **bad})
    (tmp_path / "bird").mkdir()
    text, stopped = doctor("--data", f"folder:{tmp_path}")
    assert isinstance(stopped, CommandError)
    assert stopped.exit_code == 1
    assert "BAD   broken        23 files cannot be used:" in text
    assert text.count("not a readable image") == 20
    assert "and 3 more" in text
    assert "BAD   empty         1 class folders hold no images:\n                    bird\n" in text
    assert "note  labels        1 times the same file lies in two classes:" in text
    assert "cat/1.png = dog/a.png" in text
    assert "next" not in text


def test_sizes_and_colours_that_do_not_fit_are_noted(tmp_path: Path) -> None:
    source = put(tmp_path, {"a/1.png": png(1, mode="L"), "b/1.png": png(2, (20, 20), mode="L")})
    text, _ = doctor("--data", f"folder:{source}")
    assert "1 images are smaller than 64 pixels" in text
    assert "train with --set data.image_size=16; or leave them out" in text
    assert "2 of 2 images are grey" in text
    assert "→ train in one channel: --channels 1" in text
    text, _ = doctor("--data", f"folder:{source}", "--image-size", "16", "--channels", "1")
    assert "smaller" not in text
    assert "are grey" not in text
    assert "--set data.image_size=16 --set data.channels=1" in text
    put(
        tmp_path,
        {"a/2.png": png("red", (300, 300)), "b/2.png": png("blue", (200, 200)), "b/3.png": png("tan", (130,) * 2)},
    )
    text, _ = doctor("--data", f"folder:{source}", "--channels", "1")
    assert "3 of 5 images have colour, which is lost in one channel" in text
    assert "try --image-size 128 and the preset custom-128" in text
    text, _ = doctor("--data", f"folder:{source}", "--image-size", "128")
    assert "--preset custom-128" in text


def test_one_class_is_trained_without_classes(tmp_path: Path) -> None:
    text, stopped = doctor("--data", f"folder:{put(tmp_path, {'cat/1.png': png('red')})}")
    assert stopped is None
    assert "--set discriminator.conditioning=none" in text.splitlines()[-1]


def test_what_has_no_classes_is_a_finding(tmp_path: Path) -> None:
    text, stopped = doctor("--data", f"folder:{put(tmp_path, {'1.png': png('red')})}")
    assert isinstance(stopped, CommandError)
    assert text.startswith("BAD   data ")
    assert "outside any class folder, the first is 1.png" in text


def test_names_do_not_reach_the_terminal_as_they_are(tmp_path: Path) -> None:
    put(tmp_path, {"a/1.png": png("red"), f"a/{os.fsdecode(b'x' + bytes([255]))}\x1b[31m.png": b"x"})
    text, _ = doctor("--data", f"folder:{tmp_path}")
    assert r"a/x\udcff\x1b[31m.png: not a readable image" in text


def test_a_source_that_ships_has_its_own_preset() -> None:
    text, stopped = doctor("--data", "digits")
    assert stopped is None
    assert "1,797 images of 10 classes" in text
    assert text.splitlines()[-1].endswith("sngan train --preset digits")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--data", "digit"], ConfigError),
        (["--data", "digits", "--image-size", "17"], ConfigError),
        (["--data", "digits", "--channels", "0"], ConfigError),
        (["--channels", "1"], UsageError),
    ],
)
def test_wrong_usage(arguments: list[str], error: type[Exception]) -> None:
    text, stopped = doctor(*arguments)
    assert isinstance(stopped, error)
    assert stopped.exit_code == 2
    assert text == ""

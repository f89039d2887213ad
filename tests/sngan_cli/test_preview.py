import io
import os

import numpy as np
import pytest

from sngan_cli import preview


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_two_pixels_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(preview.shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    pixels = np.zeros((3, 2, 3), np.uint8)
    pixels[1, 0] = (1, 2, 3)
    preview.show(pixels)
    lines = terminal.getvalue().splitlines()
    assert len(lines) == 2  # three rows and one of padding
    assert lines[0].count("▀") == 2
    assert "48;2;1;2;3m" in lines[0]


@pytest.mark.parametrize(("width", "is_terminal"), [(200, True), (8, False)])
def test_nothing_for_a_pipe_or_a_picture_that_is_too_wide(
    width: int, is_terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(preview.shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
    preview.show(np.zeros((8, width, 1), np.uint8))
    assert stream.getvalue() == ""

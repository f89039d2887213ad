"""The run as a moving picture: the sample grids of all milestones, each with its step.

Animated WebP: every browser since 2020 plays it, in full colour at a quarter of a GIF's size. It is made from the files
on the disk, so a resumed run shows its whole history.
"""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SAMPLE_NAME = re.compile(r"step-(\d+)\.png")
MAX_FRAMES = 60
MAX_SIDE = 800  # pixels
LENGTH_MS = 6000  # of all frames together, within what a frame may take
SHORTEST_FRAME_MS, LONGEST_FRAME_MS, LAST_FRAME_MS = 100, 600, 2500
CAPTION_HEIGHT, CAPTION_SIZE = 22, 14
# Every frame by itself (kmax=1): between frames the encoder leaves out changes of a few grey levels, which add up.
# method=0, the fastest, takes a second for sixty frames; the slowest saves a fifth of the size.
ENCODING = {"quality": 75, "method": 0, "kmin": 0, "kmax": 1}


def sample_files(folder: Path) -> dict[int, Path]:
    """The grids in `folder` by their step, in order."""
    found = ((SAMPLE_NAME.fullmatch(path.name), path) for path in folder.glob("step-*.png"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def write_animation(folder: Path, path: Path) -> Path | None:
    """Make `path` of the grids in `folder`, whole or not at all; None, and no file, if there are none.

    At most 60 milestones are shown, evenly chosen, the first and the last among them.
    """
    files = sample_files(folder)
    if not files:
        return None
    steps = list(files)
    if len(steps) > MAX_FRAMES:
        steps = [steps[round(i * (len(steps) - 1) / (MAX_FRAMES - 1))] for i in range(MAX_FRAMES)]
    frames = [_frame(files[step], f"step {step:,}") for step in steps]
    frames = [frame for frame in frames if frame.size == frames[-1].size]  # all of a film must be as large
    frame_ms = min(max(LENGTH_MS // len(frames), SHORTEST_FRAME_MS), LONGEST_FRAME_MS)
    partial = path.with_name(f".{path.name}.partial")
    frames[0].save(
        partial,
        format="WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=[frame_ms] * (len(frames) - 1) + [LAST_FRAME_MS],
        loop=0,
        **ENCODING,
    )
    partial.replace(path)
    return path


def _frame(path: Path, caption: str) -> Image.Image:
    """The grid at `path` under its caption; small ones enlarged by a whole factor, so that pixels stay pixels."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    factor = MAX_SIDE / max(picture.size)
    if factor >= 1.0:
        picture = picture.resize((picture.width * int(factor), picture.height * int(factor)), Image.Resampling.NEAREST)
    else:
        picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    frame = Image.new("RGB", (picture.width, picture.height + CAPTION_HEIGHT), "white")
    frame.paste(picture, (0, CAPTION_HEIGHT))
    font = ImageFont.load_default(CAPTION_SIZE)
    ImageDraw.Draw(frame).text((picture.width // 2, CAPTION_HEIGHT // 2), caption, "black", font, anchor="mm")
    return frame

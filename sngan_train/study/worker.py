"""A process that does one job after another: `python -m sngan_train.study.worker THREADS`.

Jobs arrive as JSON lines on stdin, answers leave as JSON lines on stdout, and what a library prints goes to stderr.
A process of its own for every worker, so that one that is killed for want of memory takes no other with it; many
cells for each, so that images and extractor are loaded once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

INTERRUPTED = 130


def main() -> None:
    """Work until stdin ends."""
    threads = int(sys.argv[1])
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch starts its pool
    import torch

    torch.set_num_threads(threads)
    for line in sys.stdin:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                answer = _do(json.loads(line))
        except KeyboardInterrupt:  # the training has saved
            sys.exit(INTERRUPTED)
        print(json.dumps(answer), flush=True)


def _do(job: dict[str, Any]) -> dict[str, Any]:
    from sngan_train.study.cell import Cell

    cell = Cell.from_dict(job["cell"])
    if job["task"] == "time":
        from sngan_train.study.estimate import time_cell

        return time_cell(cell, job["device"])
    from sngan_train.study.conduct import run_cell

    return dataclasses.asdict(run_cell(cell, Path(job["root"]), job["device"]))


if __name__ == "__main__":
    main()

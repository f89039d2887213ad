"""The five ports of a server: fill in the free ones, and find out early which are taken."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from typing import Any

from serve.config import LOOPBACK, PORTS, ServeConfig
from serve.errors import StartError


def with_free_ports(config: ServeConfig) -> ServeConfig:
    """`config` with every port that is 0 replaced by a free one, after a look whether the others are free.

    TorchServe would report a taken port in the middle of a Java stack trace. Between the look and its own
    binding another program can still take a port; then that trace is what the user sees.

    Raises:
        StartError: a port is taken, or the host is no address of this machine.
    """
    numbers: dict[str, Any] = {}
    with contextlib.ExitStack() as held:  # all at once, so that no two are given the same number
        for name in PORTS:
            host = config.host if name == "port" else LOOPBACK
            asked = getattr(config, name)
            listener = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            # As Java does: a port whose last connections are still winding down counts as free.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, asked))
            except OSError as error:
                option = "--" + name.replace("_", "-")
                raise StartError(
                    f"cannot listen on {host}:{asked} ({error.strerror or error}); stop what runs there, or "
                    f"choose another port with {option} (0 takes any free one)"
                ) from error
            numbers[name] = listener.getsockname()[1]
    return dataclasses.replace(config, **numbers)

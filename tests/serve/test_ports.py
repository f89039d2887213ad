from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from serve.config import PORTS, ServeConfig
from serve.errors import StartError
from serve.ports import with_free_ports


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_free_ports_are_filled_in_and_differ() -> None:
    config = with_free_ports(ServeConfig.on_free_ports())
    numbers = {getattr(config, name) for name in PORTS}
    assert len(numbers) == len(PORTS)
    assert 0 not in numbers


@pytest.mark.parametrize("name", ["port", "grpc_management_port"])
def test_a_taken_port_is_named_with_its_option(taken_port: int, name: str) -> None:
    option = "--" + name.replace("_", "-")
    with pytest.raises(StartError, match=f":{taken_port} .*{option} "):
        with_free_ports(ServeConfig.on_free_ports(**{name: taken_port}))


def test_a_host_of_another_machine_is_refused() -> None:
    config = ServeConfig.on_free_ports(host="192.0.2.1", behind_proxy=True)  # TEST-NET-1, nobody's
    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1"):
        with_free_ports(config)

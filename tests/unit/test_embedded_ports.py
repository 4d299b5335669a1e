import socket
from collections.abc import Iterator

import pytest

from streams.embedded.errors import PortInUseError
from streams.embedded.ports import BrokerPorts, choose_free, choose_ports, is_free, require_free


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def remembered(count: int) -> tuple[BrokerPorts, ...]:
    ports = choose_free(2 * count)
    return tuple(map(BrokerPorts, ports[:count], ports[count:]))


def test_chosen_ports_are_distinct_free_and_below_the_ephemeral_range() -> None:
    ports = choose_free(6)
    assert len(set(ports)) == 6
    assert all(is_free(port) and port < 32_768 for port in ports)


def test_a_port_with_a_listener_is_not_free(taken_port: int) -> None:
    assert not is_free(taken_port)
    with pytest.raises(PortInUseError, match=f"Port {taken_port} .* is in use"):
        require_free(taken_port)


def test_a_cluster_gets_the_ports_it_had() -> None:
    before = remembered(3)
    assert choose_ports(3, None, before) == before


def test_a_cluster_gets_new_ports_when_one_of_its_own_is_taken(taken_port: int) -> None:
    before = (BrokerPorts(taken_port, remembered(1)[0].controller),)
    chosen = choose_ports(1, None, before)
    assert chosen[0].client != taken_port
    assert is_free(chosen[0].client)


def test_an_asked_port_goes_before_a_remembered_one() -> None:
    asked = choose_free(1)[0]
    assert choose_ports(1, asked, remembered(1))[0].client == asked


def test_an_asked_port_that_is_taken_is_an_error(taken_port: int) -> None:
    with pytest.raises(PortInUseError):
        choose_ports(1, taken_port, ())


def test_three_brokers_get_six_distinct_ports() -> None:
    chosen = choose_ports(3, None, ())
    assert len({port for ports in chosen for port in (ports.client, ports.controller)}) == 6

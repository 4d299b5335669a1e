"""Loopback ports of the brokers."""

import errno
import random
import socket
from dataclasses import dataclass
from typing import Final

from streams.embedded.errors import PortInUseError

LOOPBACK: Final = "127.0.0.1"
FIRST_PORT: Final = 20_000
LAST_PORT: Final = 32_000
"""Below both Linux's and macOS's range of ephemeral ports: from within it, a client
that reconnects to a dead broker could connect to itself and so take its port."""


@dataclass(frozen=True, slots=True)
class BrokerPorts:
    """The two ports one broker listens on."""

    client: int
    controller: int


def is_free(port: int) -> bool:
    """Whether a server could listen on the loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


def require_free(port: int) -> None:
    """Insist on one port.

    Raises:
        PortInUseError: Another process listens on it.
    """
    if not is_free(port):
        raise PortInUseError(
            f"Port {port} on {LOOPBACK} is in use by another process.",
            "Stop that process, or choose another port.",
        )


def choose_free(count: int) -> tuple[int, ...]:
    """Choose distinct ports that are free now.

    Raises:
        PortInUseError: Fewer are free in the whole range.
    """
    candidates = random.sample(range(FIRST_PORT, LAST_PORT), LAST_PORT - FIRST_PORT)
    chosen: list[int] = []
    for port in candidates:
        if len(chosen) == count:
            break
        if is_free(port):
            chosen.append(port)
    if len(chosen) < count:
        raise PortInUseError(
            f"No {count} ports are free from {FIRST_PORT} to {LAST_PORT}.",
            "Stop some servers on this machine.",
        )
    return tuple(chosen)


def choose_ports(
    brokers: int, first_client: int | None, remembered: tuple[BrokerPorts, ...]
) -> tuple[BrokerPorts, ...]:
    """The ports of a cluster that is about to start.

    Those asked for must be free; remembered ones are used again when they all are
    and fit what is asked; otherwise new ones are chosen.

    Raises:
        PortInUseError: An asked port is taken.
    """
    asked = clients_from(brokers, first_client)
    for port in asked:
        require_free(port)
    if fits(remembered, brokers, asked) and all_free(remembered):
        return remembered
    clients = asked or choose_free(brokers)
    controllers = choose_free(brokers + len(clients))
    unused = [port for port in controllers if port not in clients]
    return tuple(map(BrokerPorts, clients, unused))


def clients_from(brokers: int, first_client: int | None) -> tuple[int, ...]:
    """Consecutive client ports from the first, or none when none was asked."""
    if first_client is None:
        return ()
    return tuple(range(first_client, first_client + brokers))


def fits(remembered: tuple[BrokerPorts, ...], brokers: int, asked: tuple[int, ...]) -> bool:
    """Whether remembered ports serve this many brokers and agree with the asked."""
    clients = tuple(ports.client for ports in remembered)
    return len(clients) == brokers and asked in {(), clients}


def all_free(remembered: tuple[BrokerPorts, ...]) -> bool:
    """Whether every remembered port is free now."""
    return all(is_free(p.client) and is_free(p.controller) for p in remembered)

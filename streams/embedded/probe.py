"""Ask a broker whether it serves, with the least of Kafka's protocol."""

import socket
import struct
from typing import Final

from streams.embedded.ports import LOOPBACK

METADATA_KEY: Final = 3
METADATA_VERSION: Final = 1
NO_CLIENT_ID: Final = -1
LARGEST_ANSWER: Final = 1024 * 1024
HEADER: Final = struct.Struct(">hhih")
INT32: Final = struct.Struct(">i")
INT16: Final = struct.Struct(">h")


def serving_nodes(port: int, timeout_s: float = 5.0) -> frozenset[int]:
    """The node ids in a broker's Metadata answer; empty while it does not answer.

    A broker answers clients only at the end of its start, after its registration and
    the recovery of its logs, so that an answer means that producers will be served.
    """
    try:
        with socket.create_connection((LOOPBACK, port), timeout_s) as connection:
            connection.sendall(framed(metadata_request()))
            return parse_nodes(receive_frame(connection))
    except (OSError, EOFError):
        return frozenset()


def metadata_request() -> bytes:
    """Metadata v1 about no topics, which every Kafka since 0.10 answers."""
    header = HEADER.pack(METADATA_KEY, METADATA_VERSION, 0, NO_CLIENT_ID)
    return header + INT32.pack(0)


def framed(message: bytes) -> bytes:
    """The message behind its length."""
    return INT32.pack(len(message)) + message


def receive_frame(connection: socket.socket) -> bytes:
    """One frame without its length.

    Raises:
        EOFError: The peer closed, or is not a Kafka.
    """
    (length,) = INT32.unpack(receive(connection, INT32.size))
    if not 0 < length <= LARGEST_ANSWER:
        raise EOFError(length)
    return receive(connection, length)


def receive(connection: socket.socket, count: int) -> bytes:
    """Exactly so many bytes."""
    received = b""
    while len(received) < count:
        chunk = connection.recv(count - len(received))
        if not chunk:
            raise EOFError(count)
        received += chunk
    return received


def parse_nodes(answer: bytes) -> frozenset[int]:
    """The node ids of a Metadata v1 answer's broker list.

    Raises:
        EOFError: The answer is too short for what it announces.
    """
    try:
        (count,) = INT32.unpack_from(answer, INT32.size)
        position = 2 * INT32.size
        nodes: set[int] = set()
        for _ in range(count):
            nodes.add(INT32.unpack_from(answer, position)[0])
            position = after_string(answer, position + INT32.size)
            position = after_string(answer, position + INT32.size)
    except struct.error as error:
        raise EOFError(len(answer)) from error
    return frozenset(nodes)


def after_string(answer: bytes, position: int) -> int:
    """The position behind a nullable string."""
    length: int = INT16.unpack_from(answer, position)[0]
    return position + INT16.size + max(length, 0)

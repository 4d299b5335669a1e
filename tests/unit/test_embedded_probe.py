import socket
import struct
import threading

import pytest

from streams.embedded.ports import choose_free
from streams.embedded.probe import framed, parse_nodes, serving_nodes


def broker_entry(node: int) -> bytes:
    host = b"127.0.0.1"
    return struct.pack(">ih", node, len(host)) + host + struct.pack(">ih", 9092, -1)


def metadata_answer(*nodes: int) -> bytes:
    return struct.pack(">ii", 0, len(nodes)) + b"".join(map(broker_entry, nodes)) + struct.pack(">ii", 0, 0)


def answer_once(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1024)
        connection.sendall(answer)


@pytest.mark.parametrize("nodes", [(), (0,), (0, 1, 2)])
def test_the_nodes_of_a_metadata_answer_are_read(nodes: tuple[int, ...]) -> None:
    assert parse_nodes(metadata_answer(*nodes)) == frozenset(nodes)


def test_a_cut_answer_is_an_error() -> None:
    with pytest.raises(EOFError):
        parse_nodes(metadata_answer(0, 1)[:20])


def test_a_port_without_listener_serves_no_nodes() -> None:
    assert serving_nodes(choose_free(1)[0]) == frozenset()


@pytest.mark.parametrize(
    ("answer", "nodes"),
    [(framed(metadata_answer(0, 2)), {0, 2}), (b"HTTP/1.1 400 Bad Request\r\n\r\n", set()), (b"", set())],
)
def test_only_a_kafka_serves_nodes(answer: bytes, nodes: set[int]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = threading.Thread(target=answer_once, args=(server, answer))
        peer.start()
        assert serving_nodes(server.getsockname()[1]) == frozenset(nodes)
        peer.join()

from pathlib import Path

import pytest

from streams.embedded.errors import InvalidSettingsError
from streams.embedded.ports import BrokerPorts
from streams.embedded.properties import Node, escape, render, server_properties
from streams.embedded.settings import EmbeddedSettings

ONE = (BrokerPorts(20_001, 20_002),)
THREE = (BrokerPorts(20_001, 20_011), BrokerPorts(20_002, 20_012), BrokerPorts(20_003, 20_013))


@pytest.mark.parametrize(
    "wrong",
    [{"brokers": 0}, {"brokers": 2}, {"heap_mb": 100}, {"port": 80}, {"port": 65_536}, {"port": 65_535, "brokers": 3}],
)
def test_settings_outside_their_range_are_refused_with_a_next_step(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidSettingsError) as caught:
        EmbeddedSettings(tmp_path, **wrong)
    assert caught.value.next_step.startswith("Choose")


def test_every_listener_is_on_the_loopback_address() -> None:
    settings = server_properties(Node(0, THREE, Path("/data")))
    addresses = [part.split("://")[1] for part in settings["listeners"].split(",")]
    assert addresses == ["127.0.0.1:20001", "127.0.0.1:20011"]
    assert settings["advertised.listeners"] == "CLIENT://127.0.0.1:20001"


def test_three_brokers_vote_on_their_controller_ports() -> None:
    settings = server_properties(Node(1, THREE, Path("/data")))
    assert settings["node.id"] == "1"
    assert settings["controller.quorum.voters"] == "0@127.0.0.1:20011,1@127.0.0.1:20012,2@127.0.0.1:20013"


@pytest.mark.parametrize(("cluster", "copies", "in_sync"), [(ONE, "1", "1"), (THREE, "3", "2")])
def test_what_is_committed_is_on_every_broker_but_at_most_one(
    cluster: tuple[BrokerPorts, ...], copies: str, in_sync: str
) -> None:
    settings = server_properties(Node(0, cluster, Path("/data")))
    assert settings["default.replication.factor"] == copies
    assert settings["offsets.topic.replication.factor"] == copies
    assert settings["transaction.state.log.replication.factor"] == copies
    assert settings["min.insync.replicas"] == in_sync
    assert settings["transaction.state.log.min.isr"] == in_sync


def test_topics_are_not_created_by_accident() -> None:
    assert server_properties(Node(0, ONE, Path("/data")))["auto.create.topics.enable"] == "false"


def test_a_record_of_8_mib_fits_the_broker_and_its_replication() -> None:
    settings = server_properties(Node(0, ONE, Path("/data")))
    assert int(settings["message.max.bytes"]) > 8 * 1024 * 1024
    assert int(settings["replica.fetch.max.bytes"]) >= int(settings["message.max.bytes"])


@pytest.mark.parametrize(
    ("value", "escaped"),
    [("plain", "plain"), ("a\\b", "a\\\\b"), ("ä", "\\u00e4"), ("😀", "\\ud83d\\ude00"), ("a\nb", "a\\u000ab")],
)
def test_values_are_escaped_as_java_reads_them(value: str, escaped: str) -> None:
    assert escape(value) == escaped
    assert render({"key": value}) == f"key={escaped}\n"

"""Kafka's and log4j's settings as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from streams.embedded.ports import LOOPBACK, BrokerPorts

MIB: Final = 1024 * 1024
LARGEST_BATCH: Final = 9 * MIB
"""Room for a record of 8 MiB with its keys, headers and batch overhead."""
COORDINATOR_PARTITIONS: Final = 4
FIRST_PRINTABLE: Final = 0x20
LAST_ASCII: Final = 0x7E


@dataclass(frozen=True, slots=True)
class Node:
    """One broker of a cluster.

    Attributes:
        index: Its number from 0, which is also Kafka's `node.id`.
        cluster: Every broker's ports, by index.
        log_folder: Where Kafka keeps its partitions.
    """

    index: int
    cluster: tuple[BrokerPorts, ...]
    log_folder: Path


def server_properties(node: Node) -> dict[str, str]:
    """The settings of one combined broker and controller.

    Guarantees: it listens on the loopback address only; topics are never created by
    accident; what a transaction or a consumer group commits is on every broker of
    the cluster but at most one. Few coordinator partitions keep restarts short, and
    so does the session of 3 s: the controller refuses a killed broker's return until
    its old session has run out, which took 12 s with Kafka's default of 9 s.
    `log.flush.*` stay at Kafka's defaults: a record is written to the page cache
    when it is acknowledged, and so survives a killed process, but not by itself a
    machine that loses power.
    """
    return {**network(node), **durability(len(node.cluster)), **LIMITS, **PACE} | {
        "process.roles": "broker,controller",
        "node.id": str(node.index),
        "log.dirs": str(node.log_folder),
    }


def network(node: Node) -> dict[str, str]:
    """Listeners, and the fixed quorum of controllers."""
    own = node.cluster[node.index]
    voters = ",".join(f"{index}@{LOOPBACK}:{ports.controller}" for index, ports in enumerate(node.cluster))
    client = f"CLIENT://{LOOPBACK}:{own.client}"
    return {
        "listeners": f"{client},CONTROLLER://{LOOPBACK}:{own.controller}",
        "advertised.listeners": client,
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": voters,
    }


def durability(brokers: int) -> dict[str, str]:
    """Every internal topic on all brokers, acknowledged by all but one of three."""
    copies, in_sync = str(brokers), str(max(1, brokers - 1))
    return {
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
    }


LIMITS: Final[Mapping[str, str]] = {
    "auto.create.topics.enable": "false",
    "message.max.bytes": str(LARGEST_BATCH),
    "replica.fetch.max.bytes": str(LARGEST_BATCH),
    "transaction.max.timeout.ms": str(15 * 60 * 1000),
    "log.cleaner.dedupe.buffer.size": str(32 * MIB),
}

PACE: Final[Mapping[str, str]] = {
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    "offsets.topic.num.partitions": str(COORDINATOR_PARTITIONS),
    "transaction.state.log.num.partitions": str(COORDINATOR_PARTITIONS),
    "share.coordinator.state.topic.num.partitions": str(COORDINATOR_PARTITIONS),
    "num.network.threads": "2",
    "num.io.threads": "4",
    "num.recovery.threads.per.data.dir": "4",
}


def render(properties: Mapping[str, str]) -> str:
    """Java's properties format, readable back whatever a value holds."""
    return "".join(f"{key}={escape(value)}\n" for key, value in properties.items())


def escape(value: str) -> str:
    """Escape a value so that `java.util.Properties` reads it unchanged."""
    return "".join(escape_character(character) for character in value)


def escape_character(character: str) -> str:
    """One character, as UTF-16 escapes outside of ASCII."""
    if character == "\\":
        return "\\\\"
    if FIRST_PRINTABLE <= ord(character) <= LAST_ASCII:
        return character
    units = character.encode("utf-16-be")
    pairs: Sequence[bytes] = [units[i : i + 2] for i in range(0, len(units), 2)]
    return "".join(f"\\u{pair.hex()}" for pair in pairs)


def logging_properties(log_file: Path) -> dict[str, str]:
    """log4j2: warnings of libraries, news of Kafka, into five files of 8 MiB."""
    return {
        "status": "error",
        "appender.file.type": "RollingFile",
        "appender.file.name": "file",
        "appender.file.fileName": str(log_file),
        "appender.file.filePattern": f"{log_file}.%i",
        "appender.file.layout.type": "PatternLayout",
        "appender.file.layout.pattern": "[%d] %p %m (%c)%n",
        "appender.file.policies.type": "Policies",
        "appender.file.policies.size.type": "SizeBasedTriggeringPolicy",
        "appender.file.policies.size.size": "8MB",
        "appender.file.strategy.type": "DefaultRolloverStrategy",
        "appender.file.strategy.max": "4",
        "logger.settings.name": "org.apache.kafka.common.config",
        "logger.settings.level": "warn",
        "rootLogger.level": "info",
        "rootLogger.appenderRef.file.ref": "file",
    }

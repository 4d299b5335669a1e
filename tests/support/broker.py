"""The brokers that tests run on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from streams.embedded import EmbeddedKafka, EmbeddedSettings
from streams.engine.client import EngineSettings

LARGEST_BATCH = str(9 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that is up. `kafka` is there where a test may kill and restart it."""

    bootstrap_servers: str
    kafka: EmbeddedKafka | None = None


@contextmanager
def embedded(data: Path) -> Iterator[Broker]:
    with EmbeddedKafka(EmbeddedSettings(data)) as kafka:
        yield Broker(kafka.bootstrap_servers, kafka)


@contextmanager
def container() -> Iterator[Broker]:
    docker = pytest.importorskip("docker")
    kafka_module = pytest.importorskip("testcontainers.kafka")
    try:
        docker.from_env().ping()
    except docker.errors.DockerException as error:
        pytest.skip(f"--broker=container: no Docker engine answers: {error}")
    kafka = (
        kafka_module.KafkaContainer()
        .with_kraft()
        .with_env("KAFKA_MESSAGE_MAX_BYTES", LARGEST_BATCH)
        .with_env("KAFKA_REPLICA_FETCH_MAX_BYTES", LARGEST_BATCH)
        .with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
        .with_env("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")
        .with_env("KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS", "1000")
    )
    with kafka as started:
        yield Broker(started.get_bootstrap_server())


def engine_settings(broker: Broker, prefix: str, client_id: str = "test", **changes: Any) -> EngineSettings:  # noqa: ANN401
    """Settings with timeouts that let a test see a failure and its cure within seconds."""
    chosen: dict[str, Any] = {"turn_timeout": timedelta(seconds=10), **changes}
    return EngineSettings(bootstrap_servers=broker.bootstrap_servers, prefix=prefix, client_id=client_id, **chosen)

"""The embedded Kafka against the real thing; the first run on a machine fetches it."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.embedded import EmbeddedKafka, EmbeddedSettings, Phase, Progress, State, status, stop_background
from streams.embedded.deadline import Deadline
from streams.embedded.errors import (
    BrokerStartError,
    DataFolderInUseError,
    PortInUseError,
    WrongStateError,
)
from streams.embedded.probe import serving_nodes

GENEROUS = timedelta(seconds=60)
ROOT = Path(__file__).parents[2]
ACGS_KAFKA = [sys.executable, "-c", "from streams.cli.kafka import kafka; kafka()"]

START_AND_WAIT = """
import sys
from pathlib import Path
from streams.embedded import EmbeddedKafka, EmbeddedSettings
kafka = EmbeddedKafka(EmbeddedSettings(Path(sys.argv[1])))
kafka.start(lambda progress: print(progress.phase, flush=True))
{then}
input()
"""
FORK_A_HOLDER = "import os, signal; os.fork() or (signal.alarm(120), signal.pause())"
OUTLIVE_CTRL_C = """
from streams.embedded.probe import serving_nodes
port = int(kafka.bootstrap_servers.split(":")[1])
try:
    print("waiting", flush=True)
    input()
except KeyboardInterrupt:
    print("serving" if serving_nodes(port) else "gone", flush=True)
kafka.stop()
sys.exit()
"""


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = Deadline.after(GENEROUS)
    while not condition():
        if deadline.passed:
            return False
        deadline.pause()
    return True


def processes_of(data: Path, name: str = "") -> list[psutil.Process]:
    """Keepers and JVMs whose command lines name the data folder, but no test scripts."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE
        and any("jvm.args" in word and str(data) in word for word in process.info["cmdline"] or ())
        and name in " ".join(process.info["cmdline"])
    ]


def jvms_of(data: Path) -> list[psutil.Process]:
    return [process for process in processes_of(data) if not process.info["cmdline"][0].startswith(sys.executable)]


def nothing_runs_on(data: Path) -> Callable[[], bool]:
    return lambda: not processes_of(data)


def client_port(kafka: EmbeddedKafka) -> int:
    return int(kafka.bootstrap_servers.split(",")[0].split(":")[1])


@contextmanager
def script(data: Path, then: str = "") -> Iterator["subprocess.Popen[str]"]:
    """A Python process of its own that starts a broker and then waits for its input."""
    code = START_AND_WAIT.format(then=then)
    with subprocess.Popen(
        [sys.executable, "-c", code, str(data)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: "subprocess.Popen[str]", line: str) -> None:
    assert process.stdout is not None
    assert any(said.strip() == line for said in process.stdout), f"the script ended before it said {line}"


async def create_topic(servers: str, name: str, replicas: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 1, replicas)])
    finally:
        await admin.close()


async def write(servers: str, topic: str, *values: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=servers, transactional_id=f"{topic}-writer", acks="all")
    await producer.start()
    try:
        async with producer.transaction():
            for value in values:
                await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def read(servers: str, topic: str, count: int) -> list[bytes | None]:
    # "earliest" also where a broker that has just come back refuses the first position; and it may not know its topics
    # yet, which the client would ask for again in five minutes only.
    consumer = AIOKafkaConsumer(
        bootstrap_servers=servers,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        metadata_max_age_ms=1_000,
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        async with asyncio.timeout(GENEROUS.total_seconds()):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    data = tmp_path_factory.mktemp("shared") / "a folder named ü"
    with EmbeddedKafka(EmbeddedSettings(data)) as started:
        yield started


def test_transactions_can_be_written_and_read_as_soon_as_start_returns(kafka: EmbeddedKafka) -> None:
    async def scenario() -> list[bytes | None]:
        await create_topic(kafka.bootstrap_servers, "greetings")
        await write(kafka.bootstrap_servers, "greetings", b"hello", b"world")
        return await read(kafka.bootstrap_servers, "greetings", 2)

    assert asyncio.run(scenario()) == [b"hello", b"world"]


def test_a_record_of_8_mib_can_be_written(kafka: EmbeddedKafka) -> None:
    large = os.urandom(8 * 1024 * 1024)

    async def scenario() -> list[bytes | None]:
        await create_topic(kafka.bootstrap_servers, "large")
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, max_request_size=9 * 1024 * 1024)
        await producer.start()
        try:
            await producer.send_and_wait("large", large)
        finally:
            await producer.stop()
        return await read(kafka.bootstrap_servers, "large", 1)

    assert asyncio.run(scenario()) == [large]


def test_the_broker_listens_on_the_loopback_address_only(kafka: EmbeddedKafka) -> None:
    data = kafka._settings.data  # noqa: SLF001 - only the owner knows the folder
    (jvm,) = jvms_of(data)
    listening = {c.laddr.ip for c in jvm.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert listening


def test_a_second_start_on_the_same_folder_is_refused(kafka: EmbeddedKafka) -> None:
    second = EmbeddedKafka(EmbeddedSettings(kafka._settings.data))  # noqa: SLF001
    with pytest.raises(DataFolderInUseError, match="Another embedded Kafka"):
        second.start()
    assert serving_nodes(client_port(kafka))


def test_a_foreground_broker_is_its_owners_to_stop(kafka: EmbeddedKafka) -> None:
    with pytest.raises(DataFolderInUseError, match=f"belongs to process {os.getpid()}"):
        stop_background(kafka._settings.data)  # noqa: SLF001
    assert serving_nodes(client_port(kafka))


def test_an_asked_port_that_is_taken_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortInUseError, match=str(port)):
            EmbeddedKafka(EmbeddedSettings(tmp_path, port=port)).start()
    assert nothing_runs_on(tmp_path)()
    assert status(tmp_path).state is State.STOPPED


def test_what_was_written_survives_a_killed_broker_and_an_orderly_stop(tmp_path: Path) -> None:
    kafka = EmbeddedKafka(EmbeddedSettings(tmp_path))
    with kafka:
        address = kafka.bootstrap_servers
        asyncio.run(create_topic(address, "kept"))
        asyncio.run(write(address, "kept", b"before"))
        kafka.kill()
        assert not serving_nodes(client_port(kafka))
        kafka.restart()
        assert kafka.bootstrap_servers == address
        assert asyncio.run(read(address, "kept", 1)) == [b"before"]
        asyncio.run(write(address, "kept", b"after"))
    assert nothing_runs_on(tmp_path)()
    with kafka:
        assert kafka.bootstrap_servers == address
        assert asyncio.run(read(address, "kept", 2)) == [b"before", b"after"]


def test_a_killed_broker_does_not_come_back_on_another_port(tmp_path: Path) -> None:
    with EmbeddedKafka(EmbeddedSettings(tmp_path)) as kafka:
        with pytest.raises(WrongStateError, match="Broker 0 runs"):
            kafka.restart()
        kafka.kill()
        with socket.create_server(("127.0.0.1", client_port(kafka))), pytest.raises(PortInUseError):
            kafka.restart()
        kafka.restart()
        assert serving_nodes(client_port(kafka)) == {0}


def test_three_brokers_go_on_without_one(tmp_path: Path) -> None:
    with EmbeddedKafka(EmbeddedSettings(tmp_path, brokers=3)) as kafka:
        survivors = ",".join(kafka.bootstrap_servers.split(",")[1:])
        asyncio.run(create_topic(kafka.bootstrap_servers, "replicated", replicas=3))
        asyncio.run(write(kafka.bootstrap_servers, "replicated", b"before"))
        kafka.kill(0)
        asyncio.run(write(survivors, "replicated", b"during"))
        kafka.restart(0)
        assert asyncio.run(read(kafka.bootstrap_servers, "replicated", 2)) == [b"before", b"during"]
    assert nothing_runs_on(tmp_path)()


def test_a_broker_that_cannot_start_tells_its_last_words_and_frees_the_folder(tmp_path: Path) -> None:
    kafka = EmbeddedKafka(EmbeddedSettings(tmp_path))
    with kafka:
        pass
    meta = tmp_path / "broker-0" / "records" / "meta.properties"
    good = meta.read_text()
    meta.write_text(good.replace("node.id=0", "node.id=7"))
    with pytest.raises(BrokerStartError, match=r"(?s)ended while starting.*node"):
        kafka.start()
    assert nothing_runs_on(tmp_path)()
    meta.write_text(good)
    with kafka:
        assert serving_nodes(client_port(kafka)) == {0}


def test_a_killed_parent_leaves_neither_keeper_nor_broker(tmp_path: Path) -> None:
    with script(tmp_path) as parent:
        read_until(parent, Phase.READY)
        assert len(processes_of(tmp_path)) == 2
        parent.kill()
        parent.wait()
        assert eventually(nothing_runs_on(tmp_path))


def test_a_parent_killed_while_starting_leaves_neither_keeper_nor_broker(tmp_path: Path) -> None:
    with script(tmp_path) as parent:
        read_until(parent, Phase.START)
        parent.kill()
        parent.wait()
        assert eventually(nothing_runs_on(tmp_path))


def test_a_killed_parent_leaves_nothing_although_its_fork_lives_on(tmp_path: Path) -> None:
    with script(tmp_path, FORK_A_HOLDER) as parent:
        read_until(parent, Phase.READY)
        assert eventually(lambda: len(psutil.Process(parent.pid).children()) == 2)
        (fork,) = [c for c in psutil.Process(parent.pid).children() if "keeper.py" not in " ".join(c.cmdline())]
        parent.kill()
        parent.wait()
        assert eventually(nothing_runs_on(tmp_path))
        assert fork.is_running()
        fork.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a child's life to its parent's")
def test_a_killed_keeper_leaves_no_broker(tmp_path: Path) -> None:
    with EmbeddedKafka(EmbeddedSettings(tmp_path)):
        (keeper,) = processes_of(tmp_path, "keeper.py")
        keeper.kill()
        assert eventually(nothing_runs_on(tmp_path))


def test_ctrl_c_leaves_the_broker_to_its_parent_which_can_still_use_it(tmp_path: Path) -> None:
    with script(tmp_path, OUTLIVE_CTRL_C) as parent:
        read_until(parent, "waiting")
        os.killpg(parent.pid, signal.SIGINT)
        read_until(parent, "serving")
        assert parent.wait(GENEROUS.total_seconds()) == 0
    log = (tmp_path / "broker-0" / "logs" / "server.log").read_text()
    assert "due to signal SIGTERM" in log
    assert "due to signal SIGINT" not in log
    assert nothing_runs_on(tmp_path)()


def test_the_folder_of_a_killed_parent_can_be_used_at_once(tmp_path: Path) -> None:
    with script(tmp_path) as parent:
        read_until(parent, Phase.READY)
        parent.kill()
        parent.wait()
        with EmbeddedKafka(EmbeddedSettings(tmp_path)) as kafka:
            assert serving_nodes(client_port(kafka)) == {0}


def acgs_kafka(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*ACGS_KAFKA, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_background_broker_outlives_its_command_until_it_is_stopped(tmp_path: Path, kafka: EmbeddedKafka) -> None:
    """With neither Java nor Maven on PATH and, as `kafka` has filled the cache, no network."""
    assert kafka.bootstrap_servers
    data, nowhere = tmp_path / "data", tmp_path / "no-programs"
    where = ("--data", str(data))
    nobody = "http://127.0.0.1:1"
    started = acgs_kafka("start", *where, PATH=str(nowhere), JAVA_HOME="", HTTPS_PROXY=nobody, https_proxy=nobody)
    try:
        assert started.returncode == 0, started.stderr
        address = started.stdout.strip()
        assert serving_nodes(int(address.split(":")[1])) == {0}

        again = acgs_kafka("start", *where)
        assert (again.returncode, again.stdout.strip()) == (0, address)
        assert "runs already" in again.stderr

        shown = acgs_kafka("status", "--json", *where)
        told = json.loads(shown.stdout)
        assert shown.returncode == 0
        assert (told["state"], told["bootstrap_servers"], told["detached"]) == ("running", address, True)
        assert [jvm.pid for jvm in jvms_of(data)] == told["pids"]
        assert Path(told["log_files"][0]).is_file()
        assert told["disk_bytes"] > 0
    finally:
        stopped = acgs_kafka("stop", *where)
    assert (stopped.returncode, stopped.stdout) == (0, "Kafka is stopped.\n")
    assert nothing_runs_on(data)()
    assert acgs_kafka("status", *where).returncode == 3
    assert acgs_kafka("stop", *where).stdout == "Kafka does not run.\n"


def test_the_command_starts_on_the_asked_port_or_says_who_is_in_the_way(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        refused = acgs_kafka("start", "--data", str(tmp_path), "--port", str(port))
    assert refused.returncode == 1
    assert f"Port {port} on 127.0.0.1 is in use" in refused.stderr
    assert "What to do next: " in refused.stderr
    assert refused.stdout == ""


def test_without_network_and_jars_the_first_start_says_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"http://127.0.0.1:{server.getsockname()[1]}"
    data, cache = tmp_path / "data", tmp_path / "cache"
    refused = acgs_kafka(
        "start", "--data", str(data), ACGS_CACHE_DIR=str(cache), HTTPS_PROXY=nobody, https_proxy=nobody, NO_PROXY=""
    )
    assert refused.returncode == 1
    assert "the Maven repository cannot be reached" in refused.stderr
    assert "Connect to the internet" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not [path for path in cache.rglob("*") if path.is_file()]
    assert status(data).state is State.STOPPED


def test_every_start_reports_its_phases_and_ends_with_ready(tmp_path: Path) -> None:
    reports: list[Progress] = []
    kafka = EmbeddedKafka(EmbeddedSettings(tmp_path))
    kafka.start(reports.append)
    kafka.stop()
    phases = [progress.phase for progress in reports]
    assert phases[-1] is Phase.READY
    assert {Phase.FORMAT, Phase.START} < set(phases)
    kafka.start(reports.append)
    kafka.stop()
    later = [progress.phase for progress in reports[len(phases) :]]
    assert set(later) == {Phase.START, Phase.READY}


def test_before_its_start_a_kafka_has_no_address_and_stopping_it_is_harmless(tmp_path: Path) -> None:
    kafka = EmbeddedKafka(EmbeddedSettings(tmp_path))
    kafka.stop()
    with pytest.raises(WrongStateError, match="not started"):
        _ = kafka.bootstrap_servers

"""Activity workers as processes, on a real broker: commands in, results out."""

import asyncio
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from prometheus_client.parser import text_string_to_metric_families

from schemas import topics
from schemas.activity import ActivityCancel, ActivityCommand, ActivityResult, Direction, Given, Heartbeat, Outcome
from schemas.policy import AcceptedHash
from streams import control
from streams.activities.commits import decode
from streams.activities.worker import GROUP
from streams.agents.naming import Naming
from streams.claims import FolderClaims
from streams.engine.client import EngineSettings
from streams.installation import Installation
from tests.support import worked
from tests.support.attempts import command
from tests.support.broker import embedded, engine_settings
from tests.support.eventually import eventually
from tests.support.kafka import read_topic, write
from tests.support.processes import of_a_worker
from tests.support.product import HASH, NEXT_HASH, PARTITIONS, install_product, policy

ROOT = Path(__file__).parents[2]
_PORT = re.compile(r"on port (\d+)")


class Worker:
    """One `acgs worker` process."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process, self._log = process, log

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def code(self) -> int | None:
        return self.process.returncode

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self) -> int:
        async with asyncio.timeout(60):
            return await self.process.wait()

    async def get(self, path: str) -> tuple[int, str]:
        """What a probe answers."""
        found = _PORT.search(self.said)
        if found is None:
            return 0, ""
        reader, writer = await asyncio.open_connection("127.0.0.1", int(found[1]))
        try:
            writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        finally:
            writer.close()
            await writer.wait_closed()
        return int(head.split()[1]), body

    async def is_ready(self) -> bool:
        assert self.code is None, self.said
        return (await self.get("/readyz"))[0] == 200

    async def metric(self, name: str, **labels: str) -> float:
        """A sample, 0 where there is none."""
        families = text_string_to_metric_families((await self.get("/metrics"))[1])
        samples = [sample for family in families for sample in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


class Shop:
    """An installation whose queue default is served by worker processes."""

    def __init__(self, settings: EngineSettings, folder: Path) -> None:
        self.settings, self.folder, self.naming = settings, folder, Naming(settings.prefix)
        self.gate, self._begun = folder / "gate", folder / "begun"
        self._begun.touch()
        self._workers = 0

    @property
    def begun(self) -> Counter[str]:
        """How often the activity of each workflow began."""
        return Counter(self._begun.read_text().split())

    @asynccontextmanager
    async def worker(self, *options: str, ready: bool = True) -> AsyncGenerator[Worker, None]:
        """A worker that is killed at the end if it has not ended."""
        self._workers += 1
        log = self.folder / f"worker-{self._workers}.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ACGS_")}
        environment |= of_a_worker(self.settings.bootstrap_servers, self.settings.prefix, log.stem) | {
            "PYTHONPATH": str(ROOT),
            worked.BEGUN: str(self._begun),
            worked.GATE: str(self.gate),
        }
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "streams.cli.main", "worker", worked.__name__, *options),
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=output,
            )
        made = Worker(process, log)
        try:
            if ready:
                await eventually(made.is_ready, account=lambda: made.said)
            yield made
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def send(self, *commands: ActivityCommand, partition: int | None = None) -> None:
        topic = self.naming.topic(topics.activities_of("default"))
        keyed = [(one.workflow_id.encode(), one.model_dump_json().encode()) for one in commands]
        at = partition
        await write(
            self.settings,
            [(topic, crc32(key) % PARTITIONS if at is None else at, key, value, ()) for key, value in keyed],
        )

    async def cancel(self, one: ActivityCommand, partition: int | None = None) -> None:
        cancel = ActivityCancel(**{name: getattr(one, name) for name in ActivityCancel.model_fields})
        topic, key = self.naming.topic(topics.ACTIVITY_CANCELS), one.workflow_id.encode()
        at = crc32(key) % PARTITIONS if partition is None else partition
        await write(self.settings, [(topic, at, key, cancel.model_dump_json().encode(), ())])

    async def results(self) -> list[ActivityResult]:
        """Every result so far, each in the partition of its workflow."""
        records = await read_topic(self.settings, self.naming.topic(topics.ACTIVITY_RESULTS))
        for record in records:
            assert record.key is not None
            assert record.partition == crc32(record.key) % PARTITIONS
        found = [ActivityResult.model_validate_json(record.value or b"") for record in records]
        assert [one.workflow_id.encode() for one in found] == [record.key for record in records]
        return found

    async def result(self, of: ActivityCommand) -> ActivityResult:
        """The one result of a command."""

        async def found() -> list[ActivityResult]:
            return [one for one in await self.results() if one.token == of.token]

        (only,) = await eventually(found, account=lambda: self.begun)
        assert (only.run, only.node, only.direction) == (of.run, of.node, of.direction)
        assert (only.round, only.attempt, only.workflow_id) == (of.round, of.attempt, of.workflow_id)
        return only

    async def all_results(self, count: int) -> list[ActivityResult]:
        async def found() -> list[ActivityResult] | None:
            results = await self.results()
            return results if len({one.token for one in results}) == count else None

        return await eventually(found, account=lambda: sum(self.begun.values()))

    async def heartbeats(self) -> list[Heartbeat]:
        records = await read_topic(self.settings, self.naming.topic(topics.HEARTBEATS))
        return [Heartbeat.model_validate_json(record.value or b"") for record in records]

    async def committed(self) -> int:
        """How many commands the group's commits call finished."""
        admin: Any = AIOKafkaAdminClient(bootstrap_servers=self.settings.bootstrap_servers)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(f"{self.settings.prefix}{GROUP}.default")
        finally:
            await admin.close()
        return sum(one.offset + int.from_bytes(decode(one.metadata), "little").bit_count() for one in found.values())

    def open(self) -> None:
        """Lets go what waits."""
        self.gate.touch()


@pytest.fixture
def shop(settings: EngineSettings, tmp_path: Path) -> Shop:
    return Shop(settings, tmp_path)


def _many(activity: str, count: int, first: int = 0, **changes: Any) -> list[ActivityCommand]:  # noqa: ANN401
    return [command(activity, number, **changes) for number in range(first, first + count)]


async def test_each_end_of_an_activity_has_its_outcome(shop: Shop) -> None:
    await install_product(shop.settings)
    wanted: Mapping[Outcome, ActivityCommand] = {
        Outcome.COMPLETED: command("echo", 1),
        Outcome.NO_EFFECT: command("fail", 2, input={"how": "no_effect"}),
        Outcome.FINAL: command("fail", 3, input={"how": "final"}),
        Outcome.FAILED: command("fail", 4, input={"how": "failed"}),
        Outcome.UNKNOWN_ACTIVITY: command("nobody_knows_it", 5),
        Outcome.NEVER_STARTED: command("echo", 6, not_after=int(time.time() * 1000) - 1),
    }
    undone = command("say_false", 7, direction=Direction.UNDO)
    await shop.send(*wanted.values(), undone)  # before there is any worker: a new group begins at the beginning
    async with shop.worker() as worker:
        for outcome, one in wanted.items():
            result = await shop.result(one)
            assert result.outcome is outcome
            assert (result.error is None) == (outcome is Outcome.COMPLETED)
        assert (await shop.result(wanted[Outcome.COMPLETED])).result == Given(value=1)
        assert (await shop.result(wanted[Outcome.FAILED])).error == "ValueError: on purpose"
        assert (await shop.result(undone)).error == "compensation say_false returned False"
        assert await worker.metric("acgs_activities_total", queue="default", outcome="completed") == 1
        assert await worker.metric("acgs_activity_seconds_count", queue="default") == 7
    assert "echo, fail, large, measure, say_false, wait, wait_quietly" in worker.said
    assert not shop.begun["order-6"]


async def test_no_more_run_at_once_than_are_allowed(shop: Shop) -> None:
    await install_product(shop.settings)
    await shop.send(*_many("wait", 12))
    async with shop.worker("--concurrency", "5") as worker:

        async def runs_five() -> bool:
            return await worker.metric("acgs_activities_running", queue="default") == 5

        await eventually(runs_five)
        assert sum(shop.begun.values()) == 5
        shop.open()
        await shop.all_results(12)
        assert set(shop.begun.values()) == {1}


async def test_a_slow_activity_holds_up_nobody_and_after_a_crash_only_the_unfinished_run_again(shop: Shop) -> None:
    await install_product(shop.settings)
    slow = [command("wait", 1_000), command("wait", 1_001)]
    quick = _many("echo", 500)
    await shop.send(slow[0], partition=0)
    await shop.send(slow[1], partition=1)
    await shop.send(*quick)
    async with shop.worker() as worker:
        await shop.all_results(500)
        await eventually(lambda: all(shop.begun[one.workflow_id] for one in slow))

        async def are_committed() -> bool:
            return await shop.committed() == 500

        await eventually(are_committed)
        worker.signal(signal.SIGKILL)
        await worker.ended()
    shop.open()
    async with shop.worker():
        results = await shop.all_results(502)
    assert len(results) == 502, "nothing was answered twice"
    assert {one for one, times in shop.begun.items() if times > 1} == {one.workflow_id for one in slow}


async def test_a_running_activity_is_cancelled_but_not_an_undo(shop: Shop) -> None:
    await install_product(shop.settings)
    wanted, undone = command("wait_quietly", 1), command("wait", 2, direction=Direction.UNDO)
    async with shop.worker():
        await shop.send(wanted, undone)
        await eventually(lambda: len(shop.begun) == 2)
        await shop.cancel(undone)
        await shop.cancel(wanted)
        result = await shop.result(wanted)
        assert (result.outcome, result.error) == (Outcome.FAILED, "cancelled")
        shop.open()
        assert (await shop.result(undone)).outcome is Outcome.COMPLETED


async def test_a_command_that_is_cancelled_before_it_comes_never_starts(shop: Shop) -> None:
    await install_product(shop.settings)
    first, cancelled, other = command("wait_quietly", 1), command("echo", 2), command("echo", 3)
    async with shop.worker("--concurrency", "1"):
        await shop.send(first, partition=0)
        await eventually(lambda: shop.begun)
        await shop.send(cancelled, other, partition=0)
        await shop.cancel(cancelled, partition=0)
        await shop.cancel(first, partition=0)  # after the other, and its place is needed for both
        result = await shop.result(cancelled)
        assert (result.outcome, result.error) == (Outcome.NEVER_STARTED, "cancelled")
        assert (await shop.result(other)).outcome is Outcome.COMPLETED
    assert "order-2" not in shop.begun


async def test_heartbeats_are_published_seldom_and_silence_ends_an_activity(shop: Shop) -> None:
    await install_product(shop.settings)
    beating, silent = command("wait", 1, heartbeat_ms=900), command("wait_quietly", 2, heartbeat_ms=300)
    async with shop.worker():
        began = time.monotonic()
        await shop.send(beating, silent)
        assert (await shop.result(silent)).error == "no heartbeat within 300 ms"

        async def has_beaten() -> bool:
            return len(await shop.heartbeats()) >= 3

        await eventually(has_beaten)
        shop.open()
        assert (await shop.result(beating)).outcome is Outcome.COMPLETED
        took = time.monotonic() - began
    told = await shop.heartbeats()
    assert {one.token for one in told} == {beating.token}
    assert len(told) <= took / 0.3 + 2
    done = [one.details["done"] for one in told if isinstance(one.details, dict)]
    assert done == sorted(done)
    assert len(done) == len(told)


async def test_told_to_stop_a_worker_lets_what_runs_end(shop: Shop) -> None:
    await install_product(shop.settings)
    running, later = command("wait", 1), _many("echo", 3, first=2)
    async with shop.worker() as worker:
        await shop.send(running)
        await eventually(lambda: shop.begun)
        worker.signal(signal.SIGTERM)
        await eventually(lambda: "may end within" in worker.said)
        await shop.send(*later)
        shop.open()
        assert await worker.ended() == 0
        assert (await shop.result(running)).outcome is Outcome.COMPLETED
        assert len(shop.begun) == 1, "nothing new is taken"
    async with shop.worker():
        await shop.all_results(4)
    assert set(shop.begun.values()) == {1}, "the offset of what ended was committed"


@pytest.mark.parametrize(("options", "signals"), [(("--drain-timeout", "0.2"), 1), (("--drain-timeout", "600"), 2)])
async def test_what_does_not_end_in_time_is_cancelled_and_answered(
    options: Sequence[str], signals: int, shop: Shop
) -> None:
    await install_product(shop.settings)
    running = command("wait_quietly", 1)
    async with shop.worker(*options) as worker:
        await shop.send(running)
        await eventually(lambda: shop.begun)
        worker.signal(signal.SIGINT)
        await eventually(lambda: "may end within" in worker.said)
        if signals > 1:
            worker.signal(signal.SIGINT)
        assert await worker.ended() == 0, worker.said
    result = await shop.result(running)
    assert (result.outcome, result.error) == (Outcome.FAILED, "worker stopped")


async def test_two_workers_share_a_queue_and_nothing_is_lost_when_one_joins_and_one_is_killed(shop: Shop) -> None:
    await install_product(shop.settings)
    async with shop.worker("--concurrency", "20") as first:
        await shop.send(*_many("echo", 300))
        await shop.all_results(300)
        held = _many("wait", 10, first=1_000)
        await shop.send(*held)
        await eventually(lambda: sum(shop.begun[one.workflow_id] for one in held) == 10)
        async with shop.worker("--concurrency", "20") as second:
            await shop.send(*_many("echo", 300, first=300))

            async def both_work() -> bool:
                return (
                    min([await one.metric("acgs_activities_total", outcome="completed") for one in (first, second)]) > 0
                )

            await eventually(both_work)
            await shop.all_results(600)
            first.signal(signal.SIGKILL)
            await first.ended()
            await shop.send(*_many("echo", 300, first=600))
            shop.open()
            results = await shop.all_results(910)
    assert {one.outcome for one in results} == {Outcome.COMPLETED}


async def test_what_runs_is_not_run_again_because_its_partition_went_and_came_back(shop: Shop) -> None:
    await install_product(shop.settings)
    held = [command("wait", 1), command("wait", 2)]
    async with shop.worker() as first:
        await shop.send(held[0], partition=0)
        await shop.send(held[1], partition=1)
        await eventually(lambda: len(shop.begun) == 2)
        async with shop.worker() as second:
            await eventually(lambda: sum(shop.begun.values()) == 3)  # one partition went to the second worker
            second.signal(signal.SIGTERM)
            await eventually(lambda: "may end within" in second.said)
            second.signal(signal.SIGTERM)
            await second.ended()
        await eventually(first.is_ready)
        await shop.send(*_many("echo", 20, first=100))
        shop.open()
        results = await shop.all_results(22)
    assert sum(shop.begun.values()) == 23
    assert Counter(one.outcome for one in results) == {Outcome.COMPLETED: 22, Outcome.FAILED: 1}


async def test_a_wrong_hash_has_no_effect_and_a_new_policy_is_followed(shop: Shop) -> None:
    await install_product(shop.settings)
    async with shop.worker() as worker:
        refused = command("echo", 1, constitutional_hash=NEXT_HASH)
        await shop.send(refused)
        result = await shop.result(refused)
        assert result.outcome is Outcome.NO_EFFECT
        assert (result.error or "").startswith("ConstitutionalError: ")
        await control.publish(
            shop.settings,
            policy(2).model_copy(update={"accepted_hashes": tuple(AcceptedHash(hash=h) for h in (HASH, NEXT_HASH))}),
        )
        await eventually(lambda: "policy: epoch 2" in worker.said)
        accepted = command("echo", 2, constitutional_hash=NEXT_HASH)
        await shop.send(accepted)
        assert (await shop.result(accepted)).outcome is Outcome.COMPLETED
    assert "order-1" not in shop.begun


async def test_a_worker_waits_for_a_policy(shop: Shop) -> None:
    await Installation(shop.settings, partitions=PARTITIONS, replication=1).create()
    wanted = command("echo", 1)
    await shop.send(wanted)
    async with shop.worker(ready=False) as worker:
        await eventually(lambda: "no policy is in force" in worker.said)
        assert (await worker.get("/readyz"))[0] == 503
        assert (await worker.get("/livez"))[0] == 200
        await control.publish(shop.settings, policy())
        assert (await shop.result(wanted)).outcome is Outcome.COMPLETED
        await eventually(worker.is_ready)


async def test_a_command_that_cannot_be_read_is_told_and_counted_and_holds_up_nobody(shop: Shop) -> None:
    await install_product(shop.settings)
    topic = shop.naming.topic(topics.activities_of("default"))
    await write(shop.settings, [(topic, 0, b"k", value, ()) for value in (b"{", b"[]", None, b'{"v": 1}')])
    wanted = command("echo", 1)
    await shop.send(wanted, partition=0)
    async with shop.worker() as worker:
        assert (await shop.result(wanted)).outcome is Outcome.COMPLETED
        assert await worker.metric("acgs_activity_commands_malformed_total", queue="default") == 4
        for offset in range(4):
            assert f"the command at {topic}/0/{offset} is none" in worker.said


async def test_a_large_result_is_kept_and_handed_to_the_next_activity(shop: Shop) -> None:
    await install_product(shop.settings)
    folder = shop.folder / "claims"
    async with shop.worker("--claims", str(folder)):
        wanted = command("large", 1, input={"bytes": 100_000})
        await shop.send(wanted)
        result = (await shop.result(wanted)).result
        assert result is not None
        assert result.claim is not None
        assert await FolderClaims(folder).get(result.claim) == b'"' + b"x" * 100_000 + b'"'
        next_one = command("measure", 2, inputs={"large": result})
        await shop.send(next_one)
        assert (await shop.result(next_one)).result == Given(value=100_000)


async def test_what_ends_while_the_broker_is_away_is_answered_when_it_is_back(tmp_path: Path, prefix: str) -> None:
    with embedded(tmp_path / "kafka") as own:
        assert own.kafka is not None
        shop = Shop(engine_settings(own, prefix), tmp_path)
        await install_product(shop.settings)
        held = _many("wait", 5)
        async with shop.worker() as worker:
            await shop.send(*held)
            await eventually(lambda: len(shop.begun) == 5)
            await asyncio.to_thread(own.kafka.kill)
            shop.open()
            await eventually(lambda: "results cannot be published" in worker.said)
            assert (await worker.get("/readyz"))[0] == 503
            assert (await worker.get("/livez"))[0] == 200
            await asyncio.to_thread(own.kafka.restart)
            assert {one.outcome for one in await shop.all_results(5)} == {Outcome.COMPLETED}
            await eventually(worker.is_ready)
            after = command("echo", 100)
            await shop.send(after)
            assert (await shop.result(after)).outcome is Outcome.COMPLETED
        assert set(shop.begun.values()) == {1}


async def test_what_cannot_be_served_ends_the_command_with_what_to_do(shop: Shop) -> None:
    async with shop.worker("--queue", "slow", ready=False) as worker:
        assert await worker.ended() == 1
    assert "acgs topics create" in worker.said
    assert "Traceback" not in worker.said

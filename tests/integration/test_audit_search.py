"""The index of a real broker's topics: built, gone on with, refused for another log, searched and explained."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from schemas import topics
from streams.engine import client
from streams.engine.client import EngineSettings
from streams.search.building import Builder, Progress, bring_up_to_date, look
from streams.search.errors import IndexFileError
from streams.search.file import IndexFile
from tests.integration.test_audit import some_traffic
from tests.integration.test_cli import Acgs
from tests.support.deliberating import publish
from tests.support.eventually import eventually
from tests.support.kafka import create_topics, delete_records, write
from tests.support.product import UNKNOWN_TOOL, encoded, message, spine
from tests.support.workers import running


class InterruptedBuildError(Exception):
    pass


def content(file: IndexFile) -> list[Any]:
    tables = ("records r JOIN topics t ON t.number = r.topic", "turns r JOIN topics t ON t.number = r.topic")
    return [
        sorted((row[1:] for row in file.connection.execute(f"SELECT r.*, t.name FROM {table}")), key=repr)  # noqa: S608
        for table in tables
    ]


async def test_an_index_goes_on_where_it_was_and_has_then_what_one_has_that_is_built_at_once(
    settings: EngineSettings, tmp_path: Path
) -> None:
    await some_traffic(settings)
    installed = await look(settings)

    def after_some(now: Progress) -> None:
        if now.records and now.done < now.total:
            raise InterruptedBuildError

    with installed.open(tmp_path / "often") as often, installed.open(tmp_path / "once") as once:
        with pytest.raises(InterruptedBuildError):
            async with Builder(settings, installed, often, at_once=7) as builder:
                await builder.catch_up(after_some)
        assert 0 < often.count() < 50
        assert often.as_of_ms is None
        await bring_up_to_date(settings, installed, often)
        built = await bring_up_to_date(settings, installed, once)
        assert built.records == once.count() > 100
        assert content(often) == content(once)
        again = await bring_up_to_date(settings, installed, once)
        assert (again.records, again.turns, again.lost) == (0, 0, {})
        await delete_records(settings, f"{settings.prefix}{topics.IN_MESSAGES}", {0: 20})
        async with running(spine(settings), settings):
            await publish(settings, encoded(99))
            await eventually(lambda: _has_grown(settings, once))
        await bring_up_to_date(settings, installed, often)
        assert content(often) == content(once)


async def _has_grown(settings: EngineSettings, file: IndexFile) -> bool:
    """Whether the last message's delivery is indexed."""
    await bring_up_to_date(settings, await look(settings), file)
    found = file.connection.execute("SELECT count(*) FROM records WHERE message = ?", (_bytes_of(99),)).fetchone()
    return bool(found[0] == 3)


def _bytes_of(number: int) -> bytes:
    return bytes.fromhex(str(message(number)["message_id"]).replace("-", ""))


async def test_topics_that_were_made_anew_are_noticed_and_what_was_aborted_is_not_indexed(
    settings: EngineSettings, tmp_path: Path
) -> None:
    topic = f"{settings.prefix}{topics.IN_MESSAGES}"
    await create_topics(settings, [topic], 1)
    await write(settings, [(topic, 0, None, encoded(n), ()) for n in range(3)])
    await _abort(settings, topic)
    await write(settings, [(topic, 0, None, encoded(3), ())])
    installed = await look(settings)
    with installed.open(tmp_path / "index") as file:
        await bring_up_to_date(settings, installed, file)
        offsets = [row[0] for row in file.connection.execute("SELECT offset FROM records ORDER BY offset")]
        assert offsets == [0, 1, 2, 5]
        await _make_anew(settings, topic)
        await write(settings, [(topic, 0, None, encoded(n), ()) for n in range(20, 23)])
        with pytest.raises(IndexFileError, match=r"ends at 3, and the index has read to 6.*delete the file"):
            await bring_up_to_date(settings, installed, file)
        await write(settings, [(topic, 0, None, encoded(n), ()) for n in range(23, 40)])
        with pytest.raises(IndexFileError, match=r"another record at offset 5.*acgs audit verify"):
            await bring_up_to_date(settings, installed, file)


async def _abort(settings: EngineSettings, topic: str) -> None:
    producer: Any = client.transactional_producer(settings, "aborting")
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, encoded(70), partition=0)
        await producer.abort_transaction()
    finally:
        await producer.stop()


async def _make_anew(settings: EngineSettings, topic: str) -> None:
    admin: Any = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics([topic])
        await eventually(lambda: _is_gone(admin, topic))
    finally:
        await admin.close()
    await create_topics(settings, [topic], 1)


async def _is_gone(admin: Any, topic: str) -> bool:  # noqa: ANN401
    return topic not in await admin.list_topics()


async def test_the_commands_find_a_decision_and_tell_its_story(settings: EngineSettings, tmp_path: Path) -> None:
    await some_traffic(settings)
    acgs, file = Acgs(settings), ("--file", str(tmp_path / "index.sqlite"))
    said = await acgs("audit", "explain", message(1)["message_id"], *file)
    assert said.code == 0, said.err
    assert "There is no index yet: building" in said.err
    assert "Added " in said.err
    searched = await acgs("audit", "search", "--tool", UNKNOWN_TOOL, "--verdict", "released", "--json", *file)
    (released,) = map(json.loads, searched.out.splitlines())
    assert (released["score"], released["reason"]) == (8_000, "approved by lee, sam")
    told = json.loads((await acgs("audit", "explain", released["item"][:13], "--json", *file)).out)
    assert told["id"] == released["item"]
    steps = [line["step"] for line in told["lines"]]
    assert steps.count("delivered") == 2, "another message had the same id, and nothing to wait for"
    after = steps[steps.index("held") :]
    assert [step for step in after if step not in {"received", "accepted"}] == [
        *("held", "vote", "vote", "released", "delivered")
    ]
    assert any("another message with the same id" in line["says"] for line in told["lines"])
    assert all(line["turn"] for line in told["lines"])
    place = f"{released['topic']}/{released['partition']}/{released['offset']}"
    assert place in (await acgs("audit", "explain", released["message"], "--as-is", *file)).out
    await delete_records(settings, f"{settings.prefix}{topics.IN_MESSAGES}", {0: 35})
    left = await acgs("audit", "explain", released["item"], *file)
    assert "deleted by retention; the index remembers: received" in left.out
    several, nothing = await asyncio.gather(
        acgs("audit", "explain", "g", *file), acgs("audit", "search", "--as-is", "--file", str(tmp_path / "none"))
    )
    assert (several.code, nothing.code) == (1, 1)
    assert "'acgs audit search' lists what there is" in several.err
    assert "'acgs audit index' builds it" in nothing.err

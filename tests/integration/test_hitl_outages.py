"""Cards and callbacks while platforms, processes and the broker fail, and under floods."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from schemas.decision import Vote
from streams.engine.client import EngineSettings
from streams.hitl import HitlSettings
from streams.hitl.desk import WINDOW
from streams.hitl.running import GROUP
from streams.metrics import HitlMeasures
from tests.integration.test_cli import Acgs
from tests.support.broker import embedded, engine_settings
from tests.support.deliberating import client_of, deliberating, publish
from tests.support.eventually import eventually
from tests.support.groups import commits
from tests.support.hitl import (
    SLACK,
    TEAMS,
    WEBHOOK,
    decisions,
    environment,
    is_dealt_with,
    managing,
    office,
    own_settings,
    people,
    waiting,
)
from tests.support.platform import (
    FAILS,
    HANGS,
    SECRETS,
    Behaviour,
    Platform,
    fetch,
    item_of,
    limits_rate,
    platform,
    send,
    slack_headers,
    takes_all,
)
from tests.support.processes import Process, of_a_worker
from tests.support.product import UNKNOWN_TOOL, encoded

WEBHOOK_BUSY = {"platform": "webhook", "why": "busy"}


def values(*numbers: int) -> list[bytes]:
    return [encoded(number, tool=UNKNOWN_TOOL) for number in numbers]


def shown(at: Platform) -> list[str]:
    """The items whose cards Slack has taken, in that order."""
    return [item_of(card) for card in at.cards()]


def tried(at: Platform) -> set[str]:
    """The items whose cards Slack has been given, whatever it did."""
    cards = [one.document for one in at.on("/api/chat.postMessage", taken=False) if b'"blocks"' in one.body]
    return {item_of(card) for card in cards}


def told(at: Platform) -> list[str]:
    """The items that the webhook has taken, in that order."""
    return [event["status"]["item"]["item_id"] for event in at.events()]


@pytest.mark.parametrize("failure", [None, FAILS, limits_rate(1), Behaviour(503), HANGS])
async def test_a_platform_that_is_away_holds_up_no_other_and_gets_every_card_once_it_is_back(
    settings: EngineSettings, at: Platform, tmp_path: Path, failure: Behaviour | None
) -> None:
    own = own_settings(at, tmp_path, SLACK, WEBHOOK)
    async with platform() as other, deliberating(settings, people()):
        away = own.model_copy(update={"slack_api_url": f"{other.url}/api/"})
        if failure is None:
            await other.stop()
        other.behave = lambda _path, _body: failure
        async with managing(settings, away) as running:
            await publish(settings, *values(*range(20)))
            items = {item.item_id for item in await waiting(settings, 20)}
            await eventually(lambda: set(told(at)) == items)
            assert running.manager.readiness().ok
            assert other.cards() == []
            if failure is None:
                await other.start()
            other.behave = takes_all
            await eventually(lambda: set(shown(other)) == items, account=lambda: len(shown(other)))
            if failure is not HANGS:
                assert len(shown(other)) == 20
            assert len(told(at)) == 20


async def test_of_a_platform_that_is_away_500_statuses_are_read_and_the_others_wait_in_the_log(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    registry = CollectorRegistry()

    def measured(name: str, **labels: str) -> float:
        return registry.get_sample_value(f"acgs_hitl_{name}", {"platform": "slack", **labels}) or 0

    at.behave = lambda _path, _body: FAILS
    own = own_settings(at, tmp_path, SLACK)
    async with deliberating(settings, people(max_held_per_sender=1_000)):
        await publish(settings, *values(*range(560)))
        await waiting(settings, 560)
        async with managing(settings, own, measures=HitlMeasures(registry)) as running:
            await eventually(lambda: measured("waiting") == WINDOW)
            await eventually(
                lambda: measured("retries_total") > WINDOW and measured("failures_total", why="busy") > WINDOW
            )
            assert measured("waiting") == WINDOW
            assert running.manager.liveness().ok
            at.behave = takes_all
            await eventually(lambda: len(shown(at)) == 560)
            await eventually(lambda: measured("waiting") == 0)
            assert measured("posts_total", kind="card") == 560


async def test_one_card_that_is_not_taken_holds_up_no_other_and_nothing_is_posted_of_what_has_ended_meanwhile(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    registry = CollectorRegistry()
    own = own_settings(at, tmp_path, SLACK)
    async with deliberating(settings, people()), managing(settings, own, measures=HitlMeasures(registry)):
        await publish(settings, *values(0))
        (slow,) = await waiting(settings)
        await eventually(lambda: shown(at) == [slow.item_id])
        at.behave = lambda _path, body: FAILS if b'\\"n\\": 1\\n' in body else None
        await publish(settings, *values(*range(1, 20)))
        items = {item.item_id: item for item in await waiting(settings, 20)}
        await eventually(lambda: len(shown(at)) == 19)
        (left,) = items.keys() - set(shown(at))
        async with client_of(settings, "lee") as lee:
            await lee.decide(items[left], Vote.VETO, "no")
        at.behave = takes_all
        await publish(settings, *values(20))
        await eventually(lambda: len(shown(at)) >= 20)
        await eventually(lambda: registry.get_sample_value("acgs_hitl_waiting", {"platform": "slack"}) == 0)
        assert left not in shown(at)
        assert left not in str(at.replies())


async def test_a_retry_after_is_kept_to_by_every_card_of_the_platform(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    asked: list[float] = []

    def limits_once(_path: str, _body: bytes) -> Behaviour | None:
        if asked:
            return None
        asked.append(time.monotonic())
        return limits_rate(3)

    async with deliberating(settings, people()):
        await publish(settings, *values(0))
        await waiting(settings)
        at.behave = limits_once
        async with managing(settings, own_settings(at, tmp_path, SLACK)):
            await eventually(lambda: asked)
            await publish(settings, *values(*range(1, 10)))
            await eventually(lambda: len(shown(at)) == 10)
    assert min(one.at for one in at.on("/api/chat.postMessage")) - asked[0] >= 3


# Processes


@contextmanager
def process(settings: EngineSettings, own: HitlSettings, log: Path) -> Iterator[Process]:
    """`acgs hitl run`, killed at the end if it has not ended."""
    variables = {**of_a_worker(settings.bootstrap_servers, settings.prefix, "hitl"), **environment(own)}
    started = Process(["-m", "streams.cli.main", "hitl", "run", "--with-parent"], variables, log)
    try:
        yield started
    finally:
        if started.code is None:
            started.kill()


async def test_a_manager_that_is_killed_loses_no_card_and_posts_none_again_that_it_has_committed(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    own, group = own_settings(at, tmp_path, SLACK, WEBHOOK), settings.group(f"{GROUP}.{SLACK}")

    def takes_no_card(path: str, body: bytes) -> Behaviour | None:
        return FAILS if path.endswith("chat.postMessage") or b'"kind":"item"' in body else None

    async with deliberating(settings, people()), client_of(settings, "lee") as lee:
        with process(settings, own, tmp_path / "1.log") as first:
            await publish(settings, *values(*range(40)))
            posted = await waiting(settings, 40)
            await eventually(lambda: len(shown(at)) == 40 and len(told(at)) == 40, account=first.last_words)
            for channel in (SLACK, WEBHOOK):
                await eventually(lambda channel=channel: is_dealt_with(settings, channel))
            at.behave = takes_no_card
            await publish(settings, *values(*range(40, 50)))
            new = {item.item_id for item in await waiting(settings, 50)} - {item.item_id for item in posted}
            await eventually(lambda: new <= tried(at), account=first.last_words)
            before = await commits(settings, group)
            await lee.decide(posted[0], Vote.VETO, "no")
            await eventually(lambda: at.on("/api/chat.update"))

            async def has_committed() -> bool:
                return await commits(settings, group) != before

            await eventually(has_committed)
            first.kill()
        await publish(settings, *values(*range(50, 60)))
        items = {item.item_id for item in (*posted, *await waiting(settings, 59))}
        at.behave = takes_all
        with process(settings, own, tmp_path / "2.log") as second:
            await eventually(
                lambda: set(shown(at)) == items and set(told(at)) == items,
                account=lambda: (len(shown(at)), second.last_words()),
            )
        assert (len(shown(at)), len(told(at))) == (60, 60)


async def test_killed_in_the_middle_of_posting_each_card_is_there_and_only_the_last_ones_twice(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    own = own_settings(at, tmp_path, SLACK)
    async with deliberating(settings, people()):
        await publish(settings, *values(*range(90)))
        items = {item.item_id for item in await waiting(settings, 90)}
        for number in range(3):
            with process(settings, own, tmp_path / f"{number}.log") as started:
                wanted = 25 * (number + 1)
                await eventually(lambda wanted=wanted: len(set(shown(at))) >= wanted, account=started.last_words)
                started.kill()
        with process(settings, own, tmp_path / "last.log") as last:
            await eventually(lambda: set(shown(at)) == items, account=last.last_words)


async def test_after_a_restart_an_outcome_is_told_with_the_items_id_and_a_click_on_the_old_card_ends_it(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    own = own_settings(at, tmp_path, SLACK)
    async with deliberating(settings, people()):
        async with managing(settings, own):
            await publish(settings, *values(0, 1))
            items = await waiting(settings, 2)
            await eventually(lambda: len(at.cards()) == 2)
        async with managing(settings, own) as running, client_of(settings, "lee") as lee:
            seen, unseen = items
            card = next(one for one in at.cards() if seen.item_id in str(one))
            body = at.click(card, "acgs_approve", "U1")
            await send(f"{running.url}/callbacks/slack", body, slack_headers(body))
            await eventually(at.answers)
            for item in items:
                await lee.decide(item, Vote.VETO, "no")
            await eventually(lambda: at.replies() and at.on("/api/chat.update"))
            assert [one.document["ts"] for one in at.on("/api/chat.update")] == [at.ts_of(seen.item_id)]
            (reply,) = at.replies()
            assert "thread_ts" not in reply
            assert reply["text"].startswith(f"Vetoed by lee: item {unseen.item_id} ")
            old = next(one for one in at.cards() if unseen.item_id in str(one))
            body = at.click(old, "acgs_approve", "U1")
            await send(f"{running.url}/callbacks/slack", body, slack_headers(body))
            await eventually(lambda: len(at.on("/api/chat.update")) == 2)
            assert at.on("/api/chat.update")[1].document["ts"] == at.ts_of(unseen.item_id)
        assert len(at.cards()) == 2


async def test_two_managers_share_the_cards_and_each_takes_what_the_other_leaves(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    own, registries = own_settings(at, tmp_path, WEBHOOK), [CollectorRegistry(), CollectorRegistry()]
    first, second = (managing(settings, own, measures=HitlMeasures(registry)) for registry in registries)

    def left() -> float:
        found = [one.get_sample_value("acgs_hitl_waiting", {"platform": "webhook"}) or 0 for one in registries]
        return sum(found)

    at.behave = lambda _path, _body: FAILS
    async with deliberating(settings, people()), first:
        await publish(settings, *values(*range(30)))
        items = {item.item_id for item in await waiting(settings, 30)}
        await eventually(lambda: left() == 30)
        async with second:
            await eventually(
                lambda: (
                    left() == 30
                    and all(one.get_sample_value("acgs_hitl_failures_total", WEBHOOK_BUSY) for one in registries)
                )
            )
            at.behave = takes_all
            await eventually(lambda: set(told(at)) == items and left() == 0)
            assert len(told(at)) == 30
        await publish(settings, *values(*range(30, 40)))
        items = {item.item_id for item in await waiting(settings, 40)}
        await eventually(lambda: set(told(at)) == items)
        assert len(told(at)) == 40


async def test_it_goes_on_when_the_broker_is_back(prefix: str, at: Platform, tmp_path: Path) -> None:
    with embedded(tmp_path / "kafka") as own_broker:
        assert own_broker.kafka is not None
        settings = engine_settings(own_broker, prefix)
        async with office(settings, at, tmp_path, SLACK) as running:
            await publish(settings, *values(0))
            await eventually(lambda: len(at.cards()) == 1)
            await asyncio.to_thread(own_broker.kafka.kill)
            await asyncio.to_thread(own_broker.kafka.restart)

            async def counted() -> bool:
                body = at.click(at.cards()[0], "acgs_approve", "U1", trigger_id=str(time.monotonic()))
                before = len(at.answers())
                await send(f"{running.url}/callbacks/slack", body, slack_headers(body))
                await eventually(lambda: len(at.answers()) > before)
                return "Counted" in at.answers()[-1]["text"] or "already_voted" in at.answers()[-1]["text"]

            await eventually(counted, timedelta(seconds=120))
            await publish(settings, *values(1))
            await eventually(lambda: len(at.cards()) >= 2, timedelta(seconds=120))
            assert len(set(shown(at))) == 2


# Floods


async def test_a_flood_of_bad_requests_does_not_keep_a_good_one_waiting(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    async with office(settings, at, tmp_path, SLACK) as running:
        await publish(settings, *values(0))
        await eventually(at.cards)
        body = at.click(at.cards()[0], "acgs_approve", "U1")
        url, bad = f"{running.url}/callbacks/slack", slack_headers(body, secret="other")  # noqa: S106
        is_over, refused = asyncio.Event(), list[int]()

        async def flood() -> None:
            while not is_over.is_set():
                refused.append((await send(url, body, bad)).status)

        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(flood())
            await eventually(lambda: len(refused) > 200)
            began = time.monotonic()
            assert (await send(url, body, slack_headers(body))).status == 200
            acknowledged = time.monotonic() - began
            await eventually(at.answers)
            is_over.set()
        assert acknowledged < 3
        assert at.answers()[0]["text"].startswith("Counted.")
        assert set(refused) == {401}
    assert await decisions(settings) == 1


@asynccontextmanager
async def slow_bodies(port: int, count: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Requests whose headers are good and whose bodies do not come."""
    made = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    head = (
        "POST /callbacks/slack HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        f"X-Slack-Request-Timestamp: {int(time.time())}\r\nX-Slack-Signature: v0=0\r\nContent-Length: 1000\r\n\r\n"
    )
    try:
        for _, writer in made:
            writer.write(head.encode())
            await writer.drain()
        yield [reader for reader, _ in made]
    finally:
        for _, writer in made:
            writer.close()


async def test_bodies_that_do_not_come_are_given_up_and_others_are_told_to_come_again_meanwhile(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    async with office(settings, at, tmp_path, SLACK) as running:
        await publish(settings, *values(0))
        await eventually(at.cards)
        body = at.click(at.cards()[0], "acgs_approve", "U1")
        url = f"{running.url}/callbacks/slack"
        async with slow_bodies(running.manager.port, 250) as slow:

            async def is_full() -> bool:
                return (await send(url, body, slack_headers(body))).status == 503

            lines = [await reader.readline() for reader in slow[200:]]
            assert {line.split()[1] for line in lines} == {b"503"}
            assert await is_full()
            assert (await fetch(f"{running.url}/healthz")).status == 200
            answered = [await reader.readline() for reader in slow[:200]]
            assert {line.split()[1] for line in answered} == {b"408"}
            assert (await send(url, body, slack_headers(body))).status == 200
            await eventually(at.answers)


async def test_connections_too_many_are_told_so_at_once(settings: EngineSettings, at: Platform, tmp_path: Path) -> None:
    async with office(settings, at, tmp_path, SLACK) as running:
        idle = [await asyncio.open_connection("127.0.0.1", running.manager.port) for _ in range(510)]
        try:
            late = [await asyncio.wait_for(reader.readline(), 30) for reader, _ in idle[500:]]
            assert {line.split()[1] for line in late} == {b"503"}
            assert (await asyncio.wait_for(idle[0][0].read(), 60)) == b""
            assert (await fetch(f"{running.url}/healthz")).status == 200
        finally:
            for _, writer in idle:
                writer.close()


# The command


async def test_the_command_ends_in_good_order_and_never_says_a_secret(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    own = own_settings(at, tmp_path, SLACK, WEBHOOK, TEAMS)
    at.behave = lambda path, _body: FAILS if path == "/teams" else None
    async with deliberating(settings, people()):
        await publish(settings, *values(0))
        with process(settings, own, tmp_path / "log") as started:
            await eventually(lambda: at.cards() and at.events(), account=started.last_words)
            await eventually(lambda: at.on("/teams", taken=False))
            started.ask_to_stop()
            assert started.wait() == 0
        said = (tmp_path / "log").read_text()
        assert "teams: it answers 500" in said
        for secret in (*SECRETS, '/teams"', f"{at.url}/webhook"):
            assert secret not in said


async def test_a_card_is_posted_by_the_command(settings: EngineSettings, at: Platform, tmp_path: Path) -> None:
    acgs = Acgs(settings)
    async with deliberating(settings, people()):
        await publish(settings, *values(0))
        (item,) = await waiting(settings)
        unset = await acgs("hitl", "post", item.item_id)
        assert (unset.code, "ACGS_HITL_PUBLIC_URL and ACGS_HITL_LINK_SECRET" in unset.err) == (2, True)
        config = tmp_path / "acgs.toml"
        own = own_settings(at, tmp_path, WEBHOOK)
        lines = [f'{name.removeprefix("ACGS_HITL_").lower()} = "{value}"' for name, value in environment(own).items()]
        config.write_text("\n".join(["[hitl]", *(line for line in lines if not line.startswith("port"))]))
        posted = await acgs("--config", str(config), "hitl", "post", item.item_id, "--channel", "webhook")
        assert (posted.code, posted.out) == (0, "Posted on webhook.\n")
        assert told(at) == [item.item_id]
        wrong = await acgs("--config", str(config), "hitl", "post", item.item_id)
        assert (wrong.code, "'slack' is not set; set are: webhook" in wrong.err) == (2, True)
        listed = await acgs("--config", str(config), "deliberation", "list")
        assert listed.code == 0
    assert not any(name.startswith("ACGS_HITL_") for name in os.environ)

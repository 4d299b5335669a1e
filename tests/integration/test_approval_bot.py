"""The sample bot where nobody takes what it decides."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from schemas import topics
from streams.engine.client import EngineSettings
from streams.samples import approval_bot
from tests.support.deliberated import Desk, held, registry
from tests.support.eventually import eventually
from tests.support.kafka import read_topic, write
from tests.support.product import install_product
from tests.support.signing import approver, key

DEPLOYS = {"tool": "deploy_service", "arguments": {"version": "1.2.3"}}


async def test_a_decision_that_nobody_takes_in_time_does_not_end_the_bot(
    settings: EngineSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    naming = await install_product(settings)
    monkeypatch.setenv("ACGS_KAFKA_BOOTSTRAP_SERVERS", settings.bootstrap_servers)
    monkeypatch.setenv("ACGS_PREFIX", settings.prefix)
    desk = Desk(registry(approvers=(approver("bot", "security", kind="bot"),)))
    for number in range(2):
        one = held(desk.in_force, number, tool=None, payload={"action": DEPLOYS})
        status = desk.status(desk.hold(one))
        assert status is not None
        placed = status.model_copy(update={"partition": 0, "offset": number})
        key_, told = one.item.item_id.encode(), placed.model_dump_json().encode()
        kept = naming.topic(topics.DELIBERATION), 0, key_, one.value, one.headers
        await write(settings, [kept, (naming.topic(topics.DELIBERATION_STATUS), 0, key_, told, ())])
    running = asyncio.create_task(approval_bot.run(key("bot"), "bot", answer_within=timedelta(seconds=1)))

    async def both_decided() -> bool:
        return len(await read_topic(settings, naming.topic(topics.IN_DECISIONS))) == 2

    await eventually(both_decided)
    assert not running.done()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running

"""Items that wait on a real broker: clients that see them, decide on them, and what is released."""

import asyncio
from datetime import timedelta

import orjson
import pytest

from schemas import envelope, topics
from schemas.decision import Vote
from schemas.deliberation import CHANGE_POLICY, DeliberationState
from schemas.message import AgentMessage
from schemas.policy import Policy
from schemas.registry import Sender
from streams import control
from streams.approvals import (
    ApprovalClient,
    DecisionRefusedError,
    DeliberationQueue,
    DeliberationTimeoutError,
    ItemRefusedError,
    ItemUnknownError,
    PendingItem,
)
from streams.engine.client import EngineSettings
from tests.support.deliberated import registry
from tests.support.deliberating import client_of, deliberating, publish
from tests.support.eventually import eventually
from tests.support.kafka import read_topic
from tests.support.product import PARTITIONS, UNKNOWN_TOOL, encoded, message
from tests.support.signing import key, owners, public, signer


async def first(client: ApprovalClient, count: int = 1) -> list[PendingItem]:
    found: list[PendingItem] = []
    async with asyncio.timeout(60):
        async for one in client.pending():
            found.append(one)
            if len(found) == count:
                break
    return found


async def test_a_dangerous_message_waits_for_two_signatures_and_is_delivered_once(settings: EngineSettings) -> None:
    value = encoded(1, tool=UNKNOWN_TOOL)
    async with deliberating(settings), client_of(settings, "lee") as lee, client_of(settings, "sam") as sam:
        await publish(settings, value, encoded(2))
        (waiting,) = await first(lee)
        assert (waiting.value, waiting.tool, waiting.arguments) == (value, UNKNOWN_TOOL, {"n": 1})
        assert (await lee.decide(waiting.item, Vote.APPROVE)).state is DeliberationState.PENDING
        with pytest.raises(DecisionRefusedError) as refused:
            await lee.decide(waiting.item, Vote.APPROVE)
        assert refused.value.reason == "already_voted"
        ended = await sam.decide(waiting.item, Vote.APPROVE, "seen")
        assert ended.state is DeliberationState.APPROVED
        assert await lee.ended(waiting.item_id) == ended
        with pytest.raises(DecisionRefusedError) as late:
            await sam.decide(waiting.item, Vote.VETO)
        assert late.value.reason == "item_closed"
    delivered = await read_topic(settings, f"{settings.prefix}{topics.DELIVERIES}")
    assert sorted(record.value or b"" for record in delivered) == sorted([value, encoded(2)])


async def test_who_comes_later_sees_what_waits_and_not_what_ended_or_what_they_voted_on(
    settings: EngineSettings,
) -> None:
    values = [encoded(number, tool=UNKNOWN_TOOL) for number in range(30)]
    async with deliberating(settings):
        await publish(settings, *values)
        async with client_of(settings, "lee") as lee:
            waiting = {one.value: one for one in await first(lee, len(values))}
            await lee.decide(waiting[values[0]].item, Vote.VETO, "no")
            await lee.decide(waiting[values[1]].item, Vote.ABSTAIN)
        async with client_of(settings, "lee") as again, client_of(settings, "sam") as sam:
            assert {one.value for one in await first(again, 28)} == set(values[2:])
            assert {one.value for one in await first(sam, 29)} == set(values[1:])


async def test_an_item_is_looked_up_by_its_id_while_it_waits_and_afterwards(settings: EngineSettings) -> None:
    async with deliberating(settings), client_of(settings, "lee") as lee:
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        (waiting,) = await first(lee)
        assert await lee.get(waiting.item_id) == waiting
        await lee.decide(waiting.item, Vote.VETO, "no")
        found = await lee.get(waiting.item_id)
        assert (found.status.state, found.status.by, found.value) == (DeliberationState.REJECTED, "lee", waiting.value)
        with pytest.raises(ItemUnknownError):
            await lee.get("00000000-0000-0000-0000-000000000000")


async def test_the_queue_holds_what_it_is_given_and_says_whether_a_vote_counted(settings: EngineSettings) -> None:
    harmless = AgentMessage.model_validate_json(encoded(1))
    async with deliberating(settings), DeliberationQueue(settings, [signer("lee"), signer("sam")]) as queue:
        item_id = await queue.add(harmless)
        status = await queue.get_status(item_id)
        assert (status.state, status.item.score, status.item.message_id) == (
            DeliberationState.PENDING,
            8_001,
            harmless.message_id,
        )
        assert await queue.approve(item_id, "lee") is True
        assert await queue.approve(item_id, "lee") is False
        assert await queue.approve(item_id, "sam") is True
        assert (await queue.get_status(item_id)).state is DeliberationState.APPROVED
        with pytest.raises(ItemRefusedError) as twice:
            await queue.add(harmless)
        assert twice.value.reason == "duplicate_item"
        denied = await queue.add(AgentMessage.model_validate_json(encoded(2)))
        assert await queue.reject(denied, "lee", "not today") is True
        status = await queue.get_status(denied)
        assert (status.state, status.why) == (DeliberationState.REJECTED, "vetoed by lee: not today")
        with pytest.raises(ItemRefusedError) as refused:
            await queue.add(AgentMessage.model_validate_json(encoded(3, constitutional_hash="f" * 16)))
        assert refused.value.reason == "hash_unknown"


async def test_a_decision_that_nobody_takes_is_told_in_time(settings: EngineSettings) -> None:
    async with deliberating(settings) as worker, client_of(settings, "lee") as lee:
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        (waiting,) = await first(lee)
        await worker.stop()
        async with client_of(settings, "lee", answer_within=timedelta(seconds=1)) as hasty:
            with pytest.raises(DeliberationTimeoutError, match="is in the log, but nobody has taken"):
                await hasty.decide(waiting.item, Vote.APPROVE)


async def test_two_owners_put_the_next_epoch_in_force_on_every_partition(settings: EngineSettings) -> None:
    begun = registry(**owners("ann", "bob"))
    following = registry(2, **owners("ann", "bob"), max_held_per_sender=7)
    document = orjson.loads(following.canonical())
    action = {"tool": CHANGE_POLICY, "arguments": {"document": document}}
    proposal = orjson.dumps(message(1, message_type="governance_request", payload={"action": action}))
    async with deliberating(settings, begun), client_of(settings) as client:
        await publish(settings, proposal)
        (waiting,) = await first(client)
        assert (await client.decide(waiting.item, Vote.APPROVE, signer=signer("ann"))).state.value == "pending"
        assert (await client.decide(waiting.item, Vote.APPROVE, signer=signer("bob"))).state.value == "approved"

        async def in_force() -> Policy | None:
            current = await control.in_force(settings)
            return current.policy if current and current.policy.epoch == following.epoch else None

        assert await eventually(in_force) == following
    records = await read_topic(settings, f"{settings.prefix}{topics.CONTROL}")
    assert sorted((r.partition, orjson.loads(r.value or b"")["epoch"]) for r in records) == [
        (partition, epoch) for partition in range(PARTITIONS) for epoch in (1, 2)
    ]


async def test_a_signature_of_a_registered_sender_goes_with_the_message(settings: EngineSettings) -> None:
    policy = registry(senders=(Sender(agent="planner", tenant_id="acme", keys=(public("planner"),)),))
    value = encoded(1)
    async with deliberating(settings, policy):
        await publish(settings, value, headers=[(envelope.SIGNATURE, key("planner").message_signature(value))])
        await publish(settings, encoded(2))

        async def both() -> dict[bytes, bytes] | None:
            found = await read_topic(settings, f"{settings.prefix}{topics.DELIVERIES}")
            said = {r.value or b"": dict(r.headers)[envelope.SENDER_VERIFIED] or b"" for r in found}
            return said if len(said) == 2 else None

        assert await eventually(both) == {value: b"true", encoded(2): b"false"}


async def test_a_message_that_is_not_held_after_all_is_told(settings: EngineSettings) -> None:
    harmless = encoded(1)
    said = message(1)
    async with deliberating(settings), client_of(settings, answer_within=timedelta(seconds=2)) as client:
        with pytest.raises(DeliberationTimeoutError, match="weighs less than what the policy holds"):
            await client.hold(said["message_id"], said["conversation_id"], harmless)

"""A replay on a real broker: past messages under a stricter policy, and what would change. Nothing live is touched."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest

from schemas import topics
from schemas.policy import Policy, Tool, Verb
from streams.audit.kafka_log import installed
from streams.broker import reading, require_topics
from streams.engine import client
from streams.engine.client import EngineSettings
from streams.errors import ReplayError
from streams.policy_changes import to_toml
from streams.replay.diffing import difference
from streams.replay.running import Order, replay
from streams.replay.writing import claim, remove
from tests.integration.test_cli import Acgs
from tests.support.deliberated import registry
from tests.support.deliberating import deliberating, publish
from tests.support.kafka import read_topic
from tests.support.product import SAFE_TOOL, UNKNOWN_TOOL, encoded
from tests.support.signing import owners

EVER = ("--from", "2020-01-01", "--to", "2100-01-01T00:00:00Z")
TOOLS = (None, SAFE_TOOL, UNKNOWN_TOOL)


def owned(epoch: int = 1, **changes: object) -> Policy:
    return registry(epoch, **owners("ann", "bob"), **changes)


async def ends(settings: EngineSettings) -> dict[str, int]:
    """Of every live topic but `lanes`, in which workers say every second how they stand."""
    facts, lanes = await installed(settings), f"{settings.prefix}{topics.LANES}"
    places = [(name, p) for name, count in facts.partitions.items() if name != lanes for p in range(count)]
    every = [client.topic_partition(*place) for place in places]
    async with reading(settings) as consumer:
        return {f"{tp.topic}/{tp.partition}": end for tp, end in (await consumer.end_offsets(every)).items()}


async def some_messages(settings: EngineSettings) -> None:
    await publish(settings, *[encoded(n, tool=TOOLS[n % 3]) for n in range(12)], b"{")


async def until_decided(settings: EngineSettings) -> None:
    """Until the one that came last is: each public partition's records are decided in order."""
    found = 0
    while found < 13:
        names = (topics.DELIVERIES, topics.DELIBERATION, topics.REJECTED)
        records = [one for name in names for one in await read_topic(settings, f"{settings.prefix}{name}")]
        found = sum(any(name == "acgs-source" for name, _ in one.headers) for one in records)


async def nothing_changes_under_the_policy_in_force(acgs: Acgs, into: str) -> None:
    made = await acgs("replay", *EVER, "--into", into)
    assert made.code == 0, made.err
    same = await acgs("replay", "diff", into)
    assert (same.code, "Every decision is the same." in same.out) == (0, True)
    inputs = {one.timestamp for one in await read_topic(acgs.settings, f"{acgs.settings.prefix}{topics.IN_MESSAGES}")}
    assert {one.timestamp for one in await read_topic(acgs.settings, f"{into}{topics.DELIVERIES}")} <= inputs
    await remove(replace(acgs.settings, prefix=into))


async def test_a_policy_is_tried_compared_proposed_with_what_it_would_change_and_its_replay_removed(
    settings: EngineSettings, tmp_path: Path
) -> None:
    acgs, into = Acgs(settings), f"try-{settings.prefix}"
    stricter = tmp_path / "stricter.toml"
    stricter.write_text(to_toml(owned(1, tools={})))
    async with deliberating(settings, owned()):
        await some_messages(settings)
        await until_decided(settings)
        before = await ends(settings)
        order = ("replay", *EVER, "--into", into, "--policy", str(stricter), "--next-epoch")
        both = await asyncio.gather(acgs(*order), acgs(*order))
        made, beaten = sorted(both, key=lambda one: one.code)
        assert (made.code, beaten.code) == (0, 1), made.err + beaten.err
        assert "there is a replay under" in beaten.err
        assert "Removing" not in beaten.err
        assert "13 inputs of" in made.out
        assert "decided under epoch 2" in made.out
        assert await ends(settings) == before
        await nothing_changes_under_the_policy_in_force(acgs, f"same-{settings.prefix}")
        shown = await acgs("replay", "diff", into)
        assert shown.code == 1, shown.err
        assert "13 decisions compared with epoch 2: 13 by epoch 1." in shown.out
        assert "delivered -> held, for example:" in shown.out
        told = await acgs("replay", "diff", into, "--json")
        document = json.loads(told.out)
        assert document["changes"][0]["kind"] == "delivered -> held"
        assert (document["changes"][0]["count"], document["changed"], document["compared"]) == (4, 4, 13)
        assert f"digest {document['sha256']}" in shown.out
        tried = tmp_path / "tried.json"
        tried.write_text(told.out)
        other = await acgs("policy", "propose", str(stricter), "--replay-diff", str(tried))
        assert "the replay tried another policy" in other.err
        proposed = await acgs(
            "policy", "propose", str(stricter), "--next-epoch", "--replay-diff", str(tried), "--as", "carl"
        )
        assert proposed.code == 0, proposed.err
        item = proposed.out.splitlines()[1].split()[-1]
        page = await acgs("deliberation", "show", item)
        assert f"digest {document['sha256']}" in page.out
        assert "4 delivered -> held" in page.out
    removed = await acgs("replay", "remove", into, "--yes")
    assert removed.code == 0, removed.err
    assert not [name for name in await require_topics(settings, ()) if name.startswith(into)]


async def test_a_replay_that_was_broken_off_is_not_compared_and_can_be_removed(settings: EngineSettings) -> None:
    into = f"try-{settings.prefix}"
    own = replace(settings, prefix=into)
    async with deliberating(settings):
        await some_messages(settings)

    def break_off(done: int, _: int) -> None:
        if done:
            raise KeyboardInterrupt

    order = Order(into, 0, 4_000_000_000_000)
    known = registry(2, tools={SAFE_TOOL: Tool(verb=Verb.READ)})
    with pytest.raises(KeyboardInterrupt):
        await replay(settings, order, known, break_off)
    with pytest.raises(ReplayError, match="did not come to its end"):
        await difference(settings, into)
    with pytest.raises(ReplayError, match="there is a replay under"):
        await claim(own, 1)
    await remove(own)
    with pytest.raises(ReplayError, match="there is no replay"):
        await remove(own)
    assert await require_topics(settings, [f"{settings.prefix}{topics.CONTROL}"])

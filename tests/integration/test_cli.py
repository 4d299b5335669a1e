"""The command as its users run it: a process of its own, against a real broker."""

import asyncio
import getpass
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiokafka.admin
import pytest

from schemas import envelope, topics
from schemas.policy import AcceptedHash
from streams import control
from streams.engine.client import EngineSettings
from streams.engine.dead_letters import Kind, letter, without_value
from streams.engine.records import InputRecord
from streams.engine.status import State
from streams.errors import BrokerError, PolicyRefusedError
from streams.policies import default_policy
from streams.policy_changes import to_toml
from tests.support.eventually import eventually
from tests.support.kafka import MIB, delete_records, read_topic, write
from tests.support.product import (
    NEXT_HASH,
    PARTITIONS,
    UNKNOWN_TOOL,
    encoded,
    everything,
    install_product,
    policy,
    spine,
)
from tests.support.signing import key, owners
from tests.support.workers import running

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Told:
    """What a run of the command left."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True, slots=True)
class Acgs:
    """The command, with a broker and a prefix set."""

    settings: EngineSettings

    @property
    def environment(self) -> Mapping[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ACGS_")}
        servers, prefix = self.settings.bootstrap_servers, self.settings.prefix
        return kept | {
            "PYTHONPATH": str(ROOT),
            "ACGS_KAFKA_BOOTSTRAP_SERVERS": servers,
            "ACGS_PREFIX": prefix,
            "ACGS_PARTITIONS": str(PARTITIONS),
            "ACGS_HEALTH_PORT": "0",
        }

    @asynccontextmanager
    async def started(
        self, *arguments: str, stdin: int = subprocess.PIPE
    ) -> AsyncGenerator[asyncio.subprocess.Process, None]:
        """A run that goes on; it is killed at the end if it has not ended."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streams.cli.main", *arguments),
            cwd=ROOT,
            env=self.environment,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            limit=64 * MIB,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def __call__(self, *arguments: str, stdin: bytes = b"") -> Told:
        """Runs to the end."""
        async with self.started(*arguments) as process:
            out, err = await process.communicate(stdin)
            assert process.returncode is not None
            assert b"Traceback" not in err, err.decode()
            return Told(process.returncode, out.decode(), err.decode())


@pytest.fixture
def acgs(settings: EngineSettings) -> Acgs:
    return Acgs(settings)


async def test_topics_are_made_once_and_then_as_declared(acgs: Acgs) -> None:
    before = await acgs("topics", "list")
    assert before.code == 1
    assert "missing" in before.out
    made = await acgs("topics", "create", "--tenant", "acme")
    assert made.code == 0
    assert f"made     {acgs.settings.prefix}deliveries.acme" in made.out
    again = await acgs("topics", "create")
    assert again.code == 0
    assert "0 topics made" in again.out
    listed = await acgs("topics", "list", "--tenant", "acme", "--json")
    assert listed.code == 0
    assert {(one["state"], one["partitions"]) for one in listed.documents} == {("as declared", PARTITIONS)}
    described = await acgs("topics", "describe", "deliveries")
    assert "messages for their receivers" in described.out
    assert (await acgs("topics", "describe", "nothing")).code == 1


async def test_a_changelog_that_was_deleted_is_told_loudly(acgs: Acgs) -> None:
    assert (await acgs("topics", "create")).code == 0
    await _delete_topic(acgs.settings, f"{acgs.settings.prefix}triage.changelog")
    told = await acgs("topics", "create")
    assert told.code == 1
    assert "LOST: the changelog of triage" in told.err
    assert "acgs lanes accept triage 0" in told.err


async def test_a_policy_is_published_only_as_the_next(acgs: Acgs, tmp_path: Path) -> None:
    await acgs("topics", "create")
    assert (await acgs("policy", "show")).code == 1
    assert (await acgs("policy", "publish")).code == 0
    refused = await acgs("policy", "publish")
    assert refused.code == 1
    assert "only 2 can follow" in refused.err
    file = tmp_path / "policy.toml"
    file.write_text(
        (await acgs("policy", "show", "--toml")).out.replace("critical_floor = 9000", "critical_floor = 9100")
    )
    checked = await acgs("policy", "check", str(file))
    assert checked.code == 0
    assert [line.split() for line in checked.out.splitlines()][-1] == ["critical_floor", "9000", "9100"]
    assert (await acgs("policy", "publish", "--next-epoch", str(file))).code == 0
    shown = await acgs("policy", "show", "--json")
    assert (json.loads(shown.out)["epoch"], json.loads(shown.out)["critical_floor"]) == (2, 9_100)
    records = await read_topic(acgs.settings, f"{acgs.settings.prefix}control")
    assert sorted((record.partition, json.loads(record.value or b"")["epoch"]) for record in records) == [
        (partition, epoch) for partition in range(PARTITIONS) for epoch in (1, 2)
    ]
    assert {record.value for record in records if record.partition == 1} >= {shown.out.rstrip("\n").encode()}


async def test_of_publishers_at_once_one_at_most_publishes_an_epoch(settings: EngineSettings) -> None:
    await install_product(settings)
    documents = [policy(2, unknown_tool=8_000 + number) for number in range(6)]
    results = await asyncio.gather(*(control.publish(settings, one) for one in documents), return_exceptions=True)
    published = [result for result in results if not isinstance(result, BaseException)]
    assert len(published) <= 1
    assert all(isinstance(result, BrokerError | PolicyRefusedError) for result in results if result not in published)

    async def is_there_once() -> bool:
        """A commit's markers may still be on their way when it has been confirmed."""
        records = await read_topic(settings, f"{settings.prefix}control")
        return [json.loads(r.value or b"")["epoch"] for r in records].count(2) == PARTITIONS * len(published)

    await eventually(is_there_once)


async def test_once_a_policy_names_owners_it_is_not_published_over(settings: EngineSettings, acgs: Acgs) -> None:
    await install_product(settings)
    await control.publish(settings, policy(2, **owners("ann", "bob")))
    told = await acgs("policy", "publish", "--next-epoch")
    assert told.code == 1
    assert "ann, bob" in told.err


async def test_lines_are_sent_as_they_are_and_none_is_lost_in_silence(acgs: Acgs) -> None:
    await acgs("topics", "create")
    good = [encoded(number) for number in range(20)]
    lines = [*good[:10], b"", b"no json \xff", b"x" * (5 * MIB), *good[10:]]
    told = await acgs("send", "-", stdin=b"\n".join(lines))
    assert told.code == 1
    assert told.out == "sent 21, failed 1\n"
    assert told.err.startswith("line 13 was not sent: 5242880 bytes")
    records = await read_topic(acgs.settings, f"{acgs.settings.prefix}in.messages")
    assert sorted(record.value or b"" for record in records) == sorted([*good, b"no json \xff"])
    keys = {record.value: record.key for record in records}
    assert keys[b"no json \xff"] is None
    assert keys[good[3]] == json.loads(good[3])["conversation_id"].encode()


async def test_what_is_sent_with_a_key_is_signed(acgs: Acgs, settings: EngineSettings, tmp_path: Path) -> None:
    await acgs("topics", "create")
    key("planner").save(tmp_path / "planner.key")
    told = await acgs("send", "--key", str(tmp_path / "planner.key"), "-", stdin=encoded())
    (sent,) = await read_topic(settings, f"{settings.prefix}in.messages")
    assert told.out == "sent 1, failed 0\n"
    assert (sent.value, sent.headers) == (
        encoded(),
        ((envelope.SIGNATURE, key("planner").message_signature(encoded())),),
    )


async def test_an_interrupted_sending_says_how_far_it_came(acgs: Acgs) -> None:
    await acgs("topics", "create")
    async with acgs.started("send", "--rate", "20", "-") as process:
        assert process.stdin is not None
        process.stdin.write(b"".join(encoded(number) + b"\n" for number in range(1_000)))
        topic = f"{acgs.settings.prefix}in.messages"
        await eventually(lambda: _has_records(acgs.settings, topic, 5))
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err
    sent = int(out.split()[1].rstrip(b","))
    assert sent == len(await read_topic(acgs.settings, topic))
    assert f"Stopped at line {sent + 1}".encode() in err


async def test_stepshield_steps_pass_the_gateway(acgs: Acgs, settings: EngineSettings, tmp_path: Path) -> None:
    await install_product(settings)
    step = {"action": "run_command", "arguments": {"command": "ls"}, "thought": "look"}
    trajectory = {"trajectory_id": "t1", "task": {"description": "d"}, "steps": [step, step, step]}
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps(trajectory) + "\n")
    assert (await acgs("send", "--format", "stepshield", str(file))).out == "sent 3, failed 0\n"
    async with running(spine(settings), settings):
        told = await acgs("tail", "deliberation", "--from", "beginning", "-n", "3", "--json")
    assert len(told.documents) == 3


async def test_a_tail_shows_what_was_decided(acgs: Acgs, settings: EngineSettings) -> None:
    await install_product(settings)
    lines = [encoded(0, tool="look"), encoded(1, tool=UNKNOWN_TOOL), encoded(2, constitutional_hash=NEXT_HASH)]
    await acgs("send", "-", stdin=b"\n".join(lines))
    async with running(spine(settings), settings):
        delivered = await acgs("tail", "deliveries", "--from", "beginning", "-n", "1", "--json")
        held = await acgs("tail", "deliberation", "--from", "beginning", "-n", "1")
        rejected = await acgs("tail", "rejected", "--from", "beginning", "-n", "1")
    document = delivered.documents[0]
    assert document["value"].encode() == lines[0]
    assert "acgs-card" in {header["name"] for header in document["headers"]}
    assert f"planner -> executor  {UNKNOWN_TOOL}  0.8000 held  high: needs security" in held.out
    assert "hash_unknown" in rejected.out
    assert "\x1b" not in held.out + rejected.out


async def test_a_tail_of_nothing_names_what_is_near(acgs: Acgs) -> None:
    await acgs("topics", "create")
    told = await acgs("tail", "delivery")
    assert told.code == 1
    assert "Did you mean deliveries" in told.err
    assert (await acgs("tail", "deliveries", "--no-follow")).out == ""


async def test_a_closed_pipe_ends_a_tail_quietly(acgs: Acgs) -> None:
    await acgs("topics", "create")
    await acgs("send", "-", stdin=b"\n".join(encoded(number) for number in range(2_000)))
    async with acgs.started("tail", "in.messages", "--no-follow", "--json") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]  # noqa: SLF001  # as `head -1` does
        assert process.stderr is not None
        assert await process.stderr.read() == b""
        assert await process.wait() == 141


async def test_status_says_what_to_do_until_nothing_is_to_be_done(acgs: Acgs, settings: EngineSettings) -> None:
    await acgs("topics", "create")
    told = await acgs("status", "--json")
    assert told.code == 1
    assert {(view["state"], view["what_next"]) for view in told.documents} == {
        ("never ran", "no worker has run it yet: acgs run")
    }
    async with running(everything(settings), settings) as worker:
        await worker.until(State.WAITING, len(topics.LANE_AGENTS) * PARTITIONS)
        await eventually(lambda: _status_is(acgs, 1, "acgs policy publish"))
        await control.publish(settings, policy())
        await eventually(lambda: _status_is(acgs, 0, "none needs a person"))


async def test_dead_letters_are_redriven_once_and_discarded_with_a_reason(acgs: Acgs, settings: EngineSettings) -> None:
    await install_product(settings)
    inbox, box = f"{settings.prefix}messages", f"{settings.prefix}triage.dead-letters"
    failed = [InputRecord(inbox, 1, offset, 0, b"k", b"\xff%d" % offset, (("h", b"v"),)) for offset in (3, 4, 5)]
    made = [letter(record, Kind.HANDLER_FAILED, ValueError("no")) for record in failed]
    await write(settings, [(box, 0, *one) for one in made])

    listed = await acgs("dead-letters", "list", "--json")
    ids = [one["id"] for one in listed.documents]
    assert (listed.code, ids) == (1, [f"{inbox}/1/{offset}" for offset in (3, 4, 5)])
    assert (await acgs("dead-letters", "show", ids[0])).out.rstrip().endswith("\\xff3")

    assert (await acgs("dead-letters", "redrive", ids[0], "--operator", "ann")).code == 0
    again = await acgs("dead-letters", "redrive", ids[0])
    assert again.code == 1
    assert "redriven by ann" in again.err
    assert (await acgs("dead-letters", "discard", ids[1], "--reason", "x", "--operator", "bob", "--yes")).code == 0
    assert (await acgs("dead-letters", "redrive", "--all", "--yes")).code == 0

    records = await read_topic(settings, inbox)
    assert [(r.partition, r.key, r.value, tuple(r.headers)) for r in records] == [
        (1, b"k", b"\xff3", (("h", b"v"),)),
        (1, b"k", b"\xff5", (("h", b"v"),)),
    ]
    listed = await acgs("dead-letters", "list", "--all", "--json")
    assert listed.code == 0
    assert [one["resolution"].split()[:3] for one in listed.documents] == [
        ["redriven", "by", "ann"],
        ["discarded", "by", "bob:"],
        ["redriven", "by", getpass.getuser()],
    ]


async def test_a_letter_without_its_value_is_redriven_from_its_source(acgs: Acgs, settings: EngineSettings) -> None:
    await install_product(settings)
    inbox, box = f"{settings.prefix}messages", f"{settings.prefix}triage.dead-letters"
    large = os.urandom(2 * MIB)
    [(_, offset)] = await write(settings, [(inbox, 0, b"k", large, (("h", b"v"),))])
    source = InputRecord(inbox, 0, offset, 0, b"k", large, (("h", b"v"),))
    bare = without_value(letter(source, Kind.OUTPUT_TOO_LARGE, ValueError("too large")))
    await write(settings, [(box, 0, *bare)])
    assert (await acgs("dead-letters", "redrive", f"{inbox}/0/{offset}")).code == 0
    records = await read_topic(settings, inbox)
    assert [(record.key, record.value, tuple(record.headers)) for record in records] == 2 * [
        (b"k", large, (("h", b"v"),))
    ]


async def test_a_refused_policy_is_not_redriven(acgs: Acgs, settings: EngineSettings) -> None:
    await install_product(settings)
    refused = InputRecord(f"{settings.prefix}control", 0, 9, 0, b"policy", b"{}", ())
    made = letter(refused, Kind.CONTROL_REFUSED, ValueError("not the next"))
    await write(settings, [(f"{settings.prefix}triage.dead-letters", 0, *made)])
    told = await acgs("dead-letters", "redrive", f"{settings.prefix}control/0/9")
    assert told.code == 1
    assert "acgs policy publish" in told.err
    left = await acgs("dead-letters", "redrive", "--all", "--yes")
    assert left.code == 0
    assert "Left alone: 1 refused policy" in left.err


async def test_a_held_lane_goes_on_once_an_operator_accepts(acgs: Acgs, settings: EngineSettings) -> None:
    await install_product(settings)
    inbox = f"{settings.prefix}in.messages"
    async with running(everything(settings), settings) as worker:
        await worker.until(State.RUNNING, len(topics.LANE_AGENTS) * PARTITIONS)
        refused = await acgs("lanes", "accept", "gateway-messages", "0", "--reason", "x", "--yes")
        assert refused.code == 1
        assert "not held" in refused.err
    await write(settings, [(inbox, 0, None, encoded(number), ()) for number in range(10)])
    await delete_records(settings, inbox, {0: 8})
    async with running(spine(settings), settings) as worker:
        await worker.until(State.HELD, 1)
        await eventually(lambda: _status_is(acgs, 1, "acgs lanes accept gateway-messages 0"))
        asked = await acgs("lanes", "accept", "gateway-messages", "0", "--reason", "x")
        assert asked.code == 2
        told = await acgs(
            "lanes", "accept", "gateway-messages", "0", "--reason", "outage", "--operator", "ann", "--yes"
        )
        assert told.code == 0
        assert "skips offsets 0 to 7 (8), of which 8 are deleted already" in told.out
        await eventually(lambda: worker.position("gateway-messages", 0, inbox) == 10, account=worker.lanes)
    audit = [json.loads(record.value or b"") for record in await read_topic(settings, f"{settings.prefix}audit")]
    accepted = [turn["accepted"] for turn in audit if "accepted" in turn]
    assert [(one["operator"], one["reason"]) for one in accepted] == [("ann", "outage")]


async def test_the_doctor_finds_what_is_wrong(acgs: Acgs, settings: EngineSettings) -> None:
    told = await acgs("doctor")
    assert told.code == 1
    assert "acgs topics create" in told.out
    await install_product(settings)
    async with running(everything(settings), settings) as worker:
        await worker.until(State.RUNNING, len(topics.LANE_AGENTS) * PARTITIONS)
        await eventually(lambda: _is_well(acgs))


async def test_a_score_is_by_the_policy_in_force(acgs: Acgs, settings: EngineSettings) -> None:
    await install_product(settings)
    told = await acgs("score", "-", "--json", stdin=encoded(tool=UNKNOWN_TOOL))
    assert told.documents[0]["verdict"] == "hold"
    assert "the policy in force (epoch 1" in told.err


async def test_a_policy_file_that_the_log_does_not_have_is_not_shown(acgs: Acgs, settings: EngineSettings) -> None:
    """What cannot follow is no policy, whatever stands in the log."""
    await install_product(settings)
    other = default_policy().model_copy(update={"epoch": 7, "accepted_hashes": (AcceptedHash(hash=NEXT_HASH),)})
    await write(settings, [(f"{settings.prefix}control", 0, b"policy", other.canonical(), ())])
    assert json.loads((await acgs("policy", "show", "--json")).out)["epoch"] == 1
    assert to_toml(policy()) == (await acgs("policy", "show", "--toml")).out


async def _has_records(settings: EngineSettings, topic: str, count: int) -> bool:
    return len(await read_topic(settings, topic)) >= count


async def _status_is(acgs: Acgs, code: int, words: str) -> bool:
    told = await acgs("status")
    return told.code == code and words in told.out


async def _is_well(acgs: Acgs) -> bool:
    return (await acgs("doctor")).code == 0


@asynccontextmanager
async def _admin(settings: EngineSettings) -> AsyncGenerator[Any, None]:
    made: Any = aiokafka.admin.AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


async def _delete_topic(settings: EngineSettings, topic: str) -> None:
    async with _admin(settings) as admin:
        await admin.delete_topics([topic])
        await eventually(lambda: _is_gone(admin, topic))


async def _is_gone(admin: Any, topic: str) -> bool:  # noqa: ANN401
    return topic not in await admin.list_topics()

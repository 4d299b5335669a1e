"""Parts of the manager by themselves: what is known of statuses, pauses, answers' headers, and addresses."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka.structs import ConsumerRecord
from pydantic import SecretStr
from slack_sdk.signature import SignatureVerifier

from schemas.decision import Vote
from schemas.deliberation import DeliberationState, DeliberationStatus
from schemas.policy import published
from schemas.registry import Relay
from streams.backoff import Backoff, Gate
from streams.engine.records import Record
from streams.hitl.calling import retry_after
from streams.hitl.contracts import WebhookDecision
from streams.hitl.door import Admitted, Door, Refusal, Scheme
from streams.hitl.policy import Office
from streams.hitl.settings import RelayKey
from streams.hitl.signing import callback_signature, slack_signature, webhook_signature
from streams.hitl.slack_callback import is_below
from streams.hitl.statuses import Statuses
from tests.support.deliberated import T0, held, registry
from tests.support.platform import SIGNING_SECRET, WEBHOOK_SECRET
from tests.support.product import policy
from tests.support.signing import key, public

ITEM = held(published(registry().canonical())).item


class Log:
    """A partition of statuses as it is written, and what is known of it."""

    def __init__(self) -> None:
        self.statuses, self.offset = Statuses(), -1

    def write(self, item_id: str = ITEM.item_id, *, value: bytes | None = None, **changes: object) -> int:
        status = DeliberationStatus(
            item=ITEM.model_copy(update={"item_id": item_id}),
            state=DeliberationState.PENDING,
            partition=0,
            offset=0,
            opened=T0,
            changed=T0,
            deadline=None,
        ).model_copy(update=changes)
        said = status.model_dump_json().encode() if value is None else value
        return self._take(item_id, said)

    def forget(self, item_id: str = ITEM.item_id) -> int:
        return self._take(item_id, None)

    def _take(self, item_id: str, value: bytes | None) -> int:
        self.offset += 1
        self.statuses.take(record("t.deliberation-status", 0, self.offset, item_id.encode(), value))
        return self.offset


def record(topic: str, partition: int, offset: int, key: bytes, value: bytes | None) -> Record:
    return ConsumerRecord(topic, partition, offset, T0, 1, key, value, None, len(key), len(value or b""), ())


def test_which_record_changed_what_is_known_of_an_item() -> None:
    log = Log()
    first = log.write()
    reminded = log.write(reminders=1)
    log.write(reminders=1)
    escalated = log.write(reminders=1, escalated=True)
    story = log.statuses.story(ITEM.item_id)
    assert story is not None
    assert (story.first, story.reminded, story.escalated, story.is_pending) == (first, reminded, escalated, True)
    log.write(state=DeliberationState.REJECTED, reminders=1, escalated=True)
    story = log.statuses.story(ITEM.item_id)
    assert story is not None
    assert (story.first, story.is_pending) == (first, False)
    log.forget()
    assert log.statuses.story(ITEM.item_id) is None


def test_what_a_compacted_log_no_longer_has_is_not_taken_for_news() -> None:
    log = Log()
    first = log.write(reminders=3, escalated=True)
    story = log.statuses.story(ITEM.item_id)
    assert story is not None
    assert (story.first, story.reminded, story.escalated) == (first, None, None)


def test_those_that_wait_for_the_same_are_counted_and_those_that_ended_are_not() -> None:
    log = Log()
    names = [f"00000000-0000-4000-8000-{number:012}" for number in range(3)]
    for name in names:
        log.write(name)
    log.write(names[0], reminders=1)
    assert log.statuses.alike(ITEM.action) == 3
    log.write(names[0], state=DeliberationState.APPROVED)
    log.forget(names[1])
    assert log.statuses.alike(ITEM.action) == 1


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"state":1}', b"\xff", b'{"state":"pending","item":{}}'])
def test_a_status_of_another_version_changes_nothing(value: bytes) -> None:
    log = Log()
    log.write()
    log.write(value=value)
    found = log.statuses.find(ITEM.item_id)
    assert found is not None
    assert found.state is DeliberationState.PENDING


def test_of_what_has_ended_the_last_10000_are_known() -> None:
    log = Log()
    for number in range(10_002):
        log.write(f"00000000-0000-4000-8000-{number:012}", state=DeliberationState.EXPIRED)
    assert log.statuses.story("00000000-0000-4000-8000-000000000001") is None
    assert log.statuses.story("00000000-0000-4000-8000-000000000002") is not None


async def test_one_waits_until_a_place_in_the_log_is_reached() -> None:
    log = Log()
    waiting = [asyncio.create_task(log.statuses.reached(0, offset)) for offset in (0, 1)]
    await asyncio.sleep(0)
    log.write()
    await waiting[0]
    assert not waiting[1].done()
    log.write()
    await waiting[1]


def test_a_policy_is_followed_as_lanes_follow_it() -> None:
    followed = Office()
    assert (followed.generation, followed.approver_of("slack", "U1")) == (None, None)
    for epoch, document in enumerate([registry(), registry(3), policy(2)]):
        followed.take(record("t.control", 0, epoch, b"policy", document.canonical()))
    assert followed.generation is not None
    assert followed.generation.epoch == 2
    assert followed.approver_of("slack", "U1") is None
    followed.take(record("t.control", 0, 3, b"policy", registry(3).canonical()))
    found = followed.approver_of("slack", "U1")
    assert found is not None
    assert found.id == "sue"
    assert followed.approver_of("webhook", "U1") is None


def test_pauses_double_up_to_a_limit_and_are_never_the_same_for_all() -> None:
    backoff = Backoff(first=timedelta(seconds=1), longest=timedelta(seconds=8))
    for attempt, whole in [(0, 1), (1, 2), (2, 4), (3, 8), (4, 8), (1_000_000, 8)]:
        pauses = {backoff.pause(attempt).total_seconds() for _ in range(50)}
        assert whole / 2 <= min(pauses)
        assert max(pauses) <= whole
        assert len(pauses) > 40


async def test_a_gate_stays_shut_for_the_longest_that_was_asked_for() -> None:
    gate, loop = Gate(), asyncio.get_running_loop()
    began = loop.time()
    gate.shut(timedelta(seconds=0.2))
    gate.shut(timedelta(seconds=0.05))
    await gate.passed()
    assert loop.time() - began >= 0.2
    await gate.passed()


def test_retry_after_is_read_in_both_its_forms_and_within_reason() -> None:
    assert retry_after("30") == timedelta(seconds=30)
    assert retry_after(" 7 ") == timedelta(seconds=7)
    assert retry_after("999999999999") == timedelta(hours=1)
    soon = retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True))
    assert soon is not None
    assert timedelta(seconds=50) < soon <= timedelta(seconds=60)
    assert retry_after(format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)) == timedelta(0)
    for wrong in (None, "", "soon", "-5", "\N{SUPERSCRIPT TWO}"):
        assert retry_after(wrong) is None


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        ("https://hooks.slack.com/actions/T1/2/x", True),
        ("http://hooks.slack.com/actions/T1", False),
        ("https://hooks.slack.com:444/actions", False),
        ("https://hooks.slack.com.evil.example/actions", False),
        ("https://evil.example/https://hooks.slack.com/", False),
        ("https://hooks.slack.com@evil.example/actions", False),
        ("https://evil.example\\@hooks.slack.com/actions", False),
        ("https://user@hooks.slack.com/actions", False),
        ("https://hooks.slack.com/act\nions", False),
        ("//hooks.slack.com/actions", False),
        ("https://[::1/actions", False),
        ("", False),
    ],
)
def test_a_response_url_is_slacks_or_is_not_called(url: str, is_ours: bool) -> None:  # noqa: FBT001
    assert is_below(url, "https://hooks.slack.com/") is is_ours


def test_a_request_comes_in_once_and_is_remembered_while_it_would_be_admitted() -> None:
    now = [1_000.0]
    door = Door(Scheme("t", "s", "c", lambda _timestamp, _body: ""), clock=lambda: now[0])
    door.enter(Admitted(b"", "a", 1_000))
    door.enter(Admitted(b"", "b", 1_290))
    for mark in ("a", "b"):
        with pytest.raises(Refusal, match="come in before"):
            door.enter(Admitted(b"", mark, 1_000))
    now[0] = 1_301
    door.enter(Admitted(b"", "a", 1_000))
    with pytest.raises(Refusal, match="come in before"):
        door.enter(Admitted(b"", "b", 1_290))


def test_what_the_documentation_sends_is_a_decision_that_is_signed_as_callbacks_are() -> None:
    text = (Path(__file__).parents[2] / "docs" / "hitl.md").read_text()
    code = next(part for part in text.split("```") if part.startswith("python\nimport hashlib"))
    found: dict[str, Any] = {}
    exec(code.removeprefix("python\n"), found)  # noqa: S102  # our own page
    headers, body = found["signed"](WEBHOOK_SECRET, ITEM.model_dump(mode="json"), "veto", "w-1")
    assert WebhookDecision.model_validate_json(body).vote is Vote.VETO
    expected = callback_signature(SecretStr(WEBHOOK_SECRET), headers["X-Acgs-Timestamp"], body)
    assert headers["X-Acgs-Signature"] == expected
    assert webhook_signature(SecretStr(WEBHOOK_SECRET), headers["X-Acgs-Timestamp"], body) != expected


def test_a_slack_signature_is_that_of_slacks_own_client() -> None:
    body = "payload=%7B%7D&x=\N{SNOWMAN}".encode()
    expected = SignatureVerifier(SIGNING_SECRET).generate_signature(timestamp="1531420618", body=body)
    assert slack_signature(SecretStr(SIGNING_SECRET), "1531420618", body) == expected


def test_a_callback_server_whose_clicks_would_not_count_knows_why() -> None:
    def unfit(*relays: Relay, owner: str = "office") -> str | None:
        followed = Office()
        document = registry(relays=relays).canonical()
        followed.take(record("t.control", 0, 0, b"policy", document))
        return followed.unfit(RelayKey(id="office", key=key(owner)), 1_800_000_000)

    assert "no policy is in force" in (Office().unfit(RelayKey(id="office", key=key("office")), 0) or "")
    assert unfit(Relay(id="office", keys=(public("office"),))) is None
    assert "there is no callback server 'office' by epoch 1" in (unfit() or "")
    other = unfit(Relay(id="office", keys=(public("office"),)), owner="another") or ""
    assert f"has no key {key('another').id}" in other
    assert key("another").public_key in other
    revoked = Relay(id="office", keys=(public("office", revoked_at="2020-01-01T00:00:00Z"),))
    assert "was revoked" in (unfit(revoked) or "")

"""Held items before people: cards, clicks, and what becomes of them, on a real broker and real HTTP."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas import topics
from schemas.decision import Vote
from schemas.deliberation import CHANGE_POLICY, DeliberationState, digest_of
from schemas.policy import Tier
from streams import control
from streams.approvals import ItemUnknownError
from streams.approvals.board import status_of
from streams.engine.client import EngineSettings
from streams.errors import SettingsError
from streams.hitl import HITLManager, PostError
from streams.hitl.contracts import WebhookEvent
from tests.support.deliberated import THREE
from tests.support.deliberating import client_of, deliberating, publish
from tests.support.eventually import eventually
from tests.support.hitl import (
    QUICK,
    SLACK,
    TEAMS,
    WEBHOOK,
    RunningManager,
    decisions,
    managing,
    office,
    own_settings,
    people,
    waiting,
)
from tests.support.kafka import read_topic
from tests.support.platform import (
    FAILS,
    HANGS,
    Answered,
    Behaviour,
    Platform,
    buttons_of,
    fetch,
    item_of,
    limits_rate,
    link_token,
    platform,
    send,
    shown_by,
    slack_headers,
    takes_all,
    webhook_headers,
)
from tests.support.product import UNKNOWN_TOOL, encoded, message
from tests.support.signing import approver, owners


async def clicked(running: RunningManager, body: bytes) -> Answered:
    """Slack sends a click."""
    return await send(f"{running.url}/callbacks/slack", body, slack_headers(body))


async def told(at: Platform, count: int = 1) -> str:
    """What who clicked was told last, once they were told so often."""
    await eventually(lambda: len(at.answers()) == count)
    last: str = at.answers()[-1]["text"]
    return last


async def carded(at: Platform, count: int = 1) -> dict[str, Any]:
    """The last card, once there are so many."""
    await eventually(lambda: len(at.cards()) >= count, account=lambda: f"{len(at.cards())} cards")
    return at.cards()[-1]


async def test_a_card_arrives_whole_and_a_click_releases_together_with_a_direct_vote(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    value = encoded(1, tool=UNKNOWN_TOOL)
    async with office(settings, at, tmp_path, SLACK) as running:
        await publish(settings, value)
        (item,) = await waiting(settings)
        card = await carded(at)
        seen = shown_by(card)
        for words in (
            "planner of tenant acme (NOT VERIFIED: the name is a claim)",
            UNKNOWN_TOOL,
            '"n": 1',
            "0.8000",
            "+0.8000  tool: the policy's catalogue does not have this tool",
            "high: 2 approvals of lead, security, each from another role; at most 1 of them by clicks",
            "UTC, then it is denied",
            item.digest[:12],
            item.item_id,
            '"to_agent": "executor"',
            f"/items/{item.item_id}?t={link_token(item.item_id)}",
        ):
            assert words in seen
        assert item.digest not in seen
        assert [one["action_id"] for one in buttons_of(card)] == ["acgs_approve", "acgs_veto"]
        acknowledged = await clicked(running, at.click(card, "acgs_approve", "U1"))
        assert (acknowledged.status, acknowledged.body) == (200, "")
        assert await told(at) == "Counted. 1 of 2 approvals so far. Needed: 1 more, the next of lead."
        assert at.answers()[0]["response_type"] == "ephemeral"
        async with client_of(settings, "lee") as lee:
            ended = await lee.decide(item, Vote.APPROVE)
        assert ended.state is DeliberationState.APPROVED
        assert [(vote.approver, vote.relay) for vote in ended.votes] == [("sue", "office"), ("lee", None)]
        assert ended.votes[0].reason == "approved on slack by U1"
        await eventually(lambda: at.on("/api/chat.update"))
        (updated,) = at.on("/api/chat.update")
        assert updated.document["ts"] == at.ts_of(item.item_id)
        assert "Approved and released. approved by sue, lee" in shown_by(updated.document)
        assert buttons_of(updated.document) == []
    delivered = await read_topic(settings, f"{settings.prefix}{topics.DELIVERIES}")
    assert [record.value for record in delivered] == [value]


async def test_a_veto_by_a_click_says_where_it_was_given_and_by_whose_account(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    async with office(settings, at, tmp_path, SLACK) as running:
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        card = await carded(at)
        await clicked(running, at.click(card, "acgs_veto", "U1"))
        assert await told(at) == "Counted. Vetoed by sue. vetoed by sue: vetoed on slack by U1"
        assert (await status_of(settings, item_of(card))).by == "sue"
        await clicked(running, at.click(card, "acgs_approve", "U1"))
        assert (await told(at, 2)).startswith("It does not count any more. Vetoed by sue.")
    assert await decisions(settings) == 1


async def test_an_account_is_no_approvers_until_the_policy_says_so(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    async with office(settings, at, tmp_path, SLACK) as running:
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        card = await carded(at)
        assert (await clicked(running, at.click(card, "acgs_approve", "U9"))).status == 200
        assert (
            'epoch 1 of the policy. If it is yours, have the policy name it: accounts = { slack = "U9" }'
            in await told(at)
        )
        assert await decisions(settings) == 0
        uma = approver("uma", "security", accounts={"slack": "U9"})
        await control.publish(settings, people(2, approvers=(*people().approvers, uma)))

        async def counts() -> bool:
            before = len(at.answers())
            await clicked(running, at.click(card, "acgs_approve", "U9"))
            return (await told(at, before + 1)).startswith("Counted.")

        await eventually(counts)
        assert [vote.approver for vote in (await status_of(settings, item_of(card))).votes] == ["uma"]


async def test_a_vote_that_does_not_count_is_told_with_its_reason(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    async with office(settings, at, tmp_path, SLACK) as running:
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        card = await carded(at)
        await clicked(running, at.click(card, "acgs_approve", "U2"))
        assert (await told(at)).endswith("(wrong_role).")
        await clicked(running, at.click(card, "acgs_approve", "U1"))
        await told(at, 2)
        await clicked(running, at.click(card, "acgs_approve", "U1"))
        assert (await told(at, 3)).endswith("(already_voted).")


async def _in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for begin in range(0, len(body), 1024):
        yield body[begin : begin + 1024]


async def test_what_slack_has_not_signed_lately_and_once_is_refused_and_nothing_is_published(
    settings: EngineSettings, at: Platform, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with office(settings, at, tmp_path, SLACK) as running:
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        body = at.click(await carded(at), "acgs_veto", "U9")
        signed, url = slack_headers(body), f"{running.url}/callbacks/slack"
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        large = b"payload=" + b"x" * 65_536
        other = body.replace(b"U9", b"U1")
        cases: dict[str, tuple[bytes | AsyncIterator[bytes], dict[str, str], int]] = {
            "unsigned": (body, form, 401),
            "signed with another secret": (body, slack_headers(body, secret="other"), 401),  # noqa: S106
            "another body": (other, signed, 401),
            "another time": (
                body,
                {**signed, "X-Slack-Request-Timestamp": str(int(signed["X-Slack-Request-Timestamp"]) - 1)},
                401,
            ),
            "no time": (body, {**signed, "X-Slack-Request-Timestamp": "now"}, 401),
            "a signature of other letters": (body, {**signed, "X-Slack-Signature": "v0=\N{BULLET}"}, 401),
            "stale": (body, slack_headers(body, age_s=302), 403),
            "future": (body, slack_headers(body, age_s=-302), 403),
            "large": (large, slack_headers(large), 413),
            "large, of unknown length": (_in_chunks(large), slack_headers(large), 413),
            "JSON": (body, {**signed, "Content-Type": "application/json"}, 415),
            "compressed": (body, {**signed, "Content-Encoding": "deflate"}, 415),
        }
        for name, (sent, headers, status) in cases.items():
            answered = await send(url, sent, headers)
            assert (answered.status, name) == (status, name)
            assert "Traceback" not in answered.body
        for malformed in (
            b"payload=%7B",
            b"payload={}",
            b"nothing",
            b"\xff\xfe",
            body + b"&payload={}",
            at.click(at.cards()[0], "acgs_veto", "U9", type="view_submission"),
            at.click(at.cards()[0], "acgs_veto", "U9", actions=[{"action_id": "other", "value": "1"}]),
            at.click(at.cards()[0], "acgs_veto", "U9", actions=[{"action_id": "acgs_veto", "value": "v1.x"}]),
            at.click(at.cards()[0], "acgs_veto", "U9", actions=[]),
            at.click(at.cards()[0], "acgs_veto", "U9", user={"id": ""}),
        ):
            assert (await send(url, malformed, slack_headers(malformed))).status == 400
        assert (await send(url, body, signed)).status == 200
        assert (await send(url, body, signed)).status == 409
        assert (await send(f"{running.url}/callbacks/webhook", body, signed)).status == 404
        await told(at)
    assert await decisions(settings) == 0
    refusals = [record.getMessage() for record in caplog.records if "refused with" in record.getMessage()]
    assert len(refusals) == len(cases) + 10 + 1
    assert all("\n" not in line and "payload" not in line for line in refusals)


async def test_a_button_that_says_other_bytes_or_another_nonce_than_the_items_is_not_signed(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    async with office(settings, at, tmp_path, SLACK) as running:
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        card = await carded(at)
        version, item_id, digest, nonce = buttons_of(card)[0]["value"].split(".")
        unknown = "00000000-0000-4000-8000-000000000000"
        forged = {
            f"{version}.{item_id}.{'0' * 64}.{nonce}": "The item is not what this card shows. Nothing was signed.",
            f"{version}.{item_id}.{digest}.{'0' * 32}": "The item is not what this card shows. Nothing was signed.",
            f"{version}.{unknown}.{digest}.{nonce}": "There is no such item",
        }
        for count, (value, words) in enumerate(forged.items(), start=1):
            body = at.click(card, "acgs_approve", "U1", actions=[{"action_id": "acgs_approve", "value": value}])
            assert (await clicked(running, body)).status == 200
            assert (await told(at, count)).startswith(words)
    assert await decisions(settings) == 0


async def test_an_answer_goes_to_slack_and_nowhere_else(settings: EngineSettings, at: Platform, tmp_path: Path) -> None:
    async with (
        platform() as elsewhere,
        office(settings, at, tmp_path, SLACK) as running,
    ):
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        card = await carded(at)
        for url in (f"{elsewhere.url}/hooks/1", f"{at.url}/hooksaway/1", f"http://x@{at.url[7:]}/hooks/1"):
            await clicked(running, at.click(card, "acgs_approve", "U9", response_url=url))
        await clicked(running, at.click(card, "acgs_approve", "U9"))
        await told(at)
        assert elsewhere.requests == []
        assert at.on("/hooksaway/1", taken=False) == []


async def test_a_webhook_gets_the_whole_item_signed_and_its_platform_decides(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    value = encoded(1, tool=UNKNOWN_TOOL, content={"said": "<\N{SNOWMAN}&`\x1b"})
    async with office(settings, at, tmp_path, WEBHOOK) as running:
        await publish(settings, value)
        await eventually(at.events)
        event = WebhookEvent.model_validate_json(at.on("/webhook")[0].body)
        item = event.status.item
        assert event.value is not None
        assert (event.value.encode(), digest_of(event.value.encode())) == (value, item.digest)
        assert (event.score, event.factors[0].points, event.alike) == (8_000, 8_000, 1)

        async def decided(context: str = "acgs-callback-v1", **changes: Any) -> tuple[int, Any]:  # noqa: ANN401
            said = {
                "item_id": item.item_id,
                "digest": item.digest,
                "nonce": item.nonce,
                "vote": "approve",
                "account": "w-1",
                **changes,
            }
            body = orjson.dumps(said)
            answered = await send(f"{running.url}/callbacks/webhook", body, webhook_headers(body, context=context))
            is_told = answered.headers["Content-Type"].startswith("application/json")
            return answered.status, json.loads(answered.body) if is_told else answered.body

        assert (await decided("acgs-webhook-v1"))[0] == 401
        assert (await decided(vote="reopen"))[0] == 400
        assert (await decided(extra=1))[0] == 400
        assert (await decided(account="w-2"))[0] == 403
        assert (await decided(digest="0" * 64))[1]["outcome"] == "not_as_shown"
        assert (await decided(item_id="00000000-0000-4000-8000-000000000000"))[0] == 404
        assert await decisions(settings) == 0
        status, counted = await decided(reason="seen it")
        assert (status, counted["outcome"], counted["state"]) == (200, "counted", "pending")
        again, refused = await decided(reason="again")
        assert (again, refused["outcome"]) == (409, "refused")
        assert "already_voted" in refused["detail"]
        status_now = await status_of(settings, item.item_id)
        assert status_now.votes[0].reason == "approved on webhook by w-1: seen it"
        async with client_of(settings, "lee") as lee:
            await lee.decide(item, Vote.VETO, "no")
        await eventually(lambda: at.events("outcome"))
        assert at.events("outcome")[0]["status"]["why"] == "vetoed by lee: no"
        assert (await decided(reason="too late"))[1]["outcome"] == "closed"
        assert len({one.document["event_id"] for one in at.on("/webhook")}) == 2


async def test_teams_gets_a_card_with_a_link_that_shows_the_whole_item_as_text(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    hostile = "[click](https://evil.example) <script>alert(1)</script>"
    async with office(settings, at, tmp_path, TEAMS) as running:
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL, content={"said": hostile}))
        (item,) = await waiting(settings)
        await eventually(lambda: at.on("/teams"))
        content = at.on("/teams")[0].document["attachments"][0]["content"]
        assert "actions" not in content
        assert "Action." not in json.dumps(content)
        assert hostile not in json.dumps([one for one in content["body"] if one["type"] == "TextBlock"])
        assert hostile in json.dumps(content)
        link = next(one["text"] for one in content["body"] if one.get("text", "").startswith("[The whole item]"))
        path = link.removeprefix("[The whole item](https://approvals.example.com").removesuffix(")")
        page = await fetch(f"{running.url}{path}")
        assert page.status == 200
        assert page.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert item.digest in page.body
        assert hostile in page.body
        for wrong in (
            f"/items/{item.item_id}",
            f"/items/{item.item_id}?t={'0' * 64}",
            f"/items/{item.item_id}?t=\N{BULLET}",
        ):
            assert (await fetch(f"{running.url}{wrong}")).status == 404
        other = "00000000-0000-4000-8000-000000000000"
        assert (await fetch(f"{running.url}/items/{other}?t={link_token(item.item_id)}")).status == 404
        assert (await fetch(f"{running.url}/items/{other}?t={link_token(other)}")).status == 404


@pytest.mark.parametrize("size", [10_000, 900_000])
async def test_what_does_not_fit_a_card_has_a_link_and_no_buttons(
    settings: EngineSettings, at: Platform, tmp_path: Path, size: int
) -> None:
    action = {"tool": UNKNOWN_TOOL, "arguments": {"script": "x" * size + "THE END"}}
    value = encoded(1, payload={"action": action})
    own = own_settings(at, tmp_path, SLACK, TEAMS, WEBHOOK)
    async with deliberating(settings, people()), managing(settings, own) as running:
        await publish(settings, value)
        card = await carded(at)
        assert buttons_of(card) == []
        assert "This is NOT the whole action: it is too large for a card." in shown_by(card)
        assert "xxxx" not in shown_by(card)
        (item,) = await waiting(settings)
        page = await fetch(f"{running.url}/items/{item.item_id}?t={link_token(item.item_id)}")
        assert "THE END" in page.body
        assert item.digest in page.body
        await eventually(lambda: at.on("/teams") and at.on("/webhook"))
        assert at.events()[0]["value"].encode() == value
        assert ("NOT the whole action" in at.on("/teams")[0].body.decode()) is (size > 24 * 1024)


async def test_a_card_that_slack_finds_too_large_after_all_is_posted_short(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    def finds_it_too_large(path: str, body: bytes) -> Behaviour | None:
        too_large = Behaviour(200, {"Content-Type": "application/json"}, b'{"ok":false,"error":"msg_blocks_too_long"}')
        return too_large if path.startswith("/api/") and b"acgs_approve" in body else None

    at.behave = finds_it_too_large
    async with office(settings, at, tmp_path, SLACK):
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        card = await carded(at)
        assert buttons_of(card) == []
        assert "This is NOT the whole action" in shown_by(card)


async def test_identical_actions_are_told_and_each_is_decided_by_itself(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    same = {"payload": {"action": {"tool": UNKNOWN_TOOL, "arguments": {"target": "base"}}}}
    async with deliberating(settings, people()):
        await publish(settings, *(encoded(number, **same) for number in range(3)), encoded(3, tool=UNKNOWN_TOOL))
        await waiting(settings, 4)
        async with managing(settings, own_settings(at, tmp_path, SLACK)) as running:
            await carded(at, 4)
            alike = [
                card for card in at.cards() if "3 identical actions wait; each is decided by itself" in shown_by(card)
            ]
            assert len(alike) == 3
            await clicked(running, at.click(alike[0], "acgs_veto", "U1"))
            await told(at)
            assert len(await waiting(settings, 3)) == 3


async def test_a_reminder_and_an_escalation_come_into_the_cards_thread(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    hasty = Tier(
        name="high",
        at_least=8_000,
        approvals=2,
        roles=("lead", "security"),
        deadline=timedelta(hours=1),
        remind_every=timedelta(seconds=2),
        escalate_after=timedelta(seconds=3),
    )
    own = own_settings(at, tmp_path, SLACK, WEBHOOK)
    async with deliberating(settings, people(tiers=(hasty, THREE))), managing(settings, own):
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        (item,) = await waiting(settings)
        await eventually(lambda: len(at.replies()) >= 2 and at.events("escalation"))
        ts = at.ts_of(item.item_id)
        assert {reply["thread_ts"] for reply in at.replies()} == {ts}
        assert at.replies()[0]["text"].startswith(f"Reminder 1: item {item.item_id} ")
        assert "0 of 2 approvals so far." in at.replies()[0]["text"]
        escalated = [reply for reply in at.replies() if reply["text"].startswith("Escalation: ")]
        assert [reply["reply_broadcast"] for reply in escalated] == [True]
        assert at.events("reminder")[0]["status"]["reminders"] == 1


async def test_a_policys_next_epoch_can_be_vetoed_on_a_card_and_not_approved(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    begun = people(**owners("ann", "bob"))
    following = begun.model_copy(update={"epoch": 2})
    action = {"tool": CHANGE_POLICY, "arguments": {"document": orjson.loads(following.canonical())}}
    proposal = orjson.dumps(message(1, message_type="governance_request", payload={"action": action}))
    async with deliberating(settings, begun), managing(settings, own_settings(at, tmp_path, SLACK)):
        await publish(settings, proposal)
        card = await carded(at)
        assert "none of them by a click, all signed with the approvers' own keys" in shown_by(card)
        assert "acgs_approve" not in [one["action_id"] for one in buttons_of(card)]


# Asking for an approval by itself


async def test_request_approval_returns_once_the_card_is_posted(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    own = own_settings(at, tmp_path, SLACK, WEBHOOK)
    answers = [FAILS, limits_rate(1), None]
    at.behave = lambda path, _: answers.pop(0) if path.startswith("/api/") and answers else None
    async with deliberating(settings, people()), HITLManager(settings, own, backoff=QUICK) as manager:
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        (item,) = await waiting(settings)
        await manager.request_approval(item.item_id)
        assert [item_of(card) for card in at.cards()] == [item.item_id]
        tried = [one.at for one in at.on("/api/chat.postMessage", taken=False)]
        assert tried[2] - tried[1] >= 1
        await manager.request_approval(item.item_id, channel="webhook")
        assert at.events()[0]["status"]["item"]["item_id"] == item.item_id
        with pytest.raises(SettingsError, match="'teams' is not set; set are: slack, webhook"):
            await manager.request_approval(item.item_id, "teams")
        with pytest.raises(ItemUnknownError):
            await manager.request_approval("00000000-0000-4000-8000-000000000000")
        async with client_of(settings, "lee") as lee:
            await lee.decide(item, Vote.VETO, "no")
        with pytest.raises(PostError, match="is rejected: there is nothing left to decide"):
            await manager.request_approval(item.item_id)


async def test_a_token_goes_to_slack_and_is_not_redirected_elsewhere(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    async with platform() as elsewhere, deliberating(settings, people()):
        at.behave = lambda path, _body: Behaviour(307, {"Location": f"{elsewhere.url}{path}"})
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        (item,) = await waiting(settings)
        async with HITLManager(settings, own_settings(at, tmp_path, SLACK), backoff=QUICK) as manager:
            with pytest.raises(PostError, match="status 307"):
                await manager.request_approval(item.item_id)
        assert elsewhere.requests == []


async def test_request_approval_gives_up_at_its_deadline_and_at_once_where_it_is_refused(
    settings: EngineSettings, at: Platform, tmp_path: Path
) -> None:
    own = own_settings(at, tmp_path, SLACK)
    other = own_settings(at, tmp_path, SLACK, slack_channel="C9")
    at.behave = lambda _path, _body: HANGS
    async with deliberating(settings, people()):
        await publish(settings, encoded(1, tool=UNKNOWN_TOOL))
        (item,) = await waiting(settings)
        async with HITLManager(settings, own, backoff=QUICK, post_within=timedelta(seconds=1)) as manager:
            with pytest.raises(PostError, match=r"within 1 s.*The item waits all the same: see that the platform"):
                await manager.request_approval(item.item_id)
        at.behave = takes_all
        async with HITLManager(settings, other, backoff=QUICK) as manager:
            with pytest.raises(PostError, match="channel_not_found: set ACGS_HITL_SLACK_CHANNEL"):
                await manager.request_approval(item.item_id)

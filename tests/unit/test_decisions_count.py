"""Which decisions count, and the reason for which each of the others does not."""

from collections.abc import Callable
from typing import Any

import pytest

from schemas import envelope, topics
from schemas.decision import Decision, ItemKind, Vote
from schemas.deliberation import DeliberationItem, DeliberationState
from schemas.policy import AcceptedHash, Policy
from schemas.reasons import MEANINGS, Reason
from schemas.registry import Relay
from streams import keys
from tests.support.deliberated import AGENT, CAL, HOUR, LEE, SAM, SUE, TWO, Desk, held, registry
from tests.support.product import NEXT_HASH
from tests.support.signing import approver, decide, key, public, signed_anew

Make = Callable[[Desk, DeliberationItem], Decision]


def people(**changes: Any) -> Policy:  # noqa: ANN401
    """The approvers of all tests, and some whose votes do not count."""
    long_ago, far = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
    more = (
        approver("old", "security", keys=(public("old", valid_until=long_ago),)),
        approver("new", "security", keys=(public("new", valid_from=far),)),
        approver("lost", "security", keys=(public("lost", revoked_at=long_ago),)),
        approver("elsewhere", "security", tenants=("other",)),
        approver("planner", "security"),
        approver("bot", "security", kind="bot"),
        approver("max", "security", operates=("bot",)),
        approver("ola's bot", "security", kind="bot"),
        approver("ida", "lead", operates=("ida's bot", "ida's other")),
        approver("ida's bot", "security", kind="bot", operates=("ida's agent",)),
        approver("ida's other", "lead", kind="bot"),
        approver("two", "lead", "security", keys=(public("two"), public("two's other"))),
    )
    ola = approver("ola", "lead", "security", operates=(AGENT, "ola's bot"))
    return registry(approvers=(LEE, SAM, SUE, ola, CAL, *more), **changes)


def other_item(desk: Desk, item: DeliberationItem) -> DeliberationItem:
    other = held(desk.in_force, 77).item
    assert other.item_id != item.item_id
    return other


CASES: list[tuple[Reason, str, Make]] = [
    (Reason.UNSIGNED, "unsigned", lambda _, i: decide("sam", i).model_copy(update={"signature": None})),
    (Reason.UNKNOWN_APPROVER, "a stranger", lambda _, i: decide("stranger", i)),
    (Reason.UNKNOWN_KEY, "another's key", lambda _, i: signed_anew("lee", decide("sam", i), key_id=key("lee").id)),
    (Reason.KEY_EXPIRED, "an expired key", lambda _, i: decide("old", i)),
    (Reason.KEY_NOT_YET_VALID, "a key of the future", lambda _, i: decide("new", i)),
    (Reason.KEY_REVOKED, "a revoked key", lambda _, i: decide("lost", i)),
    (Reason.WRONG_ROLE, "a role that is not asked for", lambda _, i: decide("cal", i)),
    (Reason.WRONG_TENANT, "no say on this tenant", lambda _, i: decide("elsewhere", i)),
    (Reason.REQUESTER, "who asks approves", lambda _, i: decide("planner", i)),
    (Reason.OPERATES_REQUESTER, "the operator of who asks approves", lambda _, i: decide("ola", i)),
    (Reason.OPERATES_REQUESTER, "a bot of who operates who asks approves", lambda _, i: decide("ola's bot", i)),
    (Reason.WRONG_DIGEST, "other bytes", lambda _, i: signed_anew("sam", decide("sam", i), digest="0" * 64)),
    (Reason.WRONG_NONCE, "another nonce", lambda _, i: signed_anew("sam", decide("sam", i), nonce="0" * 32)),
    (
        Reason.WRONG_DIGEST,
        "made for another item",
        lambda d, i: signed_anew("sam", decide("sam", other_item(d, i)), item_id=i.item_id),
    ),
    (
        Reason.WRONG_POLICY,
        "another policy",
        lambda _, i: signed_anew("sam", decide("sam", i), policy="2:" + "0" * 64),
    ),
    (Reason.WRONG_POLICY, "another kind", lambda _, i: signed_anew("sam", decide("sam", i), kind=ItemKind.POLICY)),
    (Reason.UNKNOWN_RELAY, "an unknown relay", lambda _, i: decide("sue", i, relay="nowhere")),
    (Reason.NO_ACCOUNT, "a relay for who has no account", lambda _, i: decide("sam", i, relay="office")),
    (
        Reason.UNKNOWN_KEY,
        "a relay's name with an own key",
        lambda _, i: signed_anew("sue", decide("sue", i), relay="office"),
    ),
    (Reason.NOT_APPLICABLE, "reopened while it waits", lambda _, i: decide("sam", i, Vote.REOPEN)),
]


@pytest.fixture
def desk() -> Desk:
    return Desk(people())


@pytest.mark.parametrize(("reason", "make"), [(r, m) for r, _, m in CASES], ids=[name for _, name, _ in CASES])
def test_what_does_not_count_changes_nothing_and_is_kept_with_its_reason(
    desk: Desk, reason: Reason, make: Make
) -> None:
    item = desk.hold(held(desk.in_force))
    before, rows = desk.status(item), dict(desk.driver.state.rows)
    decision = make(desk, item)
    desk.written.clear()
    desk.take(decision)
    (refused,) = desk.on(topics.REJECTED)
    assert (refused.reason, refused.value) == (reason.value, keys.encode(decision))
    assert refused.headers[envelope.SOURCE] == b"t.in.decisions/0/0"
    assert desk.driver.state.rows == rows
    assert desk.on(topics.DELIBERATION_STATUS) == []
    desk.take(decide("lee", item), decide("sam", item))
    assert [verdict.state for verdict in desk.verdicts] == [DeliberationState.APPROVED]
    assert before is not None


CHANGED: dict[str, object] = {
    "decision_id": "00000000-0000-4000-8000-000000000000",
    "vote": Vote.VETO,
    "reason": "another",
    "decided_at": "2026-01-01T00:00:00Z",
    "constitutional_hash": "0" * 16,
    "relay": None,
}


@pytest.mark.parametrize("name", sorted(CHANGED))
def test_a_signature_is_for_every_field(desk: Desk, name: str) -> None:
    item = desk.hold(held(desk.in_force))
    by_relay = name == "relay"
    signed = decide("sue" if by_relay else "sam", item, relay="office" if by_relay else None, reason="seen")
    desk.take(signed.model_copy(update={name: CHANGED[name]}))
    assert desk.reasons == ["unknown_key" if by_relay else "bad_signature"]


def test_a_vote_of_one_cannot_be_given_another_name(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("sam", item).model_copy(update={"approver": "sue"}))
    assert desk.reasons == ["unknown_key"]


def test_one_flipped_bit_of_a_signature_is_none(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    decision = decide("sam", item)
    signature = decision.signature or ""
    other = ("B" if signature[0] == "A" else "A") + signature[1:]
    desk.take(decision.model_copy(update={"signature": other}))
    assert desk.reasons == ["bad_signature"]


def test_a_second_vote_by_one_person_does_not_count_with_another_key_either(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    with_other_key = decide("two", item)
    with_other_key = signed_anew("two's other", with_other_key, key_id=key("two's other").id)
    desk.take(decide("two", item), decide("two", item), with_other_key)
    assert desk.reasons == ["already_voted", "already_voted"]
    assert desk.verdicts == []


def test_a_bot_and_who_operates_it_are_one_person(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("bot", item), decide("max", item))
    assert desk.reasons == ["same_person"]
    other = desk.hold(held(desk.in_force, 1))
    desk.take(decide("max", other), decide("bot", other))
    assert desk.reasons == ["same_person", "same_person"]


@pytest.mark.parametrize(
    ("asks", "approves"),
    [
        ("planner", "ola's bot"),
        ("ida", "ida's bot"),
        ("ida's bot", "ida"),
        ("ida's agent", "ida"),
        ("ida's agent", "ida's other"),
    ],
)
def test_nobody_releases_alone_what_they_ask_for_through_others(desk: Desk, asks: str, approves: str) -> None:
    item = desk.hold(held(desk.in_force, from_agent=asks))
    desk.take(decide(approves, item), decide("lee", item), decide("sam", item))
    assert desk.reasons == ["operates_requester"]
    denied = desk.hold(held(desk.in_force, 1, from_agent=asks))
    desk.take(decide(approves, denied, Vote.VETO))
    assert [verdict.state for verdict in desk.verdicts] == [DeliberationState.APPROVED, DeliberationState.REJECTED]


def test_two_bots_of_one_operator_are_one_person(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("ida's bot", item), decide("ida's other", item))
    assert (desk.verdicts, desk.reasons) == ([], ["same_person"])


def test_two_who_become_one_person_while_it_waits_have_one_vote(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    lee = approver("lee", "lead", operates=("sue",))
    desk.take(decide("sue", item))
    desk.publish(registry(2, approvers=(lee, SAM, SUE)))
    desk.take(decide("lee", item))
    assert (desk.verdicts, desk.reasons) == ([], ["same_person"])


def test_votes_that_have_come_count_once_if_they_turn_out_to_be_one_persons() -> None:
    roles = ("lead", "security", "compliance")
    tier = TWO.model_copy(update={"roles": roles, "approvals": 3})
    desk = Desk(registry(tiers=(tier,)))
    item = desk.hold(held(desk.in_force))
    desk.take(decide("lee", item), decide("sue", item))
    desk.publish(registry(2, tiers=(tier,), approvers=(approver("lee", "lead", operates=("sue",)), SAM, SUE, CAL)))
    desk.take(decide("cal", item))
    assert desk.verdicts == []
    desk.take(decide("sam", item))
    (verdict,) = desk.verdicts
    assert [vote.reason for vote in verdict.votes] == [None, Reason.SAME_PERSON, None, None]


def test_a_decision_counts_once_however_often_it_is_sent(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    first, second = decide("lee", item), decide("sam", item)
    desk.take(first, first, second, first, second)
    assert desk.reasons == ["replayed", "replayed", "replayed"]
    assert len(desk.verdicts) == len(desk.on(topics.DELIVERIES)) == 1


def test_after_the_deadline_nothing_counts_and_both_times_are_told(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    in_time = decide("lee", item)
    desk.now += 24 * HOUR
    desk.send(keys.encode(in_time), (), item.item_id)
    (refused,) = desk.on(topics.REJECTED)
    assert refused.reason == "after_deadline"
    assert [verdict.state for verdict in desk.verdicts] == [DeliberationState.EXPIRED]
    desk.take(decide("sam", item))
    detail = (desk.on(topics.REJECTED)[-1].headers[envelope.DETAIL] or b"").decode()
    assert "signed at 20" in detail
    assert "the item expired at 2027-" in detail


def test_a_closed_item_takes_no_more(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("lee", item, Vote.VETO), decide("sam", item))
    assert desk.reasons == ["item_closed"]


def test_a_withdrawn_policy_generation_ends_the_item_at_the_next_decision(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    desk.publish(people(accepted_hashes=(AcceptedHash(hash=NEXT_HASH),)).model_copy(update={"epoch": 2}))
    desk.take(decide("lee", item))
    assert desk.reasons == ["item_closed"]
    assert [verdict.state for verdict in desk.verdicts] == [DeliberationState.EXPIRED]


def test_bytes_that_are_no_decision_are_refused(desk: Desk) -> None:
    desk.send(b'{"v":1}', ((envelope.SOURCE, b"t.in.decisions/0/0"),), "x")
    assert desk.reasons == ["invalid_value"]
    desk.send(None, (), "x")
    assert desk.reasons == ["invalid_value", "null_value"]


def test_a_decision_on_an_item_that_is_not_there_is_refused_at_once_unless_it_is_signed(desk: Desk) -> None:
    item = held(desk.in_force).item
    desk.take(decide("stranger", item), decide("sam", item).model_copy(update={"signature": None}))
    assert desk.reasons == ["unknown_approver", "unsigned"]
    assert desk.rows("early/") == []


def test_every_reason_of_this_page_has_its_meaning() -> None:
    assert {reason for reason, _, _ in CASES} <= MEANINGS.keys()


def test_a_relays_key_speaks_for_nobody_once_it_is_gone(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("sue", item, relay="office"))
    desk.publish(people(relays=(Relay(id="office", keys=(public("another"),)),)).model_copy(update={"epoch": 2}))
    desk.take(decide("lee", item))
    assert desk.reasons == []
    assert desk.verdicts == []

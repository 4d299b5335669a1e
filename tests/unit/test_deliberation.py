"""What waits, how it ends, and when: one lane of deliberation by the log's time."""

import time
from datetime import timedelta
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from schemas import deliberation, envelope, topics
from schemas.decision import ItemKind, Vote
from schemas.deliberation import CHANGE_POLICY, POLICY_KEY, DeliberationItem, DeliberationState, Terms
from schemas.policy import AcceptedHash, Policy
from schemas.workflow import WorkflowVerdict
from streams.metrics import Measures
from tests.support.deliberated import CAL, HOUR, LEE, OLA, PARTITIONS, SAM, SUE, THREE, TWO, Desk, Held, held, registry
from tests.support.product import HASH, NEXT_HASH
from tests.support.signing import approver, decide, key, owners, public, signed_anew

APPROVED, REJECTED, EXPIRED, WITHDRAWN = (
    DeliberationState.APPROVED,
    DeliberationState.REJECTED,
    DeliberationState.EXPIRED,
    DeliberationState.WITHDRAWN,
)
DAY = 24 * HOUR


@pytest.fixture
def desk() -> Desk:
    return Desk()


def states(desk: Desk) -> list[DeliberationState]:
    return [verdict.state for verdict in desk.verdicts]


def roles(desk: Desk, *asked: str, approvals: int, relayed: int = 9) -> Held:
    terms = Terms("special", approvals, asked, relayed, 86_400, 21_600, 64_800)
    return held(desk.in_force, terms=terms)


# Released


def test_what_is_released_is_what_was_held_byte_for_byte_once_and_with_its_verdict(desk: Desk) -> None:
    one = held(desk.in_force)
    item = desk.hold(one)
    desk.take(decide("lee", item))
    assert desk.on(topics.DELIVERIES) == []
    turn_begins = len(desk.written)
    desk.take(decide("sam", item, reason="seen"))
    (delivered,) = desk.on(topics.DELIVERIES)
    assert (delivered.value, delivered.key) == (one.value, b"executor")
    assert delivered.headers == dict(reversed(list(one.headers)))
    in_turn = {record.topic for record in desk.written[turn_begins:]}
    assert {"t.deliveries", "t.verdicts", "t.deliberation-status", "t.audit"} <= in_turn
    (verdict,) = desk.verdicts
    assert [(vote.decision.approver, vote.stands) for vote in verdict.votes] == [("lee", True), ("sam", True)]
    assert all(vote.decision.signature for vote in verdict.votes)
    assert (verdict.state, verdict.why, verdict.registry) == (APPROVED, "approved by lee, sam", desk.in_force.reference)
    assert desk.rows("held/") == [row for row in desk.rows("held/") if item.item_id not in row]


def test_two_in_the_same_role_do_not_release(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("sam", item), decide("sue", item))
    assert (states(desk), desk.reasons) == ([], [])
    desk.take(decide("lee", item))
    assert states(desk) == [APPROVED]


def test_one_with_two_roles_fills_one_of_them_and_makes_room_for_others() -> None:
    desk = Desk(registry(approvers=(LEE, SAM, approver("ola", "lead", "security"))))
    item = desk.hold(held(desk.in_force))
    desk.take(decide("ola", item))
    assert states(desk) == []
    desk.take(decide("lee", item))
    assert states(desk) == [APPROVED]


def test_an_abstention_is_kept_and_fills_nothing(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("lee", item, Vote.ABSTAIN), decide("sam", item), decide("lee", item))
    assert (states(desk), desk.reasons) == ([], ["already_voted"])


@pytest.mark.parametrize("name", ["lee", "sam"])
def test_one_veto_denies_whoever_has_signed(desk: Desk, name: str) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("lee", item), decide(name, item, Vote.VETO, reason="no"))
    (verdict,) = desk.verdicts
    assert (verdict.state, verdict.by, verdict.why) == (REJECTED, name, f"vetoed by {name}: no")
    assert desk.on(topics.DELIVERIES) == []


def test_the_operator_of_who_asks_may_veto(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("ola", item, Vote.VETO))
    assert states(desk) == [REJECTED]


def test_relayed_votes_fill_all_roles_but_one(desk: Desk) -> None:
    asked = roles(desk, "security", "compliance", approvals=2, relayed=1)
    item = desk.hold(asked)
    desk.take(decide("sue", item, relay="office"), decide("cal", item, relay="office"))
    assert (states(desk), desk.reasons) == ([], [])
    desk.take(decide("sam", item))
    assert states(desk) == [APPROVED]


def test_a_relayed_veto_denies(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("sue", item, Vote.VETO, relay="office"))
    assert states(desk) == [REJECTED]


def test_metrics_count_how_items_end_and_what_was_refused() -> None:
    registered = CollectorRegistry()
    measures = Measures(registered)
    measures.decided([APPROVED, APPROVED, EXPIRED, "bad_signature"])
    value = registered.get_sample_value
    assert value("acgs_verdicts_total", {"state": "approved"}) == 2
    assert value("acgs_verdicts_total", {"state": "expired"}) == 1
    assert value("acgs_rejected_total", {"reason": "bad_signature"}) == 1


# Checked again at release


def people(*, without: str = "", epoch: int = 2, **changed: Any) -> Policy:  # noqa: ANN401
    found = tuple(changed.get(one.id, one) for one in (LEE, SAM, SUE, OLA, CAL) if one.id != without)
    return registry(epoch, approvers=found)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (people(without="lee"), "unknown_approver"),
        (people(lee=approver("lee", "compliance")), "wrong_role"),
        (people(lee=approver("lee", "lead", tenants=("other",))), "wrong_tenant"),
        (people(lee=approver("lee", "lead", operates=("planner",))), "operates_requester"),
        (people(lee=approver("lee", "lead", keys=(public("lee's other"),))), "unknown_key"),
        (people(lee=approver("lee", "lead", keys=(public("lee", revoked_at="2020-01-01T00:00:00Z"),))), "key_revoked"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_vote_that_does_not_count_any_more_does_not_release(desk: Desk, policy: Policy, reason: str) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("lee", item))
    desk.publish(policy)
    desk.take(decide("sam", item))
    assert states(desk) == []
    desk.pass_time(DAY)
    (verdict,) = desk.verdicts
    assert verdict.state is EXPIRED
    assert [(vote.stands, vote.reason and vote.reason.value) for vote in verdict.votes] == [
        (False, reason),
        (True, None),
    ]


def test_a_status_says_which_votes_stand_and_whose_are_missing(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))

    def told() -> tuple[int | None, tuple[str, ...], list[tuple[str, str | None]]]:
        status = desk.status(item)
        assert status is not None
        return status.needed, status.missing, [(vote.approver, vote.void) for vote in status.votes]

    assert told() == (2, ("lead", "security"), [])
    desk.take(decide("sam", item), decide("sue", item))
    assert told() == (1, ("lead",), [("sam", None), ("sue", None)])
    rotated = people(sam=approver("sam", "security", keys=(public("sam's other"),)))
    desk.publish(rotated)
    desk.pass_time(6 * HOUR)
    assert told() == (1, ("lead",), [("sam", "unknown_key"), ("sue", None)])
    desk.publish(people(sam=approver("sam", "security", keys=(public("sam's other"),)), without="sue", epoch=3))
    desk.pass_time(6 * HOUR)
    assert told() == (2, ("lead", "security"), [("sam", "unknown_key"), ("sue", "unknown_approver")])
    desk.pass_time(12 * HOUR)
    assert desk.verdicts[-1].why == "2 approvals were asked for; 0 stand at the deadline"


def test_what_a_key_signed_while_it_was_valid_stands(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("lee", item))
    desk.now += 2_000
    soon = "2027-01-15T08:00:01Z"
    desk.publish(people(lee=approver("lee", "lead", keys=(public("lee", valid_until=soon),))))
    desk.take(decide("sam", item))
    assert states(desk) == [APPROVED]


def test_whose_key_was_revoked_may_vote_again_with_another(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    desk.take(decide("lee", item))
    both = (public("lee", revoked_at="2020-01-01T00:00:00Z"), public("sam's other"))
    desk.publish(people(lee=approver("lee", "lead", keys=both)))
    again = signed_anew("sam's other", decide("lee", item), key_id=key("sam's other").id)
    desk.take(again, decide("sam", item))
    assert (states(desk), desk.reasons) == ([APPROVED], [])


def test_held_bytes_that_were_changed_are_never_released(desk: Desk) -> None:
    one = held(desk.in_force)
    item = desk.hold(one)
    key = f"held/{item.item_id}"
    stored = desk.driver.state.rows[key]
    desk.driver.state.rows[key] = stored._replace(row=stored.row.replace(b'"n":0', b'"n":1'))
    desk.take(decide("lee", item), decide("sam", item))
    assert states(desk) == [REJECTED]
    assert desk.on(topics.DELIVERIES) == []


# Time


def test_the_deadline_denies_and_not_a_millisecond_before(desk: Desk) -> None:
    early, late = (desk.hold(held(desk.in_force, number)) for number in (1, 2))
    desk.take(decide("lee", early), decide("lee", late))
    desk.pass_time(DAY - 1)
    assert states(desk) == []
    desk.take(decide("sam", early))
    desk.now += 1
    desk.take(decide("sam", late))
    assert states(desk) == [APPROVED, EXPIRED]
    assert desk.reasons == ["after_deadline"]


def test_a_message_is_never_released_after_its_own_expiry(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force, expires_at="2027-01-15T08:00:10Z"))
    status = desk.status(item)
    assert status is not None
    desk.pass_time((status.deadline or 0) - status.opened)
    assert status.deadline == 1_800_000_010_000
    assert states(desk) == [EXPIRED]


def test_what_waits_is_reminded_of_and_escalated(desk: Desk) -> None:
    item = desk.hold(held(desk.in_force))
    seen = []
    for _ in range(3):
        desk.pass_time(6 * HOUR)
        status = desk.status(item)
        assert status is not None
        seen.append((status.reminders, status.escalated))
    assert seen == [(1, False), (2, False), (3, True)]


def test_a_tier_may_say_when_to_remind_and_to_escalate() -> None:
    tier = TWO.model_copy(update={"remind_every": timedelta(hours=1), "escalate_after": timedelta(hours=2)})
    desk = Desk(registry(tiers=(tier, THREE)))
    item = desk.hold(held(desk.in_force))
    desk.pass_time(2 * HOUR)
    status = desk.status(item)
    assert status is not None
    assert (status.reminders, status.escalated) == (2, True)


def test_after_a_long_silence_all_missed_reminders_are_counted_at_once() -> None:
    tier = TWO.model_copy(update={"remind_every": timedelta(seconds=1), "deadline": timedelta(days=3_650)})
    desk = Desk(registry(tiers=(tier,)))
    item = desk.hold(held(desk.in_force))
    before = len(desk.on(topics.DELIBERATION_STATUS))
    began = time.process_time()
    desk.pass_time(3_000 * DAY + 1)
    assert time.process_time() - began < 5  # counted one by one, it took half an hour
    status = desk.status(item)
    assert status is not None
    assert status.reminders == 3_000 * 86_400
    assert len(desk.on(topics.DELIBERATION_STATUS)) - before <= 2


@pytest.mark.parametrize("name", ["deadline", "keep_closed_items", "proposal_deadline"])
def test_a_length_of_time_that_cannot_be_counted_to_is_no_policy(name: str) -> None:
    changes = {"deadline": {"tiers": (TWO.model_copy(update={"deadline": timedelta(days=999_999_999)}),)}}
    with pytest.raises(ValidationError, match="3650 days"):
        registry(**changes.get(name, {name: timedelta(days=999_999_999)}))


def test_items_from_before_the_first_run_have_their_time_from_then() -> None:
    desk = Desk(has_begun=False)
    one = held(desk.in_force)
    item = one.item
    desk._handle(desk._topic, one.value, one.headers, item.item_id)  # noqa: SLF001  # time stands still in the old log
    desk.pass_time(3 * DAY)
    assert states(desk) == []
    status = desk.status(item)
    assert status is not None
    desk.take(decide("lee", item))
    desk.pass_time(DAY - 1)
    assert states(desk) == []
    desk.pass_time(1)
    assert states(desk) == [EXPIRED]


def test_a_withdrawn_generation_ends_its_items_at_its_own_time(desk: Desk) -> None:
    until = AcceptedHash.model_validate({"hash": HASH, "until": "2027-01-15T09:00:00Z"}, strict=False)
    desk.publish(registry(2, accepted_hashes=(until, AcceptedHash(hash=NEXT_HASH))))
    desk.hold(held(desk.in_force))
    desk.pass_time(HOUR - 10)
    assert states(desk) == []
    desk.pass_time(10)
    assert states(desk) == [EXPIRED]


def test_a_generation_that_is_withdrawn_later_ends_its_items_at_the_next_reminder(desk: Desk) -> None:
    desk.hold(held(desk.in_force))
    desk.publish(registry(2, accepted_hashes=(AcceptedHash(hash=NEXT_HASH),)))
    desk.pass_time(6 * HOUR)
    assert states(desk) == [EXPIRED]


# Before its item, twice, too many, forgotten


def test_signed_decisions_before_their_item_count_once_it_comes(desk: Desk) -> None:
    one = held(desk.in_force)
    desk.take(decide("lee", one.item), decide("sam", one.item))
    assert (desk.reasons, states(desk)) == ([], [])
    desk.hold(one)
    assert states(desk) == [APPROVED]
    assert desk.rows("early/") == desk.rows(f"held/{one.item.item_id}") == []
    assert [r for r in desk.rows("sender/") if "planner" in r] == []


def test_a_decision_whose_item_does_not_come_is_refused_after_a_while(desk: Desk) -> None:
    one = held(desk.in_force)
    first = decide("lee", one.item)
    desk.take(first, first)
    assert desk.reasons == ["replayed"]
    desk.pass_time(600_000)
    assert desk.reasons == ["replayed", "unknown_item"]
    assert desk.rows("early/") == []


def test_an_item_comes_once_open_or_closed(desk: Desk) -> None:
    one = held(desk.in_force)
    item = desk.hold(one)
    desk.hold(one)
    desk.take(decide("lee", item, Vote.VETO))
    desk.hold(one)
    assert desk.reasons == ["duplicate_item", "duplicate_item"]
    desk.pass_time(30 * DAY)
    assert desk.status(item) is None
    assert desk.rows(f"item/{item.item_id}") == []
    desk.hold(one)
    assert desk.reasons == ["duplicate_item", "duplicate_item"]


@pytest.mark.parametrize("change", ["value", "item_id", "header"])
def test_what_does_not_fit_its_item_is_not_held(desk: Desk, change: str) -> None:
    one = held(desk.in_force)
    said = orjson.loads(one.item.model_dump_json())
    if change == "value":
        desk.hold(one.with_value(one.value.replace(b'"n":0', b'"n":1')))
    else:
        said["item_id" if change == "item_id" else "approvals"] = one.item.message_id if change == "item_id" else 0
        headers = [(n, orjson.dumps(said) if n == envelope.ITEM else c) for n, c in one.headers]
        desk.send(one.value, headers, one.item.item_id)
    assert desk.reasons == ["invalid_item"]
    assert [row for row in desk.rows("held/") if one.item.item_id in row] == []


def test_one_sender_cannot_bury_the_approvers() -> None:
    desk = Desk(registry(max_held_per_sender=3))
    items = [desk.hold(held(desk.in_force, number)) for number in range(5)]
    assert desk.reasons == ["too_many_held"] * 2
    desk.hold(held(desk.in_force, 5, from_agent="other"))
    assert len(desk.reasons) == 2
    desk.take(decide("lee", items[0], Vote.VETO))
    desk.hold(held(desk.in_force, 6))
    assert len(desk.reasons) == 2


def test_who_only_claims_a_name_does_not_take_the_room_of_who_proves_it() -> None:
    desk = Desk(registry(max_held_per_sender=2))
    for number in range(3):
        desk.hold(held(desk.in_force, number))
    assert desk.reasons == ["too_many_held"]
    for number in range(3, 6):
        desk.hold(held(desk.in_force, number).verified())
    assert desk.reasons == ["too_many_held"] * 2


@pytest.mark.parametrize("bound", [{"max_held_unverified": 3}, {"max_held_unverified_bytes": 9_000}])
def test_all_whose_names_are_claims_have_so_much_room_together(bound: dict[str, int]) -> None:
    desk = Desk(owned(**bound))
    items = [desk.hold(held(desk.in_force, n, from_agent=f"a{n}", content={"x": "y" * 1_000})) for n in range(20)]
    waiting = len(desk.rows("held/"))
    assert waiting in {3, 4}
    assert desk.reasons == ["too_many_held"] * (20 - waiting)
    detail = (desk.on(topics.REJECTED)[0].headers[envelope.DETAIL] or b"").decode()
    assert detail.startswith(f"senders who are not verified have {waiting} items")
    desk.hold(held(desk.in_force, 20).verified())
    desk.hold(proposal(desk, owned(2), 21))
    assert len(desk.rows("held/")) == waiting + 2
    for item in items[:waiting]:
        desk.take(decide("lee", item, Vote.VETO))
    assert desk.rows("unverified") == ["unverified/policy"]
    desk.hold(held(desk.in_force, 22, from_agent="a22"))
    assert len(desk.rows("held/")) == 3


def test_a_flood_of_unsigned_proposals_leaves_room_for_one_that_is_signed() -> None:
    desk = Desk(owned(max_held_unverified=3))
    for number in range(4):
        desk.hold(proposal(desk, owned(2, max_held_per_sender=7 + number), number))
    assert desk.reasons == ["too_many_held"]
    item = desk.hold(proposal(desk, owned(2), 9).verified())
    desk.take(decide("ann", item), decide("bob", item))
    assert epochs(desk) == [(partition, owned(2).canonical()) for partition in range(PARTITIONS)]


def test_a_flood_of_unsigned_messages_leaves_room_for_what_workflows_ask() -> None:
    desk = Desk(registry(max_held_unverified=3))
    for number in range(4):
        desk.hold(held(desk.in_force, number, from_agent=f"anon{number}"))
    assert desk.reasons == ["too_many_held"]
    desk.hold(asked(desk, 9))
    assert answers(desk) == []
    assert desk.rows("unverified") == ["unverified/message", "unverified/workflow"]


# Reopened


@pytest.mark.parametrize("case", ["its message has expired", "its generation is withdrawn"])
def test_what_could_not_go_on_anyway_is_not_kept_when_it_expires(case: str) -> None:
    desk = Desk()
    is_expired = case == "its message has expired"
    item = desk.hold(held(desk.in_force, **({"expires_at": "2027-01-15T08:00:10Z"} if is_expired else {})))
    if not is_expired:
        desk.publish(registry(2, accepted_hashes=(AcceptedHash(hash=NEXT_HASH),)))
    desk.pass_time(DAY)
    status = desk.status(item)
    assert status is not None
    assert (status.state, status.reopenable) == (EXPIRED, False)
    assert desk.rows(f"held/{item.item_id}") == []


@pytest.mark.parametrize("case", ["its message has expired", "its generation is withdrawn"])
def test_what_expired_before_it_could_be_held_cannot_be_reopened_by_anybody(case: str) -> None:
    desk = Desk()
    is_expired = case == "its message has expired"
    one = held(desk.in_force, **({"expires_at": "2027-01-15T08:00:00.001Z"} if is_expired else {}))
    if not is_expired:
        desk.publish(registry(2, accepted_hashes=(AcceptedHash(hash=NEXT_HASH),)))
    desk.pass_time(10)
    item = desk.hold(one)
    assert states(desk) == [EXPIRED]
    unsigned = decide("stranger", item, Vote.REOPEN).model_copy(update={"signature": None})
    desk.take(decide("sam", item, Vote.REOPEN), unsigned)
    assert desk.reasons == ["not_applicable"] * 2


@pytest.mark.parametrize("bound", [{"max_reopenable": 3}, {"max_reopenable_bytes": 9_000}])
def test_of_what_expired_the_latest_may_be_reopened_and_the_status_says_which(bound: dict[str, int]) -> None:
    desk = Desk(registry(**bound))
    items: list[DeliberationItem] = []
    for number in range(9):
        items.append(desk.hold(held(desk.in_force, number, content={"x": "y" * 1_000})))
        desk.pass_time(10)
    desk.pass_time(DAY)
    left = [item for item in items if (said := desk.status(item)) is not None and said.reopenable]
    assert left == items[-len(left) :]
    assert len(left) in {3, 4}
    assert len(desk.rows("held/")) == len(desk.rows("kept/")) == len(left)
    gone = desk.status(items[0])
    assert gone is not None
    assert "cannot be reopened any more" in (gone.why or "")
    desk.take(decide("sam", items[0], Vote.REOPEN), decide("sam", left[1], Vote.REOPEN))
    assert desk.reasons == ["not_applicable"]
    assert len(desk.rows("kept/")) == len(left) - 1
    for number in range(9, 11):
        desk.hold(held(desk.in_force, number, content={"x": "y" * 1_000}))
    desk.pass_time(DAY)
    assert len(desk.rows("held/")) == len(desk.rows("kept/")) == len(left)
    desk.pass_time(30 * DAY)
    assert desk.rows("held/") == desk.rows("kept/") == desk.rows("item/") == []


def test_strangers_do_not_use_up_what_a_sender_who_signs_may_have_reopened() -> None:
    desk = Desk(registry(max_reopenable=2))
    own = desk.hold(held(desk.in_force, 0).verified())
    desk.pass_time(DAY)
    for number in range(1, 6):
        desk.hold(held(desk.in_force, number))
    desk.pass_time(DAY)
    assert len(desk.rows("kept/")) == 3
    status = desk.status(own)
    assert status is not None
    assert status.reopenable
    desk.take(decide("sam", own, Vote.REOPEN))
    assert desk.reasons == []


def test_what_an_approver_lets_wait_anew_has_room_whatever_else_waits() -> None:
    desk = Desk(registry(max_held_per_sender=1, max_held_unverified=1))
    one = held(desk.in_force)
    item = desk.hold(one)
    desk.pass_time(DAY)
    desk.hold(held(desk.in_force, 1))
    desk.take(decide("sam", item, Vote.REOPEN))
    (record,) = [r for r in desk.on(topics.DELIBERATION) if envelope.ITEM in r.headers]
    desk.send(record.value, tuple(record.headers.items()), (record.key or b"").decode())
    assert desk.reasons == []
    anew = DeliberationItem.model_validate_json(record.headers[envelope.ITEM] or b"")
    desk.take(decide("sam", anew), decide("lee", anew))
    assert states(desk) == [EXPIRED, APPROVED]


def test_an_expired_message_waits_anew_as_a_new_item(desk: Desk) -> None:
    one = held(desk.in_force)
    item = desk.hold(one)
    desk.take(decide("lee", item))
    desk.pass_time(DAY)
    desk.publish(registry(2))
    desk.take(decide("sam", item, Vote.REOPEN, reason="nobody was there"))
    (record,) = [r for r in desk.on(topics.DELIBERATION) if envelope.ITEM in r.headers]
    anew = DeliberationItem.model_validate_json(record.headers[envelope.ITEM] or b"")
    assert record.value == one.value
    assert (anew.generation, anew.policy) == (1, desk.in_force.reference)
    assert anew.item_id == deliberation.item_id(item.message_id, item.digest, 1)
    assert anew.nonce != item.nonce
    status = desk.status(item)
    assert status is not None
    assert status.reopened_as == anew.item_id
    desk.take(decide("sam", item, Vote.REOPEN))
    assert desk.reasons == ["not_applicable"]
    desk.hold(Held(anew, one.value, tuple(record.headers.items())))
    desk.take(decide("sam", item), decide("sam", anew), decide("lee", anew))
    assert states(desk) == [EXPIRED, APPROVED]


@pytest.mark.parametrize("case", ["pending", "approved", "stranger", "expired message", "withdrawn"])
def test_what_cannot_be_reopened_is_not(desk: Desk, case: str) -> None:
    changes = {"expires_at": "2027-01-15T08:00:10Z"} if case == "expired message" else {}
    item = desk.hold(held(desk.in_force, **changes))
    if case == "approved":
        desk.take(decide("lee", item), decide("sam", item))
    elif case != "pending":
        desk.pass_time(DAY)
    if case == "withdrawn":
        desk.publish(registry(2, accepted_hashes=(AcceptedHash(hash=NEXT_HASH),)))
    desk.take(decide("cal" if case == "stranger" else "sam", item, Vote.REOPEN))
    assert desk.reasons == ["wrong_role" if case == "stranger" else "not_applicable"]
    assert [r for r in desk.on(topics.DELIBERATION) if envelope.ITEM in r.headers] == []


# Workflows


def asked(desk: Desk, number: int = 0) -> Held:
    one = held(desk.in_force, number)
    value = orjson.dumps(
        {"v": 1, "workflow_id": "w", "run": "a" * 32, "node": "ship", "tenant_id": "acme", "requested_by": "ada"}
    )
    digest = deliberation.digest_of(value)
    item = one.item.model_copy(
        update={
            "kind": ItemKind.WORKFLOW,
            "digest": digest,
            "item_id": deliberation.item_id(one.item.message_id, digest, 0),
            "sender": "ada",
        }
    )
    headers = ((envelope.WORKFLOW, b"w"), (envelope.ITEM, item.model_dump_json().encode()))
    return Held(item, value, headers)


def answers(desk: Desk) -> list[WorkflowVerdict]:
    return [WorkflowVerdict.model_validate_json(one.value or b"") for one in desk.on(topics.WORKFLOWS)]


def test_a_workflow_is_answered_and_nothing_is_delivered(desk: Desk) -> None:
    item = desk.hold(asked(desk))
    desk.take(decide("lee", item), decide("sam", item))
    (answer,) = answers(desk)
    assert (answer.workflow_id, answer.node, answer.approved, answer.item_id) == ("w", "ship", True, item.item_id)
    assert desk.on(topics.WORKFLOWS)[0].key == b"w"
    assert desk.on(topics.DELIVERIES) == []


def test_a_workflow_is_told_of_a_veto_of_the_deadline_and_of_the_cap() -> None:
    desk = Desk(registry(max_held_per_sender=2))
    vetoed, _ = desk.hold(asked(desk)), desk.hold(asked(desk, 1))
    desk.hold(asked(desk, 2))
    assert [answer.approved for answer in answers(desk)] == [False]
    desk.take(decide("lee", vetoed, Vote.VETO))
    desk.pass_time(DAY)
    assert [answer.approved for answer in answers(desk)] == [False] * 3


def test_a_withdrawn_item_ends_without_an_answer(desk: Desk) -> None:
    item = desk.hold(asked(desk))
    desk.send(b"{}", ((envelope.WITHDRAWN, item.item_id.encode()),), item.item_id)
    assert (states(desk), answers(desk)) == ([WITHDRAWN], [])
    desk.send(b"{}", ((envelope.WITHDRAWN, item.item_id.encode()),), item.item_id)
    desk.send(b"{}", ((envelope.WITHDRAWN, b"other"),), "other")
    assert desk.reasons == ["item_closed", "unknown_item"]


# The policy


def owned(epoch: int = 1, **changes: Any) -> Policy:  # noqa: ANN401
    bob = approver("bob", accounts={"slack": "U3"})
    named = {**owners("ann", "eve"), "approvers": (approver("ann"), bob, approver("eve"), LEE, SAM)}
    return registry(epoch, **{**named, "owners": ("ann", "bob", "eve"), **changes})


def proposal(desk: Desk, policy: Policy, number: int = 0) -> Held:
    document = orjson.loads(policy.canonical())
    action = {"tool": CHANGE_POLICY, "arguments": {"document": document}}
    return held(desk.in_force, number, tool=None, payload={"action": action})


def epochs(desk: Desk) -> list[tuple[int, bytes | None]]:
    return [(one.partition, one.value) for one in desk.on(topics.CONTROL)]


def test_two_owners_put_the_next_epoch_in_force_on_every_partition() -> None:
    desk, following = Desk(owned()), owned(2, max_held_per_sender=7)
    item = desk.hold(proposal(desk, following))
    assert (item.kind, item.relayed, item.approvals) == (ItemKind.POLICY, 0, 2)
    desk.take(decide("ann", item), decide("lee", item), decide("bob", item, relay="office"))
    assert desk.reasons == ["wrong_role"]
    assert epochs(desk) == []
    desk.take(decide("eve", item))
    assert epochs(desk) == [(partition, following.canonical()) for partition in range(PARTITIONS)]
    assert desk.on(topics.DELIVERIES) == []
    assert {one.key for one in desk.on(topics.CONTROL)} == {POLICY_KEY.encode()}


def test_of_two_proposals_of_one_epoch_the_second_to_be_signed_expires() -> None:
    desk = Desk(owned())
    first, second = (desk.hold(proposal(desk, owned(2, max_held_per_sender=number), number)) for number in (7, 8))
    for item in (first, second):
        desk.take(decide("ann", item), decide("eve", item))
    assert states(desk) == [APPROVED, EXPIRED]
    assert [value for _, value in epochs(desk)] == [owned(2, max_held_per_sender=7).canonical()] * PARTITIONS


def test_owners_whom_a_signed_epoch_puts_out_sign_no_other_before_it_is_in_force() -> None:
    desk = Desk(owned())
    following, theirs = owned(2, owners=("bob", "eve")), owned(3, owners=("ann", "eve"))
    first, other = desk.hold(proposal(desk, following)), desk.hold(proposal(desk, owned(2, max_held_per_sender=9), 1))
    desk.take(decide("ann", other), decide("ann", first), decide("eve", first))
    desk.hold(proposal(desk, theirs, 2))
    assert desk.reasons == ["epoch_pending"]
    desk.take(decide("eve", other))
    assert states(desk) == [APPROVED, EXPIRED]
    assert desk.verdicts[-1].why == "epoch 2 is being put in force; propose again"
    desk.publish(following)
    again = desk.hold(proposal(desk, theirs, 3))
    desk.take(decide("eve", again), decide("ann", again))
    assert (desk.reasons, len(epochs(desk))) == (["epoch_pending", "wrong_role"], PARTITIONS)


@pytest.mark.parametrize(
    ("policy", "proposed"),
    [
        (owned(), owned(1)),
        (owned(), owned(3)),
        (registry(), registry(2)),
    ],
    ids=["the same", "one after the next", "no owners"],
)
def test_a_proposal_that_cannot_follow_is_refused_at_once(policy: Policy, proposed: Policy) -> None:
    desk = Desk(policy)
    desk.hold(proposal(desk, proposed))
    assert desk.reasons == ["invalid_policy"]


@pytest.mark.parametrize("document", [None, {}, {"epoch": 2}, "x", []])
def test_what_is_no_policy_is_refused_at_once(document: object) -> None:
    desk = Desk(owned())
    action = {"tool": CHANGE_POLICY, "arguments": {} if document is None else {"document": document}}
    desk.hold(held(desk.in_force, tool=None, payload={"action": action}))
    assert desk.reasons == ["invalid_policy"]


def test_a_proposal_waits_whatever_the_catalogue_says_of_its_tool() -> None:
    tool = registry().tools["look"]
    desk = Desk(owned(tools={CHANGE_POLICY: tool}))
    item = desk.hold(proposal(desk, owned(2)))
    assert (item.kind, item.tier, item.score) == (ItemKind.POLICY, "policy", 1_000)

"""What waits: votes that count and votes that do not, deadlines, what is reopened, and the policy's own changes."""

from datetime import timedelta
from typing import Any

import orjson

from schemas import deliberation, envelope, topics
from schemas.decision import ItemKind, Vote
from schemas.deliberation import CHANGE_POLICY, DeliberationItem
from schemas.policy import AcceptedHash, Policy
from tests.golden.recording import Recorder
from tests.support.deliberated import AGENT, CAL, HOUR, LEE, SAM, SUE, THREE, TWO, Desk, Held, held, registry
from tests.support.product import HASH, NEXT_HASH
from tests.support.signing import approver, decide, key, owners, public, signed_anew

DAY = 24 * HOUR
SOON = "2027-01-15T08:00:10Z"


def _people(epoch: int = 1, **changes: Any) -> Policy:  # noqa: ANN401
    long_ago, far = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
    ola = approver("ola", "lead", "security", operates=(AGENT, "ola's bot"))
    others = (
        approver("old", "security", keys=(public("old", valid_until=long_ago),)),
        approver("new", "security", keys=(public("new", valid_from=far),)),
        approver("lost", "security", keys=(public("lost", revoked_at=long_ago),)),
        approver("elsewhere", "security", tenants=("other",)),
        approver(AGENT, "security"),
        approver("ola's bot", "security", kind="bot"),
        approver("bot", "security", kind="bot"),
        approver("max", "security", operates=("bot",)),
    )
    return registry(epoch, approvers=(LEE, SAM, SUE, ola, CAL, *others), **changes)


def votes(recorder: Recorder) -> None:
    desk = Desk(_people(), driver=recorder.driver)
    item, other = desk.hold(held(desk.in_force)), desk.hold(held(desk.in_force, 1))
    sam = decide("sam", item)
    desk.take(
        sam.model_copy(update={"signature": None}),
        sam.model_copy(update={"approver": "sue"}),
        sam.model_copy(update={"vote": Vote.VETO}),
        *(decide(name, item) for name in ("stranger", "old", "new", "lost", "cal", "elsewhere")),
        *(decide(name, item) for name in (AGENT, "ola", "ola's bot")),
        signed_anew("lee", sam, key_id=key("lee").id),
        signed_anew("sam", sam, digest="0" * 64),
        signed_anew("sam", sam, nonce="0" * 32),
        signed_anew("sam", decide("sam", other), item_id=item.item_id),
        signed_anew("sam", sam, policy="2:" + "0" * 64),
        signed_anew("sam", sam, kind=ItemKind.POLICY),
        decide("sue", item, relay="nowhere"),
        decide("sam", item, relay="office"),
        decide("sam", item, Vote.REOPEN),
        decide("bot", item),
        decide("max", item),
        decide("bot", item),
        decide("lee", item, Vote.ABSTAIN),
        decide("lee", item),
    )
    desk.take(decide("sam", other), decide("sam", other), decide("lee", other, reason="seen"), decide("sue", other))
    vetoed = desk.hold(held(desk.in_force, 2))
    desk.take(decide("ola", vetoed, Vote.VETO, reason="no"))
    for value in (b"", b"{", b"[]", None):
        desk.send(value, ((envelope.SOURCE, b"t.in.decisions/0/77"),), "x")


def relayed_votes_and_three_roles(recorder: Recorder) -> None:
    desk = Desk(driver=recorder.driver)
    grave = desk.hold(held(desk.in_force, terms=deliberation.terms_of(THREE)))
    desk.take(decide("sue", grave, relay="office"), decide("cal", grave, relay="office"), decide("lee", grave))
    asked = deliberation.Terms("special", 2, ("security", "compliance"), 1, 86_400, 21_600, 64_800)
    one = desk.hold(held(desk.in_force, 1, terms=asked))
    desk.take(decide("sue", one, relay="office"), decide("cal", one, relay="office"), decide("sam", one))


def checked_again_at_release(recorder: Recorder) -> None:
    revoked = approver("lee", "lead", keys=(public("lee", revoked_at="2020-01-01T00:00:00Z"),))
    for lee in (None, revoked):
        desk = Desk(driver=recorder.driver)
        item = desk.hold(held(desk.in_force))
        desk.take(decide("lee", item))
        desk.publish(registry(2, approvers=(*((lee,) if lee else ()), SAM, SUE)))
        desk.take(decide("sam", item))
        desk.pass_time(DAY)


def deadlines(recorder: Recorder) -> None:
    tier = TWO.model_copy(update={"remind_every": timedelta(hours=1), "escalate_after": timedelta(hours=2)})
    desk = Desk(registry(tiers=(tier, THREE)), driver=recorder.driver)
    early, late = (desk.hold(held(desk.in_force, number)) for number in (1, 2))
    desk.hold(held(desk.in_force, 3, expires_at=SOON))
    desk.take(decide("lee", early), decide("lee", late))
    desk.pass_time(3 * HOUR)
    desk.pass_time(DAY - 3 * HOUR - 1)
    desk.take(decide("sam", early))
    desk.now += 1
    desk.take(decide("sam", late))
    desk.take(decide("sam", late, Vote.REOPEN, reason="nobody was there"))
    anew = [one for one in desk.on(topics.DELIBERATION) if envelope.ITEM in one.headers][-1]
    item = DeliberationItem.model_validate_json(anew.headers[envelope.ITEM] or b"")
    desk.hold(Held(item, anew.value or b"", tuple(anew.headers.items())))
    desk.take(decide("sam", item), decide("lee", item), decide("sam", late, Vote.REOPEN))
    desk.pass_time(40 * DAY)


def withdrawn_generations(recorder: Recorder) -> None:
    desk = Desk(driver=recorder.driver)
    desk.hold(held(desk.in_force))
    until = AcceptedHash.model_validate({"hash": HASH, "until": "2027-01-15T09:00:00Z"}, strict=False)
    desk.publish(registry(2, accepted_hashes=(until, AcceptedHash(hash=NEXT_HASH))))
    desk.hold(held(desk.in_force, 1))
    desk.pass_time(HOUR)
    desk.publish(registry(3, accepted_hashes=(AcceptedHash(hash=NEXT_HASH),)))
    item = desk.hold(held(desk.in_force, 2))
    desk.pass_time(6 * HOUR)
    desk.take(decide("sam", item, Vote.REOPEN))


def before_twice_and_too_many(recorder: Recorder) -> None:
    desk = Desk(registry(max_held_per_sender=3, max_reopenable=1), driver=recorder.driver)
    one = held(desk.in_force)
    first = decide("lee", one.item)
    desk.take(first, first, decide("sam", one.item))
    desk.hold(one)
    desk.hold(one)
    desk.take(decide("lee", held(desk.in_force, 50).item))
    desk.pass_time(600_000)
    desk.hold(one.with_value(one.value.replace(b'"n":0', b'"n":1')))
    changed = orjson.dumps({**orjson.loads(one.item.model_dump_json()), "approvals": 0})
    desk.send(one.value, ((envelope.ITEM, changed),), one.item.item_id)
    for number in range(1, 6):
        desk.hold(held(desk.in_force, number))
    desk.hold(held(desk.in_force, 6).verified())
    desk.pass_time(DAY)


def workflows_ask(recorder: Recorder) -> None:
    desk = Desk(registry(max_held_per_sender=3), driver=recorder.driver)
    items = [desk.hold(_asked(desk, number)) for number in range(4)]
    desk.take(decide("lee", items[0]), decide("sam", items[0]), decide("lee", items[1], Vote.VETO))
    for _ in range(2):
        desk.send(b"{}", ((envelope.WITHDRAWN, items[2].item_id.encode()),), items[2].item_id)
    desk.send(b"{}", ((envelope.WITHDRAWN, b"other"),), "other")


def _asked(desk: Desk, number: int) -> Held:
    one = held(desk.in_force, number)
    said = {"v": 1, "workflow_id": "w", "run": "a" * 32, "node": "ship", "tenant_id": "acme", "requested_by": "ada"}
    value = orjson.dumps(said)
    digest = deliberation.digest_of(value)
    item_id = deliberation.item_id(one.item.message_id, digest, 0)
    update = {"kind": ItemKind.WORKFLOW, "digest": digest, "item_id": item_id, "sender": "ada"}
    item = one.item.model_copy(update=update)
    return Held(item, value, ((envelope.WORKFLOW, b"w"), (envelope.ITEM, item.model_dump_json().encode())))


def policies(recorder: Recorder) -> None:
    desk = Desk(_owned(), driver=recorder.driver)
    first, second, jump, ownerless = (
        desk.hold(_proposal(desk, policy, number))
        for number, policy in enumerate(
            (_owned(2, max_held_per_sender=7), _owned(2), _owned(4), registry(2, approvers=(LEE,)))
        )
    )
    desk.hold(_proposal(desk, {"epoch": 2}, 9))
    for item in (jump, ownerless):
        desk.take(decide("ann", item), decide("eve", item))
    desk.take(decide("ann", first), decide("lee", first), decide("bob", first, relay="office"), decide("bob", first))
    desk.take(decide("ann", second), decide("eve", second))
    desk.hold(_proposal(desk, _owned(2, max_held_per_sender=8), 10))
    desk.publish(_owned(2, max_held_per_sender=7))
    vetoed = desk.hold(_proposal(desk, _owned(3), 11))
    desk.take(decide("eve", vetoed, Vote.VETO))
    desk.hold(_proposal(desk, _owned(3, max_held_per_sender=9), 12))
    desk.pass_time(30 * DAY)


def _owned(epoch: int = 1, **changes: Any) -> Policy:  # noqa: ANN401
    bob = approver("bob", accounts={"slack": "U3"})
    named = {**owners("ann", "eve"), "approvers": (approver("ann"), bob, approver("eve"), LEE, SAM)}
    return registry(epoch, **{**named, "owners": ("ann", "bob", "eve"), **changes})


def _proposal(desk: Desk, document: Policy | dict[str, Any], number: int) -> Held:
    said = orjson.loads(document.canonical()) if isinstance(document, Policy) else document
    action = {"tool": CHANGE_POLICY, "arguments": {"document": said}}
    return held(desk.in_force, number, tool=None, payload={"action": action})


SCENES = (
    votes,
    relayed_votes_and_three_roles,
    checked_again_at_release,
    deadlines,
    withdrawn_generations,
    before_twice_and_too_many,
    workflows_ask,
    policies,
)

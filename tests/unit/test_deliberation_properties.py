"""Whatever is tried in whatever order: nothing goes out without its signatures, nothing twice, nothing is lost."""

from collections import Counter
from typing import NamedTuple

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import envelope, topics
from schemas.decision import Decision, Vote
from schemas.deliberation import DeliberationState
from schemas.policy import Policy
from schemas.registry import Approver
from tests.support.deliberated import CAL, HOUR, LEE, OLA, SAM, SUE, Desk, Held, held, registry
from tests.support.signing import approver, decide, public, signed_anew

ITEMS = 3
REOPENABLE = 2
LONG_AGO = "2020-01-01T00:00:00Z"
REVOKED = approver("lee", "lead", keys=(public("lee", revoked_at=LONG_AGO),))
BOTS = (
    approver("ola", "lead", "security", operates=("planner", "ola's bot")),
    approver("ola's bot", "security", kind="bot"),
    approver("ida", "compliance", operates=("ida's bot", "ida's lead")),
    approver("ida's bot", "security", kind="bot", operates=("ida's third",)),
    approver("ida's lead", "lead", kind="bot"),
    approver("ida's third", "security", kind="bot"),
)
"""`ola` runs the agent that asks, and a bot; `ida` only bots, one of which runs another."""
REGISTRIES: tuple[tuple[Approver, ...], ...] = (
    (LEE, SAM, SUE, OLA, CAL),
    (REVOKED, SAM, SUE, OLA, CAL),
    (LEE, approver("sam", "compliance"), SUE, OLA, CAL),
    (LEE, SAM, CAL),
    (LEE, SAM, SUE, CAL, *BOTS),
    (SUE, CAL, *BOTS),
    (approver("lee", "lead", operates=("sam",)), SAM, SUE, CAL, *BOTS),
)
FILLS = {"lead": {"lee", "ida's lead"}, "security": {"sam", "sue", "ida's bot", "ida's third"}}
"""Who may fill which role of an item: all but `ola` and what she runs."""


def person(name: str, registry: int) -> str:
    """Who is behind a name, by hand."""
    if name.startswith("ida"):
        return "ida"
    return "lee" if registry == len(REGISTRIES) - 1 and name == "sam" else name


class Said(NamedTuple):
    """A decision that is sent, and what is wrong with it."""

    item: int
    name: str
    vote: Vote
    wrong: str
    relayed: bool


class Hours(NamedTuple):
    count: int


class Registry(NamedTuple):
    number: int


class Hold(NamedTuple):
    item: int


class Pair(NamedTuple):
    """An item comes, if it has not, and two sign for it."""

    item: int
    first: str
    second: str


class Again(NamedTuple):
    """The decision that was sent so many before is sent once more."""

    back: int


names = st.sampled_from(["lee", "sam", "sue", "ola", "cal", "stranger", *(one.id for one in BOTS)])
votes = st.sampled_from([Vote.APPROVE] * 6 + [Vote.VETO, Vote.ABSTAIN, Vote.REOPEN])
wrongs = st.sampled_from([""] * 8 + ["digest", "nonce", "policy", "signature", "unsigned", "renamed"])
numbers = st.integers(0, ITEMS - 1)
steps = st.lists(
    st.builds(Hold, numbers)
    | st.builds(Said, numbers, names, votes, wrongs, st.booleans())
    | st.builds(Said, numbers, names, votes, st.just(""), st.just(False))  # noqa: FBT003
    | st.builds(Pair, numbers, names, names)
    | st.builds(Again, st.integers(1, 5))
    | st.builds(Registry, st.integers(0, len(REGISTRIES) - 1))
    | st.builds(Hours, st.sampled_from([1, 7, 25])),
    max_size=30,
)


class World:
    """One lane, everything that was sent to it, and what must be true of it."""

    def __init__(self) -> None:
        self.desk = Desk(policy(1, 0))
        self.held = [held(self.desk.in_force, number) for number in range(ITEMS)]
        self.sent: list[Decision] = []
        self.wrongs: dict[str, str] = {}
        self.registry = 0
        self.records = 0

    def take(self, step: object) -> None:
        desk, before, sent = self.desk, len(self.desk.written), len(self.sent)
        match step:
            case Hold(item):
                desk.hold(self.held[item])
            case Said():
                self._send(self._decision(step))
            case Again(back):
                if len(self.sent) >= back:
                    self._send(self.sent[-back])
            case Pair(item, first, second):
                for name in (first, second):
                    self.take(Hold(item))
                    self.take(Said(item, name, Vote.APPROVE, "", relayed=False))
            case Registry(number):
                self.registry = number
                desk.publish(policy(desk.in_force.policy.epoch + 1, number))
            case Hours(count):
                desk.pass_time(count * HOUR)
            case _:
                raise AssertionError(step)
        self._check(before, is_record=isinstance(step, Hold) or len(self.sent) > sent)

    def _send(self, decision: Decision) -> None:
        self.sent.append(decision)
        self.desk.take(decision)

    def _decision(self, said: Said) -> Decision:
        item = self.held[said.item].item
        made = decide(said.name, item, said.vote, relay="office" if said.relayed else None)
        key = "office" if said.relayed else said.name
        match said.wrong:
            case "digest":
                made = signed_anew(key, made, digest="0" * 64)
            case "nonce":
                made = signed_anew(key, made, nonce="0" * 32)
            case "policy":
                made = signed_anew(key, made, policy="9:" + "0" * 64)
            case "signature":
                made = made.model_copy(update={"reason": "another"})
            case "unsigned":
                made = made.model_copy(update={"signature": None})
            case "renamed":
                made = made.model_copy(update={"approver": "sam" if said.name != "sam" else "lee"})
        if said.wrong:
            self.wrongs[made.decision_id] = said.wrong
        return made

    # What must be true

    def _check(self, before: int, *, is_record: bool) -> None:
        written = self.desk.written[before:]
        verdicts = [one for one in written if one.topic == "t.verdicts"]
        for one in verdicts:
            said = orjson.loads(one.value or b"")
            if said["state"] == DeliberationState.APPROVED.value:
                self._must_suffice(said["item"]["item_id"], said["votes"])
        if is_record:
            told = {one.topic for one in written} & {"t.rejected", "t.deliberation-status", "t.deliberation"}
            assert told or self.desk.rows("early/")
        self._ends_at_most_once()
        self._counts_are_right()

    def _must_suffice(self, item_id: str, listed: list[dict[str, object]]) -> None:
        """Enough right decisions were sent on this item by those whom the registry in force entitles."""
        entitled = {one.id for one in REGISTRIES[self.registry] if not any(key.revoked_at for key in one.keys)}
        right = [
            decision
            for decision in self.sent
            if decision.item_id == item_id
            and decision.vote is Vote.APPROVE
            and decision.decision_id not in self.wrongs
            and decision.approver in entitled
        ]
        direct = {decision.approver for decision in right if decision.relay is None}
        relayed = {decision.approver for decision in right if decision.relay is not None} & {"sue", "cal"}
        roles = {one.id: set(one.roles) for one in REGISTRIES[self.registry]}
        leads = {name for name in direct if name in FILLS["lead"] and "lead" in roles[name]}
        security = {name for name in direct | relayed if name in FILLS["security"] and "security" in roles[name]}
        pairs = [(a, b) for a in leads for b in security if person(a, self.registry) != person(b, self.registry)]
        assert pairs, (item_id, listed)

    def _ends_at_most_once(self) -> None:
        ends = Counter(one.key for one in self.desk.on(topics.VERDICTS))
        delivered = Counter(one.value for one in self.desk.on(topics.DELIVERIES))
        assert not ends or max(ends.values()) == 1
        assert not delivered or max(delivered.values()) <= 2  # once more if it was reopened
        approved = [v.item.digest for v in self.desk.verdicts if v.state is DeliberationState.APPROVED]
        assert len(approved) == len(self.desk.on(topics.DELIVERIES))

    def _counts_are_right(self) -> None:
        rows = self.desk.driver.state.rows
        items = [orjson.loads(rows[name].row) for name in rows if name.startswith("item/")]
        open_items = [row for row in items if row["row"] == "open"]
        counted = [orjson.loads(rows[name].row)["count"] for name in rows if name.startswith("sender/")]
        assert sum(counted) == len(open_items)
        unverified = (
            orjson.loads(rows["unverified/message"].row) if "unverified/message" in rows else {"count": 0, "bytes": 0}
        )
        assert unverified["count"] == len(open_items)
        kept = [row for row in items if row["row"] == "closed" and row["open"] is not None]
        for verified, queue_name in ((True, "verified"), (False, "unverified")):
            header = rows.get(f"kept-{queue_name}")
            queue = orjson.loads(header.row) if header else {"count": 0, "bytes": 0}
            slots = [orjson.loads(rows[one].row)["bytes"] for one in rows if one.startswith(f"kept/{queue_name}/")]
            assert (queue["count"], queue["bytes"]) == (len(slots), sum(slots))
            assert len(slots) == sum(row["verified"] is verified for row in kept) <= REOPENABLE
        assert len([name for name in rows if name.startswith("held/")]) == len(open_items) + len(kept)


def policy(epoch: int, number: int) -> Policy:
    return registry(epoch, approvers=REGISTRIES[number], max_reopenable=REOPENABLE)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_nothing_is_released_without_enough_right_signatures_and_nothing_twice(taken: list[object]) -> None:
    world = World()
    for step in taken:
        world.take(step)


@settings(max_examples=40, deadline=None)
@given(steps)
def test_the_same_records_are_decided_alike_byte_for_byte(taken: list[object]) -> None:
    first = World()
    for step in taken:
        first.take(step)
    again = World()
    sent = iter(first.sent)
    for step in taken:
        if isinstance(step, Pair):
            for _ in range(2):
                again.take(Hold(step.item))
                again._send(next(sent))  # noqa: SLF001  # as below
        elif isinstance(step, Said | Again):
            if isinstance(step, Said) or len(again.sent) >= step.back:
                again._send(next(sent))  # noqa: SLF001  # decisions bear the time they were signed
        else:
            again.take(step)
    assert again.desk.written == first.desk.written


@given(st.integers(0, 400), st.integers(1, 255))
def test_one_byte_changed_after_an_item_was_made_is_never_released(place: int, other: int) -> None:
    desk = Desk()
    one = held(desk.in_force)
    at = place % len(one.value)
    changed = bytes([*one.value[:at], one.value[at] ^ other, *one.value[at + 1 :]])
    desk.hold(Held(one.item, changed, one.headers))
    desk.take(decide("lee", one.item), decide("sam", one.item))
    assert desk.on(topics.DELIVERIES) == []
    assert envelope.ITEM in dict(one.headers)

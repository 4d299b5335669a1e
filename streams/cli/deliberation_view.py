"""Held items for people: a line in a table, and everything on a page."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from schemas.decision import ItemKind, Vote
from schemas.deliberation import CHANGE_POLICY, DeliberationState, DeliberationStatus, digest_of
from schemas.policy import Policy
from schemas.reasons import MEANINGS
from schemas.score import display
from streams import policy_changes
from streams.approvals import PendingItem
from streams.approvals.pending import filled
from streams.cli.output import age, clean, clock, count, iso, text
from streams.proposals import proposed_policy
from streams.readable import display_points
from streams.replay.summary import tried_in

if TYPE_CHECKING:
    from rich.text import Text

STATES: Final = {
    DeliberationState.PENDING: "yellow",
    DeliberationState.APPROVED: "green",
    DeliberationState.REJECTED: "red",
    DeliberationState.EXPIRED: "dim",
    DeliberationState.WITHDRAWN: "dim",
}
_COLUMNS: Final = ("item", "state", "left", "score", "tier", "votes", "tenant", "asked by", "what", "alike")
_NARROW: Final = {100: ("item", "left", "votes", "what"), 140: ("item", "left", "score", "votes", "asked by", "what")}
"""What is shown on a terminal that is narrower than so many columns: an id alone takes 36."""
_SOON: Final = 0.25
_WIDTH: Final = 11
_INDENT: Final = "  "


def columns(width: int | None) -> tuple[str, ...]:
    """The columns of a table that wide; all of them in a pipe, which has no width."""
    return next((few for limit, few in _NARROW.items() if width is not None and width < limit), _COLUMNS)


def grouped(statuses: Iterable[DeliberationStatus]) -> list[DeliberationStatus]:
    """Items in the order given, but those by which the same sender asks for the same beneath the first of them."""
    groups: dict[str, list[DeliberationStatus]] = {}
    for status in statuses:
        groups.setdefault(status.item.action, []).append(status)
    return [status for group in groups.values() for status in group]


def rows(
    statuses: Sequence[DeliberationStatus], now_ms: int, shown: Sequence[str] = _COLUMNS
) -> Iterator[tuple["str | Text", ...]]:
    """A line an item. `alike` counts those in the table by which the same sender asks for the same."""
    alike = Counter(status.item.action for status in statuses)
    for status in statuses:
        item, same = status.item, alike[status.item.action]
        cells: dict[str, str | Text] = {
            "item": item.item_id,
            "state": text(status.state.value, STATES[status.state]),
            "left": _left(status, now_ms),
            "score": "" if item.score is None else display(item.score),
            "tier": clean(item.tier),
            "votes": _votes(status),
            "tenant": clean(item.tenant_id),
            "asked by": clean(item.sender) + ("" if item.sender_verified else "?"),
            "what": clean(_what(status)),
            "alike": f"{same}" if same > 1 else "",
        }
        yield tuple(cells[name] for name in shown)


def _left(status: DeliberationStatus, now_ms: int) -> "str | Text":
    if status.state is not DeliberationState.PENDING or status.deadline is None:
        return ""
    left = status.deadline - now_ms
    is_soon = left < _SOON * status.item.deadline_s * 1_000
    return text(age(left) if left > 0 else "none", "red" if is_soon else "")


def so_far(status: DeliberationStatus) -> str:
    """How many approvals an item that waits has, and of whom it needs more."""
    said = f"{filled(status)} of {count(status.item.approvals, 'approval')} so far"
    if not status.needed:
        return said
    said += f"; {status.needed} more, the next of {' or '.join(map(clean, status.missing))}"
    void = sum(not vote.stands for vote in status.votes)
    return said + (f"; of the votes, {void} no longer standing: 'acgs deliberation show' says why" if void else "")


def _votes(status: DeliberationStatus) -> str:
    votes = Counter(vote.vote for vote in status.votes)
    said = f"{filled(status)}/{status.item.approvals}"
    return said + (f", {votes[Vote.ABSTAIN]} abstained" if votes[Vote.ABSTAIN] else "")


def _what(status: DeliberationStatus) -> str:
    match status.item.kind:
        case ItemKind.MESSAGE:
            return status.item.tool or "a message without action"
        case ItemKind.WORKFLOW:
            return f"workflow: {status.item.tool}" if status.item.tool else "workflow: an approval"
        case ItemKind.POLICY:
            return "the policy's next epoch"


def page(one: PendingItem, now_ms: int, in_force: Policy | None) -> Iterator["str | Text"]:
    """Everything that an approver should see before signing."""
    status, item = one.status, one.item
    yield text(f"{'item':<{_WIDTH}} {item.item_id}", "bold")
    state = text(f"{'state':<{_WIDTH}} ", "")
    yield state.append(status.state.value, STATES[status.state]).append(f"{_outcome(status)}")
    verified = "signed by it" if item.sender_verified else "not verified: the name is a claim"
    yield f"{'asked by':<{_WIDTH}} {clean(item.sender)} of tenant {clean(item.tenant_id)} ({verified})"
    if status.state is DeliberationState.PENDING and status.deadline is not None:
        left = status.deadline - now_ms
        yield f"{'time left':<{_WIDTH}} {age(left) if left > 0 else 'none'} (until {clock(status.deadline)})"
    roles = ", ".join(map(clean, dict.fromkeys(item.roles)))
    relayed = f"; through callback servers at most {item.relayed}" if item.relayed < item.approvals else ""
    if item.kind is ItemKind.POLICY:
        yield f"{'tier':<{_WIDTH}} {clean(item.tier)}: {item.approvals} of the policy's owners, with their own keys"
    else:
        yield f"{'tier':<{_WIDTH}} {clean(item.tier)}: {item.approvals} of {roles}, each from another role{relayed}"
    yield f"{'digest':<{_WIDTH}} {item.digest}"
    if item.generation:
        yield f"{'generation':<{_WIDTH}} {item.generation}: it has been reopened"
    if status.reopenable:
        yield f"{'reopen':<{_WIDTH}} 'acgs deliberation reopen {item.item_id}' lets it wait anew"
    if status.reopened_as:
        yield f"{'reopened as':<{_WIDTH}} {status.reopened_as}"
    yield ""
    yield from _votes_told(status)
    yield ""
    yield from _asked(one, in_force)


def _outcome(status: DeliberationStatus) -> str:
    closed = f", {clock(status.closed)}" if status.closed is not None else ""
    return closed + (f": {clean(status.why)}" if status.why else "")


def _votes_told(status: DeliberationStatus) -> Iterator["str | Text"]:
    yield text("votes" if status.votes else "nobody has voted", "bold" if status.votes else "")
    if status.state is DeliberationState.PENDING and status.votes:
        yield f"{_INDENT}{so_far(status)}"
    for vote in status.votes:
        style = {Vote.APPROVE: "green", Vote.VETO: "red"}.get(vote.vote, "")
        line = text(_INDENT, "").append(f"{vote.vote.value:<8}", style)
        through = f" through {clean(vote.relay)}" if vote.relay else ""
        why = f": {clean(vote.reason)}" if vote.reason else ""
        line = line.append(f" {clean(vote.approver)}{through}, {clock(vote.at)}{why}")
        void = f" (counts no more, {vote.void}: {MEANINGS[vote.void]})" if vote.void else ""
        yield line.append(void, "yellow")


def _asked(one: PendingItem, in_force: Policy | None) -> Iterator["str | Text"]:
    if one.card is not None:
        yield text(f"{display(one.card.score)}  {clean(one.tool or 'no action')}", "bold")
        for factor in one.card.factors:
            yield f"{_INDENT}{display_points(factor.points)}  {clean(factor.name)}: {clean(factor.why)}"
        yield ""
    proposed = proposed_policy(one) if one.item.tool == CHANGE_POLICY else None
    if proposed is not None and in_force is not None:
        yield text(f"epoch {proposed.epoch} against epoch {in_force.epoch}, which is in force", "bold")
        changes = policy_changes.between(in_force, proposed)
        for change in changes:
            yield f"{_INDENT}{clean(change.place)}: {clean(change.before)} -> {clean(change.after)}"
        if not changes:
            yield f"{_INDENT}it says the same"
        yield ""
        yield from _tried(one, proposed)
    yield text("what would be released", "bold")
    for line in json.dumps(one.message, indent=2, ensure_ascii=True).splitlines():
        yield f"{_INDENT}{line}"


def _tried(one: PendingItem, proposed: Policy) -> Iterator["str | Text"]:
    """What its proposer says that a replay found."""
    tried = tried_in(one.message.get("content"))
    if tried is None:
        yield text("it was not tried on past traffic, or nobody says so: 'acgs replay' does", "yellow")
    elif tried.policy != digest_of(proposed.canonical()):
        yield text("a replay is named that tried another policy than this: it says nothing of it", "bold red")
    else:
        span = f"{iso(tried.since)} to {iso(tried.until)}"
        of = f"of {clean(tried.live)} from {span}"
        yield text(f"what it would have changed on the traffic {of}, as its proposer says", "bold")
        if tried.cut:
            yield text(f"{_INDENT}some of that traffic retention may have deleted before it was tried", "yellow")
        for kind in tried.changes:
            yield f"{_INDENT}{kind.count:,} {clean(kind.kind)}"
        told = (
            f"of {tried.compared:,} decisions, {tried.changed:,} would be others; {tried.not_compared:,} not compared"
        )
        yield f"{_INDENT}{told}"
        yield f"{_INDENT}digest {tried.difference}: 'acgs replay' over the same time comes to the same"
    yield ""


def document(one: PendingItem) -> dict[str, object]:
    """The same for scripts."""
    return {
        "status": one.status.model_dump(mode="json"),
        "message": one.message,
        "card": None if one.card is None else {"score": one.card.score, "factors": [vars(f) for f in one.card.factors]},
    }

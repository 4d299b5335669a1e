"""What is shown of an item, the same on every platform, as lines of plain text.

Whatever comes from a message is hostile: here it loses what is not printable, line ends and backticks, which become
escapes. What a platform takes for markup is that platform's to escape.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Final

from pydantic import JsonValue

from schemas.decision import ItemKind, Vote
from schemas.deliberation import DeliberationItem, DeliberationState, DeliberationStatus
from schemas.score import display
from streams.approvals import PendingItem
from streams.approvals.pending import filled
from streams.readable import display_points

DIGEST_SHOWN: Final = 12
_WIDTH: Final = 10
_BEYOND_ASCII: Final = 0x80
_MOST_SHOWN: Final = 100
"""How many characters of a name a card shows that is not whole."""


class Notice(StrEnum):
    """What is told of an item after its card."""

    REMINDER = "reminder"
    ESCALATION = "escalation"
    OUTCOME = "outcome"


@dataclass(frozen=True)
class Shown:
    """An item for people to decide on.

    `alike` is how many items wait, this one included, by which the same sender asks for the same. `link` leads to the
    whole item.
    """

    pending: PendingItem
    alike: int
    link: str

    @property
    def item_id(self) -> str:
        """The item's id."""
        return self.pending.item_id

    @cached_property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """What the item is about and what it takes, a name and a line each."""
        return tuple(_facts(self.pending, self.alike))

    @cached_property
    def facts_text(self) -> str:
        """The same as lines."""
        return lines(self.facts)

    @cached_property
    def short_facts_text(self) -> str:
        """The same, with what is long cut and said to be."""
        return lines((name, shortened(line)) for name, line in self.facts)

    @cached_property
    def factors_text(self) -> str:
        """Every factor of the score with its words, a line each; empty where there is no card."""
        card = self.pending.card
        factors = () if card is None else card.factors
        return "\n".join(f"{display_points(one.points)}  {plain(one.name)}: {plain(one.why)}" for one in factors)

    @cached_property
    def arguments_text(self) -> str:
        """The whole arguments, as JSON."""
        return exact(self.pending.arguments)

    @cached_property
    def rest_text(self) -> str:
        """All else that would be released, as JSON."""
        return exact(_without_arguments(self.pending))

    @cached_property
    def page_text(self) -> str:
        """The whole item on a page."""
        head = f"{lines((*self.facts, ('sha-256', self.pending.item.digest)))}\n"
        factors = f"\nWhy it scores so\n{self.factors_text}\n" if self.factors_text else ""
        return f"{head}{factors}\nWhat would be released\n{exact(self.pending.message)}\n"

    @property
    def may_be_approved(self) -> bool:
        """Whether approvals through a callback server count for it at all; vetoes do in any case."""
        return self.pending.item.relayed > 0


def _facts(pending: PendingItem, alike: int) -> Iterator[tuple[str, str]]:
    status, item = pending.status, pending.item
    verified = "signed by it" if item.sender_verified else "NOT VERIFIED: the name is a claim"
    yield "asked by", f"{plain(item.sender)} of tenant {plain(item.tenant_id)} ({verified})"
    yield "tool", _tool(pending)
    if item.score is not None:
        yield "score", display(item.score)
    yield "tier", f"{plain(item.tier)}: {told(item.approvals, 'approval')} of {_roles(item)}{_relayed(status)}"
    if status.deadline is not None:
        yield "deadline", f"{instant(status.deadline)}, then it is denied"
    if item.generation:
        yield "again", f"it has expired and was reopened, {told(item.generation, 'time')}"
    if alike > 1:
        yield "alike", f"{alike} identical actions wait; each is decided by itself"
    yield "digest", item.digest[:DIGEST_SHOWN]
    yield "item", item.item_id


def _roles(item: DeliberationItem) -> str:
    if item.kind is ItemKind.POLICY:
        return "the policy's owners"
    roles = ", ".join(map(plain, dict.fromkeys(item.roles)))
    return f"{roles}, each from another role" if item.approvals > 1 else roles


def _tool(pending: PendingItem) -> str:
    tool = plain(pending.tool) if pending.tool else "none"
    match pending.item.kind:
        case ItemKind.MESSAGE:
            return tool
        case ItemKind.WORKFLOW:
            return f"{tool} (a workflow's step)"
        case ItemKind.POLICY:
            return f"{tool} (the policy's next epoch)"


def _relayed(status: DeliberationStatus) -> str:
    item = status.item
    if item.relayed >= item.approvals:
        return ""
    if item.relayed == 0:
        return "; none of them by a click, all signed with the approvers' own keys"
    return f"; at most {item.relayed} of them by clicks, the others signed with the approvers' own keys"


def _without_arguments(pending: PendingItem) -> Mapping[str, JsonValue]:
    message = pending.message
    if pending.item.kind is ItemKind.WORKFLOW:
        return {name: value for name, value in message.items() if name != "input"}
    payload = message.get("payload")
    action = payload.get("action") if isinstance(payload, dict) else None
    if not isinstance(payload, dict) or not isinstance(action, dict):
        return message
    rest = {name: value for name, value in action.items() if name != "arguments"}
    return {**message, "payload": {**payload, "action": rest}}


def notice_text(notice: Notice, status: DeliberationStatus) -> str:
    """A line or two about how an item stands."""
    item = status.item
    what = f"item {item.item_id} ({plain(item.tool or 'no tool')}, asked by {plain(item.sender)})"
    if notice is Notice.OUTCOME:
        return f"{_ended(status)}: {what}. {plain(status.why or '')}".rstrip()
    until = f" until {instant(status.deadline)}, then it is denied" if status.deadline is not None else ""
    kind = f"Reminder {status.reminders}" if notice is Notice.REMINDER else "Escalation"
    return f"{kind}: {what} still waits{until}. {standing(status)}"


def _ended(status: DeliberationStatus) -> str:
    match status.state:
        case DeliberationState.APPROVED:
            return "Approved and released"
        case DeliberationState.REJECTED:
            return f"Vetoed by {plain(status.by)}" if status.by else "Vetoed"
        case DeliberationState.EXPIRED:
            return "Expired and denied"
        case DeliberationState.WITHDRAWN:
            return "Withdrawn: whoever asked does not need it any more"
        case DeliberationState.PENDING:
            return "Waits"


def outcome(status: DeliberationStatus) -> str:
    """How an item has ended, and by whom."""
    return f"{_ended(status)}. {plain(status.why or '')}".rstrip()


def standing(status: DeliberationStatus) -> str:
    """How many approvals an item has and needs, and of whom."""
    approvals = [vote for vote in status.votes if vote.vote is Vote.APPROVE and vote.stands]
    relayed = sum(vote.relay is not None for vote in approvals)
    said = f"{filled(status)} of {told(status.item.approvals, 'approval')} so far."
    if status.votes and status.missing and status.needed:
        said += f" Needed: {status.needed} more, the next of {' or '.join(map(plain, status.missing))}."
    void = sum(not vote.stands for vote in status.votes)
    if void:
        said += f" Of the votes that came, {void} {'does' if void == 1 else 'do'} not count any more."
    if relayed > status.item.relayed:
        said += (
            f" Of those given by a click only {status.item.relayed} may count: the others must sign with their keys."
        )
    return said


def lines(facts: Iterable[tuple[str, str]]) -> str:
    """Names and lines in two columns."""
    return "\n".join(f"{name:<{_WIDTH}} {line}" for name, line in facts)


def told(number: int, thing: str) -> str:
    """A number with its noun."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def instant(at_ms: int) -> str:
    """A log time for people of any zone."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def plain(words: str) -> str:
    """Words from outside on one line: what is not printable, and each backtick, is shown as an escape."""
    return "".join(map(_escaped, words))


def _escaped(character: str) -> str:
    if character == "`":
        return "\\x60"
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def shortened(words: str) -> str:
    """Plain words, cut after 100 characters, which is said."""
    left_out = len(words) - _MOST_SHOWN
    return words if left_out <= 0 else f"{words[:_MOST_SHOWN]}... ({left_out} characters more)"


def exact(value: JsonValue | Mapping[str, JsonValue]) -> str:
    """A value as indented JSON that reads back to the same: what is not printable, and each backtick, is escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(
        character if character == "\n" or (character.isprintable() and character != "`") else _in_json(character)
        for character in text
    )


def _in_json(character: str) -> str:
    return json.dumps(character)[1:-1] if ord(character) >= _BEYOND_ASCII else f"\\u{ord(character):04x}"

"""What became of an input: read from what was written about it, on live topics and on a replay's alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import orjson
from pydantic import JsonValue

from schemas import envelope, topics
from schemas.score import ScoreCard, decode_card
from streams.agents.gateway import ROUTES
from streams.engine import dead_letters
from streams.engine.records import Record

_INTERNAL = {route.internal: route.public for route in ROUTES if route.public != topics.IN_MESSAGES}
_PUBLIC = frozenset(route.public for route in ROUTES)
_LETTERS = {topics.dead_letters(route.agent): dead_letters.SOURCE for route in ROUTES}
_LETTERS[topics.dead_letters(topics.TRIAGE)] = envelope.SOURCE
"""Topics of dead letters, and the header that names the public record there."""
_UNSTAMPED = frozenset(topics.dead_letters(route.agent) for route in ROUTES)
"""Where records stand as they came: an `acgs-` header there is its producer's, and the policy of then is not known."""


class Verdict(StrEnum):
    """What was decided on an input. The first that is found counts: what is held may be delivered later."""

    ACCEPTED = "accepted"
    """It passed its gateway, and is no message."""
    HELD = "held"
    DELIVERED = "delivered"
    REJECTED = "rejected"
    FAILED = "failed"
    """It is a dead letter."""


_RANK = {
    Verdict.ACCEPTED: 4,
    Verdict.HELD: 4,
    Verdict.DELIVERED: 3,
    Verdict.REJECTED: 2,
    Verdict.FAILED: 1,
}


class Place(NamedTuple):
    """A record of a public topic, named without prefix."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was decided on one input, and by what.

    `score` and `factors` (name and points) are of messages, `terms` of held ones: tier, approvals, roles, how many may
    be relayed, and seconds. `receives` is the topic of a delivery. `epoch` is the policy's number.
    """

    verdict: Verdict
    epoch: int
    reason: str | None = None
    score: int | None = None
    factors: tuple[tuple[str, int], ...] = ()
    tool: str | None = None
    terms: tuple[str, int, tuple[str, ...], int, int] | None = None
    receives: str | None = None

    @property
    def rank(self) -> int:
        """Of two outcomes of one input that of the higher rank was decided first."""
        return _RANK[self.verdict]


def topics_of(tenants: tuple[str, ...]) -> tuple[str, ...]:
    """The topics, without prefix, that outcomes are read from."""
    deliveries = (topics.DELIVERIES, *map(topics.deliveries_of, tenants))
    return tuple(dict.fromkeys((*_INTERNAL, *deliveries, topics.DELIBERATION, topics.REJECTED, *_LETTERS)))


def outcome_of(topic: str, record: Record, live: str) -> tuple[Place, Outcome] | None:
    """The input that a record of a topic (named without prefix) is about, and what it says was decided.

    `live` is the prefix of the installation whose inputs these are. None for records that say nothing of the kind, such
    as timers, releases, and what agents further on have refused.
    """
    headers = _ours(record)
    place = _place(headers.get(_LETTERS.get(topic, envelope.SOURCE)), live)
    if place is None:
        return None
    outcome = _outcome(topic, headers)
    is_about = outcome is not None and (
        topic not in _INTERNAL or outcome.verdict is Verdict.HELD or _INTERNAL[topic] == place.topic
    )
    return (place, outcome) if outcome is not None and is_about else None


def _outcome(topic: str, headers: Mapping[str, bytes]) -> Outcome | None:
    epoch = 0 if topic in _UNSTAMPED else int(headers.get(envelope.POLICY, b"0").partition(b":")[0] or b"0")
    if topic in _LETTERS or topic == topics.REJECTED:
        verdict, why = (Verdict.FAILED, dead_letters.KIND) if topic in _LETTERS else (Verdict.REJECTED, envelope.REASON)
        return Outcome(verdict, epoch, reason=headers.get(why, b"").decode(errors="replace"))
    item = headers.get(envelope.ITEM)
    if topic == topics.DELIBERATION and item is not None:
        return _held(orjson.loads(item), headers, epoch)
    if envelope.ITEM in headers or envelope.WITHDRAWN in headers:
        return None
    if topic in _INTERNAL:
        return Outcome(Verdict.ACCEPTED, epoch)
    if topic != topics.DELIVERIES and not topic.startswith(topics.deliveries_of("")):
        return None
    return _weighed(Outcome(Verdict.DELIVERED, epoch, receives=topic), headers)


def _held(item: dict[str, Any], headers: Mapping[str, bytes], epoch: int) -> Outcome | None:
    if item["kind"] == "workflow" or item["generation"]:
        return None
    terms = (item["tier"], item["approvals"], tuple(item["roles"]), item["relayed"], item["deadline_s"])
    return _weighed(Outcome(Verdict.HELD, epoch, terms=terms), headers)


def _weighed(outcome: Outcome, headers: Mapping[str, bytes]) -> Outcome:
    text = headers.get(envelope.CARD)
    card: ScoreCard | None = None if text is None else decode_card(text)
    if card is None:
        return outcome
    epoch = int(card.policy.partition(":")[0])
    factors = tuple((factor.name, factor.points) for factor in card.factors)
    return Outcome(
        outcome.verdict,
        epoch,
        score=card.score,
        factors=factors,
        tool=card.tool,
        terms=outcome.terms,
        receives=outcome.receives,
    )


def _ours(record: Record) -> dict[str, bytes]:
    """The headers by name. Ours come before a producer's, so the first of a name counts."""
    return {name: content for name, content in reversed(record.headers) if content is not None}


def _place(source: bytes | None, live: str) -> Place | None:
    try:
        topic, partition, offset = envelope.decode_source(source or b"")
    except ValueError:
        return None
    name = topic.removeprefix(live)
    return Place(name, partition, offset) if topic.startswith(live) and name in _PUBLIC else None


def encode(outcome: Outcome) -> bytes:
    """An outcome as it is kept while two are joined."""
    return orjson.dumps(
        [
            outcome.verdict.value,
            outcome.epoch,
            outcome.reason,
            outcome.score,
            outcome.factors,
            outcome.tool,
            outcome.terms,
            outcome.receives,
        ]
    )


def decode(text: bytes) -> Outcome:
    """Reads what encode() wrote."""
    verdict, epoch, reason, score, factors, tool, terms, receives = orjson.loads(text)
    return Outcome(
        Verdict(verdict),
        epoch,
        reason,
        score,
        tuple((name, points) for name, points in factors),
        tool,
        None if terms is None else (terms[0], terms[1], tuple(terms[2]), terms[3], terms[4]),
        receives,
    )


def said_by(value: bytes | None) -> tuple[str | None, str | None]:
    """Who sent a message and its id, where the bytes say so."""
    try:
        said: JsonValue = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return None, None
    if not isinstance(said, dict):
        return None, None
    sender, id_ = said.get("from_agent"), said.get("message_id")
    return (sender if isinstance(sender, str) else None), (id_ if isinstance(id_, str) else None)

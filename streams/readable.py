"""Records in words: what a person wants to see of each topic, and what a machine can read back."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import orjson
from pydantic import ValidationError

from schemas import envelope, topics
from schemas.decision import Vote
from schemas.deliberation import DeliberationItem, DeliberationState, DeliberationStatus, DeliberationVerdict
from schemas.errors import PolicyError
from schemas.policy import published
from schemas.score import ScoreCard, decode_card, display
from streams.engine import dead_letters
from streams.engine.dead_letters import resolution_of
from streams.engine.records import Record
from streams.engine.status import decode_status

_PUBLIC = tuple(topic.name for topic in topics.catalogue() if topic.public)
_SHOWN_CHARACTERS = 160
_SHOWN_DIGEST = 8


@dataclass(frozen=True, slots=True)
class Words:
    """A record for a person: what it is about, its score or state, what came of it, and why.

    `tone` is one of good, held, bad and plain.
    """

    about: str
    mark: str
    why: str
    tone: str


def document(record: Record) -> dict[str, object]:
    """A record for a machine. Bytes that are not UTF-8 stand under a name ending in `_base64`."""
    headers = [{"name": name, **document_bytes("value", content)} for name, content in record.headers]
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        **document_bytes("key", record.key),
        "headers": headers,
        **document_bytes("value", record.value),
    }


def document_bytes(name: str, content: bytes | None) -> dict[str, str | None]:
    """Bytes as a field of a JSON object: text under the name, or base64 under the name and `_base64`."""
    if content is None:
        return {name: None}
    try:
        return {name: content.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}


def words(record: Record) -> Words:
    """A record for a person, by its headers and its topic's name. Never raises, whatever the bytes."""
    if record.topic.endswith(_PUBLIC):
        return Words(_about(record.value), "", "", "plain")  # whatever its headers claim
    headers = first_headers(record)
    if dead_letters.RESOLUTION in headers or dead_letters.KIND in headers:
        return _letter(record)
    if envelope.REASON in headers:
        return _rejection(record, headers)
    for ending, say in _BY_TOPIC.items():
        if record.topic.endswith(ending) and record.value is not None:
            try:
                return say(record, record.value)
            except (ValueError, KeyError, TypeError, PolicyError):
                break
    return _message(record, headers)


def first_headers(record: Record) -> dict[str, bytes]:
    """Headers by name. Ours come before a producer's, so that the first of a name is ours."""
    found: dict[str, bytes] = {}
    for name, content in record.headers:
        found.setdefault(name, content or b"")
    return found


def card_of(headers: Mapping[str, bytes]) -> ScoreCard | None:
    """The score card that a record carries, if it carries one."""
    try:
        return decode_card(headers[envelope.CARD])
    except (KeyError, ValidationError):
        return None


def factors(card: ScoreCard) -> str:
    """Why a card has its score, in one line."""
    return ", ".join(f"{factor.name} {display_points(factor.points)} ({factor.why})" for factor in card.factors)


def display_points(points: int) -> str:
    """Points as people see them: `+0.5000`."""
    return f"{'-' if points < 0 else '+'}{display(abs(points))}"


def _message(record: Record, headers: Mapping[str, bytes]) -> Words:
    card = card_of(headers)
    about = _about(record.value)
    if card is None:
        return Words(about, "", "", "plain")
    item = _item(headers)
    if item is None:
        return Words(about, display(card.score), factors(card), "good")
    of = f"{item.approvals} of " if item.approvals < len(item.roles) else ""
    why = f"{item.tier}: needs {of}{', '.join(item.roles)}; {factors(card)}"
    return Words(about, f"{display(card.score)} held", why, "held")


def _item(headers: Mapping[str, bytes]) -> DeliberationItem | None:
    try:
        return DeliberationItem.model_validate_json(headers[envelope.ITEM])
    except (KeyError, ValidationError):
        return None


def _rejection(record: Record, headers: Mapping[str, bytes]) -> Words:
    detail = headers.get(envelope.DETAIL, b"").decode(errors="replace")
    return Words(_about(record.value), headers[envelope.REASON].decode(errors="replace"), detail, "bad")


def _letter(record: Record) -> Words:
    resolution = resolution_of(record.headers)
    if resolution is not None:
        return Words("", "resolved", resolution, "good")
    try:
        letter = dead_letters.read(record)
    except (KeyError, ValueError):
        return Words("", "unreadable", "not a dead letter of this system", "bad")
    return Words(_about(record.value), letter.kind.value, letter.error, "bad")


def _about(value: bytes | None) -> str:
    """Who sends what to whom; or the bytes themselves, where they say no such thing."""
    if value is None:
        return "(no value)"
    message = _object(value)
    if message is not None and "approver" in message and "item_id" in message:
        vote, approver, item = (_cut(str(message.get(name))) for name in ("vote", "approver", "item_id"))
        return f"{approver}: {vote} {item}"
    if message is None or "from_agent" not in message:
        return _cut(value[: 4 * _SHOWN_CHARACTERS].decode(errors="backslashreplace"))
    sender, receiver = _cut(str(message.get("from_agent"))), message.get("to_agent")
    to = f" -> {_cut(str(receiver))}" if receiver else ""
    return f"{sender}{to}  {_does(message)}"


def _does(message: Mapping[str, object]) -> str:
    payload = message.get("payload")
    action = cast("Mapping[str, object]", payload).get("action") if isinstance(payload, dict) else None
    tool = cast("Mapping[str, object]", action).get("tool") if isinstance(action, dict) else None
    return _cut(str(tool)) if tool else f"({_cut(str(message.get('message_type')))})"


def _object(value: bytes) -> Mapping[str, object] | None:
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return cast("Mapping[str, object]", found) if isinstance(found, dict) else None


def _cut(words: str) -> str:
    return words if len(words) <= _SHOWN_CHARACTERS else f"{words[:_SHOWN_CHARACTERS]}..."


def _policy(record: Record, value: bytes) -> Words:
    del record
    found = published(value)
    what = f"{len(found.policy.tools)} tools, {len(found.policy.accepted_hashes)} accepted hashes"
    return Words(f"policy {what}", f"epoch {found.policy.epoch}", f"digest {found.digest[:_SHOWN_DIGEST]}...", "good")


def _verdict(record: Record, value: bytes) -> Words:
    del record
    said = DeliberationVerdict.model_validate_json(value)
    tone = "good" if said.state is DeliberationState.APPROVED else "bad"
    return Words(f"{said.item.item_id}  {said.item.sender}  {said.item.tool or ''}", said.state.value, said.why, tone)


def _standing(record: Record, value: bytes) -> Words:
    del record
    said = DeliberationStatus.model_validate_json(value)
    approvals = sum(vote.vote is Vote.APPROVE for vote in said.votes)
    votes = f"{approvals} of {said.item.approvals} approvals" + (f"; {said.why}" if said.why else "")
    tone = "held" if said.state is DeliberationState.PENDING else "plain"
    return Words(f"{said.item.item_id}  {said.item.sender}  {said.item.tool or ''}", said.state.value, votes, tone)


def _lane(record: Record, value: bytes) -> Words:
    del record
    status = decode_status(value)
    tone = "good" if status.state == "running" else "held"
    return Words(
        f"lane {status.agent}/{status.lane} at {status.worker}", status.state.value, status.last_error or "", tone
    )


def _turn(record: Record, value: bytes) -> Words:
    del record
    turn = orjson.loads(value)
    read = sum(entry["count"] for entry in turn["inputs"])
    written = ", ".join(f"{entry['count']} to {entry['topic']}/{entry['partition']}" for entry in turn["outputs"])
    epoch = "none" if turn["epoch"] is None else turn["epoch"]
    about = f"lane {turn['agent']}/{turn['lane']}  turn {turn['seq']}"
    return Words(about, f"{read} read", f"{written or 'nothing written'}; epoch {epoch}", "plain")


def _changelog(record: Record, value: bytes) -> Words:
    del record
    return Words("", "", _cut(value[: 4 * _SHOWN_CHARACTERS].decode(errors="backslashreplace")), "plain")


_BY_TOPIC = {
    "deliberation-status": _standing,
    "verdicts": _verdict,
    "control": _policy,
    "lanes": _lane,
    "audit": _turn,
    ".changelog": _changelog,
}
"""What stands on the topics whose names end so."""

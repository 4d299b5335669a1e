"""Whose records are of a story: the message, what it became, the items it was held as, and the votes on them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import cast

import orjson
from pydantic import ValidationError

from handlers.deliberation.rows import BEGAN, item_key
from schemas import envelope, topics
from schemas.deliberation import DeliberationItem
from streams.agents.naming import Naming
from streams.engine.records import Headers, Record, first_header
from streams.receipts.deciding import is_timer
from streams.receipts.turns import Wrote


@dataclass(slots=True)
class Subject:
    """One message, by its place on `in.messages`; `items` are what it was held as, so far as is known."""

    message_id: str
    source: str
    naming: Naming
    items: set[str] = field(default_factory=set[str])

    def learn(self, written: Iterable[Wrote]) -> list[Wrote]:
        """Takes over the items among records that were written for this message; returns their records."""
        found: list[Wrote] = []
        for one in written:
            item = item_of(one.headers) if one.topic == self.naming.topic(topics.DELIBERATION) else None
            if item is not None and item.message_id == self.message_id and self._has_source(one.headers):
                self.items.add(item.item_id)
                found.append(one)
        return found

    def has(self, agent: str, record: Record) -> bool:
        """Whether an agent decides on this message, or on what became of it, by that record."""
        match agent:
            case topics.GATEWAY_MESSAGES:
                place = f"{record.topic}/{record.partition}/{record.offset}"
                return place == self.source and message_id_of(record.value) == self.message_id
            case topics.TRIAGE:
                return self._has_source(record.headers) and message_id_of(record.value) == self.message_id
            case topics.GATEWAY_DECISIONS:
                return self._is_vote(record.value)
            case topics.DELIBERATOR:
                return self._is_deliberated(record)
            case _:
                return False

    def _is_deliberated(self, record: Record) -> bool:
        if is_timer(record):
            return (record.key or b"").decode(errors="replace") in {BEGAN, *map(item_key, self.items)}
        if first_header(record.headers, envelope.ITEM) is not None:
            item = item_of(record.headers)
            return item is not None and item.item_id in self.items and self._has_source(record.headers)
        withdrawn = first_header(record.headers, envelope.WITHDRAWN)
        if withdrawn is not None:
            return withdrawn.decode(errors="replace") in self.items
        return self._is_vote(record.value)

    def _is_vote(self, value: bytes | None) -> bool:
        if value is None or not any(item.encode() in value for item in self.items):
            return False
        said = _object(value)
        return said is not None and said.get("item_id") in self.items

    def _has_source(self, headers: Headers) -> bool:
        return first_header(headers, envelope.SOURCE) == self.source.encode()


def item_of(headers: Headers) -> DeliberationItem | None:
    """The item that a record on `deliberation` is, None where it is none."""
    try:
        return DeliberationItem.model_validate_json(first_header(headers, envelope.ITEM) or b"")
    except ValidationError:
        return None


def message_id_of(value: bytes | None) -> str | None:
    """The id of the message in a record's value, None where it is none."""
    said = _object(value or b"")
    found = None if said is None else said.get("message_id")
    return found if isinstance(found, str) else None


def _object(value: bytes) -> dict[str, object] | None:
    try:
        said: object = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return cast("dict[str, object]", said) if isinstance(said, dict) else None

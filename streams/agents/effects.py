"""From what a handler asks for to what a lane does: full topic names, and refusals with their headers."""

from collections.abc import Sequence
from typing import TypeVar

from schemas import envelope, topics
from schemas.effects import Broadcast, Effect, Forget, Headers, Keep, Publish, Refused, Reject
from schemas.policy import PublishedPolicy
from streams.agents.naming import Naming
from streams.engine import records
from streams.engine.records import Delete, Emit, Put, Record

Row = TypeVar("Row")

_OWN = frozenset({envelope.SOURCE, envelope.POLICY})


class Effects:
    """Translates the effects of one agent's decisions."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._rejected = naming.topic(topics.REJECTED)
        self._names: dict[str, str] = {}

    def of(self, decided: Sequence[Effect[Row]]) -> list[records.Effect[Row]]:
        """What a lane is to do."""
        return [self._of(effect) for effect in decided]

    def refusal(self, record: Record, refused: Refused, published: PublishedPolicy) -> Emit:
        """The record as it goes to `rejected`; one of our own bears its place on the topic it was read from."""
        own: Headers = tuple((name, content) for name, content in record.headers if name in _OWN)
        if not own:
            source = envelope.encode_source(record.topic, record.partition, record.offset)
            own = ((envelope.SOURCE, source), (envelope.POLICY, published.reference.encode()))
        return self._reject(record.key, record.value, own, refused)

    def _of(self, effect: Effect[Row]) -> records.Effect[Row]:
        match effect:
            case Keep():
                return Put(effect.key, effect.row, effect.due_ms)
            case Forget():
                return Delete(effect.key)
            case Publish():
                return Emit(self._name(effect.topic), effect.key.encode(), effect.value, effect.headers, effect.measure)
            case Broadcast():
                return records.Broadcast(self._name(effect.topic), effect.key.encode(), effect.value)
            case Reject():
                own = tuple((name, content) for name, content in effect.headers if name in _OWN)
                return self._reject(effect.key, effect.value, own, effect.refused)

    def _name(self, topic: str) -> str:
        return self._names.get(topic) or self._names.setdefault(topic, self._naming.topic(topic))

    def _reject(self, key: bytes | None, value: bytes | None, own: Headers, refused: Refused) -> Emit:
        headers = (
            (envelope.VERSION, envelope.CURRENT_VERSION),
            *own,
            (envelope.REASON, refused.reason.value.encode()),
            (envelope.DETAIL, refused.detail.encode()),
            (envelope.NULL_VALUE, b"true" if value is None else b"false"),
        )
        return Emit(self._rejected, key, value, headers, measure=refused.reason.value)

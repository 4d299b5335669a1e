"""The orchestrator: drives workflows by their state machine, on lanes."""

from collections.abc import Sequence

from compensation.durable import deciding
from compensation.durable.effects import Decided, Effect, Forget, Keep, Refused
from compensation.durable.rows import Row, decode, encode
from handlers import impact
from schemas import envelope, topics
from schemas.policy import PublishedPolicy
from schemas.reasons import Reason
from streams.agents.control import control_input
from streams.agents.naming import Naming
from streams.engine import records
from streams.engine.agent import Agent, RowCodec, View
from streams.engine.records import Delete, Emit, Put, Record
from streams.metrics import Measures

DECISION_VERSION = 1
"""Rises when the same rows, record and policy would be decided otherwise."""

_WRITTEN = (
    topics.WORKFLOW_EVENTS,
    topics.WORKFLOW_STATUS,
    topics.ACTIVITY_CANCELS,
    topics.COMPENSATIONS,
    topics.DELIBERATION,
    topics.REJECTED,
)


def orchestrator_agent(
    naming: Naming, measures: Measures, queues: Sequence[str] = (topics.DEFAULT_QUEUE,)
) -> Agent[Row, PublishedPolicy]:
    """The agent; `queues` are those of activities that there are at its start; a later policy may add some."""
    inbox = tuple(map(naming.topic, (topics.WORKFLOWS, topics.ACTIVITY_RESULTS, topics.HEARTBEATS)))
    decisions = _Decisions(naming)

    def of_queues(queues: Sequence[str]) -> tuple[str, ...]:
        return tuple(naming.topic(topics.activities_of(queue)) for queue in queues)

    return Agent(
        name=topics.ORCHESTRATOR,
        inbox=inbox,
        outputs=(*map(naming.topic, _WRITTEN), *of_queues(queues)),
        topics=naming.own(topics.ORCHESTRATOR),
        handler=decisions.handle,
        decision_version=DECISION_VERSION,
        control=control_input(naming),
        rows=RowCodec(encode, decode),
        on_timer=decisions.on_timer,
        measure=measures.rejections,
        outputs_under=lambda published: of_queues(published.policy.queues),
    )


class _Decisions:
    """Takes each record to its decision, and what is decided to full topic names."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._results, self._beats = naming.topic(topics.ACTIVITY_RESULTS), naming.topic(topics.HEARTBEATS)
        self._rejected = naming.topic(topics.REJECTED)
        self._names: dict[str, str] = {}

    def handle(self, view: View[Row, PublishedPolicy], record: Record) -> Sequence[records.Effect[Row]]:
        """Decides on a record of any inbox."""
        decided = self._decide(view, record)
        if isinstance(decided, Refused):
            return (_rejection(self._rejected, record, decided, view.control),)
        return [self._effect(effect) for effect in decided]

    def on_timer(self, view: View[Row, PublishedPolicy], key: str, row: Row) -> Sequence[records.Effect[Row]]:
        """Decides on a row whose time has come."""
        decided = deciding.timer(key, row, view, impact.score)
        if isinstance(decided, Refused):
            raise TypeError(f"a timer was refused: {decided.detail}")
        return [self._effect(effect) for effect in decided]

    def _decide(self, view: View[Row, PublishedPolicy], record: Record) -> Decided:
        value = record.value
        if value is None:
            return Refused(Reason.NULL_VALUE, "the record has no value")
        if record.topic == self._results:
            return deciding.result(value, view, impact.score)
        if record.topic == self._beats:
            return deciding.heartbeat(value, view, impact.score)
        decide = deciding.command if _has_passed_a_gateway(record) else deciding.verdict
        return decide(value, view, impact.score)

    def _effect(self, effect: Effect) -> records.Effect[Row]:
        if isinstance(effect, Keep):
            return Put(effect.key, effect.row, effect.due_ms)
        if isinstance(effect, Forget):
            return Delete(effect.key)
        name = self._names.get(effect.topic) or self._names.setdefault(effect.topic, self._naming.topic(effect.topic))
        return Emit(name, effect.key.encode(), effect.value, effect.headers)


def _has_passed_a_gateway(record: Record) -> bool:
    return any(name == envelope.SOURCE for name, _ in record.headers)


def _rejection(topic: str, record: Record, refused: Refused, published: PublishedPolicy) -> Emit:
    own = [(name, content) for name, content in record.headers if name in {envelope.SOURCE, envelope.POLICY}]
    if not own:
        source = envelope.encode_source(record.topic, record.partition, record.offset)
        own = [(envelope.SOURCE, source), (envelope.POLICY, published.reference.encode())]
    headers = (
        (envelope.VERSION, envelope.CURRENT_VERSION),
        *own,
        (envelope.REASON, refused.reason.value.encode()),
        (envelope.DETAIL, refused.detail.encode()),
        (envelope.NULL_VALUE, b"true" if record.value is None else b"false"),
    )
    return Emit(topic, record.key, record.value, headers, measure=refused.reason.value)

"""The orchestrator: drives workflows by their state machine, on lanes."""

from collections.abc import Sequence

from compensation.durable import answering, deciding
from compensation.durable.effects import Decided, Publish, Refused
from compensation.durable.rows import Row, decode, encode
from handlers import impact
from schemas import envelope, topics
from schemas.policy import PublishedPolicy
from schemas.reasons import Reason
from streams.agents.control import control_input
from streams.agents.effects import Effects
from streams.agents.naming import Naming
from streams.engine import records
from streams.engine.agent import Agent, RowCodec, View
from streams.engine.records import Record
from streams.metrics import Measures

DECISION_VERSION = 1
"""Rises when the same rows, record and policy would be decided otherwise."""

_WRITTEN = (
    topics.WORKFLOW_EVENTS,
    topics.WORKFLOW_STATUS,
    topics.ACTIVITY_CANCELS,
    topics.COMPENSATIONS,
    topics.DELIBERATION,
    topics.RECOVERY,
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
        self._effects = Effects(naming)
        self._commands = naming.topic(topics.WORKFLOWS)
        self._results, self._beats = naming.topic(topics.ACTIVITY_RESULTS), naming.topic(topics.HEARTBEATS)

    def handle(self, view: View[Row, PublishedPolicy], record: Record) -> Sequence[records.Effect[Row]]:
        """Decides on a record of any inbox."""
        decided = self._decide(view, record)
        if not isinstance(decided, Refused):
            return self._effects.of(decided)
        told = self._told(record, decided)
        return (self._effects.refusal(record, decided, view.control), *self._effects.of(told))

    def on_timer(self, view: View[Row, PublishedPolicy], key: str, row: Row) -> Sequence[records.Effect[Row]]:
        """Decides on a row whose time has come."""
        decided = deciding.timer(key, row, view, impact.score)
        if isinstance(decided, Refused):
            raise TypeError(f"a timer was refused: {decided.detail}")
        return self._effects.of(decided)

    def _decide(self, view: View[Row, PublishedPolicy], record: Record) -> Decided:
        value = record.value
        if value is None:
            return Refused(Reason.NULL_VALUE, "the record has no value")
        if record.topic == self._results:
            return deciding.result(value, view, impact.score)
        if record.topic == self._beats:
            return deciding.heartbeat(value, view, impact.score)
        headers = dict(reversed(record.headers))  # ours come first
        reply_to = answering.known(headers.get(envelope.REPLY_TO))
        if envelope.SOURCE not in headers and reply_to is None:  # it has passed no gateway, and no agent asks
            return deciding.verdict(value, view, impact.score)
        is_ours = reply_to is not None  # from outside, the gateway refuses such a header
        is_verified = is_ours or headers.get(envelope.SENDER_VERIFIED) == b"true"
        return deciding.command(value, view, impact.score, verified=is_verified, reply_to=reply_to)

    def _told(self, record: Record, refused: Refused) -> Sequence[Publish]:
        """The agent that asked for a start is told that it was refused."""
        if record.topic != self._commands or record.value is None:
            return ()
        reply_to = answering.known(dict(reversed(record.headers)).get(envelope.REPLY_TO))
        told = None if reply_to is None else answering.refusal(record.value, reply_to, refused)
        return () if told is None else (told,)

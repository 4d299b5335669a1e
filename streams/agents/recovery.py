"""The recovery agent: brings services back whose breakers opened, by attempts that are workflows, on lanes."""

from collections.abc import Sequence

from handlers.recovery import deciding
from handlers.recovery.rows import Row, decode, encode
from schemas import envelope, topics
from schemas.effects import Decided, Refused
from schemas.policy import PublishedPolicy
from schemas.reasons import Reason
from streams.agents.control import control_input
from streams.agents.effects import Effects
from streams.agents.naming import Naming
from streams.engine import records
from streams.engine.agent import Agent, RowCodec, View
from streams.engine.records import Record
from streams.metrics import Measures

_WRITTEN = (
    topics.WORKFLOWS,
    topics.RECOVERY_EVENTS,
    topics.RECOVERY_STATUS,
    topics.REJECTED,
)


def recovery_agent(naming: Naming, measures: Measures) -> Agent[Row, PublishedPolicy]:
    """The agent. Its timers are appended to `recovery`."""
    effects, breakers = Effects(naming), naming.topic(topics.BREAKERS)

    def handle(view: View[Row, PublishedPolicy], record: Record) -> Sequence[records.Effect[Row]]:
        decided = _of_breaker(view, record) if record.topic == breakers else _decide(view, record)
        if isinstance(decided, Refused):
            return (effects.refusal(record, decided, view.control),)
        return effects.of(decided)

    def on_timer(view: View[Row, PublishedPolicy], key: str, row: Row) -> Sequence[records.Effect[Row]]:
        decided = deciding.timer(key, row, view)
        if isinstance(decided, Refused):
            raise TypeError(f"a timer was refused: {decided.detail}")
        return effects.of(decided)

    return Agent(
        name=topics.RECOVERER,
        inbox=(naming.topic(topics.RECOVERY), breakers),
        outputs=tuple(map(naming.topic, _WRITTEN)),
        topics=naming.own(topics.RECOVERER),
        handler=handle,
        decision_version=deciding.DECISION_VERSION,
        control=control_input(naming),
        rows=RowCodec(encode, decode),
        on_timer=on_timer,
        measure=measures.recovered,
    )


def _of_breaker(view: View[Row, PublishedPolicy], record: Record) -> Decided[Row]:
    """What has passed no gateway is a tick of the health table's, and no business of this agent."""
    if record.value is None or all(name != envelope.SOURCE for name, _ in record.headers):
        return ()
    return deciding.breaker(record.value, view)


def _decide(view: View[Row, PublishedPolicy], record: Record) -> Decided[Row]:
    if record.value is None or record.key is None:
        return Refused(Reason.NULL_VALUE, "the record has no value, or no key")
    headers = dict(reversed(record.headers))  # ours come first
    if envelope.SOURCE not in headers:  # it has passed no gateway
        return deciding.answer(record.key.decode(errors="replace"), record.value, view)
    return deciding.command(record.value, view, verified=headers.get(envelope.SENDER_VERIFIED) == b"true")

"""The chaos agent: decides what chaos is in force, and ends it, on lanes."""

from collections.abc import Sequence

from handlers.chaos import deciding
from handlers.chaos.deciding import Arrived
from handlers.chaos.rows import Row
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

_WRITTEN = (topics.CHAOS, topics.BREAKERS, topics.REJECTED)


def chaos_agent(naming: Naming, measures: Measures) -> Agent[Row, PublishedPolicy]:
    """The agent. Every command has one key, so that one of its lanes decides on all of them."""
    effects = Effects(naming)

    def handle(view: View[Row, PublishedPolicy], record: Record) -> Sequence[records.Effect[Row]]:
        decided = _decide(view, record)
        if isinstance(decided, Refused):
            return (effects.refusal(record, decided, view.control),)
        return effects.of(decided)

    def on_timer(view: View[Row, PublishedPolicy], key: str, row: Row) -> Sequence[records.Effect[Row]]:
        return effects.of(deciding.timer(key, row, view))

    return Agent(
        name=topics.CHAOS_AGENT,
        inbox=(naming.topic(topics.CHAOS_REQUESTS),),
        outputs=tuple(map(naming.topic, _WRITTEN)),
        topics=naming.own(topics.CHAOS_AGENT),
        handler=handle,
        decision_version=deciding.DECISION_VERSION,
        control=control_input(naming),
        rows=RowCodec(bytes, bytes),
        on_timer=on_timer,
        measure=measures.chaos,
    )


def _decide(view: View[Row, PublishedPolicy], record: Record) -> Decided[Row]:
    if record.value is None:
        return Refused(Reason.NULL_VALUE, "the record has no value")
    source = next((content for name, content in record.headers if name == envelope.SOURCE), None)
    arrived = Arrived(record.value, tuple(record.headers), (source or b"").decode(errors="replace"))
    return deciding.command(arrived, view)

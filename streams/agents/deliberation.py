"""The deliberation agent: holds what is dangerous until enough of those entitled have signed, on lanes."""

from collections.abc import Sequence

from handlers.deliberation import deciding
from handlers.deliberation.deciding import Arrived
from handlers.deliberation.rows import Row
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
    topics.DELIVERIES,
    topics.DELIBERATION,
    topics.DELIBERATION_STATUS,
    topics.VERDICTS,
    topics.WORKFLOWS,
    topics.CONTROL,
    topics.REJECTED,
)


def deliberation_agent(naming: Naming, measures: Measures, tenants: Sequence[str] = ()) -> Agent[Row, PublishedPolicy]:
    """The agent; `tenants` are those that have deliveries of their own at its start; a later policy may add some."""
    effects = Effects(naming)

    def handle(view: View[Row, PublishedPolicy], record: Record) -> Sequence[records.Effect[Row]]:
        decided = _decide(view, record)
        if isinstance(decided, Refused):
            return (effects.refusal(record, decided, view.control),)
        return effects.of(decided)

    def on_timer(view: View[Row, PublishedPolicy], key: str, row: Row) -> Sequence[records.Effect[Row]]:
        return effects.of(deciding.timer(key, row, view))

    def of_tenants(tenants: Sequence[str]) -> tuple[str, ...]:
        return tuple(naming.topic(topics.deliveries_of(tenant)) for tenant in tenants)

    return Agent(
        name=topics.DELIBERATOR,
        inbox=(naming.topic(topics.DELIBERATION),),
        outputs=(*map(naming.topic, _WRITTEN), *of_tenants(tenants)),
        topics=naming.own(topics.DELIBERATOR),
        handler=handle,
        decision_version=deciding.DECISION_VERSION,
        control=control_input(naming),
        rows=RowCodec(bytes, bytes),
        on_timer=on_timer,
        measure=measures.decided,
        outputs_under=lambda published: of_tenants(published.policy.tenant_topics),
    )


def _decide(view: View[Row, PublishedPolicy], record: Record) -> Decided[Row]:
    if record.value is None:
        return Refused(Reason.NULL_VALUE, "the record has no value")
    arrived = Arrived(record.partition, record.offset, record.key, record.value, tuple(record.headers))
    if arrived.header(envelope.ITEM) is not None:
        return deciding.item(arrived, view)
    if arrived.header(envelope.WITHDRAWN) is not None:
        return deciding.withdrawal(arrived, view)
    return deciding.decision(arrived, view)

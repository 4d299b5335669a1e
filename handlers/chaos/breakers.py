"""Breakers that a scenario forces open: what is said of them, and that they are taken back with it."""

from uuid import UUID, uuid5

from handlers.deliberation.records import instant
from schemas import envelope, topics
from schemas.breaker import BreakerEvent, BreakerEventKind, BreakerState
from schemas.chaos import ChaosState, ChaosStatus, ChaosType, Target, TargetKind
from schemas.effects import Headers, Publish
from schemas.policy import PublishedPolicy

BREAKER = "chaos"
"""The name of every breaker that is forced open."""
_MAX_REASON = 500
_OPENS = ((0, BreakerEventKind.STATE_CHANGE, BreakerState.OPEN),)
_ENDS = (
    (1, BreakerEventKind.STATE_CHANGE, BreakerState.CLOSED),
    (2, BreakerEventKind.RETIRED, BreakerState.CLOSED),
)


def instance_of(scenario_id: str) -> str:
    """The instance that the breaker of a scenario belongs to: nobody else's breaker is touched."""
    return f"chaos.{scenario_id}"


def forced(status: ChaosStatus, source: str, published: PublishedPolicy, now_ms: int) -> list[Publish]:
    """What the scenario, as it now stands, says of a service's breaker: that it is open, or closed and then no more.

    It closes first, since one that is only gone says nothing of its service: a recovery that waits would go on waiting.
    None of another type, and none of activities, whose workers refuse calls themselves. It holds for as long as the
    scenario does: should nobody take it back, it falls silent.
    """
    target = Target.of(status.target)
    if status.chaos_type is not ChaosType.CIRCUIT_BREAKER or target.kind is not TargetKind.SERVICE:
        return []
    said = _OPENS if status.state is ChaosState.IN_FORCE else _ENDS
    headers: Headers = (
        (envelope.VERSION, envelope.CURRENT_VERSION),
        (envelope.SOURCE, source.encode()),
        (envelope.POLICY, published.reference.encode()),
    )
    events = [
        BreakerEvent(
            event_id=str(uuid5(UUID(status.scenario_id), str(sequence))),
            kind=kind,
            service=target.name,
            breaker=BREAKER,
            instance=instance_of(status.scenario_id),
            sequence=sequence,
            state=state,
            reason=f"chaos {status.name!a} by {status.requested_by!a}: {status.reason}"[:_MAX_REASON],
            at=instant(now_ms),
            ttl_s=-(-status.duration_ms // 1_000),
            constitutional_hash=status.constitutional_hash,
        )
        for sequence, kind, state in said
    ]
    return [
        Publish(topics.BREAKERS, target.name, event.model_dump_json(exclude_none=True).encode(), headers)
        for event in events
    ]

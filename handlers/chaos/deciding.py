"""Decisions on chaos: a command comes, or a scenario's time does. Pure; none raises for what a record says."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from handlers.chaos.admitting import ADMISSION, KEY
from handlers.chaos.breakers import forced
from handlers.chaos.rows import (
    IN_FORCE,
    STOPPED_ALL,
    CommandRow,
    InForce,
    Row,
    ScenarioRow,
    StoppedAll,
    command_key,
    decode,
    encode,
    scenario_key,
)
from handlers.chaos.targets import check_target
from handlers.deliberation.records import instant
from handlers.gateway import OPERATOR_REASONS
from schemas import envelope, topics
from schemas.chaos import (
    EVERYTHING,
    MAX_VALIDITY,
    ChaosCommand,
    ChaosOrder,
    ChaosParameters,
    ChaosState,
    ChaosStatus,
    EmergencyStop,
)
from schemas.effects import Decided, Effect, Forget, Headers, Keep, Publish, Refused, Reject, Surroundings
from schemas.model import ms
from schemas.policy import ChaosLimits, Policy
from schemas.reasons import Reason

DECISION_VERSION = 1
"""Rises when the same rows, record and policy would be decided otherwise."""

KEEP_ENDED = timedelta(hours=1)
"""How long a scenario that ended is remembered, and seen on `chaos`: longer than its command could pass again."""

REASONS = frozenset(
    {
        Reason.NO_CHAOS,
        Reason.PROTECTED_TARGET,
        Reason.UNKNOWN_TARGET,
        Reason.TARGET_NOT_ALLOWED,
        Reason.OUTSIDE_BLAST_RADIUS,
        Reason.TOO_LONG,
        Reason.TOO_MANY_SCENARIOS,
        Reason.VALID_TOO_LONG,
        Reason.DUPLICATE_SCENARIO,
        Reason.UNKNOWN_SCENARIO,
        Reason.SCENARIO_ENDED,
        Reason.REPLAYED,
        Reason.STOPPED_SINCE,
    }
)
"""The reasons that are given here, besides those of every gateway, which are given again."""
ADMISSION_REASONS = OPERATOR_REASONS | {Reason.EXPIRED, Reason.HASH_WITHDRAWN}
"""Those of its gateway that may come to hold of a command on its way from there."""

_STAMP: Headers = ((envelope.VERSION, envelope.CURRENT_VERSION),)
_MILLISECOND = timedelta(milliseconds=1)


class Arrived(NamedTuple):
    """A record on `chaos-requests`; `source` is where it stands on `in.chaos`."""

    value: bytes
    headers: Headers
    source: str


class _End(NamedTuple):
    """How a scenario ends; `by` and `command_id` where somebody has ordered it."""

    state: ChaosState
    why: str
    by: str | None = None
    command_id: str | None = None


# A command comes


def command(arrived: Arrived, view: Surroundings[Row]) -> Decided[Row]:
    """An operator orders something; the record has passed its gateway, and must pass again as things now stand."""
    given = [header for header in arrived.headers if not header[0].startswith(envelope.RESERVED)]
    admitted = ADMISSION.decide(arrived.value, given, view.control, view.clock_ms)
    if isinstance(admitted, Refused):
        return admitted
    said = ChaosCommand.model_validate_json(arrived.value)
    key = command_key(said.command_id)
    if view.row(key) is not None:
        return Refused(Reason.REPLAYED, f"command {said.command_id} has come before")
    decided = _decided(said, arrived.source, view)
    if isinstance(decided, Refused):
        decided = [Reject(KEY.encode(), arrived.value, arrived.headers, decided)]
    return [Keep(key, encode(CommandRow()), ms(said.expires_at)), *decided]


def _decided(said: ChaosCommand, source: str, view: Surroundings[Row]) -> Decided[Row]:
    if ms(said.expires_at) - view.clock_ms > MAX_VALIDITY // _MILLISECOND:
        return Refused(Reason.VALID_TOO_LONG, f"it expires at {said.expires_at.isoformat()}, more than 10 min from now")
    match said.command:
        case ChaosOrder.RUN:
            return _run(said, source, view)
        case ChaosOrder.STOP:
            return _stop(said, view)
        case ChaosOrder.STOP_ALL:
            return _stop_all(said, view)


def _run(said: ChaosCommand, source: str, view: Surroundings[Row]) -> Decided[Row]:
    policy, now = view.control.policy, view.clock_ms
    id_ = (said.scenario_id or "").lower()
    known = _find(id_, view)
    if known is not None:
        return Refused(Reason.DUPLICATE_SCENARIO, f"scenario {id_} is there already: it is {known.status.state}")
    stopped_ms = _stopped_all_ms(view)
    if stopped_ms is not None and ms(said.created_at) <= stopped_ms:
        detail = f"it was made at {said.created_at.isoformat()}; everything was stopped at {instant(stopped_ms)}"
        return Refused(Reason.STOPPED_SINCE, detail)
    if policy.chaos is None:
        return Refused(Reason.NO_CHAOS, f"epoch {policy.epoch} has no table [chaos]")
    refused = check_target(said.target or "", said.blast_radius or (), policy.chaos, policy)
    refused = refused or _check_limits(said, policy.chaos, policy, view)
    if refused is not None:
        return refused
    status = _begun(said, id_, now)
    return [
        Keep(scenario_key(id_), encode(ScenarioRow(status=status, source=source)), status.until_ms),
        Keep(IN_FORCE, encode(InForce(ids=(*_in_force(view), id_)))),
        _published(status),
        *forced(status, source, view.control, now),
    ]


def _check_limits(said: ChaosCommand, limits: ChaosLimits, policy: Policy, view: Surroundings[Row]) -> Refused | None:
    longest = limits.max_duration // _MILLISECOND
    if (said.duration_ms or 0) > longest:
        return Refused(Reason.TOO_LONG, f"{said.duration_ms} ms are asked for, epoch {policy.epoch} allows {longest}")
    if len(_in_force(view)) >= limits.at_once:
        return Refused(Reason.TOO_MANY_SCENARIOS, f"epoch {policy.epoch} allows {limits.at_once} at once")
    return None


def _begun(said: ChaosCommand, id_: str, now_ms: int) -> ChaosStatus:
    fields = {
        "scenario_id": id_,
        "name": said.name,
        "chaos_type": said.chaos_type,
        "target": said.target,
        "duration_ms": said.duration_ms,
        "blast_radius": said.blast_radius,
        "parameters": said.parameters or ChaosParameters(),
        "requested_by": said.requested_by,
        "reason": said.reason,
        "constitutional_hash": said.constitutional_hash,
        "state": ChaosState.IN_FORCE,
        "started_ms": now_ms,
        "until_ms": now_ms + (said.duration_ms or 0),
        "command_id": said.command_id,
    }
    return ChaosStatus.model_validate(fields)


def _stop(said: ChaosCommand, view: Surroundings[Row]) -> Decided[Row]:
    id_ = (said.scenario_id or "").lower()
    known = _find(id_, view)
    if known is None:
        return Refused(Reason.UNKNOWN_SCENARIO, f"there is no scenario {id_}, or it has ended and is forgotten")
    if known.status.state is not ChaosState.IN_FORCE:
        return Refused(Reason.SCENARIO_ENDED, f"scenario {id_} is {known.status.state}")
    return _ended(known, _stopped(said), view)


def _stop_all(said: ChaosCommand, view: Surroundings[Row]) -> Decided[Row]:
    ids = _in_force(view)
    effects: list[Effect[Row]] = []
    for row in (_find(id_, view) for id_ in ids):
        effects += [] if row is None else _end(row, _stopped(said), view)
    stop = EmergencyStop(
        command_id=said.command_id, by=said.requested_by, reason=said.reason, at=view.clock_ms, stopped=ids
    )
    return [
        *effects,
        Keep(IN_FORCE, encode(InForce())),
        Keep(STOPPED_ALL, encode(StoppedAll(at=view.clock_ms)), view.clock_ms + MAX_VALIDITY // _MILLISECOND),
        Publish(topics.CHAOS, EVERYTHING, stop.model_dump_json().encode(), _STAMP),
    ]


def _stopped(said: ChaosCommand) -> _End:
    return _End(ChaosState.STOPPED, said.reason, said.requested_by, said.command_id)


# A scenario's time comes


def timer(key: str, row: Row, view: Surroundings[Row]) -> Sequence[Effect[Row]]:
    """A scenario is over, or has been for so long that it is forgotten; or a command could not pass any more."""
    known = decode(row)
    if isinstance(known, CommandRow | StoppedAll):
        return [Forget(key)]
    if not isinstance(known, ScenarioRow):
        raise TypeError(f"row {key} has no timer")
    if known.status.state is ChaosState.IN_FORCE:
        return _ended(known, _End(ChaosState.OVER, "its time is over"), view)
    return [Forget(key), Publish(topics.CHAOS, known.status.scenario_id, None, _STAMP)]


# How it ends


def _ended(row: ScenarioRow, end: _End, view: Surroundings[Row]) -> list[Effect[Row]]:
    left = tuple(id_ for id_ in _in_force(view) if id_ != row.status.scenario_id)
    return [*_end(row, end, view), Keep(IN_FORCE, encode(InForce(ids=left)))]


def _end(row: ScenarioRow, end: _End, view: Surroundings[Row]) -> list[Effect[Row]]:
    """The scenario has ended, and what it said of a breaker is taken back."""
    now = view.clock_ms
    changes = {"state": end.state, "ended_ms": now, "ended_by": end.by, "why": end.why, "command_id": end.command_id}
    status = ChaosStatus.model_validate({**dict(row.status), **changes})
    kept = row.model_copy(update={"status": status})
    return [
        Keep(scenario_key(status.scenario_id), encode(kept), now + KEEP_ENDED // _MILLISECOND),
        _published(status),
        *forced(status, row.source, view.control, now),
    ]


def _published(status: ChaosStatus) -> Publish:
    return Publish(topics.CHAOS, status.scenario_id, status.model_dump_json().encode(), _STAMP, measure=status)


def _find(id_: str, view: Surroundings[Row]) -> ScenarioRow | None:
    row = view.row(scenario_key(id_))
    known = None if row is None else decode(row)
    return known if isinstance(known, ScenarioRow) else None


def _stopped_all_ms(view: Surroundings[Row]) -> int | None:
    row = view.row(STOPPED_ALL)
    known = None if row is None else decode(row)
    return known.at if isinstance(known, StoppedAll) else None


def _in_force(view: Surroundings[Row]) -> tuple[str, ...]:
    row = view.row(IN_FORCE)
    known = None if row is None else decode(row)
    return known.ids if isinstance(known, InForce) else ()

"""The fold of breaker events into health: pure, and idempotent by the place that an event has in the log."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from schemas.breaker import BreakerEvent, BreakerEventKind, BreakerState
from schemas.health import BreakerRow, ServiceHealth, SystemHealthStatus

MAX_BREAKERS = 500
"""How many breakers of processes a service's row holds."""
MAX_FLAPS = 100
FLAPS_KEPT = timedelta(minutes=5)
FORGOTTEN_AFTER = timedelta(minutes=10)
"""How long after its time to live a silent breaker is taken out: its process has ended without a word."""

DROPPED_AFTER = timedelta(hours=24)
"""How long a service stays listed of which nothing is known any more."""

_NAMED = 3
_FLAPS_KEPT_MS = int(FLAPS_KEPT.total_seconds() * 1_000)
_COUNTED = (*BreakerState, None)
_KEPT_MS = int(FORGOTTEN_AFTER.total_seconds() * 1_000)


class Place(NamedTuple):
    """Where an event is on `breakers`."""

    partition: int
    offset: int


class Tally(NamedTuple):
    """How many breakers are in which state; silent ones are counted apart, whatever they said last."""

    closed: int = 0
    open: int = 0
    half_open: int = 0
    silent: int = 0

    @property
    def heard(self) -> int:
        """Those that were heard of in time."""
        return self.closed + self.open + self.half_open

    @property
    def total(self) -> int:
        """All of them."""
        return self.heard + self.silent

    @property
    def score(self) -> float:
        """0.0-1.0: a closed breaker counts whole, a half-open one half; 0 where none was heard of."""
        return (2 * self.closed + self.half_open) / (2 * self.heard) if self.heard else 0.0

    def plus(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(*(one + more for one, more in zip(self, other, strict=True)))

    def minus(self, other: "Tally") -> "Tally":
        """This without the other, which is a part of it."""
        return Tally(*(one - less for one, less in zip(self, other, strict=True)))


def status_of(tally: Tally, *, has_critical_open: bool) -> SystemHealthStatus:
    """What a tally amounts to. What is known to be bad counts more than what is not known."""
    closed, opened, half_open, silent = tally
    heard = closed + opened + half_open
    if has_critical_open or (heard and 2 * closed + half_open < heard):
        return SystemHealthStatus.CRITICAL
    if silent or not heard:
        return SystemHealthStatus.UNKNOWN
    return SystemHealthStatus.HEALTHY if closed == heard else SystemHealthStatus.DEGRADED


def folded(
    row: ServiceHealth | None, event: BreakerEvent, place: Place, now_ms: int, *, is_critical: bool
) -> ServiceHealth | None:
    """The service's row after an event that the log has at `now_ms`; None where the row has seen it before.

    Of one breaker the event with the highest sequence counts, so that one that overtook another is not undone by it.
    The row that comes out is the same whether the one before was aged() in between or not.
    """
    if row is not None and place.partition == row.partition and place.offset <= row.offset:
        return None
    before = row and _until(row, now_ms, is_critical=is_critical)
    known = {(one.instance, one.breaker): one for one in before.breakers} if before else {}
    flaps = before.flaps if before else ()
    left_out = _LeftOut(before.left_out, before.left_out_until) if before else _LeftOut()
    name = (event.instance, event.breaker)
    last = known.get(name)
    if last is None or last.sequence < event.sequence:
        if event.kind is BreakerEventKind.RETIRED:
            known.pop(name, None)
        elif last is None and len(known) >= MAX_BREAKERS:
            left_out = _LeftOut(left_out.events + 1, max(left_out.until, now_ms + event.ttl_s * 1_000 + _KEPT_MS))
        else:
            known[name] = _heard(last, event, now_ms)
            flaps = (*flaps, *[now_ms] * _changes(last, event))
    made = _Known(event.service, tuple(known.values()), flaps, left_out, place)
    standing = (before.status, before.since) if before else (None, now_ms)
    return _weighed(made, standing, now_ms, is_critical=is_critical)


def aged(row: ServiceHealth, now_ms: int, *, is_critical: bool | None = None) -> ServiceHealth:
    """The row as it is to be read at `now_ms`: breakers that have fallen silent are, and old flaps are forgotten.

    `since` is when its status began, not when somebody looked. Whether the service is critical is as the row says,
    unless the policy says otherwise by now.
    """
    is_critical = row.is_critical if is_critical is None else is_critical
    left_out = _LeftOut(row.left_out, row.left_out_until)
    made = _Known(row.service, row.breakers, row.flaps, left_out, Place(row.partition, row.offset))
    return _weighed(made, _standing(row, now_ms, is_critical=is_critical), now_ms, is_critical=is_critical)


def _until(row: ServiceHealth, now_ms: int, *, is_critical: bool) -> ServiceHealth:
    """The row as far as an event at `now_ms` adds to it; most of the time nothing has aged since the last one."""
    changes = changes_at(row)
    is_same = row.is_critical == is_critical and row.as_of <= now_ms and (changes is None or now_ms < changes)
    return row if is_same else aged(row, now_ms, is_critical=is_critical)


def dropped_at(row: ServiceHealth) -> int | None:
    """When a row without a breaker is to be dropped, None while it has one."""
    return None if row.breakers else row.since + int(DROPPED_AFTER.total_seconds() * 1_000)


def changes_at(row: ServiceHealth) -> int | None:
    """The first moment after `as_of` at which aged() makes another row of it, None if there is none."""
    times = [at for one in row.breakers for at in (one.fresh_until, one.fresh_until + _KEPT_MS)]
    return min((at for at in (*times, row.left_out_until) if at > row.as_of), default=None)


def tally_of(breakers: Iterable[BreakerRow], now_ms: int) -> Tally:
    """The breakers by state, at a time."""
    return _tally(_counts(breakers, now_ms))


def _counts(breakers: Iterable[BreakerRow], now_ms: int) -> dict[BreakerState | None, int]:
    """By state, None for those that are silent."""
    counts: dict[BreakerState | None, int] = dict.fromkeys(_COUNTED, 0)
    for one in breakers:
        counts[None if one.fresh_until <= now_ms else one.state] += 1
    return counts


def _tally(counts: Mapping[BreakerState | None, int]) -> Tally:
    return Tally(counts[BreakerState.CLOSED], counts[BreakerState.OPEN], counts[BreakerState.HALF_OPEN], counts[None])


_Standing = tuple[SystemHealthStatus | None, int]
"""A status and since when it is so."""


class _LeftOut(NamedTuple):
    """Events of breakers beyond those that a row holds, and until when they may say what the row does not."""

    events: int = 0
    until: int = 0


class _Known(NamedTuple):
    """What a row is weighed from."""

    service: str
    breakers: tuple[BreakerRow, ...]
    flaps: tuple[int, ...]
    left_out: _LeftOut
    place: Place


def _changes(last: BreakerRow | None, event: BreakerEvent) -> int:
    """How many changes of state the event tells of, up to as many as a row keeps."""
    if last is None:
        return 0
    is_change = event.kind is BreakerEventKind.STATE_CHANGE and event.changes > 1
    return min(event.changes, MAX_FLAPS) if is_change else int(last.state is not event.state)


def _heard(before: BreakerRow | None, event: BreakerEvent, now_ms: int) -> BreakerRow:
    is_same = before is not None and before.state is event.state
    return BreakerRow(
        breaker=event.breaker,
        instance=event.instance,
        state=event.state,
        since=before.since if before is not None and is_same else now_ms,
        heard=now_ms,
        fresh_until=now_ms + event.ttl_s * 1_000,
        sequence=event.sequence,
        reason=event.reason or (before.reason if before is not None and is_same else None),
    )


def _standing(row: ServiceHealth, now_ms: int, *, is_critical: bool) -> _Standing:
    """The row's status at a time and since when it is so, stepping through all that has fallen silent meanwhile."""
    changes: list[tuple[int, BreakerState | None, bool]] = [(row.left_out_until, None, False)]
    for one in row.breakers:
        changes += ((one.fresh_until, one.state, False), (one.fresh_until + _KEPT_MS, None, True))
    counts = _counts(_remembered(row.breakers, row.as_of), row.as_of)
    standing: _Standing = (row.status, row.since)
    due = sorted((change for change in changes if row.as_of < change[0] <= now_ms), key=itemgetter(0))
    for at, together in groupby(due, key=itemgetter(0)):
        for _, state, is_forgotten in together:
            if is_forgotten:
                counts[None] -= 1
            elif state is not None:
                counts[state] -= 1
                counts[None] += 1
        status = _status(_tally(counts), is_whole=row.left_out_until <= at, is_critical=is_critical)
        standing = standing if status is standing[0] else (status, at)
    return standing


def _weighed(known: _Known, standing: _Standing, now_ms: int, *, is_critical: bool) -> ServiceHealth:
    remembered = _remembered(known.breakers, now_ms)
    breakers = tuple(sorted(remembered, key=lambda one: (one.breaker, one.instance)))
    left_out = known.left_out if known.left_out.until > now_ms else _LeftOut()
    tally = tally_of(breakers, now_ms)
    status = _status(tally, is_whole=not left_out.events, is_critical=is_critical)
    return ServiceHealth(
        service=known.service,
        status=status,
        health_score=tally.score,
        total_breakers=tally.total,
        closed_breakers=tally.closed,
        open_breakers=tally.open,
        half_open_breakers=tally.half_open,
        silent_breakers=tally.silent,
        breakers=breakers,
        since=standing[1] if status is standing[0] else now_ms,
        why=_why(breakers, left_out.events, now_ms),
        flaps=_kept(known.flaps, now_ms - _FLAPS_KEPT_MS),
        left_out=left_out.events,
        left_out_until=left_out.until,
        is_critical=is_critical,
        partition=known.place.partition,
        offset=known.place.offset,
        as_of=now_ms,
        fresh_until=min((one.fresh_until for one in breakers if one.fresh_until > now_ms), default=None),
    )


def _kept(flaps: tuple[int, ...], oldest_ms: int) -> tuple[int, ...]:
    are_all = not flaps or min(flaps) > oldest_ms
    return (flaps if are_all else tuple(at for at in flaps if at > oldest_ms))[-MAX_FLAPS:]


def _status(tally: Tally, *, is_whole: bool, is_critical: bool) -> SystemHealthStatus:
    status = status_of(tally, has_critical_open=is_critical and tally.open > 0)
    return status if is_whole or status is SystemHealthStatus.CRITICAL else SystemHealthStatus.UNKNOWN


def _remembered(breakers: Sequence[BreakerRow], now_ms: int) -> tuple[BreakerRow, ...]:
    return tuple(one for one in breakers if one.fresh_until + _KEPT_MS > now_ms)


def _why(breakers: Sequence[BreakerRow], left_out: int, now_ms: int) -> str:
    """What is not as it should be, in words; the first few by name."""
    if not breakers:
        return "no breaker has been heard of"
    silent = [one for one in breakers if one.fresh_until <= now_ms]
    not_closed = [one for one in breakers if one.fresh_until > now_ms and one.state is not BreakerState.CLOSED]
    said = [f"{one.breaker} is {one.state} at {one.instance}{_reason(one)}" for one in not_closed[:_NAMED]]
    said += [f"{len(not_closed) - _NAMED} more are not closed"] * (len(not_closed) > _NAMED)
    said += [f"{one.breaker} at {one.instance} is silent, was {one.state}" for one in silent[:_NAMED]]
    said += [f"{len(silent) - _NAMED} more are silent"] * (len(silent) > _NAMED)
    said += [f"{left_out} events were of breakers beyond the {MAX_BREAKERS} that a row holds"] * bool(left_out)
    return "; ".join(said) or "every breaker is closed"


def _reason(one: BreakerRow) -> str:
    return f" ({one.reason})" if one.reason else ""

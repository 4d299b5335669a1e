"""The health of all services together, kept up to date as their rows change and grow old."""

import heapq
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from handlers.aging import Aging
from handlers.health import Tally, aged, changes_at, status_of
from schemas.health import GRAVEST_FIRST, ServiceHealth, ServiceStanding, SystemHealth, SystemHealthStatus

FRESH_FOR = timedelta(seconds=15)
"""How long a system's row holds after it was weighed. Its writer weighs it anew every second."""
MAX_NAMED = 20

_GRAVITY: Mapping[SystemHealthStatus, int] = {status: rank for rank, status in enumerate(GRAVEST_FIRST)}


class SystemFold:
    """Takes every service's row, in the order of its partition, and says how the system stands at a time.

    Taking a row costs the same however many services there are; so does weighing, but for the naming of those that are
    not healthy. Times never go back: what is asked for at an earlier time is answered for the latest one.
    """

    def __init__(self) -> None:
        self._rows: dict[str, ServiceHealth] = {}
        self._aging = Aging[str]()
        self._tally, self._statuses = Tally(), Counter[SystemHealthStatus]()
        self._ailing: dict[str, ServiceHealth] = {}
        self._offsets: dict[str, int] = {}
        self._now_ms = 0

    def take(self, service: str, row: ServiceHealth | None, partition: int, offset: int) -> None:
        """A service's row as it stands on `health` at that place; None where it is forgotten."""
        self._offsets[str(partition)] = offset
        self._replace(service, row)

    def at(self, now_ms: int, before: SystemHealth | None) -> SystemHealth:
        """The system's row; `before` is the one that it follows, whoever wrote it: it says since when it is so."""
        self._now_ms = now_ms = max(now_ms, self._now_ms)
        for service in self._aging.due(now_ms):
            row = self._rows.get(service)
            at = None if row is None else changes_at(row)
            if row is not None and at is not None:
                self._replace(service, aged(row, now_ms) if at <= now_ms else row)
        status, tally = self._status(), self._tally
        return SystemHealth(
            status=status,
            health_score=tally.score,
            total_breakers=tally.total,
            closed_breakers=tally.closed,
            open_breakers=tally.open,
            half_open_breakers=tally.half_open,
            silent_breakers=tally.silent,
            services={one: self._statuses[one] for one in SystemHealthStatus},
            named=self._named(),
            since=before.since if before is not None and before.status is status else now_ms,
            offsets=dict(sorted(self._offsets.items())),
            as_of=now_ms,
            fresh_until=now_ms + int(FRESH_FOR.total_seconds() * 1_000),
        )

    def _status(self) -> SystemHealthStatus:
        """What is known to be bad counts more than what is not known, of which one service is enough."""
        has_critical = any(
            row.is_critical and row.status is SystemHealthStatus.CRITICAL for row in self._ailing.values()
        )
        status = status_of(self._tally, has_critical_open=has_critical)
        is_known = self._statuses[SystemHealthStatus.UNKNOWN] == 0 or status is SystemHealthStatus.CRITICAL
        return status if is_known else SystemHealthStatus.UNKNOWN

    def _replace(self, service: str, row: ServiceHealth | None) -> None:
        before = self._rows.pop(service, None)
        self._ailing.pop(service, None)
        if before is not None:
            self._tally = self._tally.minus(_tally(before))
            self._statuses[before.status] -= 1
        if row is None:
            return
        self._rows[service] = row
        self._tally = self._tally.plus(_tally(row))
        self._statuses[row.status] += 1
        if row.status is not SystemHealthStatus.HEALTHY:
            self._ailing[service] = row
        if (at := changes_at(row)) is not None:
            self._aging.arm(service, at)

    def _named(self) -> tuple[ServiceStanding, ...]:
        gravest = heapq.nsmallest(
            MAX_NAMED, self._ailing.values(), key=lambda row: (_GRAVITY[row.status], row.since, row.service)
        )
        return tuple(
            ServiceStanding(service=row.service, status=row.status, since=row.since, why=row.why) for row in gravest
        )


def _tally(row: ServiceHealth) -> Tally:
    return Tally(row.closed_breakers, row.open_breakers, row.half_open_breakers, row.silent_breakers)

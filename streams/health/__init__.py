"""Health by circuit breakers: kept in process by a service itself, told to others, and read by anybody."""

from schemas.breaker import BreakerState
from schemas.health import SystemHealthStatus
from streams.health.aggregator import HealthAggregator
from streams.health.publisher import BreakerPublisher
from streams.health.report import HealthSnapshot, SystemHealthReport

__all__ = [
    "BreakerPublisher",
    "BreakerState",
    "HealthAggregator",
    "HealthSnapshot",
    "SystemHealthReport",
    "SystemHealthStatus",
]

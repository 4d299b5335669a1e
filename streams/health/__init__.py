"""Health as a service keeps it of its own circuit breakers, in process and at once."""

from schemas.breaker import BreakerState
from schemas.health import SystemHealthStatus
from streams.health.aggregator import HealthAggregator
from streams.health.report import HealthSnapshot, SystemHealthReport

__all__ = ["BreakerState", "HealthAggregator", "HealthSnapshot", "SystemHealthReport", "SystemHealthStatus"]

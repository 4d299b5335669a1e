"""Every metric of the product, by name and meaning. The engine's are in streams/engine/metrics.py."""

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from schemas.activity import Outcome
from schemas.chaos import ChaosStatus, ChaosType
from schemas.deliberation import DeliberationState
from schemas.health import ServiceHealth, SystemHealth, SystemHealthStatus
from schemas.recovery import RecoveryState

_SCORE_BOUNDS = (500, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 7_999, 8_999, 10_000)
_ACTIVITY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800)


class Measures:
    """What the agents count, once a turn has committed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rejected = Counter("acgs_rejected", "Records refused by a gateway", ("reason",), registry=registry)
        self._verdicts = Counter("acgs_verdicts", "Held items that ended", ("state",), registry=registry)
        self._recoveries = Counter(
            "acgs_recoveries", "Recoveries of services that came into a state", ("state",), registry=registry
        )
        self._chaos = Counter(
            "acgs_chaos_scenarios", "Scenarios that began or ended", ("type", "state"), registry=registry
        )
        self._scores = ScoreHistogram()
        registry.register(self._scores)

    def rejections(self, reasons: Sequence[object]) -> None:
        """Reason codes of refused records."""
        for reason, count in Counts(map(str, reasons)).items():
            self._rejected.labels(reason).inc(count)

    def decided(self, measures: Sequence[object]) -> None:
        """States of held items that ended, and reason codes of what was refused."""
        for state, count in Counts(one for one in measures if isinstance(one, DeliberationState)).items():
            self._verdicts.labels(state.value).inc(count)
        self.rejections([one for one in measures if not isinstance(one, DeliberationState)])

    def recovered(self, measures: Sequence[object]) -> None:
        """States that recoveries came into, and reason codes of what was refused."""
        for state, count in Counts(one for one in measures if isinstance(one, RecoveryState)).items():
            self._recoveries.labels(state.value).inc(count)
        self.rejections([one for one in measures if not isinstance(one, RecoveryState)])

    def chaos(self, measures: Sequence[object]) -> None:
        """Scenarios of chaos as they now stand, and reason codes of what was refused."""
        for status in (one for one in measures if isinstance(one, ChaosStatus)):
            self._chaos.labels(status.chaos_type.value, status.state.value).inc()
        self.rejections([one for one in measures if not isinstance(one, ChaosStatus)])

    def scores(self, scores: Sequence[object]) -> None:
        """Impact scores of triaged messages."""
        self._scores.observe([score for score in scores if isinstance(score, int)])


class ScoreHistogram(Collector):
    """The distribution of impact scores, counted a turn at a time."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_SCORE_BOUNDS) + 1)
        self._sum = 0

    def observe(self, scores: Sequence[int]) -> None:
        """Adds scores, each 0..10,000."""
        self._sum += sum(scores)
        for score in scores:
            self._counts[bisect_left(_SCORE_BOUNDS, score)] += 1

    def collect(self) -> Iterable[Metric]:
        """The histogram as prometheus_client reads it."""
        family = HistogramMetricFamily("acgs_impact_score", "Impact scores of triaged messages, 0..10,000")
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*map(str, _SCORE_BOUNDS), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric([], buckets, self._sum)
        yield family


class ActivityMeasures:
    """What an activity worker counts, by queue."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ended = Counter(
            "acgs_activities", "Attempts at activities that were answered", ("queue", "outcome"), registry=registry
        )
        self.malformed = Counter(
            "acgs_activity_commands_malformed", "Commands that could not be read", ("queue",), registry=registry
        )
        self.running = Gauge("acgs_activities_running", "Activities that run", ("queue",), registry=registry)
        self.seconds = Histogram(
            "acgs_activity_seconds",
            "Time from a command's arrival at the worker to its answer",
            ("queue",),
            registry=registry,
            buckets=_ACTIVITY_SECONDS,
        )

    def queue(self, name: str) -> "QueueMeasures":
        """The measures of one queue."""
        return QueueMeasures(self, name)


class QueueMeasures:
    """The measures of one queue, with its label bound."""

    def __init__(self, measures: ActivityMeasures, queue: str) -> None:
        self._ended = {outcome: measures.ended.labels(queue, outcome) for outcome in Outcome}
        self._malformed, self._running = measures.malformed.labels(queue), measures.running.labels(queue)
        self._seconds = measures.seconds.labels(queue)

    def ended(self, outcome: Outcome, seconds: float) -> None:
        """An attempt was answered."""
        self._ended[outcome].inc()
        self._seconds.observe(seconds)

    def malformed(self) -> None:
        """A command could not be read."""
        self._malformed.inc()

    def running(self, count: Callable[[], float]) -> None:
        """Where to ask how many run."""
        self._running.set_function(count)


class HitlMeasures:
    """What the process counts that posts cards and takes callbacks, by platform."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._posts = Counter(
            "acgs_hitl_posts", "Messages a platform has taken", ("platform", "kind"), registry=registry
        )
        self._retries = Counter(
            "acgs_hitl_retries", "Attempts at a platform after the first", ("platform",), registry=registry
        )
        self._failures = Counter(
            "acgs_hitl_failures", "Attempts at a platform that failed", ("platform", "why"), registry=registry
        )
        self._callbacks = Counter(
            "acgs_hitl_callbacks",
            "Requests for callbacks, by what became of them",
            ("platform", "outcome"),
            registry=registry,
        )
        self._waiting = Gauge(
            "acgs_hitl_waiting", "Statuses read and not yet dealt with", ("platform",), registry=registry
        )

    def posted(self, platform: str, kind: str) -> None:
        """A platform has taken a card, reminder, escalation or outcome."""
        self._posts.labels(platform, kind).inc()

    def retried(self, platform: str) -> None:
        """An attempt is not the first."""
        self._retries.labels(platform).inc()

    def failed(self, platform: str, why: str) -> None:
        """An attempt failed: the platform was `busy`, `refused`, or the item `unreadable`."""
        self._failures.labels(platform, why).inc()

    def called(self, platform: str, outcome: str) -> None:
        """A callback was answered."""
        self._callbacks.labels(platform, outcome).inc()

    def waiting(self, platform: str, count: Callable[[], float]) -> None:
        """Where to ask how many wait."""
        self._waiting.labels(platform).set_function(count)


class HealthMeasures:
    """What the health table counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        events = Counter("acgs_breaker_events", "Breaker events read by the health table", ("kind",), registry=registry)
        self._events = {kind: events.labels(kind) for kind in ("folded", "repeated", "left_out", "unreadable")}
        self._aged = Counter("acgs_health_rows_aged", "Rows written anew because time has passed", registry=registry)

    def folded(self, kind: str) -> None:
        """What became of an event: `folded`, `repeated` or `left_out`."""
        self._events[kind].inc()

    def unreadable(self) -> None:
        """A record of `breakers` was no breaker event."""
        self._events["unreadable"].inc()

    def aged(self, rows: int) -> None:
        """Rows were written anew."""
        self._aged.inc(rows)


class HealthGauges(Collector):
    """The health of every service and of the system, read when it is asked for."""

    def __init__(
        self,
        registry: CollectorRegistry,
        services: Callable[[], Iterable[ServiceHealth]],
        system: Callable[[], SystemHealth | None],
    ) -> None:
        self._services, self._system = services, system
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """The gauges as prometheus_client reads them."""
        score = GaugeMetricFamily("acgs_service_health_score", "Health of a service, 0..1", labels=["service"])
        status = GaugeMetricFamily("acgs_services", "Services by status", labels=["status"])
        counts = dict.fromkeys(SystemHealthStatus, 0)
        for row in self._services():
            score.add_metric([row.service], row.health_score)
            counts[row.status] += 1
        for name, count in counts.items():
            status.add_metric([name], count)
        yield score
        yield status
        system = self._system()
        if system is not None:
            yield GaugeMetricFamily("acgs_system_health_score", "Health of all services, 0..1", system.health_score)
            state = GaugeMetricFamily("acgs_system_health", "1 at the system's status", labels=["status"])
            for one in SystemHealthStatus:
                state.add_metric([one], int(one is system.status))
            yield state


class ChaosMeasures:
    """What a process counts that chaos may be done to, by type."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._in_force = Gauge(
            "acgs_chaos_in_force", "Scenarios of chaos that this process knows to be in force", registry=registry
        )
        self._done = Counter(
            "acgs_chaos_injections", "Turns and calls that chaos was done to", ("type",), registry=registry
        )

    def in_force(self, count: Callable[[], float]) -> None:
        """Where to ask how many are in force."""
        self._in_force.set_function(count)

    def done(self, chaos_type: ChaosType) -> None:
        """Chaos was done once."""
        self._done.labels(chaos_type.value).inc()


class NotaryMeasures:
    """What the notary counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._checkpoints = Counter("acgs_notary_checkpoints", "Checkpoints signed and on disk", registry=registry)
        self._broken = Counter(
            "acgs_notary_broken_records",
            "Audit records that do not continue a lane's chain: signed as they are, alert on any",
            registry=registry,
        )
        self._deliveries = Counter("acgs_notary_deliveries", "Attempts at the webhook", ("outcome",), registry=registry)
        self._unsigned = Gauge("acgs_notary_unsigned_records", "Audit records in no checkpoint yet", registry=registry)
        self._waiting = Gauge(
            "acgs_notary_undelivered", "Checkpoints that the webhook has not taken", registry=registry
        )
        self._number = Gauge("acgs_notary_last_number", "Number of the last checkpoint", registry=registry)
        self._refused = Gauge(
            "acgs_notary_refused", "1: the trail is not what was signed, nothing more is signed", registry=registry
        )

    def signed(self) -> None:
        """A checkpoint is on disk."""
        self._checkpoints.inc()

    def broken(self) -> None:
        """A record does not continue its lane's chain."""
        self._broken.inc()

    def delivered(self) -> None:
        """The webhook has taken one."""
        self._deliveries.labels("delivered").inc()

    def not_delivered(self) -> None:
        """An attempt at the webhook has failed."""
        self._deliveries.labels("failed").inc()

    def refused(self) -> None:
        """The trail is not what was signed."""
        self._refused.set(1)

    def watch(
        self, unsigned: Callable[[], float], waiting: Callable[[], float], last_number: Callable[[], float]
    ) -> None:
        """Where to ask how many records are unsigned, how many checkpoints wait, and for the last one's number."""
        self._unsigned.set_function(unsigned)
        self._waiting.set_function(waiting)
        self._number.set_function(last_number)

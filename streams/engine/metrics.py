"""Every metric of the engine, by name and meaning."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from streams.engine.status import State

_LABELS = ("agent", "lane")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class EngineMetrics:
    """The metrics of one worker's lanes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.records = Counter("lane_records", "Input records handled", _LABELS, registry=registry)
        self.turns = Counter("lane_turns", "Transactions committed", _LABELS, registry=registry)
        self.failed_turns = Counter(
            "lane_failed_turns",
            "Turns whose commit failed and was settled by a new producer",
            _LABELS,
            registry=registry,
        )
        self.dead_letters = Counter("lane_dead_letters", "Records that became dead letters", _LABELS, registry=registry)
        self.handle_seconds = Histogram(
            "lane_handle_seconds", "Time a turn spent in handlers", _LABELS, registry=registry, buckets=_SECONDS
        )
        self.commit_seconds = Histogram(
            "lane_commit_seconds",
            "Time from a transaction's begin to its commit",
            _LABELS,
            registry=registry,
            buckets=_SECONDS,
        )
        self.lag_seconds = Gauge(
            "lane_lag_seconds",
            "Age of the oldest record that has arrived and is not handled",
            _LABELS,
            registry=registry,
        )
        self.state = Gauge("lane_state", "1 for the state the lane is in", (*_LABELS, "state"), registry=registry)

    def lane(self, agent: str, lane: int) -> "LaneMetrics":
        """The metrics of one lane."""
        return LaneMetrics(self, agent, lane)


class LaneMetrics:
    """The metrics of one lane, with its labels bound."""

    def __init__(self, engine: EngineMetrics, agent: str, lane: int) -> None:
        labels = (agent, str(lane))
        self._state, self._labels = engine.state, labels
        self._records = engine.records.labels(*labels)
        self._turns = engine.turns.labels(*labels)
        self._failed_turns = engine.failed_turns.labels(*labels)
        self._dead_letters = engine.dead_letters.labels(*labels)
        self._handle_seconds = engine.handle_seconds.labels(*labels)
        self._commit_seconds = engine.commit_seconds.labels(*labels)
        self._lag_seconds = engine.lag_seconds.labels(*labels)

    def turn(self, records: int, dead_letters: int, handle_s: float, commit_s: float) -> None:
        """A turn has committed."""
        self._records.inc(records)
        self._turns.inc()
        self._dead_letters.inc(dead_letters)
        self._handle_seconds.observe(handle_s)
        self._commit_seconds.observe(commit_s)

    def failed_turn(self) -> None:
        """A turn's commit failed."""
        self._failed_turns.inc()

    def lag(self, seconds: float) -> None:
        """The age of the oldest record that waits."""
        self._lag_seconds.set(seconds)

    def state(self, current: State) -> None:
        """The lane is in another state."""
        for state in State:
            self._state.labels(*self._labels, state.value).set(1 if state is current else 0)

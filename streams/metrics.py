"""Every metric of the product, by name and meaning. The engine's are in streams/engine/metrics.py."""

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_SCORE_BOUNDS = (500, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 7_999, 8_999, 10_000)


class Measures:
    """What the agents count, once a turn has committed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rejected = Counter("acgs_rejected", "Records refused by a gateway", ("reason",), registry=registry)
        self._scores = ScoreHistogram()
        registry.register(self._scores)

    def rejections(self, reasons: Sequence[object]) -> None:
        """Reason codes of refused records."""
        for reason, count in Counts(map(str, reasons)).items():
            self._rejected.labels(reason).inc(count)

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

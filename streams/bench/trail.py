"""`acgs bench trail`: what the trail costs. The pipeline with it and without it, by turns, in one run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

from schemas import topics
from streams.bench import pipeline, product, traffic, untrailed
from streams.bench.product import PARTITIONS
from streams.bench.result import Result
from streams.engine.client import EngineSettings
from streams.supervisor import lane_worker

_WITH = lane_worker(*product.MESSAGE_AGENTS)
_WITHOUT = untrailed.lanes(*product.MESSAGE_AGENTS)


async def run(settings: EngineSettings, *, messages: int, rounds: int, say: Callable[[str], None]) -> list[Result]:
    """The rate with the trail, without it, and the median ratio of pairs. Which one goes first changes each time."""
    pairs: list[tuple[float, float]] = []
    for number in range(rounds):
        kinds = [(True, _WITH), (False, _WITHOUT)]
        rates: dict[bool, float] = {}
        for has_trail, program in kinds if number % 2 == 0 else reversed(kinds):
            say(f"round {number + 1} of {rounds}, {'with' if has_trail else 'without'} the trail")
            here = replace(settings, prefix=f"{settings.prefix}{number}-{'trail' if has_trail else 'bare'}.")
            rates[has_trail] = await _rate(here, messages, program)
        pairs.append((rates[True], rates[False]))
    ratio = median(one / other for one, other in pairs)
    told = ", ".join(f"{one:.0f}/{other:.0f}" for one, other in pairs)
    return [
        Result("pipeline-with-trail", median(one for one, _ in pairs), "messages/s"),
        Result("pipeline-without-trail", median(other for _, other in pairs), "messages/s"),
        Result("trail-ratio", ratio, "", f"of the rate without the trail, median of {rounds} ({told})"),
    ]


async def _rate(settings: EngineSettings, messages: int, program: Callable[[int], Sequence[str]]) -> float:
    await product.install(settings)
    await traffic.load(settings, f"{settings.prefix}{topics.IN_MESSAGES}", PARTITIONS, messages)
    return pipeline.rate(await pipeline.decided(settings, messages, program))

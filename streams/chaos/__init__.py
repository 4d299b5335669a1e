"""Chaos: what holds is found out by breaking things on purpose, within bounds, and putting all of it right again."""

from streams.chaos.client import ChaosClient
from streams.chaos.commands import Operator
from streams.chaos.errors import ChaosError, ChaosRefusedError, ChaosTimeoutError, InjectedError
from streams.chaos.in_process import ChaosRunner
from streams.chaos.scenario import ChaosScenario
from streams.chaos.statuses import statuses

__all__ = [
    "ChaosClient",
    "ChaosError",
    "ChaosRefusedError",
    "ChaosRunner",
    "ChaosScenario",
    "ChaosTimeoutError",
    "InjectedError",
    "Operator",
    "statuses",
]

"""The stream agents: each binds topics, a pure handler and its state, for the engine to run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas import topics
from streams.agents.gateway import ROUTES, gateway
from streams.agents.naming import Naming
from streams.agents.orchestrator import orchestrator_agent
from streams.agents.triage import triage_agent
from streams.engine.agent import Agent
from streams.metrics import Measures

__all__ = ["build"]


def build(
    names: Sequence[str], naming: Naming, measures: Measures, tenants: Sequence[str] = ()
) -> tuple[Agent[Any, Any], ...]:
    """The named agents, or all of them if none is named.

    Raises:
        KeyError: there is no agent of that name.
    """
    known = _agents(naming, measures, tenants)
    return tuple(known[name]() for name in names or known)


def _agents(naming: Naming, measures: Measures, tenants: Sequence[str]) -> Mapping[str, Callable[[], Agent[Any, Any]]]:
    gateways = {route.agent: (lambda route=route: gateway(route, naming, measures)) for route in ROUTES}
    return {
        **gateways,
        topics.TRIAGE: lambda: triage_agent(naming, measures, tenants),
        topics.ORCHESTRATOR: lambda: orchestrator_agent(naming, measures),
    }

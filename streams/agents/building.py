"""Every stream agent by its name, as workers run it and auditors take its turns again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schemas import topics
from schemas.policy import Policy
from streams.agents.chaos import chaos_agent
from streams.agents.deliberation import deliberation_agent
from streams.agents.gateway import ROUTES, gateway
from streams.agents.naming import Naming
from streams.agents.orchestrator import orchestrator_agent
from streams.agents.recovery import recovery_agent
from streams.agents.triage import triage_agent
from streams.engine.agent import Agent
from streams.metrics import Measures


def build_agents(
    names: Sequence[str], naming: Naming, measures: Measures, in_force: Policy | None = None
) -> tuple[Agent[Any, Any], ...]:
    """The named agents, or all of them if none is named, with the outputs that the policy in force adds.

    Raises:
        KeyError: there is no agent of that name.
    """
    known = _agents(naming, measures, in_force)
    return tuple(known[name]() for name in names or known)


def _agents(naming: Naming, measures: Measures, in_force: Policy | None) -> Mapping[str, Callable[[], Agent[Any, Any]]]:
    tenants = in_force.tenant_topics if in_force else ()
    queues = in_force.queues if in_force else (topics.DEFAULT_QUEUE,)
    gateways = {route.agent: (lambda route=route: gateway(route, naming, measures)) for route in ROUTES}
    return {
        **gateways,
        topics.TRIAGE: lambda: triage_agent(naming, measures, tenants),
        topics.DELIBERATOR: lambda: deliberation_agent(naming, measures, tenants),
        topics.ORCHESTRATOR: lambda: orchestrator_agent(naming, measures, queues),
        topics.RECOVERER: lambda: recovery_agent(naming, measures),
        topics.CHAOS_AGENT: lambda: chaos_agent(naming, measures),
    }

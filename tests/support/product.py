"""The product's topics, a small policy and messages for tests."""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
from prometheus_client import CollectorRegistry

from schemas import topics
from schemas.policy import AcceptedHash, Policy, Tier, Tool, Verb
from streams import control
from streams.agents.building import build_agents
from streams.agents.naming import Naming
from streams.engine.agent import Agent
from streams.engine.client import EngineSettings
from streams.installation import Installation
from streams.metrics import Measures

PARTITIONS = 2
HASH = "cdd01ef066bc6cf2"
NEXT_HASH = "0123456789abcdef"
SAFE_TOOL = "look"
UNKNOWN_TOOL = "launch-missiles"
"""Not in the catalogue, hence held."""


def policy(epoch: int = 1, hashes: Sequence[str] = (HASH,), **changes: Any) -> Policy:  # noqa: ANN401
    return Policy(
        epoch=epoch,
        accepted_hashes=tuple(AcceptedHash(hash=one) for one in hashes),
        tools={SAFE_TOOL: Tool(verb=Verb.READ)},
        tiers=(
            Tier(name="high", at_least=8_000, approvals=1, roles=("security",), deadline=timedelta(hours=24)),
            Tier(name="severe", at_least=9_000, approvals=2, roles=("lead", "security"), deadline=timedelta(hours=4)),
        ),
        **changes,
    )


def message(number: int = 0, *, tool: str | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A message that passes the gateway; with a tool it asks for an action."""
    action = {} if tool is None else {"payload": {"action": {"tool": tool, "arguments": {"n": number}}}}
    return {
        "message_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"message {number}")),
        "conversation_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"conversation {number % 7}")),
        "content": {"n": number},
        "from_agent": "planner",
        "to_agent": "executor",
        "message_type": "command",
        "priority": 1,
        "constitutional_hash": HASH,
        "tenant_id": "acme",
        "created_at": "2026-01-31T09:30:00Z",
        **action,
        **changes,
    }


def encoded(number: int = 0, **changes: Any) -> bytes:  # noqa: ANN401
    return orjson.dumps(message(number, **changes))


def spine(settings: EngineSettings) -> tuple[Agent[Any, Any], ...]:
    """The gateway of messages and triage."""
    names = [topics.GATEWAY_MESSAGES, topics.TRIAGE]
    return build_agents(names, Naming(settings.prefix), Measures(CollectorRegistry()))


def everything(settings: EngineSettings) -> tuple[Agent[Any, Any], ...]:
    """Every agent there is."""
    return build_agents((), Naming(settings.prefix), Measures(CollectorRegistry()))


async def install_product(settings: EngineSettings, partitions: int = PARTITIONS) -> Naming:
    """Makes the topics and publishes the policy."""
    await Installation(settings, partitions=partitions, replication=1).create()
    await control.publish(settings, policy())
    return Naming(settings.prefix)

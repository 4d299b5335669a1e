"""What the activities of a workflow weigh."""

from collections.abc import Mapping
from typing import NamedTuple

import orjson
from pydantic import JsonValue

from compensation.durable.effects import Scorer
from compensation.durable.rows import Case
from schemas.policy import PublishedPolicy
from schemas.score import ScoreCard


class Weighed(NamedTuple):
    """An activity, and what it weighs."""

    activity: str
    card: ScoreCard


def action(tenant_id: str, activity: str, arguments: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """An activity's command as a message that a scorer can weigh."""
    return {
        "message_type": "command",
        "priority": 1,
        "tenant_id": tenant_id,
        "payload": {"action": {"tool": activity, "arguments": dict(arguments)}},
    }


def heaviest_undo(case: Case, scorer: Scorer, policy: PublishedPolicy) -> Weighed | None:
    """The compensation that weighs most among those that must be approved before the start; None if none must.

    Who started it is left out: that weighs on each forward command, and no compensation runs without one.
    """
    arguments: dict[str, JsonValue] = orjson.loads(case.input)
    activities = {node.compensation.activity for node in case.prepared.definition.nodes if node.compensation}
    asked = {one: action(case.tenant_id, one, arguments) for one in sorted(activities)}
    weighed = [Weighed(one, scorer(said, policy, sender_verified=True)) for one, said in asked.items()]
    held = [one for one in weighed if policy.policy.tier_of(one.card.score) is not None]
    return max(held, key=lambda one: one.card.score, default=None)

"""What chaos may be done to."""

from typing import Final

from schemas import topics
from schemas.chaos import Target, TargetKind, covers
from schemas.effects import Refused
from schemas.policy import ChaosLimits, Policy
from schemas.reasons import Reason

PROTECTED: Final = {
    topics.CHAOS_AGENT: "it ends what is in force",
    topics.GATEWAY_CHAOS: "the emergency stop passes through it",
    topics.GATEWAY_DECISIONS: "a veto that is held up there could come after the release",
    "audit": "it is the proof of what was decided",
    "notary": "it is the proof of what was decided",
}
"""The agents that chaos is never done to, and why.

All others may be slowed, cut off or failed: a lane decides once, by the log's order and time, whenever it comes to it,
under the policy it has read by then. What chaos does to them has no say in it (streams.engine.disturbance).
"""


def check_target(text: str, blast_radius: tuple[str, ...], limits: ChaosLimits, policy: Policy) -> Refused | None:
    """Why chaos may not be done to this target; None if it may."""
    target = Target.of(text)
    agent = target.agent
    if agent in PROTECTED:
        return Refused(Reason.PROTECTED_TARGET, f"{text!a} is never a target: {PROTECTED[agent]}")
    if agent is not None and agent not in topics.LANE_AGENTS:
        return Refused(Reason.UNKNOWN_TARGET, f"there is no agent {agent!a}")
    if target.kind is TargetKind.QUEUE and target.name not in policy.queues:
        return Refused(Reason.UNKNOWN_TARGET, f"epoch {policy.epoch} has no queue {target.name!a}")
    if not any(covers(inside, text) for inside in blast_radius):
        return Refused(Reason.OUTSIDE_BLAST_RADIUS, f"{text!a} is outside of {', '.join(map(ascii, blast_radius))}")
    if not any(covers(pattern, text) for pattern in limits.targets):
        return Refused(Reason.TARGET_NOT_ALLOWED, f"epoch {policy.epoch} allows no chaos on {text!a}")
    return None

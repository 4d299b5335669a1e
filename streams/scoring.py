"""What the gateway and triage would decide on a message, without a broker's log."""

from dataclasses import dataclass

from handlers.gateway import Refused
from handlers.triage import Triage, decide, parse
from schemas.policy import PublishedPolicy
from streams.agents.gateway import ROUTES, Route

_ROUTE = ROUTES[0]
_OVERLOOKED_STAGES = ("hash_", "expired")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What would become of a message. `triage` is there whenever it keeps its contract, even if it is refused."""

    refused: Refused | None
    triage: Triage | None

    @property
    def word(self) -> str:
        """reject, hold or deliver."""
        if self.refused is not None or self.triage is None:
            return "reject"
        return "deliver" if self.triage.terms is None else "hold"


def judge(
    value: bytes, policy: PublishedPolicy, now_ms: int, route: Route = _ROUTE, *, sender_verified: bool = False
) -> Verdict:
    """The decisions on a message's bytes as if they arrived at a time, without headers but for a sender's signature."""
    decided = route.admission.decide(value, (), policy, now_ms)
    refused = decided if isinstance(decided, Refused) else None
    keeps_contract = refused is None or refused.reason.value.startswith(_OVERLOOKED_STAGES)
    if not keeps_contract:
        return Verdict(refused, None)
    try:
        return Verdict(refused, decide(parse(value), policy, sender_verified=sender_verified))
    except (ValueError, KeyError):
        return Verdict(refused, None)

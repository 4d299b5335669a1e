"""Operators' commands for recoveries at their gateway: what belongs to which, and who must sign."""

from typing import Any

import orjson
import pytest

from handlers.gateway import Admitted, Refused
from schemas import envelope, topics
from schemas import policy as policies
from schemas.policy import PublishedPolicy
from schemas.reasons import Reason
from schemas.recovery import RecoveryCommandKind
from streams.agents.gateway import ROUTES
from tests.support.product import HASH, policy
from tests.support.signing import approver, key

NOW_MS = 1_800_000_000_000
(ROUTE,) = [route for route in ROUTES if route.agent == topics.GATEWAY_RECOVERY]
KINDS = sorted(RecoveryCommandKind)


def under(*operators: str) -> PublishedPolicy:
    changes = {"approvers": (approver("olga"), approver("lee")), "operators": operators}
    return policies.published(policy().model_copy(update=changes).canonical())


def command(kind: str = "approve", **changes: Any) -> bytes:  # noqa: ANN401
    said = {
        "command": kind,
        "command_id": "0123abcd-0000-4000-8000-00000000abcd",
        "service": "payments",
        "requested_by": "olga",
        "reason": "as agreed",
        "constitutional_hash": HASH,
        "created_at": "2026-01-31T09:30:00Z",
        **({} if kind == "schedule" else {"version": 3}),
        **changes,
    }
    return orjson.dumps({name: value for name, value in said.items() if value is not None})


def decide(value: bytes, published: PublishedPolicy, name: str | None = None) -> Admitted | Refused:
    headers = [] if name is None else [(envelope.SIGNATURE, key(name).message_signature(value))]
    return ROUTE.admission.decide(value, headers, published, NOW_MS)


def test_they_go_from_their_public_topic_to_the_agents_inbox_under_the_service() -> None:
    assert (ROUTE.public, ROUTE.internal) == ("in.recovery", "recovery")
    assert decide(command(), under()) == Admitted(b"payments", verified=False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_one_must_be_signed_by_an_operator_once_the_policy_names_some(kind: str) -> None:
    published = under("olga")
    unsigned, by_another = decide(command(kind), published), decide(command(kind), published, "lee")
    of_nobody = decide(command(kind, requested_by="lee"), published, "lee")
    refused = [one.reason for one in (unsigned, by_another, of_nobody) if isinstance(one, Refused)]
    assert refused == [Reason.UNSIGNED, Reason.UNKNOWN_KEY, Reason.UNKNOWN_OPERATOR]
    assert decide(command(kind), published, "olga") == Admitted(b"payments", verified=True)


@pytest.mark.parametrize(
    ("kind", "changes", "detail"),
    [
        ("approve", {"version": None}, "approve needs version"),
        ("cancel", {"version": None}, "cancel needs version"),
        ("schedule", {"version": 3}, "schedule has no version"),
        ("approve", {"priority": 1}, "priority does not belong to approve"),
        ("cancel", {"strategy": "manual"}, "strategy does not belong to cancel"),
        ("approve", {"not_before": "2026-01-31T09:30:00Z"}, "not_before does not belong to approve"),
    ],
)
def test_what_does_not_belong_to_a_command_is_refused(kind: str, changes: dict[str, Any], detail: str) -> None:
    assert decide(command(kind, **changes), under()) == Refused(Reason.INVALID_VALUE, detail)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"priority": 100}, Reason.INVALID_VALUE),
        ({"strategy": "sometimes"}, Reason.INVALID_VALUE),
        ({"not_before": "tomorrow"}, Reason.INVALID_VALUE),
        ({"service": ""}, Reason.INVALID_VALUE),
        ({"reason": None}, Reason.MISSING_FIELD),
        ({"constitutional_hash": None}, Reason.HASH_MISSING),
        ({"constitutional_hash": "0123456789abcdef"}, Reason.HASH_UNKNOWN),
        ({"expires_at": "2026-01-31T09:31:00Z"}, Reason.EXPIRED),
    ],
)
def test_what_breaks_the_contract_is_refused_with_its_reason(changes: dict[str, Any], reason: Reason) -> None:
    refused = decide(command("schedule", **changes), under())
    assert isinstance(refused, Refused)
    assert refused.reason is reason

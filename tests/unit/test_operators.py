"""Orders for operators only: who must sign, and what does not prove it."""

from typing import Any

import orjson
import pytest

from handlers.gateway import OPERATOR_REASONS, Admission, Admitted, Refused
from handlers.operators import Ordered
from schemas import envelope, topics
from schemas import policy as policies
from schemas.errors import PolicyError
from schemas.policy import Policy, PublishedPolicy
from schemas.reasons import Reason
from schemas.registry import Sender
from schemas.workflow import OPERATORS_COMMANDS, CommandKind, WorkflowCommand
from streams.agents.gateway import ROUTES
from tests.support.product import HASH, policy
from tests.support.signing import approver, key, public

NOW_MS = 1_800_000_000_000
(ADMISSION,) = [route.admission for route in ROUTES if route.agent == topics.GATEWAY_WORKFLOWS]
LATE, EARLY, LOST = (
    approver("late", keys=(public("late", valid_until="2020-01-01T00:00:00Z"),)),
    approver("early", keys=(public("early", valid_from="2100-01-01T00:00:00Z"),)),
    approver("lost", keys=(public("lost", revoked_at="2020-01-01T00:00:00Z"),)),
)
NAMES = ("olga", "late", "early", "lost")

Headers = list[tuple[str, bytes | None]]


def under(*operators: str) -> PublishedPolicy:
    people = (approver("olga"), approver("lee"), LATE, EARLY, LOST)
    changes = {"approvers": people, "operators": operators}
    return policies.published(policy().model_copy(update=changes).canonical())


def command(kind: CommandKind = CommandKind.SKIP, by: str = "olga") -> bytes:
    said: dict[str, Any] = {
        "command": kind.value,
        "command_id": "0123abcd-0000-4000-8000-00000000abcd",
        "workflow_id": "w",
        "tenant_id": "acme",
        "requested_by": by,
        "constitutional_hash": HASH,
        "created_at": "2026-01-31T09:30:00Z",
        "reason": "it was done by hand",
    }
    if kind in OPERATORS_COMMANDS:
        said |= {"node": "a", "version": 3}
    return orjson.dumps(said)


def signed(value: bytes, name: str = "olga") -> Headers:
    return [(envelope.SIGNATURE, key(name).message_signature(value))]


def decide(value: bytes, headers: Headers, published: PublishedPolicy) -> Admitted | Refused:
    return ADMISSION.decide(value, headers, published, NOW_MS)


def test_while_the_policy_names_no_operators_an_order_passes_unverified() -> None:
    assert decide(command(), [], under()) == Admitted(b"w", verified=False)


def test_once_it_does_an_order_passes_with_the_signature_of_one() -> None:
    assert decide(command(), signed(command()), under(*NAMES)) == Admitted(b"w", verified=True)


@pytest.mark.parametrize("kind", [CommandKind.CANCEL, CommandKind.PAUSE, CommandKind.RESUME])
def test_what_anybody_may_ask_needs_no_signature_and_claims_none(kind: CommandKind) -> None:
    assert decide(command(kind), [], under(*NAMES)) == Admitted(b"w", verified=None)
    assert decide(command(kind), signed(command(kind), "nobody"), under(*NAMES)) == Admitted(b"w", verified=None)


def starting(by: str = "planner", tenant: str = "acme") -> bytes:
    said = orjson.loads(command(CommandKind.CANCEL, by))
    del said["reason"]
    return orjson.dumps({**said, "command": "start", "tenant_id": tenant, "definition": {}, "input": {}})


def test_a_start_may_be_signed_by_the_sender_that_asks() -> None:
    sender = Sender(agent="planner", tenant_id="acme", keys=(public("planner"),))
    known = policies.published(policy(senders=(sender,)).canonical())
    assert decide(starting(), [], known) == Admitted(b"w", verified=False)
    assert decide(starting(), signed(starting(), "planner"), known) == Admitted(b"w", verified=True)
    for value, by, reason in (
        (starting(), "olga", Reason.UNKNOWN_KEY),
        (starting("other"), "planner", Reason.UNKNOWN_SENDER),
        (starting(tenant="bank"), "planner", Reason.UNKNOWN_SENDER),
    ):
        refused = decide(value, signed(value, by), known)
        assert isinstance(refused, Refused)
        assert refused.reason is reason


@pytest.mark.parametrize("kind", sorted(OPERATORS_COMMANDS))
def test_every_operators_command_must_be_signed(kind: CommandKind) -> None:
    refused = decide(command(kind), [], under(*NAMES))
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.UNSIGNED


EXAMPLES: list[tuple[Reason, bytes, Headers]] = [
    (Reason.UNSIGNED, command(), []),
    (Reason.UNKNOWN_OPERATOR, command(by="lee"), signed(command(by="lee"), "lee")),
    (Reason.UNKNOWN_OPERATOR, command(by="nobody"), signed(command(by="nobody"), "olga")),
    (Reason.UNKNOWN_KEY, command(), signed(command(), "lee")),
    (Reason.BAD_SIGNATURE, command(), signed(command(CommandKind.RETRY))),
    (Reason.BAD_SIGNATURE, command(), [(envelope.SIGNATURE, b"nonsense")]),
    (Reason.BAD_SIGNATURE, command(), [*signed(command()), *signed(command())]),
    (Reason.KEY_EXPIRED, command(by="late"), signed(command(by="late"), "late")),
    (Reason.KEY_NOT_YET_VALID, command(by="early"), signed(command(by="early"), "early")),
    (Reason.KEY_REVOKED, command(by="lost"), signed(command(by="lost"), "lost")),
]


@pytest.mark.parametrize(("reason", "value", "headers"), EXAMPLES)
def test_each_reason_has_an_example(reason: Reason, value: bytes, headers: Headers) -> None:
    refused = decide(value, headers, under(*NAMES))
    assert isinstance(refused, Refused)
    assert refused.reason is reason


def test_no_reason_is_without_an_example() -> None:
    assert {reason for reason, _, _ in EXAMPLES} == OPERATOR_REASONS


def test_what_must_be_signed_in_any_case_passes_for_nobody_while_there_are_no_operators() -> None:
    always = Admission(
        WorkflowCommand,
        lambda asked: asked.workflow_id,
        who=lambda asked: Ordered(asked.requested_by, must_be_signed=True),
    )
    for headers, reason in (([], Reason.UNSIGNED), (signed(command()), Reason.UNKNOWN_OPERATOR)):
        refused = always.decide(command(), headers, under(), NOW_MS)
        assert isinstance(refused, Refused)
        assert refused.reason is reason


@pytest.mark.parametrize("named", [("nobody",), ("olga", "olga"), ("keyless",)])
def test_operators_are_approvers_with_keys_each_once(named: tuple[str, ...]) -> None:
    said = {"approvers": (approver("olga"), approver("keyless", keys=())), "operators": named}
    document = policy().model_copy(update=said).canonical()
    with pytest.raises(PolicyError, match="operator"):
        policies.published(document)
    assert Policy.model_validate_json(policy().canonical()).operators == ()

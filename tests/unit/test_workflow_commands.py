"""The door of workflow commands: what passes, what does not, and why."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from handlers.gateway import REASONS, RESERVED_REASONS, Admission, Admitted, Refused
from schemas import policy as policies
from schemas.policy import AcceptedHash
from schemas.reasons import Reason
from schemas.topics import IN_WORKFLOWS, MAX_MESSAGE_BYTES
from schemas.workflow import CommandKind, WorkflowCommand
from streams.agents.gateway import ROUTES
from tests.support.product import HASH, policy

NOW_MS = 1_800_000_000_000
NOW = "2027-01-15T08:00:00Z"
WITHDRAWN = "00000000000000ff"
(ADMISSION,) = [route.admission for route in ROUTES if route.public == IN_WORKFLOWS]
ACCEPTED = (
    AcceptedHash(hash=HASH),
    AcceptedHash.model_validate({"hash": WITHDRAWN, "until": "2020-01-01T00:00:00Z"}, strict=False),
)
PUBLISHED = policies.published(policy().model_copy(update={"accepted_hashes": ACCEPTED}).canonical())

Headers = list[tuple[str, bytes | None]]

COMMON: dict[str, Any] = {
    "command_id": "0123abcd-0000-4000-8000-00000000abcd",
    "workflow_id": "order:2026.01-31_7",
    "tenant_id": "acme",
    "requested_by": "ada",
    "constitutional_hash": HASH,
    "created_at": "2026-01-31T09:30:00Z",
}
VALUES: dict[str, Any] = {
    "definition": {"name": "order", "nodes": []},
    "input": {"order": 7},
    "tags": ["eu", "urgent"],
    "node": "pay.card-1_a",
    "payload": {"receipt": 1},
    "version": 3,
    "reason": "the customer asked",
}
NEEDS: dict[str, list[str]] = {
    "start": ["definition", "input"],
    "cancel": ["reason"],
    "signal": ["node"],
    "pause": ["reason"],
    "resume": ["reason"],
    "retry": ["node", "version", "reason"],
    "skip": ["node", "version", "reason"],
    "mark_done": ["node", "version", "reason"],
}
MAY: dict[str, list[str]] = {"start": ["tags"], "signal": ["payload"], "mark_done": ["payload"]}
NEEDED = [(kind, name) for kind, names in NEEDS.items() for name in names]
ALLOWED = [(kind, name) for kind, names in MAY.items() for name in names]
FOREIGN = [(kind, name) for kind in NEEDS for name in VALUES if (kind, name) not in NEEDED + ALLOWED]
DEEP: Any = 1
for _ in range(40):
    DEEP = [DEEP]


def command(kind: str = "start", **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A command that passes, with what it needs and nothing else."""
    return {**COMMON, "command": kind, **{name: VALUES[name] for name in NEEDS[kind]}, **changes}


def without(name: str, kind: str = "start") -> bytes:
    return orjson.dumps({field: value for field, value in command(kind).items() if field != name})


def encoded(kind: str = "start", **changes: Any) -> bytes:  # noqa: ANN401
    return orjson.dumps(command(kind, **changes))


def decide(value: bytes | None, headers: Headers | None = None) -> Admitted | Refused:
    return ADMISSION.decide(value, headers or [], PUBLISHED, NOW_MS)


def passed(decided: Admitted | Refused) -> bytes:
    assert isinstance(decided, Admitted)
    return decided.key


def test_the_door_of_commands_is_that_of_their_contract() -> None:
    assert isinstance(ADMISSION, Admission)
    assert list(NEEDS) == [kind.value for kind in CommandKind]
    assert {*COMMON, *VALUES, "command", "expires_at"} == set(WorkflowCommand.model_fields)


# What belongs to which command


@pytest.mark.parametrize("kind", NEEDS)
def test_a_command_with_what_it_needs_passes_under_its_workflow(kind: str) -> None:
    assert passed(decide(encoded(kind))) == b"order:2026.01-31_7"


@pytest.mark.parametrize(("kind", "name"), ALLOWED)
def test_what_a_command_may_have_passes(kind: str, name: str) -> None:
    assert isinstance(decide(encoded(kind, **{name: VALUES[name]})), Admitted)


@pytest.mark.parametrize(("kind", "name"), NEEDED)
def test_a_command_without_what_it_needs_is_refused_and_told_what(kind: str, name: str) -> None:
    refused = Refused(Reason.INVALID_VALUE, f"{kind} needs {name}")
    assert decide(without(name, kind)) == refused
    assert decide(encoded(kind, **{name: None})) == refused


@pytest.mark.parametrize(("kind", "name"), FOREIGN)
def test_what_does_not_belong_to_a_command_is_refused_and_told(kind: str, name: str) -> None:
    refused = Refused(Reason.INVALID_VALUE, f"{name} does not belong to {kind}")
    assert decide(encoded(kind, **{name: VALUES[name]})) == refused
    assert isinstance(decide(encoded(kind, **{name: None})), Admitted)


@pytest.mark.parametrize("empty", [{"definition": {}}, {"input": {}}, {"tags": []}])
def test_what_is_there_but_empty_is_given(empty: dict[str, Any]) -> None:
    assert isinstance(decide(encoded(**empty)), Admitted)
    (name,) = empty
    assert decide(encoded("pause", **empty)) == Refused(Reason.INVALID_VALUE, f"{name} does not belong to pause")


@pytest.mark.parametrize("payload", [False, 0, "", [], {}])
def test_a_payload_may_be_any_json_and_is_given_however_small(payload: object) -> None:
    assert isinstance(decide(encoded("signal", payload=payload)), Admitted)
    refused = Refused(Reason.INVALID_VALUE, "payload does not belong to cancel")
    assert decide(encoded("cancel", payload=payload)) == refused


# The fields, one by one


DEFECTS: list[tuple[str, str, Any, Reason]] = [
    ("start", "command", "begin", Reason.INVALID_VALUE),
    ("start", "command", "START", Reason.INVALID_VALUE),
    ("start", "command", None, Reason.INVALID_VALUE),
    ("start", "command_id", "not a uuid", Reason.INVALID_VALUE),
    ("start", "command_id", "0123abcd00004000800000000000abcd", Reason.INVALID_VALUE),
    ("start", "command_id", 7, Reason.WRONG_TYPE),
    ("start", "workflow_id", "", Reason.INVALID_VALUE),
    ("start", "workflow_id", "x" * 129, Reason.INVALID_VALUE),
    ("start", "workflow_id", "a b", Reason.INVALID_VALUE),
    ("start", "workflow_id", "a\n", Reason.INVALID_VALUE),
    ("start", "workflow_id", "a/b", Reason.INVALID_VALUE),
    ("start", "workflow_id", "\u0430", Reason.INVALID_VALUE),  # Cyrillic
    ("start", "workflow_id", 7, Reason.WRONG_TYPE),
    ("start", "tenant_id", "", Reason.INVALID_VALUE),
    ("start", "tenant_id", "x" * 257, Reason.INVALID_VALUE),
    ("start", "tenant_id", ["acme"], Reason.WRONG_TYPE),
    ("start", "requested_by", "", Reason.INVALID_VALUE),
    ("start", "requested_by", "x" * 257, Reason.INVALID_VALUE),
    ("start", "requested_by", None, Reason.WRONG_TYPE),
    ("start", "created_at", "2026-01-31T09:30:00", Reason.INVALID_VALUE),
    ("start", "created_at", "2026-01-31 09:30:00Z", Reason.INVALID_VALUE),
    ("start", "created_at", 1_800_000_000, Reason.WRONG_TYPE),
    ("start", "expires_at", "tomorrow", Reason.INVALID_VALUE),
    ("start", "expires_at", 1_900_000_000, Reason.WRONG_TYPE),
    ("start", "definition", "order", Reason.WRONG_TYPE),
    ("start", "definition", [], Reason.WRONG_TYPE),
    ("start", "input", [1], Reason.WRONG_TYPE),
    ("start", "input", "{}", Reason.WRONG_TYPE),
    ("start", "tags", "eu", Reason.WRONG_TYPE),
    ("start", "tags", ["t"] * 17, Reason.INVALID_VALUE),
    ("start", "tags", {"eu": 1}, Reason.WRONG_TYPE),
    ("signal", "node", "", Reason.INVALID_VALUE),
    ("signal", "node", "x" * 129, Reason.INVALID_VALUE),
    ("signal", "node", "a:b", Reason.INVALID_VALUE),
    ("signal", "node", 1, Reason.WRONG_TYPE),
    ("retry", "version", -1, Reason.INVALID_VALUE),
    ("retry", "version", True, Reason.WRONG_TYPE),
    ("retry", "version", 1.0, Reason.WRONG_TYPE),
    ("retry", "version", "3", Reason.WRONG_TYPE),
    ("cancel", "reason", "", Reason.INVALID_VALUE),
    ("cancel", "reason", "x" * 1_001, Reason.INVALID_VALUE),
    ("cancel", "reason", {"why": 1}, Reason.WRONG_TYPE),
]


@pytest.mark.parametrize(("kind", "name", "value", "reason"), DEFECTS)
def test_a_field_outside_its_limits_is_refused_with_its_name(
    kind: str, name: str, value: object, reason: Reason
) -> None:
    refused = decide(encoded(kind, **{name: value}))
    assert isinstance(refused, Refused)
    assert refused.reason is reason
    assert refused.detail.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("tag", "reason"), [("", Reason.INVALID_VALUE), ("x" * 257, Reason.INVALID_VALUE), (7, Reason.WRONG_TYPE)]
)
def test_a_tag_outside_its_limits_is_refused_with_its_place(tag: object, reason: Reason) -> None:
    refused = decide(encoded(tags=["eu", tag]))
    assert isinstance(refused, Refused)
    assert (refused.reason, refused.detail.split(":")[0]) == (reason, "tags.1")


@pytest.mark.parametrize("name", [*COMMON, "command"])
def test_a_field_that_all_commands_have_is_missed_by_its_name(name: str) -> None:
    reason = Reason.HASH_MISSING if name == "constitutional_hash" else Reason.MISSING_FIELD
    assert decide(without(name)) == Refused(reason, f"{name}: Field required")


@pytest.mark.parametrize("name", ["nonsense", "run", "Command", "v"])
def test_a_field_that_is_not_the_contracts_is_refused_with_its_name(name: str) -> None:
    refused = decide(encoded(**{name: 1}))
    assert refused == Refused(Reason.UNKNOWN_FIELD, f"{name}: Extra inputs are not permitted")


def test_a_hostile_name_of_a_field_is_told_so_that_it_can_be_printed() -> None:
    refused = decide(encoded(**{"\x1b[2J\u202e\n" + "x" * 5_000: 1}))
    assert isinstance(refused, Refused)
    assert refused.detail.isprintable()
    assert refused.detail.isascii()
    assert len(refused.detail) <= 300


def test_what_is_at_the_limits_passes() -> None:
    at_limits = {
        "workflow_id": "w" * 128,
        "tenant_id": "\N{PILE OF POO}" * 256,
        "requested_by": "x" * 256,
        "tags": ["t" * 256] * 16,
        "created_at": "0001-01-01T00:00:00.123456789+23:59",
    }
    assert passed(decide(encoded(**at_limits))) == b"w" * 128
    assert isinstance(decide(encoded("retry", node="n" * 128, version=0, reason="x" * 1_000)), Admitted)
    assert isinstance(decide(encoded("retry", version=2**53 - 1)), Admitted)
    fill = MAX_MESSAGE_BYTES - len(encoded(input={"fill": ""}))
    assert isinstance(decide(encoded(input={"fill": "x" * fill})), Admitted)
    assert isinstance(decide(encoded(), [("h", b"")] * 64), Admitted)
    assert isinstance(decide(encoded(), [("h", b"x" * 16_383)]), Admitted)


# Hash and time


@pytest.mark.parametrize("kind", NEEDS)
@pytest.mark.parametrize(
    ("given_hash", "reason"),
    [
        ("f" * 16, Reason.HASH_UNKNOWN),
        (WITHDRAWN, Reason.HASH_WITHDRAWN),
        (HASH.upper(), Reason.HASH_MALFORMED),
        (HASH[:-1], Reason.HASH_MALFORMED),
        (f"{HASH}\n", Reason.HASH_MALFORMED),
        (HASH.replace("c", "\u0441"), Reason.HASH_MALFORMED),  # Cyrillic
        ("", Reason.HASH_MALFORMED),
        (7, Reason.WRONG_TYPE),
        (None, Reason.WRONG_TYPE),
    ],
)
def test_a_command_of_another_hash_is_refused_and_no_whole_hash_is_shown(
    kind: str, given_hash: object, reason: Reason
) -> None:
    refused = decide(encoded(kind, constitutional_hash=given_hash))
    assert isinstance(refused, Refused)
    assert refused.reason is reason
    assert refused.detail.startswith("constitutional_hash")
    assert not given_hash or str(given_hash) not in refused.detail
    assert HASH not in refused.detail


def test_a_withdrawn_hash_counts_until_its_time_and_no_longer() -> None:
    value, until_ms = encoded(constitutional_hash=WITHDRAWN), 1_577_836_800_000
    assert isinstance(ADMISSION.decide(value, (), PUBLISHED, until_ms - 1), Admitted)
    late = ADMISSION.decide(value, (), PUBLISHED, until_ms)
    assert late == Refused(
        Reason.HASH_WITHDRAWN, "constitutional_hash 00000000... was accepted until 2020-01-01T00:00:00+00:00"
    )


@pytest.mark.parametrize("kind", NEEDS)
def test_a_missing_hash_is_told_before_other_defects(kind: str) -> None:
    value = orjson.dumps({"command": kind, "nonsense": 1})
    assert decide(value) == Refused(Reason.HASH_MISSING, "constitutional_hash: Field required")


@pytest.mark.parametrize("kind", NEEDS)
def test_a_command_counts_until_its_time_and_no_longer(kind: str) -> None:
    value = encoded(kind, expires_at=NOW)
    assert isinstance(ADMISSION.decide(value, (), PUBLISHED, NOW_MS - 1), Admitted)
    late = ADMISSION.decide(value, (), PUBLISHED, NOW_MS)
    assert late == Refused(Reason.EXPIRED, "it expired at 2027-01-15T08:00:00+00:00")


# Records and JSON


HOSTILE: list[tuple[Reason, bytes | None, Headers, str]] = [
    (Reason.NULL_VALUE, None, [], "no value"),
    (Reason.TOO_LARGE, b" " * (MAX_MESSAGE_BYTES + 1), [], "1048577 bytes, allowed are 1048576"),
    (Reason.NOT_UTF8, b'{"command":"\xff"}', [], "byte 12"),
    (Reason.NOT_JSON, b"", [], ""),
    (Reason.NOT_JSON, b"{'command':'start'}", [], ""),
    (Reason.NOT_JSON, encoded() + encoded(), [], ""),
    (Reason.NOT_JSON, b"\xef\xbb\xbf" + encoded(), [], ""),
    (Reason.TRUNCATED, encoded()[:-1], [], ""),
    (Reason.TOO_DEEP, encoded(input={"deep": DEEP}), [], "32"),
    (Reason.TOO_DEEP, b"[" * 100_000, [], "32"),
    (Reason.DUPLICATE_KEY, encoded()[:-1] + b',"command":"cancel"}', [], "command"),
    (Reason.DUPLICATE_KEY, encoded()[:-1] + b',"comm\\u0061nd":"cancel"}', [], "command"),
    (Reason.DUPLICATE_KEY, encoded(input={})[:-1] + b',"tags":[{"a":1,"a":1}]}', [], "a"),
    (Reason.NOT_FINITE, encoded("signal")[:-1] + b',"payload":NaN}', [], ""),
    (Reason.NOT_FINITE, encoded("signal")[:-1] + b',"payload":1e999}', [], ""),
    (Reason.INTEGER_OUT_OF_RANGE, encoded("retry", version=2**53), [], ""),
    (Reason.LONE_SURROGATE, encoded("signal")[:-1] + b',"payload":"\\ud800"}', [], ""),
    (Reason.NOT_AN_OBJECT, b"[" + encoded() + b"]", [], "not an object"),
    (Reason.NOT_AN_OBJECT, b'"start"', [], "not an object"),
    (Reason.TOO_MANY_HEADERS, encoded(), [("h", b"")] * 65, "65 headers, allowed are 64"),
    (Reason.HEADERS_TOO_LARGE, encoded(), [("h", b"x" * 16_384)], "16385 bytes, allowed are 16384"),
    (Reason.RESERVED_HEADER, encoded(), [("acgs-source", b"in.workflows/0/0")], "acgs-source"),
    (Reason.RESERVED_HEADER, encoded(), [("h", None), ("Lane-Timer", b"1")], "Lane-Timer"),
]


@pytest.mark.parametrize(("reason", "value", "headers", "said"), HOSTILE)
def test_a_hostile_record_is_refused_with_its_reason_and_where(
    reason: Reason, value: bytes | None, headers: Headers, said: str
) -> None:
    refused = decide(value, headers)
    assert isinstance(refused, Refused)
    assert refused.reason is reason
    assert said in refused.detail
    assert refused.detail
    assert HASH not in refused.detail


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tenant_id": "recovery"}, "tenant_id recovery is"),
        ({"workflow_id": "recovery.payments.1800000001000.1"}, "workflow ids that begin with recovery. are"),
    ],
)
def test_nobody_outside_starts_a_workflow_in_the_name_of_the_recovery_agent(
    changes: dict[str, object], said: str
) -> None:
    refused = ADMISSION.decide(encoded(**changes), (), PUBLISHED, NOW_MS)
    assert isinstance(refused, Refused)
    assert refused.reason in RESERVED_REASONS
    assert said in refused.detail


def test_operators_may_act_on_a_workflow_of_the_recovery_agents() -> None:
    value = encoded("cancel", tenant_id="recovery", workflow_id="recovery.payments.1800000001000.1")
    assert isinstance(ADMISSION.decide(value, (), PUBLISHED, NOW_MS), Admitted)


def test_every_reason_of_a_gateway_has_its_example_among_commands() -> None:
    hashes = {Reason.HASH_MISSING, Reason.HASH_MALFORMED, Reason.HASH_UNKNOWN, Reason.HASH_WITHDRAWN}
    elsewhere = {*hashes, Reason.EXPIRED, Reason.MISSING_FIELD, Reason.UNKNOWN_FIELD}
    assert {one[0] for one in HOSTILE} | {one[3] for one in DEFECTS} | elsewhere == REASONS


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
fields = st.sampled_from([*WorkflowCommand.model_fields, "nonsense"])
mutilated = st.builds(
    lambda kind, changes, dropped: json.dumps(
        {name: value for name, value in {**command(kind), **changes}.items() if name not in dropped}
    ).encode("utf-8", "surrogatepass"),
    st.sampled_from(list(NEEDS)),
    st.dictionaries(fields, values, max_size=3) | st.dictionaries(st.sampled_from(list(VALUES)), values, max_size=2),
    st.sets(fields, max_size=2),
)
cut = st.builds(
    lambda value, at, byte: value[:at] + byte + value[at:], mutilated, st.integers(0, 500), st.binary(max_size=2)
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.none() | st.binary() | mutilated | cut)
@example(b'{"constitutional_hash":')
def test_no_record_raises_and_what_passes_has_what_belongs_to_it(value: bytes | None) -> None:
    decided = decide(value)
    if isinstance(decided, Refused):
        assert decided.reason in REASONS
        assert decided.detail.encode()
        return
    read = json.loads(value or b"")
    given_fields = {name for name in VALUES if read.get(name) is not None}
    needed = set(NEEDS[read["command"]])
    assert needed <= given_fields <= needed | set(MAY.get(read["command"], ()))
    assert read["constitutional_hash"] == HASH
    assert decided.key == read["workflow_id"].encode()

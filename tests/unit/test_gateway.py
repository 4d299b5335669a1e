"""The only door: what passes, what does not, and why."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from handlers.gateway import REASONS, SENDER_REASONS, Admission, Admitted, Refused
from schemas import envelope
from schemas import policy as policies
from schemas.deliberation import CHANGE_POLICY, POLICY_TENANT
from schemas.message import AgentMessage, MessageType
from schemas.policy import AcceptedHash
from schemas.reasons import MEANINGS, Reason
from schemas.registry import Sender
from schemas.topics import MAX_MESSAGE_BYTES
from streams.agents.gateway import ROUTES
from tests.support.product import HASH, encoded, message, policy
from tests.support.signing import approver, key, public

NOW_MS = 1_800_000_000_000
WITHDRAWN = "00000000000000ff"
ADMISSION: Admission[AgentMessage] = ROUTES[0].admission
SENDERS = (
    Sender(agent="planner", tenant_id="acme", keys=(public("planner"),)),
    Sender(agent="late", tenant_id="acme", keys=(public("late", valid_until="2020-01-01T00:00:00Z"),)),
    Sender(agent="early", tenant_id="acme", keys=(public("early", valid_from="2100-01-01T00:00:00Z"),)),
    Sender(agent="lost", tenant_id="acme", keys=(public("lost", revoked_at="2020-01-01T00:00:00Z"),)),
)
PUBLISHED = policies.published(
    policy(senders=SENDERS, approvers=(approver("ann"), approver("bob")))
    .model_copy(
        update={
            "accepted_hashes": (
                AcceptedHash(hash=HASH),
                AcceptedHash.model_validate({"hash": WITHDRAWN, "until": "2020-01-01T00:00:00Z"}, strict=False),
            )
        }
    )
    .canonical()
)

Headers = list[tuple[str, bytes | None]]


def signature(name: str, value: bytes) -> tuple[str, bytes | None]:
    return envelope.SIGNATURE, key(name).message_signature(value)


DEEP: Any = 1
for _ in range(40):
    DEEP = [DEEP]

EXAMPLES: list[tuple[Reason, bytes | None, Headers]] = [
    (Reason.NULL_VALUE, None, []),
    (Reason.TOO_LARGE, b" " * (MAX_MESSAGE_BYTES + 1), []),
    (Reason.NOT_UTF8, b'{"a":"\xff"}', []),
    (Reason.NOT_JSON, b"{'a':1}", []),
    (Reason.TRUNCATED, encoded()[:-1], []),
    (Reason.TOO_DEEP, encoded(metadata={"deep": DEEP}), []),
    (Reason.DUPLICATE_KEY, encoded()[:-1] + b',"priority":3}', []),
    (Reason.NOT_FINITE, encoded()[:-1] + b',"impact_score":NaN}', []),
    (Reason.INTEGER_OUT_OF_RANGE, encoded()[:-1] + b',"metadata":{"n":9007199254740993}}', []),
    (Reason.LONE_SURROGATE, encoded()[:-1] + b',"metadata":{"n":"\\ud800"}}', []),
    (Reason.NOT_AN_OBJECT, b"[1]", []),
    (Reason.UNKNOWN_FIELD, encoded(nonsense=1), []),
    (Reason.UNKNOWN_FIELD, encoded(payload={"action": {"tool": "t", "arguments": {}, "more": 1}}), []),
    (Reason.MISSING_FIELD, encoded(payload={"action": {"tool": "t"}}), []),
    (Reason.WRONG_TYPE, encoded(tenant_id=1), []),
    (Reason.WRONG_TYPE, encoded(content="text"), []),
    (Reason.INVALID_VALUE, encoded(priority=4), []),
    (Reason.WRONG_TYPE, encoded(priority="1"), []),
    (Reason.INVALID_VALUE, encoded(message_id="not a uuid"), []),
    (Reason.INVALID_VALUE, encoded(created_at="2026-01-31 09:30:00Z"), []),
    (Reason.INVALID_VALUE, encoded(created_at="2026-01-31T09:30:00"), []),
    (Reason.INVALID_VALUE, encoded(message_type="heartbeat"), []),
    (Reason.HASH_MISSING, orjson.dumps({k: v for k, v in message().items() if k != "constitutional_hash"}), []),
    (Reason.HASH_MALFORMED, encoded(constitutional_hash=HASH.upper()), []),
    (Reason.HASH_UNKNOWN, encoded(constitutional_hash="f" * 16), []),
    (Reason.HASH_WITHDRAWN, encoded(constitutional_hash=WITHDRAWN), []),
    (Reason.EXPIRED, encoded(expires_at="2020-01-01T00:00:00Z"), []),
    (Reason.TOO_MANY_HEADERS, encoded(), [("h", b"")] * 65),
    (Reason.HEADERS_TOO_LARGE, encoded(), [("h", b"x" * 16_384)]),
    (Reason.RESERVED_HEADER, encoded(), [("acgs-source", b"in.messages/0/0")]),
    (Reason.RESERVED_HEADER, encoded(), [("Lane-Timer", b"1")]),
    (Reason.UNKNOWN_SENDER, encoded(from_agent="other"), [signature("planner", encoded(from_agent="other"))]),
    (Reason.UNKNOWN_SENDER, encoded(tenant_id="other"), [signature("planner", encoded(tenant_id="other"))]),
    (Reason.UNKNOWN_KEY, encoded(), [signature("late", encoded())]),
    (Reason.BAD_SIGNATURE, encoded(), [signature("planner", encoded(1))]),
    (Reason.BAD_SIGNATURE, encoded(), [signature("planner", encoded())] * 2),
    (Reason.BAD_SIGNATURE, encoded(), [(envelope.SIGNATURE, None)]),
    (Reason.BAD_SIGNATURE, encoded(), [(envelope.SIGNATURE, b"nonsense")]),
    (Reason.KEY_EXPIRED, encoded(from_agent="late"), [signature("late", encoded(from_agent="late"))]),
    (Reason.KEY_NOT_YET_VALID, encoded(from_agent="early"), [signature("early", encoded(from_agent="early"))]),
    (Reason.KEY_REVOKED, encoded(from_agent="lost"), [signature("lost", encoded(from_agent="lost"))]),
]


def test_a_message_that_its_sender_has_signed_passes() -> None:
    signed = decide(encoded(), [("trace", b"1"), signature("planner", encoded())])
    unsigned = decide(encoded(), [("trace", b"1")])
    assert isinstance(signed, Admitted)
    assert isinstance(unsigned, Admitted)
    assert (signed.verified, unsigned.verified) == (True, False)


def proposing(**changes: Any) -> bytes:  # noqa: ANN401
    action = {"tool": CHANGE_POLICY, "arguments": {"document": {}}}
    return encoded(**{"tenant_id": POLICY_TENANT, "from_agent": "ann", "payload": {"action": action}, **changes})


def test_a_proposal_that_the_approver_it_names_has_signed_is_verified() -> None:
    signed, unsigned = decide(proposing(), [signature("ann", proposing())]), decide(proposing())
    assert isinstance(signed, Admitted)
    assert isinstance(unsigned, Admitted)
    assert (signed.verified, unsigned.verified) == (True, False)


@pytest.mark.parametrize(
    ("value", "by", "reason"),
    [
        (proposing(), "planner", Reason.UNKNOWN_KEY),
        (proposing(from_agent="bob"), "ann", Reason.UNKNOWN_KEY),
        (proposing(from_agent="eve"), "ann", Reason.UNKNOWN_SENDER),
        (proposing(tenant_id="other"), "ann", Reason.UNKNOWN_SENDER),
        (proposing(payload={"action": {"tool": "t", "arguments": {}}}), "ann", Reason.UNKNOWN_SENDER),
        (encoded(from_agent="ann"), "ann", Reason.UNKNOWN_SENDER),
    ],
)
def test_an_approvers_key_proves_nothing_but_a_proposal_of_their_own(value: bytes, by: str, reason: Reason) -> None:
    decided = decide(value, [signature(by, value)])
    assert isinstance(decided, Refused)
    assert decided.reason is reason


FIRST_AND_LAST = ["0001-01-01T00:00:00+01:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-01:00"]


@pytest.mark.parametrize("expires_at", FIRST_AND_LAST)
def test_the_first_and_the_last_day_in_any_zone_are_dates_as_any(expires_at: str) -> None:
    decided = decide(encoded(expires_at=expires_at))
    assert isinstance(decided, Admitted if expires_at.startswith("9999") else Refused)


def test_a_signature_of_a_decision_is_none_of_a_message() -> None:
    value = encoded()
    forged = f"{key('planner').id}:{key('planner').sign(b'acgs-decision-v1' + value)}".encode()
    refused = decide(value, [(envelope.SIGNATURE, forged)])
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.BAD_SIGNATURE


def decide(value: bytes | None, headers: Headers | None = None) -> Admitted | Refused:
    return ADMISSION.decide(value, headers or [], PUBLISHED, NOW_MS)


def reason_of(value: bytes | None, headers: Headers | None = None) -> Reason | None:
    decided = decide(value, headers)
    return decided.reason if isinstance(decided, Refused) else None


@pytest.mark.parametrize(("reason", "value", "headers"), EXAMPLES)
def test_each_reason_has_an_example(reason: Reason, value: bytes | None, headers: Headers) -> None:
    decided = decide(value, headers)
    assert isinstance(decided, Refused)
    assert decided.reason is reason
    assert decided.detail
    assert len(decided.detail) <= 400


def test_no_reason_of_a_gateway_is_without_an_example() -> None:
    assert {reason for reason, _, _ in EXAMPLES} == REASONS | SENDER_REASONS


def test_no_reason_is_without_a_meaning() -> None:
    assert set(Reason) == set(MEANINGS)


def test_a_rule_of_the_whole_message_is_told_in_its_own_words() -> None:
    refused = Refused(Reason.INVALID_VALUE, "a heartbeat carries no content")
    assert decide(encoded(message_type="heartbeat")) == refused


def test_a_good_message_passes_under_its_conversation() -> None:
    given_message = message(conversation_id="0123ABCD-0000-4000-8000-00000000ABCD")
    assert decide(orjson.dumps(given_message)) == Admitted(b"0123abcd-0000-4000-8000-00000000abcd", verified=False)


@pytest.mark.parametrize(
    "look_alike",
    [
        HASH.upper(),
        HASH.replace("c", "\u0441"),  # Cyrillic
        HASH.replace("e", "\u0435"),
        HASH.replace("0", "\uff10"),  # full width
        f" {HASH}",
        f"{HASH} ",
        f"{HASH}\n",
        f"{HASH}\x00",
        f"\ufeff{HASH}",
        HASH[:-1],
        f"{HASH}0",
        f"0x{HASH[2:]}",
        "",
    ],
)
def test_what_only_looks_like_the_hash_is_malformed(look_alike: str) -> None:
    assert reason_of(encoded(constitutional_hash=look_alike)) is Reason.HASH_MALFORMED


@pytest.mark.parametrize("not_text", [None, 1, True, [HASH], {"hash": HASH}])
def test_a_hash_that_is_no_text_is_of_the_wrong_type(not_text: object) -> None:
    assert reason_of(encoded(constitutional_hash=not_text)) is Reason.WRONG_TYPE


@pytest.mark.parametrize("given_hash", ["f" * 16, WITHDRAWN, HASH.upper()])
def test_a_detail_never_shows_a_whole_hash(given_hash: str) -> None:
    decided = decide(encoded(constitutional_hash=given_hash))
    assert isinstance(decided, Refused)
    assert given_hash not in decided.detail
    assert HASH not in decided.detail


def test_a_hash_and_a_message_count_until_their_time_and_no_longer() -> None:
    at = "2027-01-15T08:00:00Z"
    at_ms = 1_800_000_000_000
    assert isinstance(ADMISSION.decide(encoded(expires_at=at), (), PUBLISHED, at_ms - 1), Admitted)
    late = ADMISSION.decide(encoded(expires_at=at), (), PUBLISHED, at_ms)
    assert isinstance(late, Refused)
    assert late.reason is Reason.EXPIRED


def test_what_is_at_the_limits_passes() -> None:
    fill = MAX_MESSAGE_BYTES - len(encoded(metadata={"fill": ""}))
    assert reason_of(encoded(metadata={"fill": "x" * fill})) is None
    assert reason_of(encoded(), [("h", b"")] * 64) is None
    assert reason_of(encoded(), [("h", b"x" * 16_383)]) is None
    assert reason_of(encoded(), [("x-acgs-source", None)]) is None


@pytest.mark.parametrize("priority", [True, 1.0])
def test_a_priority_that_only_equals_an_integer_is_refused(priority: object) -> None:
    assert reason_of(encoded(priority=priority)) is not None


def test_optional_fields_may_be_null() -> None:
    optional = [name for name, field in AgentMessage.model_fields.items() if not field.is_required()]
    assert reason_of(orjson.dumps(message() | dict.fromkeys(optional))) is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
times = st.builds(
    lambda time, zone: time.isoformat(timespec="seconds") + zone,
    st.datetimes(),
    st.sampled_from(["Z", "+00:00", "+23:59", "-23:59", "+01:00", "-01:00"]),
)
dates = st.dictionaries(
    st.sampled_from(["created_at", "updated_at", "expires_at"]), times | st.sampled_from(FIRST_AND_LAST)
)
fields = st.sampled_from([*AgentMessage.model_fields, "nonsense"])
mutilated = st.builds(
    lambda dated, changes, dropped: json.dumps(
        {k: v for k, v in {**message(), **dated, **changes}.items() if k not in dropped}
    ).encode("utf-8", "surrogatepass"),
    dates,
    st.dictionaries(fields, values, max_size=3),
    st.sets(fields, max_size=2),
)
cut = st.builds(
    lambda value, at, byte: value[:at] + byte + value[at:], mutilated, st.integers(0, 500), st.binary(max_size=2)
)
header_lists = st.lists(st.tuples(st.text(max_size=30), st.none() | st.binary(max_size=300)), max_size=70)


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@settings(unhurried, max_examples=400)
@given(st.none() | st.binary() | mutilated | cut, header_lists)
@example(b'{"constitutional_hash":', [])
@example(encoded(expires_at=FIRST_AND_LAST[0]), [])
def test_no_record_raises_and_each_is_admitted_or_refused(value: bytes | None, headers: Headers) -> None:
    decided = decide(value, headers)
    assert isinstance(decided, Admitted | Refused)
    if isinstance(decided, Admitted):
        assert value is not None
        read = json.loads(value)
        assert read["constitutional_hash"] == HASH
        assert decided.key == read["conversation_id"].lower().encode()
    else:
        assert decided.reason in REASONS | SENDER_REASONS
        decided.detail.encode()


uuids = st.uuids().map(str)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
objects = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1),
    max_size=3,
)
actions = st.fixed_dictionaries({"tool": names, "arguments": objects})
good = st.fixed_dictionaries(
    {
        "message_id": uuids,
        "conversation_id": uuids,
        "content": objects,
        "from_agent": names,
        "message_type": st.sampled_from([kind.value for kind in MessageType if kind is not MessageType.HEARTBEAT]),
        "priority": st.integers(0, 3),
        "constitutional_hash": st.just(HASH),
        "tenant_id": names,
        "created_at": times,
    },
    optional={
        "to_agent": st.none() | names,
        "payload": st.none() | st.fixed_dictionaries({"action": actions}),
        "metadata": objects,
        "updated_at": times,
        "expires_at": st.just("9999-12-31T23:59:59Z"),
        "impact_score": st.none() | st.floats(0, 1),
    },
)
defects: st.SearchStrategy[tuple[Reason, Any]] = st.sampled_from(
    [
        (Reason.MISSING_FIELD, lambda m: {k: v for k, v in m.items() if k != "tenant_id"}),
        (Reason.HASH_MISSING, lambda m: {k: v for k, v in m.items() if k != "constitutional_hash"}),
        (Reason.UNKNOWN_FIELD, lambda m: {**m, "extra": 1}),
        (Reason.WRONG_TYPE, lambda m: {**m, "from_agent": 7}),
        (Reason.WRONG_TYPE, lambda m: {**m, "content": []}),
        (Reason.WRONG_TYPE, lambda m: {**m, "priority": "high"}),
        (Reason.INVALID_VALUE, lambda m: {**m, "priority": 9}),
        (Reason.INVALID_VALUE, lambda m: {**m, "conversation_id": m["conversation_id"][1:]}),
        (Reason.INVALID_VALUE, lambda m: {**m, "created_at": "yesterday"}),
        (Reason.HASH_UNKNOWN, lambda m: {**m, "constitutional_hash": "f" * 16}),
        (Reason.HASH_MALFORMED, lambda m: {**m, "constitutional_hash": HASH + " "}),
        (Reason.HASH_WITHDRAWN, lambda m: {**m, "constitutional_hash": WITHDRAWN}),
        (Reason.EXPIRED, lambda m: {**m, "expires_at": "1999-01-01T00:00:00+02:00"}),
        (Reason.INTEGER_OUT_OF_RANGE, lambda m: {**m, "metadata": {"n": 2**53}}),
    ]
)


@unhurried
@given(good, defects)
def test_a_good_message_with_one_defect_is_refused_for_just_that(
    given_message: dict[str, Any], defect: tuple[Reason, Any]
) -> None:
    reason, spoil = defect
    assert reason_of(json.dumps(given_message).encode()) is None
    assert reason_of(json.dumps(spoil(given_message)).encode()) is reason

"""What the chaos agent decides: what may be in force, for how long, and how it ends."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from handlers.chaos.deciding import ADMISSION_REASONS, KEEP_ENDED, REASONS
from handlers.chaos.targets import PROTECTED
from handlers.gateway import Admitted, Refused
from handlers.health import Place, folded
from schemas import envelope, topics
from schemas import policy as policies
from schemas.breaker import BreakerEventKind, BreakerState
from schemas.chaos import EVERYTHING, ChaosState
from schemas.policy import AcceptedHash, ChaosLimits
from schemas.reasons import Reason
from schemas.recovery import RecoveryState
from streams.agents.gateway import ROUTES
from tests.support.chaotic import (
    HOUR,
    LIMITS,
    MINUTE,
    OLGA,
    OTTO,
    SECOND,
    T0,
    ChaosDesk,
    chaotic_policy,
    forced,
    order,
    run,
    scenario_id,
    signed,
)
from tests.support.product import HASH, NEXT_HASH
from tests.support.recovered import Recovered
from tests.support.signing import approver, public

(ADMISSION,) = [route.admission for route in ROUTES if route.agent == topics.GATEWAY_CHAOS]


# What comes into force


def test_an_allowed_command_brings_a_scenario_into_force_until_its_duration_has_passed() -> None:
    desk = ChaosDesk()
    desk.take(run())
    status = desk.status()
    assert (status.state, status.started_ms, status.until_ms) == (ChaosState.IN_FORCE, T0, T0 + 10 * SECOND)
    assert (status.target, status.requested_by, status.parameters.latency_ms) == ("agent:triage", OLGA, 100)
    assert desk.reasons == []


def test_it_ends_by_itself_to_the_millisecond_and_not_before() -> None:
    desk = ChaosDesk()
    desk.take(run())
    desk.pass_time(10 * SECOND - 1)
    assert desk.status().state is ChaosState.IN_FORCE
    desk.pass_time(1)
    status = desk.status()
    assert (status.state, status.ended_ms, status.ended_by) == (ChaosState.OVER, T0 + 10 * SECOND, None)


def test_a_stop_ends_it_at_once_and_says_who_and_why() -> None:
    desk = ChaosDesk()
    desk.take(run())
    desk.pass_time(3 * SECOND)
    stop = order("stop", scenario_id=scenario_id(0), requested_by=OTTO, reason="seen enough")
    desk.take(stop)
    status = desk.status()
    assert (status.state, status.ended_ms, status.ended_by) == (ChaosState.STOPPED, T0 + 3 * SECOND, OTTO)
    assert (status.why, status.command_id) == ("seen enough", stop["command_id"])
    desk.pass_time(MINUTE)
    assert len(desk.statuses()) == 2


def test_an_emergency_stop_ends_all_of_it_and_says_what_it_was() -> None:
    desk = ChaosDesk()
    desk.take(run(0))
    desk.take(forced(1))
    stop = order("stop_all")
    desk.take(stop)
    assert {desk.status(number).state for number in (0, 1)} == {ChaosState.STOPPED}
    assert [one.stopped for one in desk.emergency_stops] == [(scenario_id(0), scenario_id(1))]
    assert desk.emergency_stops[0].command_id == stop["command_id"]
    desk.take(run(2, at_ms=T0 + 1))
    assert desk.status(2).state is ChaosState.IN_FORCE


def test_an_emergency_stop_of_nothing_is_answered_and_allowed_where_chaos_is_not() -> None:
    desk = ChaosDesk(chaotic_policy(chaos=None))
    desk.take(order("stop_all"))
    assert [one.stopped for one in desk.emergency_stops] == [()]
    assert [one.key for one in desk.on(topics.CHAOS)] == [EVERYTHING.encode()]


def test_what_a_policy_no_longer_allows_can_still_be_stopped() -> None:
    desk = ChaosDesk()
    desk.take(run())
    desk.publish(chaotic_policy(2, chaos=None))
    desk.take(order("stop", scenario_id=scenario_id(0)))
    assert desk.status().state is ChaosState.STOPPED


def test_a_scenario_that_ended_makes_room_for_another() -> None:
    one_at_once = ChaosLimits(targets=("agent:*",))
    desk = ChaosDesk(chaotic_policy(chaos=one_at_once))
    desk.take(run(0))
    desk.take(run(1))
    assert desk.reasons == [Reason.TOO_MANY_SCENARIOS]
    desk.pass_time(10 * SECOND)
    desk.take(run(2, at_ms=desk.at_ms))
    assert desk.status(2).state is ChaosState.IN_FORCE


def test_what_has_ended_is_forgotten_after_an_hour_and_leaves_nothing() -> None:
    desk = ChaosDesk()
    desk.take(run())
    desk.pass_time(10 * SECOND)
    desk.pass_time(int(KEEP_ENDED.total_seconds() * 1_000) - 1)
    assert desk.statuses()[-1] is not None
    desk.pass_time(1)
    assert desk.statuses()[-1] is None
    assert desk.rows == ["in-force"]


# Breakers


def test_a_forced_breaker_is_open_for_as_long_as_the_scenario_and_retired_with_it() -> None:
    desk = ChaosDesk()
    desk.take(forced())
    (opened,) = desk.breakers
    assert (opened.service, opened.state, opened.kind) == ("bank", BreakerState.OPEN, BreakerEventKind.STATE_CHANGE)
    assert (opened.instance, opened.ttl_s, opened.sequence) == (f"chaos.{scenario_id(0)}", 10, 0)
    assert [one.key for one in desk.on(topics.BREAKERS)] == [b"bank"]
    desk.pass_time(10 * SECOND)
    _, closed, retired = desk.breakers
    assert (closed.kind, closed.state, closed.sequence) == (BreakerEventKind.STATE_CHANGE, BreakerState.CLOSED, 1)
    assert (retired.kind, retired.instance, retired.sequence) == (BreakerEventKind.RETIRED, opened.instance, 2)
    assert len({one.event_id for one in desk.breakers}) == 3


@pytest.mark.parametrize("stop", [order("stop", scenario_id=scenario_id(0)), order("stop_all")])
def test_a_stop_takes_a_forced_breaker_back(stop: dict[str, Any]) -> None:
    desk = ChaosDesk()
    desk.take(forced())
    desk.take(stop)
    kinds = [BreakerEventKind.STATE_CHANGE, BreakerEventKind.STATE_CHANGE, BreakerEventKind.RETIRED]
    assert [one.kind for one in desk.breakers] == kinds


@pytest.mark.parametrize("stop", [order("stop", scenario_id=scenario_id(0)), order("stop_all")])
def test_a_recovery_that_a_forced_breaker_has_scheduled_becomes_idle_as_the_scenario_is_stopped(
    stop: dict[str, Any],
) -> None:
    desk, recovery = ChaosDesk(), Recovered()
    desk.take(forced())
    recovery.breaker(**desk.breakers[0].model_dump(mode="json", exclude_none=True))
    assert recovery.state("bank") is RecoveryState.SCHEDULED
    desk.take(stop)
    for event in desk.breakers[1:]:
        recovery.breaker(**event.model_dump(mode="json", exclude_none=True))
    assert recovery.state("bank") is RecoveryState.IDLE


def test_the_health_of_a_service_is_as_before_once_the_breaker_is_taken_back() -> None:
    desk = ChaosDesk()
    desk.take(forced())
    desk.take(order("stop_all"))
    opened, closed, retired = desk.breakers
    row = folded(None, opened, Place(0, 0), T0, is_critical=False)
    assert row is not None
    assert row.open_breakers == 1
    row = folded(row, closed, Place(0, 1), T0, is_critical=False)
    assert row is not None
    assert row.open_breakers == 0
    row = folded(row, retired, Place(0, 2), T0, is_critical=False)
    assert row is not None
    assert row.breakers == ()


def test_breaker_events_bear_what_the_gateways_put_on_others() -> None:
    desk = ChaosDesk()
    desk.take(forced())
    (one,) = desk.on(topics.BREAKERS)
    assert one.headers[envelope.SOURCE] == b"t.in.chaos/0/7"
    assert one.headers[envelope.VERSION] == b"1"
    assert (one.headers[envelope.POLICY] or b"").startswith(b"1:")


def test_a_breaker_of_activities_is_forced_by_their_workers_and_says_nothing_of_a_service() -> None:
    desk = ChaosDesk()
    desk.take(
        run(
            chaos_type="circuit_breaker", target="activity:pay", blast_radius=["queue:x", "activity:pay"], parameters={}
        )
    )
    assert desk.status().state is ChaosState.IN_FORCE
    assert desk.breakers == []


# What is refused


def _nothing(desk: ChaosDesk) -> None:
    del desk


def _chaos_is_not_allowed(desk: ChaosDesk) -> None:
    desk.publish(chaotic_policy(2, chaos=None))


def _only_activities_are_allowed(desk: ChaosDesk) -> None:
    desk.publish(chaotic_policy(2, chaos=ChaosLimits(targets=("activity:*", "agent:gateway-*"))))


def _five_seconds_are_allowed(desk: ChaosDesk) -> None:
    desk.publish(chaotic_policy(2, chaos=LIMITS.model_copy(update={"max_duration": timedelta(seconds=5)})))


def _three_are_in_force(desk: ChaosDesk) -> None:
    for number in (1, 2, 3):
        desk.take(run(number))


def _it_was_there(desk: ChaosDesk) -> None:
    desk.take(run(0))


def _it_was_stopped(desk: ChaosDesk) -> None:
    desk.take(run(0))
    desk.take(order("stop_all"))


def _all_was_stopped(desk: ChaosDesk) -> None:
    desk.take(order("stop_all"))


def _it_was_refused(desk: ChaosDesk) -> None:
    _three_are_in_force(desk)
    desk.take(ORDERED)
    desk.take(order("stop", scenario_id=scenario_id(1)))
    desk.written = [one for one in desk.written if one.topic != "t.rejected"]


ORDERED = run(0)
STOP = order("stop", scenario_id=scenario_id(0))
REFUSALS: list[tuple[Reason, Callable[[ChaosDesk], None], dict[str, Any]]] = [
    (Reason.NO_CHAOS, _chaos_is_not_allowed, run()),
    (Reason.PROTECTED_TARGET, _nothing, run(target="agent:chaos", blast_radius=["agent:chaos"])),
    (Reason.PROTECTED_TARGET, _nothing, run(target="lane:gateway-chaos/0", blast_radius=["agent:gateway-chaos"])),
    (Reason.UNKNOWN_TARGET, _nothing, run(target="agent:triagge", blast_radius=["agent:triagge"])),
    (Reason.UNKNOWN_TARGET, _nothing, run(target="queue:other", blast_radius=["queue:other"])),
    (Reason.TARGET_NOT_ALLOWED, _only_activities_are_allowed, run()),
    (Reason.OUTSIDE_BLAST_RADIUS, _nothing, run(blast_radius=["agent:orchestrator"])),
    (Reason.OUTSIDE_BLAST_RADIUS, _nothing, run(blast_radius=["lane:triage/0"])),
    (Reason.TOO_LONG, _five_seconds_are_allowed, run()),
    (Reason.TOO_MANY_SCENARIOS, _three_are_in_force, run()),
    (Reason.VALID_TOO_LONG, _nothing, run(at_ms=T0 + HOUR)),
    (Reason.VALID_TOO_LONG, _nothing, order("stop_all", at_ms=T0 + HOUR)),
    (Reason.VALID_TOO_LONG, _it_was_there, order("stop", at_ms=T0 + HOUR, scenario_id=scenario_id(0))),
    (Reason.REPLAYED, _it_was_refused, ORDERED),
    (Reason.STOPPED_SINCE, _all_was_stopped, run(0)),
    (Reason.DUPLICATE_SCENARIO, _it_was_there, run(0)),
    (Reason.DUPLICATE_SCENARIO, _it_was_stopped, run(0)),
    (Reason.DUPLICATE_SCENARIO, _it_was_there, run(0, scenario_id=scenario_id(0).upper())),
    (Reason.UNKNOWN_SCENARIO, _nothing, STOP),
    (Reason.SCENARIO_ENDED, _it_was_stopped, STOP),
]


@pytest.mark.parametrize(("reason", "before", "said"), REFUSALS)
def test_each_refusal_has_its_reason_and_changes_nothing(
    reason: Reason, before: Callable[[ChaosDesk], None], said: dict[str, Any]
) -> None:
    desk = ChaosDesk()
    before(desk)
    rows, written = desk.rows, len(desk.on(topics.CHAOS))
    desk.take(said)
    assert desk.reasons == [reason]
    remembered = {f"command/{said['command_id']}"}
    assert ({*desk.rows} - remembered, len(desk.on(topics.CHAOS))) == ({*rows} - remembered, written)
    assert desk.on(topics.REJECTED)[0].headers[envelope.SOURCE] == b"t.in.chaos/0/7"


def test_an_emergency_stop_is_acted_on_once_and_remembered_until_no_run_from_before_can_pass() -> None:
    desk = ChaosDesk()
    stop, late = signed(order("stop_all")), run(1, expires_at="2027-01-15T08:10:00Z")
    desk.take_bytes(*stop)
    desk.pass_time(MINUTE)
    desk.take(run(0, at_ms=desk.at_ms))
    assert desk.status().state is ChaosState.IN_FORCE
    desk.take_bytes(*stop)
    assert desk.status().state is ChaosState.IN_FORCE
    desk.take(late)
    assert desk.reasons == [Reason.REPLAYED, Reason.STOPPED_SINCE]
    desk.pass_time(9 * MINUTE - 1)
    desk.take({**late, "command_id": order("run")["command_id"]})
    assert desk.reasons[2:] == [Reason.STOPPED_SINCE]
    desk.pass_time(1)
    assert desk.rows == ["in-force", f"scenario/{scenario_id(0)}"]


def test_no_reason_is_without_an_example() -> None:
    assert {reason for reason, _, _ in REFUSALS} == REASONS


@pytest.mark.parametrize("agent", sorted(PROTECTED))
@pytest.mark.parametrize("chaos_type", ["latency", "error", "timeout", "network_partition"])
def test_what_chaos_must_never_touch_is_refused_whatever_the_policy_says(agent: str, chaos_type: str) -> None:
    parameters = {"latency_ms": 1} if chaos_type == "latency" else {}
    for target in (f"agent:{agent}", f"lane:{agent}/0"):
        desk = ChaosDesk(chaotic_policy(chaos=ChaosLimits(targets=("agent:*", target))))
        radius = ["agent:triage", target]
        desk.take(run(chaos_type=chaos_type, target=target, blast_radius=radius, parameters=parameters))
        assert desk.reasons == [Reason.PROTECTED_TARGET]


def test_a_lane_is_inside_its_agents_blast_radius_and_of_what_the_policy_allows_for_it() -> None:
    desk = ChaosDesk(chaotic_policy(chaos=ChaosLimits(targets=("agent:tri*",))))
    desk.take(run(target="lane:triage/1"))
    assert desk.status().state is ChaosState.IN_FORCE


def test_a_name_with_brackets_is_a_name_and_no_pattern() -> None:
    desk = ChaosDesk(chaotic_policy(chaos=ChaosLimits(targets=("service:ban[kx]",))))
    desk.take(forced(0, "bank"))
    desk.take(forced(1, "ban[kx]"))
    assert desk.reasons == [Reason.TARGET_NOT_ALLOWED]
    assert desk.status(1).state is ChaosState.IN_FORCE


# Admission, at the gateway and again behind it

REVOKED = approver(OLGA, keys=(public(OLGA, revoked_at="2020-01-01T00:00:00Z"),))
OLD = approver(OLGA, keys=(public(OLGA, valid_until="2020-01-01T00:00:00Z"),))
YOUNG = approver(OLGA, keys=(public(OLGA, valid_from="2100-01-01T00:00:00Z"),))
REKEYED = approver(OLGA, keys=(public("another"),))


def _under(person: Any) -> Callable[[ChaosDesk], None]:  # noqa: ANN401
    return lambda desk: desk.publish(chaotic_policy(2, approvers=(person, approver(OTTO))))


def _without_olga(desk: ChaosDesk) -> None:
    desk.publish(chaotic_policy(2, operators=(OTTO,)))


def _under_another_hash(desk: ChaosDesk) -> None:
    old = AcceptedHash.model_validate({"hash": HASH, "until": "2020-01-01T00:00:00Z"})
    desk.publish(chaotic_policy(2, accepted_hashes=(old, AcceptedHash(hash=NEXT_HASH))))


def _two_minutes_later(desk: ChaosDesk) -> None:
    desk.pass_time(2 * MINUTE)


AGAIN: list[tuple[Reason, Callable[[ChaosDesk], None], str | None]] = [
    (Reason.UNSIGNED, _nothing, None),
    (Reason.BAD_SIGNATURE, _nothing, "forged"),
    (Reason.UNKNOWN_OPERATOR, _without_olga, OLGA),
    (Reason.UNKNOWN_KEY, _under(REKEYED), OLGA),
    (Reason.KEY_REVOKED, _under(REVOKED), OLGA),
    (Reason.KEY_EXPIRED, _under(OLD), OLGA),
    (Reason.KEY_NOT_YET_VALID, _under(YOUNG), OLGA),
    (Reason.HASH_WITHDRAWN, _under_another_hash, OLGA),
    (Reason.EXPIRED, _two_minutes_later, OLGA),
]


@pytest.mark.parametrize(("reason", "before", "by"), AGAIN)
@pytest.mark.parametrize("said", [run(), order("stop_all")])
def test_a_command_must_pass_again_as_things_stand_when_it_is_acted_on(
    reason: Reason, before: Callable[[ChaosDesk], None], by: str | None, said: dict[str, Any]
) -> None:
    desk = ChaosDesk()
    before(desk)
    value, headers = signed(said)
    if by == "forged":
        value = value.replace(b"game day", b"game DAY")
    desk.take_bytes(value, () if by is None else headers)
    assert desk.reasons == [reason]
    assert desk.on(topics.CHAOS) == []


def test_no_reason_of_passing_again_is_without_an_example() -> None:
    assert {reason for reason, _, _ in AGAIN} == ADMISSION_REASONS


def test_at_the_gateway_every_command_travels_under_one_key() -> None:
    published = policies.published(chaotic_policy().canonical())
    for said in (run(), order("stop_all"), STOP):
        assert ADMISSION.decide(*signed(said), published, T0) == Admitted(b"chaos", verified=True)


@pytest.mark.parametrize("operators", [(), (OTTO,)])
def test_at_the_gateway_nobody_passes_whom_the_policy_does_not_name(operators: tuple[str, ...]) -> None:
    published = policies.published(chaotic_policy(operators=operators).canonical())
    refused = ADMISSION.decide(*signed(run()), published, T0)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.UNKNOWN_OPERATOR
    refused = ADMISSION.decide(signed(run())[0], (), published, T0)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.UNSIGNED


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"constitutional_hash": "f" * 16}, Reason.HASH_UNKNOWN),
        ({"constitutional_hash": "no"}, Reason.HASH_MALFORMED),
        ({"duration_ms": 300_001}, Reason.INVALID_VALUE),
        ({"duration_ms": 0}, Reason.INVALID_VALUE),
        ({"duration_ms": 1.5}, Reason.WRONG_TYPE),
        ({"blast_radius": []}, Reason.INVALID_VALUE),
        ({"blast_radius": ["agent:*"]}, Reason.INVALID_VALUE),
        ({"blast_radius": ["agent:triage"] * 33}, Reason.INVALID_VALUE),
        ({"target": "triage"}, Reason.INVALID_VALUE),
        ({"target": "lane:triage"}, Reason.INVALID_VALUE),
        ({"target": "lane:triage/\u0661"}, Reason.INVALID_VALUE),
        ({"target": "service:bank"}, Reason.INVALID_VALUE),
        ({"chaos_type": "havoc"}, Reason.INVALID_VALUE),
        ({"parameters": {}}, Reason.INVALID_VALUE),
        ({"parameters": {"latency_ms": 5_001}}, Reason.INVALID_VALUE),
        ({"parameters": {"latency_ms": 1, "memory_mib": 1}}, Reason.INVALID_VALUE),
        ({"parameters": {"latency_ms": 1, "probability_percent": 0}}, Reason.INVALID_VALUE),
        ({"parameters": {"latency_ms": 1, "nonsense": 0}}, Reason.UNKNOWN_FIELD),
        ({"expires_at": "2027-01-15T08:10:01Z"}, Reason.INVALID_VALUE),
        ({"expires_at": "2027-01-15T08:00:00Z"}, Reason.INVALID_VALUE),
        ({"reason": ""}, Reason.INVALID_VALUE),
        ({"require_hash_validation": False}, Reason.UNKNOWN_FIELD),
        ({"command": "stop"}, Reason.INVALID_VALUE),
        ({"command": "stop_all"}, Reason.INVALID_VALUE),
    ],
)
def test_what_is_not_as_the_contract_says_does_not_pass_the_gateway(changes: dict[str, Any], reason: Reason) -> None:
    published = policies.published(chaotic_policy().canonical())
    refused = ADMISSION.decide(*signed(run(**changes)), published, T0)
    assert isinstance(refused, Refused)
    assert refused.reason is reason


@pytest.mark.parametrize("missing", ["scenario_id", "name", "chaos_type", "target", "duration_ms", "blast_radius"])
def test_a_run_lacks_nothing(missing: str) -> None:
    published = policies.published(chaotic_policy().canonical())
    said = {name: value for name, value in run().items() if name != missing}
    refused = ADMISSION.decide(*signed(said), published, T0)
    assert isinstance(refused, Refused)
    assert refused.detail == f"run needs {missing}"


@pytest.mark.parametrize("missing", ["expires_at", "requested_by", "reason", "constitutional_hash"])
def test_every_command_says_who_why_and_until_when(missing: str) -> None:
    published = policies.published(chaotic_policy().canonical())
    said = {name: value for name, value in order("stop_all").items() if name != missing}
    refused = ADMISSION.decide(*signed(said, OLGA), published, T0)
    assert isinstance(refused, Refused)
    assert refused.reason in {Reason.MISSING_FIELD, Reason.HASH_MISSING}


@pytest.mark.parametrize(
    "limits",
    [
        {"targets": ()},
        {"targets": ("everything",)},
        {"targets": ("agent:*",), "max_duration": timedelta(seconds=301)},
        {"targets": ("agent:*",), "max_duration": timedelta(0)},
        {"targets": ("agent:*",), "at_once": 0},
        {"targets": ("agent:*",), "at_once": 17},
    ],
)
def test_a_policy_cannot_allow_more_than_300_s_or_nothing_in_particular(limits: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(reversed(limits))):
        ChaosLimits(**limits)

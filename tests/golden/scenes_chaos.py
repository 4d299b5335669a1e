"""Chaos: in force, ended and stopped, and each reason for which it is refused."""

from schemas.policy import AcceptedHash
from tests.golden.recording import Recorder
from tests.support.chaotic import (
    HOUR,
    LIMITS,
    MINUTE,
    OLGA,
    OTTO,
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
from tests.support.signing import approver, public


def in_force_and_ended(recorder: Recorder) -> None:
    desk = ChaosDesk(driver=recorder.driver)
    desk.take(run(0))
    desk.take(run(0))
    desk.take(forced(1))
    desk.take(run(2, target="queue:default", blast_radius=["queue:default"], chaos_type="error", parameters={}))
    desk.take(run(3))
    desk.take(order("stop", scenario_id=scenario_id(2)))
    desk.take(order("stop", scenario_id=scenario_id(2)))
    desk.take(order("stop", scenario_id=scenario_id(9)))
    desk.pass_time(MINUTE)
    desk.take(forced(4, at_ms=desk.at_ms))
    stop = signed(order("stop_all", at_ms=desk.at_ms, requested_by=OTTO))
    desk.take_bytes(*stop)
    desk.take_bytes(*stop)
    desk.take(run(5, expires_at="2027-01-15T08:09:00Z"))
    desk.pass_time(24 * HOUR)


def refused(recorder: Recorder) -> None:
    desk = ChaosDesk(driver=recorder.driver)
    for number, target in enumerate(("agent:chaos", "agent:triagge", "queue:other", "lane:gateway-chaos/0")):
        desk.take(run(number, target=target, blast_radius=[target]))
    desk.take(run(5, blast_radius=["lane:triage/0"]))
    desk.take(run(6, at_ms=T0 + HOUR))
    desk.take(order("stop_all", at_ms=T0 + HOUR))
    value, headers = signed(run(7))
    desk.take_bytes(value, ())
    desk.take_bytes(value.replace(b"game day", b"game DAY"), headers)
    desk.take(run(8), by="ann")
    for number, limits in enumerate((None, LIMITS.model_copy(update={"targets": ("activity:*",)}))):
        desk.publish(chaotic_policy(2 + number, limits))
        desk.take(run(9))
    for number, changes in enumerate(
        (
            {"revoked_at": "2020-01-01T00:00:00Z"},
            {"valid_until": "2020-01-01T00:00:00Z"},
            {"valid_from": "2100-01-01T00:00:00Z"},
        )
    ):
        olga = approver(OLGA, keys=(public(OLGA, **changes),))
        desk.publish(chaotic_policy(4 + number, approvers=(olga, approver(OTTO))))
        desk.take(run(10))
    desk.publish(chaotic_policy(7, operators=(OTTO,)))
    desk.take(run(11))
    until = AcceptedHash.model_validate({"hash": HASH, "until": "2020-01-01T00:00:00Z"})
    desk.publish(chaotic_policy(8, accepted_hashes=(until, AcceptedHash(hash=NEXT_HASH))))
    desk.take(run(12))
    desk.publish(chaotic_policy(9, LIMITS.model_copy(update={"max_duration": LIMITS.max_duration / 60})))
    desk.take(run(13))
    desk.pass_time(2 * MINUTE)
    desk.take(run(14))


SCENES = (in_force_and_ended, refused)

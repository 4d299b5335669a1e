import pytest

from schemas import topics
from streams.acls import INSTALLER, OPERATORS, POLICY_PUBLISHER, REDRIVE, Acl, Kind, acls, command
from streams.named import Named

LANES = {f"User:{agent}" for agent in topics.LANE_AGENTS}
TOOLS = {f"User:{tool}" for tool in (OPERATORS, POLICY_PUBLISHER, INSTALLER, REDRIVE)}
PUBLIC = {f"acgs.{topic.name}" for topic in topics.catalogue() if topic.public}
FOUND = acls("acgs.", Named(tenants=("acme",), queues=("payments",)))


def may(principal: str, operation: str, topic: str) -> bool:
    return any(
        acl.principal == principal
        and acl.kind is Kind.TOPIC
        and operation in acl.operations
        and (topic.startswith(acl.name) if acl.prefixed else topic == acl.name)
        for acl in FOUND
    )


def test_producers_write_public_topics_and_touch_nothing_else() -> None:
    own = [acl for acl in FOUND if acl.principal == "User:producers"]
    assert {acl.name for acl in own} == PUBLIC - {"acgs.in.decisions", "acgs.in.recovery", "acgs.in.chaos"}
    assert all(acl.operations == ("Describe", "Write") and not acl.prefixed for acl in own)


def test_approvers_write_decisions_and_nothing_else() -> None:
    written = {acl.name for acl in FOUND if acl.principal == "User:approvers" and "Write" in acl.operations}
    assert written == {"acgs.in.decisions"}


def test_the_notary_reads_the_trail_and_nothing_else() -> None:
    own = [acl for acl in FOUND if acl.principal == f"User:{topics.NOTARY}"]
    assert [(acl.kind, acl.name, acl.operations) for acl in own] == [(Kind.TOPIC, "acgs.audit", ("Describe", "Read"))]


def test_auditors_read_everything_and_write_nothing() -> None:
    own = [acl for acl in FOUND if acl.principal == f"User:{topics.AUDITORS}"]
    assert not [acl for acl in own if "Write" in acl.operations]
    every = [topic.name for topic in topics.catalogue()]
    for operation in ("Read", "DescribeConfigs"):
        assert all(may(f"User:{topics.AUDITORS}", operation, f"acgs.{name}") for name in every)


def test_only_lanes_and_named_tools_have_transactional_ids() -> None:
    holders = {acl.principal for acl in FOUND if acl.kind is Kind.TRANSACTIONAL_ID}
    assert holders <= LANES | TOOLS
    assert holders >= LANES


def test_a_lanes_transactional_ids_are_its_own() -> None:
    names = {acl.name for acl in FOUND if acl.kind is Kind.TRANSACTIONAL_ID and acl.principal in LANES}
    assert names == {f"acgs.{agent}-" for agent in topics.LANE_AGENTS}
    assert not any(one != other and one.startswith(other) for one in names for other in names)


@pytest.mark.parametrize(
    "topic",
    [
        topics.MESSAGES,
        topics.DELIVERIES,
        topics.DELIBERATION,
        topics.WORKFLOWS,
        topics.RECOVERY,
        topics.REJECTED,
        topics.CONTROL,
    ],
)
def test_nobody_from_outside_writes_behind_the_gateway(topic: str) -> None:
    outside = {acl.principal for acl in FOUND} - LANES - TOOLS
    assert not [principal for principal in outside if may(principal, "Write", f"acgs.{topic}")]


def test_operators_order_chaos_and_only_its_agents_say_what_is_in_force() -> None:
    assert may("User:operators", "Write", "acgs.in.chaos")
    writers = {acl.principal for acl in FOUND if may(acl.principal, "Write", "acgs.chaos")}
    assert writers == {"User:chaos"}
    passing = {acl.principal for acl in FOUND if may(acl.principal, "Write", "acgs.chaos-requests")} - TOOLS
    assert passing == {"User:chaos", "User:gateway-chaos"}
    for reader in ("triage", "activity-workers", "operators"):
        assert may(f"User:{reader}", "Read", "acgs.chaos")


def test_a_tenants_agents_read_their_own_deliveries_only() -> None:
    assert may("User:agents.acme", "Read", "acgs.deliveries.acme")
    assert not may("User:agents.acme", "Read", "acgs.deliveries")
    assert not may("User:agents", "Read", "acgs.deliveries.acme")


def test_each_queue_of_activities_is_commanded_by_the_orchestrator_and_read_by_workers() -> None:
    for queue in (topics.DEFAULT_QUEUE, "payments"):
        assert may("User:orchestrator", "Write", f"acgs.activities.{queue}")
        assert may("User:activity-workers", "Read", f"acgs.activities.{queue}")
    assert not may("User:orchestrator", "Write", "acgs.activities.other")


@pytest.mark.parametrize("agent", topics.LANE_AGENTS)
def test_a_lane_may_do_all_it_does(agent: str) -> None:
    me = f"User:{agent}"
    for topic in (topics.AUDIT, topics.LANES, topics.changelog(agent), topics.dead_letters(agent)):
        assert may(me, "Write", f"acgs.{topic}")
    for topic in (topics.CONTROL, topics.changelog(agent)):
        assert may(me, "Read", f"acgs.{topic}")
    for acl in FOUND:
        if acl.principal == me and acl.kind is Kind.TOPIC and "Write" in acl.operations:
            assert "DescribeConfigs" in acl.operations


def test_roles_can_share_a_principal() -> None:
    shared = acls("acgs.", principals=dict.fromkeys(topics.LANE_AGENTS, "User:worker"))
    own = [acl for acl in shared if acl.principal == "User:worker"]
    assert len({(acl.kind, acl.name) for acl in own}) == len(own)
    assert not LANES & {acl.principal for acl in shared}


def test_a_prefixed_right_says_so_in_its_command() -> None:
    acl = Acl("User:triage", Kind.TRANSACTIONAL_ID, "acgs.triage-", True, ("Describe", "Write"), "")  # noqa: FBT003
    assert command(acl) == (
        "kafka-acls.sh --add --allow-principal 'User:triage' --operation Describe --operation Write "
        "--transactional-id acgs.triage- --resource-pattern-type prefixed"
    )

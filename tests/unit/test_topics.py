"""The topic catalogue."""

import re
from collections import Counter

import pytest

from schemas import topics
from schemas.topics import MAX_MESSAGE_BYTES, Cleanup, Topic, catalogue
from streams.agents.gateway import ROUTES
from streams.agents.naming import Naming

OUTSIDE = {"producers", topics.APPROVERS}
MAY_PUBLISH = {*OUTSIDE, "services", "operators"}
EVERYTHING = catalogue(["acme"], ["payments"])
by_name = {topic.name: topic for topic in EVERYTHING}


def test_every_topic_is_named_once_and_as_kafka_allows() -> None:
    assert max(Counter(topic.name for topic in EVERYTHING).values()) == 1
    assert all(re.fullmatch(r"[a-z0-9.-]{1,200}", topic.name) for topic in EVERYTHING)


@pytest.mark.parametrize("topic", EVERYTHING, ids=lambda topic: topic.name)
def test_every_topic_says_who_writes_and_reads_it_and_why(topic: Topic) -> None:
    assert topic.purpose
    assert topic.key
    assert topic.contract
    assert topic.writers
    assert topic.readers


@pytest.mark.parametrize("topic", EVERYTHING, ids=lambda topic: topic.name)
def test_every_topic_bears_the_brokers_time(topic: Topic) -> None:
    assert topic.configuration(1)["message.timestamp.type"] == "LogAppendTime"


def test_only_public_topics_are_written_from_outside_and_the_broker_bounds_what_they_expand_to() -> None:
    public = [topic for topic in EVERYTHING if topic.public]
    assert [topic.name for topic in public] == [route.public for route in ROUTES]
    for topic in EVERYTHING:
        assert not OUTSIDE & set(topic.writers) or topic.public
        assert not topic.public or set(topic.writers) <= MAY_PUBLISH
        assert (topic.configuration(1).get("compression.type") == "uncompressed") == topic.public


def test_what_is_refused_or_buried_fits_where_it_goes() -> None:
    largest_input = max(by_name[route.public].max_bytes for route in ROUTES)
    for name in (topics.REJECTED, *map(topics.dead_letters, topics.LANE_AGENTS)):
        assert by_name[name].max_bytes >= 2 * largest_input
    assert by_name[topics.MESSAGES].max_bytes > 2 * MAX_MESSAGE_BYTES


def test_what_decides_is_kept_for_ever_and_never_compacted() -> None:
    for name in (topics.CONTROL, topics.AUDIT, topics.DELIBERATION):
        configuration = by_name[name].configuration(1)
        assert (configuration["retention.ms"], configuration["cleanup.policy"]) == ("-1", "delete")


def test_changelogs_are_compacted_and_kept() -> None:
    for agent in topics.LANE_AGENTS:
        topic = by_name[topics.changelog(agent)]
        assert topic.cleanup is Cleanup.COMPACT
        assert topic.configuration(1)["retention.ms"] == "-1"


def test_what_lanes_read_has_their_partition_count() -> None:
    naming = Naming("p.")
    read = {topics.IN_MESSAGES, topics.MESSAGES, topics.CONTROL, *map(topics.changelog, topics.LANE_AGENTS)}
    assert all(by_name[name].lane_input for name in read)
    assert naming.topic(topics.MESSAGES) == "p.messages"


def test_three_replicas_need_two_in_sync_and_one_needs_one() -> None:
    topic = by_name[topics.AUDIT]
    assert [topic.configuration(n)["min.insync.replicas"] for n in (1, 2, 3)] == ["1", "2", "2"]


def test_a_tenant_of_its_own_has_deliveries_of_its_own() -> None:
    assert "deliveries.acme" in by_name
    assert "deliveries.acme" not in {topic.name for topic in catalogue()}

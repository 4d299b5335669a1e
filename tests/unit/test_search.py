"""The index of recorded turns: what it keeps of each record, what is found in it, and what a file must be."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import envelope, topics
from schemas.decision import Vote
from schemas.deliberation import DeliberationItem
from streams import keys
from streams.audit.log import Place
from streams.cli.audit_search import document
from streams.cli.index_session import default_file, index_file
from streams.engine.records import InputRecord
from streams.readable import first_headers
from streams.search import ids, query
from streams.search.building import Installed
from streams.search.causes import Causes
from streams.search.entries import VERDICTS, Entry, Reader, not_indexed
from streams.search.errors import AmbiguousIdError, IndexFileError, UnknownIdError
from streams.search.file import Batch, IndexFile, Reached
from streams.search.query import MAX_PLACES, Filter
from streams.search.sayings import say
from tests.support.deliberated import registry
from tests.support.product import SAFE_TOOL, UNKNOWN_TOOL, encoded, message
from tests.support.recorded import NAMING, Recorder
from tests.support.searched import CLUSTER, batch, indexed, opened
from tests.support.signing import decide

READER = Reader(NAMING.prefix)
AGENTS = (topics.GATEWAY_MESSAGES, topics.GATEWAY_DECISIONS, topics.TRIAGE, topics.DELIBERATOR)
NAMES = [NAMING.topic(topic.name) for topic in topics.catalogue()]
FIELDS = [
    *("message_id", "item_id", "workflow_id", "vote", "event", "state", "node", "run", "direction", "attempt", "asked"),
    *("item", "payload", "definition", "votes", "approved", "agent", "lane", "seq", "inputs", "command", "reason"),
]
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.sampled_from(["approve", "answered", "x" * 200]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=2),
)


def entry(topic: str, value: bytes | None, *headers: tuple[str, bytes | None], key: bytes | None = None) -> Entry:
    return READER.entry(InputRecord(NAMING.topic(topic), 0, 7, 1_000, key, value, headers))


def held_items(lanes: Recorder) -> list[DeliberationItem]:
    records = [record for partition in (0, 1) for record in lanes.log((NAMING.topic(topics.DELIBERATION), partition))]
    headers = [first_headers(record) for record in sorted(records, key=lambda record: record.timestamp)]
    return [DeliberationItem.model_validate_json(one[envelope.ITEM]) for one in headers if envelope.ITEM in one]


def traffic() -> Recorder:
    """Delivered, refused, held, released, vetoed and expired."""
    lanes = Recorder(*AGENTS)
    lanes.publish(registry())
    lanes.send(topics.IN_MESSAGES, *[encoded(n, tool=SAFE_TOOL) for n in range(8)], b"{", b"\x1b[2J", None)
    lanes.send(topics.IN_MESSAGES, encoded(8, colour="red"), *[encoded(n, tool=UNKNOWN_TOOL) for n in (20, 21, 22)])
    lanes.run()
    first, second, _ = held_items(lanes)
    votes = decide("lee", first), decide("sam", first, reason="seen"), decide("sam", second, Vote.VETO, reason="no")
    for vote in votes:
        lanes.send(topics.IN_DECISIONS, keys.encode(vote))
        lanes.run()
    lanes.send(topics.IN_DECISIONS, keys.encode(votes[0]))
    lanes.run()
    for _ in range(2):
        lanes.pass_time(25 * 3_600_000)
    return lanes


def test_of_a_message_the_index_keeps_who_sent_what_and_how_it_was_decided() -> None:
    said = message(3, tool=SAFE_TOOL)
    card = orjson.dumps({"score": 1_200, "tool": SAFE_TOOL})
    found = entry(topics.DELIVERIES, orjson.dumps(said), (envelope.CARD, card))
    assert ids.shown(found.message) == said["message_id"]
    kept = (found.verdict, found.agent, found.tenant, found.tool, found.score)
    assert kept == ("delivered", "planner", "acme", SAFE_TOOL, 1_200)
    assert entry(topics.deliveries_of("acme"), orjson.dumps(said), (envelope.CARD, card)) == found
    assert entry(topics.IN_MESSAGES, orjson.dumps(said)).verdict is None


def test_headers_on_a_public_topic_are_not_believed() -> None:
    found = entry(topics.IN_MESSAGES, encoded(1), (envelope.REASON, b"not_json"), (envelope.ITEM, b'{"item_id":"x"}'))
    assert found == Entry(1_000, ids.stored(message(1)["message_id"]))


def test_a_refused_record_is_kept_by_what_can_be_read_of_it() -> None:
    headers = (envelope.SOURCE, b"t.in.messages/1/5"), (envelope.REASON, b"unknown_field")
    found = entry(topics.REJECTED, encoded(2, colour="red"), *headers)
    assert (found.verdict, found.reason, found.source, found.agent, found.defect) == (
        "rejected",
        "unknown_field",
        "t.in.messages/1/5",
        "planner",
        None,
    )
    for value, defect in ((b"{", "not JSON"), (b"[]", "no object"), (None, "no value"), (b"{}", "no message_id")):
        found = entry(topics.REJECTED, value, *headers)
        assert (found.verdict, found.source) == ("rejected", "t.in.messages/1/5")
        assert defect in (found.defect or "")
    vote = entry(topics.REJECTED, b'{"item_id":"i","approver":"lee"}', (envelope.SOURCE, b"t.in.decisions/0/1"))
    assert (vote.item, vote.agent, vote.defect) == ("i", "lee", "no reason")


def test_a_refused_message_cannot_put_itself_into_the_story_of_a_workflow() -> None:
    value = encoded(2, workflow_id="somebody-elses", item_id="somebody-elses")
    for topic in (topics.IN_MESSAGES, topics.REJECTED):
        found = entry(topic, value, (envelope.SOURCE, b"t.in.messages/1/5"))
        assert (found.workflow, found.item) == (None, None)


def test_a_refused_command_cannot_put_somebody_elses_item_into_the_story_of_its_workflow() -> None:
    value = orjson.dumps({"workflow_id": "mine", "item_id": "somebody-elses"})
    refused = entry(topics.REJECTED, value, (envelope.SOURCE, b"t.in.workflows/1/5"))
    for found in (refused, entry(topics.IN_WORKFLOWS, value), entry(topics.ACTIVITY_RESULTS, value)):
        assert (found.workflow, found.item) == ("mine", None)
    assert entry(topics.WORKFLOWS, value).item == "somebody-elses", "what deliberation answers names its item"


@given(st.from_regex(r"[0-9a-fA-F -]{34,38}|.{0,6}", fullmatch=True))
@example("12345678-1234-1234-1234-12-45-789012")
@example("12345678-1234-1234-1234-12345678  90")
def test_every_id_that_is_kept_can_be_shown(given: str) -> None:
    kept = ids.stored(given)
    shown = ids.shown(kept)
    assert shown is None if kept is None else ids.stored(shown) == kept


def test_an_id_that_is_almost_a_uuid_does_not_keep_others_from_searching(tmp_path: Path) -> None:
    lanes = Recorder(topics.GATEWAY_MESSAGES)
    lanes.publish(registry())
    lanes.send(topics.IN_MESSAGES, encoded(1, message_id="12345678-1234-1234-1234-12-45-789012"))
    lanes.run()
    with indexed(tmp_path, lanes.topics) as file:
        (row,) = query.search(file, Filter(), 10)
        assert document(row)["message"] == "12345678-1234-1234-1234-12-45-789012"


def test_several_things_that_begin_so_are_named_safely_for_a_terminal(tmp_path: Path) -> None:
    place = NAMING.topic(topics.IN_MESSAGES), 0
    with opened(tmp_path) as file:
        file.add(Batch([(place, n, Entry(1, message=f"x\x1b[2J{n}")) for n in range(2)], (), {}))
        with pytest.raises(AmbiguousIdError) as several:
            query.find(file, "x")
    assert str(several.value).isprintable()


def test_a_value_of_an_enormous_id_is_cut_and_kept() -> None:
    found = entry(topics.IN_MESSAGES, encoded(1, message_id="x" * 1_000_000))
    assert found.message == "x" * ids.MAX_CHARACTERS
    assert entry(topics.IN_MESSAGES, encoded(1, message_id=7)).defect == "message_id is no text"


@given(
    st.sampled_from(NAMES),
    st.none()
    | st.binary(max_size=40)
    | st.builds(orjson.dumps, st.recursive(st.none() | st.text(max_size=5), st.lists))
    | st.builds(orjson.dumps, st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=8)),
    st.lists(
        st.tuples(
            st.sampled_from(["acgs-item", "acgs-card", "acgs-source", "acgs-reason", "lane-source", "lane-timer"]),
            st.none() | st.binary(max_size=20),
        ),
        max_size=4,
    ),
    st.none() | st.binary(max_size=10),
)
@example("t.deliberation", b'{"item_id":"x","vote":["approve"]}', [], None)
@example("t.workflow-events", b'{"workflow_id":"x","event":[],"state":{}}', [], None)
@example("t.workflow-events", b'{"event":"answered","run":{},"asked":[{"step":[]},7]}', [], None)
def test_whatever_bytes_a_record_has_it_is_indexed_and_told(
    topic: str, value: bytes | None, headers: list[tuple[str, bytes | None]], key: bytes | None
) -> None:
    record = InputRecord(topic, 0, 7, 1_000, key, value, headers)
    assert READER.entry(record).at == 1_000
    READER.turns(record)
    said: Any = Causes(READER, [record]).said(record)
    assert list(say(READER.base(topic), record, said, {})) is not None
    Causes(READER, [record, record._replace(offset=8)]).of(record)


def test_every_verdict_that_is_kept_is_one_that_can_be_searched_for(tmp_path: Path) -> None:
    with indexed(tmp_path, traffic().topics) as file:
        found = {row.entry.verdict for row in query.search(file, Filter(), 1_000)}
    assert found <= VERDICTS.keys()
    assert found >= {"delivered", "held", "rejected", "approve", "veto", "released", "denied", "expired"}


def test_only_views_the_trail_of_health_and_the_lanes_own_topics_are_left_out() -> None:
    left_out = {name for name in not_indexed() if not name.endswith(".changelog")}
    assert left_out == {
        topics.CONTROL,
        topics.DELIBERATION_STATUS,
        topics.WORKFLOW_STATUS,
        topics.HEARTBEATS,
        topics.IN_BREAKERS,
        topics.BREAKERS,
        topics.HEALTH,
        topics.SYSTEM_HEALTH,
        topics.IN_RECOVERY,
        topics.RECOVERY,
        topics.RECOVERY_EVENTS,
        topics.RECOVERY_STATUS,
        topics.IN_CHAOS,
        topics.CHAOS_REQUESTS,
        topics.CHAOS,
        topics.LANES,
    }


def test_decisions_are_found_by_each_of_their_fields_the_newest_first(tmp_path: Path) -> None:
    lanes = traffic()
    with indexed(tmp_path, lanes.topics) as file:

        def verdicts(limit: int = 100, **fields: Any) -> list[str | None]:  # noqa: ANN401
            return [row.entry.verdict for row in query.search(file, Filter(**fields), limit)]

        everything = query.search(file, Filter(), 100)
        times = [row.entry.at for row in everything]
        assert times == sorted(times, reverse=True)
        assert verdicts(reason="unknown_field") == verdicts(reason="KNOWN_F") == ["rejected"]
        assert verdicts(reason="already_voted") + verdicts(reason="item_closed") + verdicts(reason="replayed") == [
            "rejected"
        ]
        assert verdicts(agent="lee") == ["rejected", "approve", "approve"]
        assert sorted(map(str, verdicts(tool=UNKNOWN_TOOL, verdicts=("released", "denied", "delivered")))) == [
            "delivered",
            "denied",
            "released",
        ]
        assert set(verdicts(min_score=8_000)) == {"held", "released", "denied", "expired", "delivered"}
        assert set(verdicts(max_score=7_999)) == {"delivered"}
        assert verdicts(tenant="nobody") == []
        assert len(verdicts(2)) == 2
        middle = times[len(times) // 2]
        assert len(verdicts(since_ms=middle)) + len(verdicts(until_ms=middle)) == len(everything)
        item = held_items(lanes)[0]
        of = query.find(file, item.item_id[:13], ["item"])[0]
        assert set(verdicts(of=of)) == {"held", "approve", "released", "delivered", "rejected"}


def test_the_beginning_of_an_id_is_enough_if_nothing_else_begins_so(tmp_path: Path) -> None:
    with indexed(tmp_path, traffic().topics) as file:
        whole = message(20)["message_id"]
        assert query.find(file, whole) == query.find(file, whole.upper()) == [("message", ids.stored(whole))]
        assert query.find(file, whole[:14]) == [("message", ids.stored(whole))]
        begins = Counter(message(n)["message_id"][0] for n in (*range(9), 20, 21, 22))
        common, times = begins.most_common(1)[0]
        with pytest.raises(AmbiguousIdError, match="Give more of it") as several:
            query.find(file, common, ["message"])
        assert len(several.value.candidates) == times > 1
        with pytest.raises(UnknownIdError, match="nothing in the index"):
            query.find(file, "%")


def test_the_turn_that_read_a_record_is_found_by_its_place(tmp_path: Path) -> None:
    with indexed(tmp_path, traffic().topics) as file:
        topic = NAMING.topic(topics.IN_MESSAGES)
        turn = query.turn_of(file, topic, 0, 0, topics.GATEWAY_MESSAGES)
        assert turn is not None
        assert (turn.agent, turn.lane, turn.seq) == (topics.GATEWAY_MESSAGES, 0, 1)
        assert query.turn_of(file, topic, 0, 1_000, topics.GATEWAY_MESSAGES) is None
        assert query.turn_of(file, topic, 0, 0, topics.TRIAGE) is None


def test_an_audit_record_that_cannot_be_read_is_kept_as_such() -> None:
    record = InputRecord(NAMING.topic(topics.AUDIT), 0, 7, 1_000, b"triage/0", b'{"agent":"triage"}', ())
    assert READER.turns(record) == Entry(1_000, defect="no audit record")


# The file


def test_records_and_how_far_they_reach_are_there_together_or_not_at_all(tmp_path: Path) -> None:
    place = NAMING.topic(topics.IN_MESSAGES), 0
    good = [(place, 0, Entry(1)), (place, 1, Entry(2))]
    with opened(tmp_path) as file:
        file.add(Batch(good[:1], (), {place: Reached(1, 0, b"m")}))
        with pytest.raises(IndexFileError):
            file.add(Batch([*good[1:], (place, 2, Entry(object()))], (), {place: Reached(3, 2, b"m")}))  # type: ignore[arg-type]
        assert (file.count(), file.reached()) == (1, {place: Reached(1, 0, b"m")})
        file.add(Batch(good, (), {place: Reached(2, 1, b"n")}))
        file.add(Batch(good[:1], (), {place: Reached(1, 0, b"m")}))
        assert (file.count(), file.reached()) == (2, {place: Reached(2, 1, b"n")})


def test_an_index_says_when_it_was_finished_last(tmp_path: Path) -> None:
    with opened(tmp_path) as file:
        assert file.as_of_ms is None
        file.finish(5)
        file.finish(9)
        file.finish(7)
        assert file.as_of_ms == 9, "another process knew more"


def test_a_file_of_something_else_is_refused_with_what_to_do(tmp_path: Path) -> None:
    indexed(tmp_path, traffic().topics).close()
    path = tmp_path / "index.sqlite"
    for cluster, prefix in (("another", NAMING.prefix), (CLUSTER, "other.")):
        with pytest.raises(IndexFileError, match="Name another file with --file, or delete this one"):
            IndexFile.open(path, cluster=cluster, prefix=prefix)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(IndexFileError, match=r"version 99.*'acgs audit index' builds it anew"):
        opened(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA application_id=1")
    with pytest.raises(IndexFileError, match="something else"):
        opened(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "index.sqlite").write_bytes(b"no database at all, " * 100)
    with pytest.raises(IndexFileError, match="delete it"):
        opened(tmp_path / "other")
    with pytest.raises(IndexFileError, match="there is no index"):
        IndexFile.existing(tmp_path / "nothing.sqlite")


def test_a_folder_that_is_named_must_be_there_and_only_ours_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(IndexFileError, match=r"there is no folder .*typing-mistake"):
        opened(tmp_path / "typing-mistake")
    assert not (tmp_path / "typing-mistake").exists()
    monkeypatch.setenv("ACGS_DATA_DIR", str(tmp_path / "new" / "data"))
    ours = index_file(Installed(CLUSTER, NAMING.prefix, {}), None)
    with IndexFile.open(ours, cluster=CLUSTER, prefix=NAMING.prefix):
        assert ours.parent == tmp_path / "new" / "data" / "audit"
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("ACGS_DATA_DIR", str(tmp_path / "file" / "data"))
    with pytest.raises(IndexFileError, match="Name another"):
        index_file(Installed(CLUSTER, NAMING.prefix, {}), None)


class Watched(list[tuple[Place, int, Entry]]):
    """Records, and whether somebody is adding them."""

    def __init__(self, number: int) -> None:
        super().__init__(((NAMING.topic(topics.IN_MESSAGES), 0), n, Entry(n, message=f"m{n}")) for n in range(number))
        self.begun, self.ended = Event(), Event()

    def __iter__(self) -> Iterator[tuple[Place, int, Entry]]:
        self.begun.set()
        try:
            yield from super().__iter__()
        finally:
            self.ended.set()


async def test_an_index_is_closed_only_after_the_thread_that_a_cancelled_task_has_left_at_work(tmp_path: Path) -> None:
    records = Watched(300_000)
    file = opened(tmp_path)
    adding = asyncio.create_task(asyncio.to_thread(file.add, Batch(records, (), {})))
    await asyncio.to_thread(records.begun.wait, 30)
    adding.cancel()
    with suppress(asyncio.CancelledError):
        await adding
    assert not records.ended.is_set(), "the thread goes on"
    file.close()
    assert records.ended.is_set()
    file.close()
    with opened(tmp_path) as again:
        assert again.count() == len(records)


def test_a_damaged_index_says_what_to_do_whatever_is_asked_of_it(tmp_path: Path) -> None:
    path = tmp_path / "index.sqlite"
    indexed(tmp_path, traffic().topics).close()
    whole, page = path.read_bytes(), 4_096
    for damaged in range(1, len(whole) // page):
        path.write_bytes(whole[: damaged * page] + b"\xff" * page + whole[(damaged + 1) * page :])
        with suppress(IndexFileError), opened(tmp_path) as file:
            for asks in (file.count, file.size, file.reached, lambda f=file: f.as_of_ms):
                with suppress(IndexFileError):
                    asks()
    path.write_bytes(whole[:page])
    with pytest.raises(IndexFileError, match="'acgs audit index' builds it anew"):
        opened(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(IndexFileError, match="Delete it"), IndexFile.existing(path) as file:
        query.search(file, Filter(), 1)


def test_several_processes_may_make_one_index_at_once(tmp_path: Path) -> None:
    for number in range(40):
        together = Barrier(4)

        def make(path: Path, together: Barrier = together) -> int | None:
            together.wait()
            with IndexFile.open(path, cluster=CLUSTER, prefix=NAMING.prefix) as file:
                file.finish(5)
                return file.as_of_ms

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(make, [tmp_path / str(number)] * 4)) == [5] * 4


def test_an_index_lies_in_its_folder_whatever_the_broker_calls_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACGS_DATA_DIR", str(tmp_path))
    for cluster in ("../../../etc/x", "a/b", "x" * 5_000, "q_B1vtn6RryldPFpR_y9oA"):
        assert default_file(Installed(cluster, "t.", {})).parent == tmp_path / "audit"
    assert default_file(Installed("q_B1-9oA", "t.", {})).name == "index-t.q_B1-9oA.sqlite"


def test_of_a_story_that_strangers_have_made_too_long_the_decisions_are_kept(tmp_path: Path) -> None:
    lanes = traffic()
    released = held_items(lanes)[0]
    for number in range(MAX_PLACES + 500):
        headers = (envelope.SOURCE, b"t.in.messages/0/%d" % (100 + number)), (envelope.REASON, b"unknown_field")
        lanes.append((NAMING.topic(topics.REJECTED), 1), b"", encoded(20), headers)
    for parts in lanes.topics.values():
        for log in parts.values():
            log.sort(key=lambda one: one.offset)
    place = NAMING.topic(topics.REJECTED), 1
    lanes.log(place)[:] = [one._replace(timestamp=0) for one in lanes.log(place)]
    with indexed(tmp_path, lanes.topics) as file:
        rows = query.belonging(file, query.find(file, released.message_id))
    assert len(rows) == MAX_PLACES + 1
    assert {"held", "released", "delivered"} <= {row.entry.verdict for row in rows[:MAX_PLACES]}


def test_what_is_added_twice_is_there_once(tmp_path: Path) -> None:
    lanes = traffic()
    with indexed(tmp_path, lanes.topics) as file:
        before = file.count()
        file.add(batch(lanes.topics))
        assert file.count() == before

"""A policy tried on past traffic: what it would decide, what would change, and what owners are told of it."""

import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from schemas import envelope, topics
from schemas.deliberation import CHANGE_POLICY, DeliberationItem
from schemas.policy import AcceptedHash, Policy, Tool, Verb, published
from streams import keys
from streams.approvals import PendingItem
from streams.cli.deliberation_view import page
from streams.cli.replay import replay as command
from streams.engine.client import EngineSettings
from streams.engine.records import InputRecord
from streams.errors import PolicyRefusedError, ReplayError
from streams.proposals import message_of, propose
from streams.replay.comparing import EXAMPLES, digest_of
from streams.replay.deciding import Written
from streams.replay.joining import Joining
from streams.replay.outcomes import Place, Verdict, outcome_of
from streams.replay.prefixes import require_apart, require_apart_from_all, require_free
from streams.replay.summary import Tried, read_tried, tried_in
from tests.support.deliberated import Desk, held, registry
from tests.support.product import HASH, NEXT_HASH, SAFE_TOOL, UNKNOWN_TOOL, encoded, message, policy
from tests.support.recorded import NAMING, Recorder
from tests.support.replayed import PREFIX, differing, replayed, replaying
from tests.support.signing import decide, owners

SPINE = (topics.GATEWAY_MESSAGES, topics.TRIAGE)
TOOLS = (None, SAFE_TOOL, UNKNOWN_TOOL)


def traffic(*more: str, under: Policy | None = None) -> Recorder:
    lanes = Recorder(*SPINE, *more)
    lanes.publish(under or policy())
    values = [*[encoded(n, tool=TOOLS[n % 3]) for n in range(30)], b"{", None]
    for two in zip(values[::2], values[1::2], strict=True):
        lanes.send(topics.IN_MESSAGES, *two)
        lanes.now += 11
    lanes.run()
    return lanes


@pytest.fixture(scope="module")
def live() -> Recorder:
    return traffic()


def changed(epoch: int = 2, **changes: Any) -> Policy:  # noqa: ANN401
    return Policy.model_validate_json(policy(epoch).model_copy(update=changes).canonical())


def bare(written: list[Written], prefix: str) -> list[Written]:
    """Without the prefix, and without nonces."""

    def without(content: bytes | None) -> bytes:
        return re.sub(rb'"nonce":"[0-9a-f]{32}"', b"", content or b"")

    return [
        one._replace(topic=one.topic.removeprefix(prefix), headers=tuple((n, without(c)) for n, c in one.headers))
        for one in written
    ]


# What is decided


def test_under_the_policy_of_then_every_decision_is_the_same(live: Recorder) -> None:
    found = differing(live.topics, policy())
    assert (found.compared, found.changed, found.unknown) == (32, 0, 0)
    assert found.epochs == {1: 32}


def test_what_is_delivered_rejected_and_held_is_written_as_lanes_write_it(live: Recorder) -> None:
    written = replayed(live.topics, policy())
    for name in (topics.MESSAGES, topics.DELIVERIES, topics.REJECTED):
        was = [(p, r.key, r.value, tuple(r.headers)) for p, log in live.topics[NAMING.topic(name)].items() for r in log]
        is_ = [(w.partition, w.key, w.value, tuple(w.headers)) for w in written if w.topic == f"{PREFIX}{name}"]
        assert sorted(map(repr, is_)) == sorted(map(repr, was))
    assert {one.topic.startswith(PREFIX) for one in written} == {True}
    assert not {f"{PREFIX}audit", f"{PREFIX}triage.changelog"} & {one.topic for one in written}


def test_each_record_bears_the_time_of_its_input(live: Recorder) -> None:
    times = {
        envelope.encode_source(r.topic, r.partition, r.offset): r.timestamp
        for log in live.topics[NAMING.topic(topics.IN_MESSAGES)].values()
        for r in log
    }
    for one in replayed(live.topics, policy()):
        assert one.at_ms == times[dict(one.headers)[envelope.SOURCE] or b""]


def test_a_replay_comes_out_the_same_whatever_its_prefix_and_its_batches(live: Recorder) -> None:
    one, other = (bare(replayed(live.topics, changed(), prefix=prefix), prefix) for prefix in ("a.", "b-"))
    assert one == other
    larger = bare(replayed(live.topics, changed(), most=16), PREFIX)
    assert sorted(map(repr, larger)) == sorted(map(repr, one))
    assert replayed(live.topics, changed()) == replayed(live.topics, changed())


def test_an_output_too_large_is_a_dead_letter_and_counts_as_failed(live: Recorder) -> None:
    log = live.topics[NAMING.topic(topics.IN_MESSAGES)][0]
    written = replaying(policy(), limit=4_000).take(topics.IN_MESSAGES, [log[0]._replace(value=b'"' + b"x" * 5_000)])
    (one,) = written
    assert one.topic == f"{PREFIX}gateway-messages.dead-letters"
    record = log[0]._replace(topic=one.topic, key=one.key, value=one.value, headers=one.headers)
    found = outcome_of(topics.dead_letters(topics.GATEWAY_MESSAGES), record, NAMING.prefix)
    assert found is not None
    assert (found[0], found[1].verdict) == (Place(topics.IN_MESSAGES, 0, log[0].offset), Verdict.FAILED)


def test_headers_of_a_producer_that_stand_in_a_dead_letter_are_not_believed(live: Recorder) -> None:
    log = live.topics[NAMING.topic(topics.IN_MESSAGES)][0]
    forged = (("\udcff", b""), (envelope.POLICY, b"not a number"), (envelope.SOURCE, b"t.in.messages/0/0"))
    (one,) = replaying(policy()).take(topics.IN_MESSAGES, [log[0]._replace(offset=77, headers=forged)])
    record = log[0]._replace(topic=one.topic, key=one.key, value=one.value, headers=one.headers)
    found = outcome_of(topics.dead_letters(topics.GATEWAY_MESSAGES), record, NAMING.prefix)
    assert found is not None
    assert (found[0], found[1].epoch) == (Place(topics.IN_MESSAGES, 0, 77), 0)


# What would change


def test_each_kind_of_change_is_counted_and_shown(live: Recorder) -> None:
    assert differing(live.topics, changed(tools={})).kinds == {"delivered -> held": 10}
    known = changed(tools={SAFE_TOOL: Tool(verb=Verb.READ), UNKNOWN_TOOL: Tool(verb=Verb.DELETE)})
    assert differing(live.topics, known).kinds == {"held -> delivered": 10}
    dearer = changed(tools={SAFE_TOOL: Tool(verb=Verb.READ, points=4_000)})
    found = differing(live.topics, dearer)
    assert found.kinds == {"delivered with another score": 10}
    assert (found.raised, found.lowered) == (10, 0)
    withdrawn = changed(accepted_hashes=(AcceptedHash(hash=NEXT_HASH),))
    assert differing(live.topics, withdrawn).kinds == {
        "delivered -> rejected: hash_unknown": 20,
        "held -> rejected: hash_unknown": 10,
    }
    three = changed(tiers=(policy().tiers[0].model_copy(update={"approvals": 2, "roles": ("lead", "security")}),))
    assert differing(live.topics, three).kinds == {"held under other terms": 10}
    apart = changed(tenant_topics=("acme",))
    assert differing(live.topics, apart).kinds == {"delivered on another topic": 20}


def test_what_was_rejected_and_would_pass_is_told_with_the_reason_of_then() -> None:
    lanes = Recorder(*SPINE)
    lanes.publish(policy())
    lanes.send(topics.IN_MESSAGES, encoded(1, constitutional_hash=NEXT_HASH))
    lanes.run()
    found = differing(lanes.topics, changed(accepted_hashes=(AcceptedHash(hash=HASH), AcceptedHash(hash=NEXT_HASH))))
    assert found.kinds == {"rejected: hash_unknown -> delivered": 1}


def test_an_example_says_who_asked_for_what_and_which_factors_changed(live: Recorder) -> None:
    found = differing(live.topics, changed(tools={}))
    examples = found.document()["changes"][0]["examples"]
    assert len(examples) == EXAMPLES
    first = examples[0]
    assert first == {
        "at": "in.messages/0/2",
        "kind": "delivered -> held",
        "message_id": message(4)["message_id"],
        "from": "planner",
        "tool": SAFE_TOOL,
        "score": [1_000, 8_000],
        "factors": [{"name": "verb", "before": 1_000, "after": 0}, {"name": "tool", "before": 0, "after": 8_000}],
        "terms": [None, ("high", 1, ("security",), 0, 86_400)],
    }


def test_what_was_held_and_then_released_or_refused_further_on_counts_as_held() -> None:
    lanes = traffic(topics.DELIBERATOR, topics.GATEWAY_DECISIONS, under=registry(max_held_per_sender=2))
    lanes.pass_time(25 * 3_600_000)
    found = differing(lanes.topics, registry(max_held_per_sender=2))
    assert (found.compared, found.changed, found.unknown) == (32, 0, 0)


def test_what_approvers_have_released_says_nothing_of_what_triage_decided() -> None:
    desk = Desk()
    one = held(desk.in_force)
    desk.hold(one)
    record = InputRecord("t.deliveries", 0, 0, 0, b"", one.value, one.headers)
    assert outcome_of(topics.DELIVERIES, record, "t.") is None
    found = outcome_of(topics.DELIBERATION, record, "t.")
    assert found is not None
    assert found[1].verdict is Verdict.HELD


def test_the_other_gateways_accept_and_reject_too() -> None:
    lanes = Recorder(*topics.GATEWAYS, topics.TRIAGE, topics.DELIBERATOR)
    lanes.publish(registry())
    lanes.send(topics.IN_MESSAGES, encoded(1, tool=UNKNOWN_TOOL))
    lanes.run()
    waiting = next(r for log in lanes.topics[NAMING.topic(topics.DELIBERATION)].values() for r in log)
    item = DeliberationItem.model_validate_json(dict(waiting.headers)[envelope.ITEM] or b"")
    lanes.send(topics.IN_DECISIONS, keys.encode(decide("lee", item)), keys.encode(decide("stranger", item)), b"{")
    lanes.run()
    assert differing(lanes.topics, registry()).changed == 0
    found = differing(lanes.topics, registry(2, accepted_hashes=(AcceptedHash(hash=NEXT_HASH),)))
    assert found.kinds == {"accepted -> rejected: hash_unknown": 2, "held -> rejected: hash_unknown": 1}


def test_what_the_log_does_not_have_any_more_is_not_compared(live: Recorder) -> None:
    left = {name: by for name, by in live.topics.items() if name != NAMING.topic(topics.REJECTED)}
    found = differing(left, changed(tools={}))
    assert (found.compared, found.unknown, found.changed) == (30, 2, 10)


def test_the_digest_is_of_every_change_and_of_what_was_compared(live: Recorder) -> None:
    one, same, other = (
        differing(live.topics, under).document()
        for under in (changed(tools={}), changed(tools={}), changed(tools={SAFE_TOOL: Tool(verb=Verb.DELETE)}))
    )
    assert one == same
    assert one["sha256"] == digest_of(json.loads(json.dumps(one))) != other["sha256"]
    assert one["changes_sha256"] != other["changes_sha256"]


# Where it may be written


@pytest.mark.parametrize("prefix", ["team.", "team_", "team.acgs.", "team.acgs.try."])
def test_no_prefix_that_the_live_one_begins_with_is_written_under_either(prefix: str) -> None:
    with pytest.raises(ReplayError, match="begin alike"):
        require_apart(prefix, "team.acgs.")


@pytest.mark.parametrize(
    "prefix", ["acgs.", "acgs", "acgs.try.", "a", "", "acgs_", "acgs_try.", "no slash/", "x" * 64 + ".", "plain"]
)
def test_no_prefix_that_could_be_taken_for_the_live_one_is_written_under(prefix: str) -> None:
    with pytest.raises(ReplayError):
        require_apart(prefix, "acgs.")


def test_an_installation_without_a_prefix_is_told_that_no_replay_is_apart_from_it() -> None:
    with pytest.raises(ReplayError, match="where ACGS_PREFIX is set"):
        require_apart("try-1.", "")


@pytest.mark.parametrize("prefix", ["prod.", "prod.deliveries.", "prod_try.", "pro.d_", "prod.try-1."])
def test_no_prefix_of_another_installation_on_the_cluster_is_written_under(prefix: str) -> None:
    existing = ["acgs.in.messages", "prod.in.messages", "pro.d.in.messages", "in.messages", "try-0.messages"]
    require_apart_from_all("try-1.", existing)
    require_apart_from_all("try-0.", existing)
    with pytest.raises(ReplayError, match="of another installation"):
        require_apart_from_all(prefix, existing)


def test_other_prefixes_are_free_until_something_begins_so() -> None:
    require_apart("try-1.", "acgs.")
    require_free("try-1.", ["acgs.control", "try-10.control"])
    with pytest.raises(ReplayError, match="acgs replay remove try-1"):
        require_free("try-1.", ["try-1.replay", "try-1.control"])
    with pytest.raises(ReplayError, match=r"are no replay's, try-1\.control"):
        require_free("try-1.", ["try-1.control"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--from, --to and --into are needed"),
        (["--from", "yesterday"], "is no time such as"),
        (["--from", "1969-12-31"], "is before 1970"),
        (["--from", "2026-01-01", "--to", "2026-01-02", "--into", "x.", "--next-epoch"], "which is not given"),
        (["--into", "x.", "diff", "y."], "do not go with 'diff'"),
    ],
)
def test_the_command_says_what_is_missing(arguments: list[str], words: str) -> None:
    told = CliRunner().invoke(command, arguments)
    assert (told.exit_code, words in told.output) == (2, True)


# What owners are told


@pytest.fixture
def tried_file(live: Recorder, tmp_path: Path) -> Path:
    file = tmp_path / "try-1.json"
    file.write_text(json.dumps(differing(live.topics, changed(tools={})).document()))
    return file


def test_the_summary_of_a_difference_is_bound_to_the_exact_policy(tried_file: Path) -> None:
    tried = read_tried(tried_file)
    assert tried.policy == published(changed(tools={}).canonical()).digest
    assert [(one.kind, one.count) for one in tried.changes] == [("delivered -> held", 10)]
    assert tried_in({"replay": orjson.loads(tried.model_dump_json())}) == tried
    assert tried_in({"replay": {"difference": "x"}}) is None


async def test_a_difference_of_another_policy_is_not_proposed(tried_file: Path) -> None:
    tried = read_tried(tried_file)
    nowhere = EngineSettings(bootstrap_servers="127.0.0.1:1", prefix="acgs.", client_id="test")
    with pytest.raises(PolicyRefusedError, match="the replay tried another policy"):
        await propose(nowhere, changed(3, tools={}), "ann", tried=tried)


async def test_a_difference_on_the_traffic_of_another_installation_is_not_proposed(tried_file: Path) -> None:
    elsewhere = EngineSettings(bootstrap_servers="127.0.0.1:1", prefix="prod.", client_id="test")
    with pytest.raises(PolicyRefusedError, match=r"on the traffic of 't\.', and this is 'prod\.'"):
        await propose(elsewhere, changed(tools={}), "ann", tried=read_tried(tried_file))


def test_owners_are_told_that_retention_had_deleted_some_of_the_traffic(live: Recorder, tmp_path: Path) -> None:
    said = differing(live.topics, changed(tools={})).document()
    said["made_of"]["inputs"][0]["cut"] = True
    file = tmp_path / "cut.json"
    file.write_text(json.dumps({**said, "sha256": digest_of(said)}))
    in_force, proposed = (
        registry(epoch, tools=t, **owners("ann", "bob")) for epoch, t in ((1, policy().tools), (2, {}))
    )
    tried = read_tried(file).model_copy(update={"policy": published(proposed.canonical()).digest})
    action = {"tool": CHANGE_POLICY, "arguments": {"document": orjson.loads(proposed.canonical())}}
    desk = Desk(in_force)
    one = held(desk.in_force, tool=None, payload={"action": action}, content=content_of(tried))
    status = desk.status(desk.hold(one))
    assert status is not None
    told = "\n".join(map(str, page(PendingItem(status, one.value, None), 0, in_force)))
    assert "on the traffic of t. from 2027" in told
    assert "retention may have deleted" in told


def test_what_owners_sign_is_the_same_as_before_where_no_replay_is_named(tried_file: Path) -> None:
    without, with_it = (content_of(tried) for tried in (None, read_tried(tried_file)))
    assert set(without) == {"proposal", "difference"}
    assert with_it == {**without, "replay": with_it["replay"]}


def content_of(tried: Tried | None) -> dict[str, Any]:
    content = message_of(changed(tools={}), policy(), "ann", tried)["content"]
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ({}, ["10 delivered -> held", "of 32 decisions, 20 would be others; 0 not compared", "as its proposer says"]),
        ({"buy": Tool(verb=Verb.PAY)}, ["tried another policy than this"]),
        (None, ["it was not tried on past traffic"]),
    ],
)
def test_the_page_that_owners_read_before_they_sign_says_what_would_change(
    live: Recorder, tmp_path: Path, tools: dict[str, Tool] | None, words: list[str]
) -> None:
    in_force, tried, proposed = (
        registry(epoch, tools=known, **owners("ann", "bob"))
        for epoch, known in ((1, policy().tools), (2, {}), (2, tools or {}))
    )
    file = tmp_path / "try-1.json"
    file.write_text(json.dumps(differing(live.topics, tried).document()))
    desk = Desk(in_force)
    action = {"tool": CHANGE_POLICY, "arguments": {"document": orjson.loads(proposed.canonical())}}
    content = {} if tools is None else content_of(read_tried(file))
    one = held(desk.in_force, tool=None, payload={"action": action}, content=content)
    status = desk.status(desk.hold(one))
    assert status is not None
    told = "\n".join(map(str, page(PendingItem(status, one.value, None), 0, in_force)))
    for expected in words:
        assert expected in told


def test_a_difference_that_was_edited_is_refused(tried_file: Path) -> None:
    said = json.loads(tried_file.read_text())
    tried_file.write_text(json.dumps({**said, "changed": 0, "changes": []}))
    with pytest.raises(ReplayError, match="was changed after it was made"):
        read_tried(tried_file)


def test_a_comparison_without_room_says_where_to_make_some(live: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.replay.joining._CACHE_KIB", 1)
    limited = Joining.__enter__

    def enter(self: Joining) -> Joining:
        made = limited(self)
        made._database.execute("PRAGMA max_page_count = 4")  # noqa: SLF001  # as a full disk does
        return made

    monkeypatch.setattr(Joining, "__enter__", enter)
    with pytest.raises(ReplayError, match="SQLITE_TMPDIR"):
        differing(live.topics, changed(tools={}))


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_what_is_no_difference_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(ReplayError, match="is no difference"):
        read_tried(file)

import json

import orjson
from hypothesis import given
from hypothesis import strategies as st

from schemas import envelope
from schemas.score import Factor, ScoreCard, encode_card
from streams.engine import dead_letters
from streams.engine.dead_letters import Kind, resolution_headers
from streams.engine.records import Headers, InputRecord
from streams.readable import document, words
from tests.support.product import encoded, policy

TOPICS = ("in.messages", "control", "messages", "deliveries", "deliberation", "rejected", "audit", "lanes")
HEADERS = (envelope.CARD, envelope.ITEM, envelope.REASON, dead_letters.KIND, dead_letters.RESOLUTION, "other")
CARD = ScoreCard(5_500, (Factor("verb", 3_000, "it pays"), Factor("amount", 2_500, "n is 9")), "pay", "pay", "1:a", 1)


def record(topic: str, value: bytes | None, headers: Headers = (), key: bytes | None = b"k") -> InputRecord:
    return InputRecord(f"acgs.{topic}", 0, 7, 1_700_000_000_000, key, value, headers)


def test_a_delivery_says_who_does_what_and_why_it_scores() -> None:
    said = words(record("deliveries", encoded(tool="pay"), ((envelope.CARD, encode_card(CARD)),)))
    assert said.about == "planner -> executor  pay"
    assert said.mark == "0.5500"
    assert said.why == "verb +0.3000 (it pays), amount +0.2500 (n is 9)"


def test_a_rejection_says_its_reason() -> None:
    said = words(record("rejected", b"{", ((envelope.REASON, b"truncated"), (envelope.DETAIL, b"it ends early"))))
    assert (said.about, said.mark, said.why, said.tone) == ("{", "truncated", "it ends early", "bad")


def test_headers_on_a_public_topic_are_believed_nothing() -> None:
    said = words(record("in.messages", encoded(), ((envelope.CARD, encode_card(CARD)), (envelope.REASON, b"expired"))))
    assert (said.mark, said.why) == ("", "")


def test_a_policy_says_its_epoch() -> None:
    assert words(record("control", policy(4).canonical())).mark == "epoch 4"


def test_a_dead_letter_says_the_error_and_a_resolution_how() -> None:
    key, value, headers = dead_letters.letter(record("messages", b"\xff"), Kind.HANDLER_FAILED, ValueError("no"))
    said = words(record("triage.dead-letters", value, headers, key))
    assert (said.mark, said.why) == ("handler-failed", "ValueError: no")
    assert (
        words(record("triage.dead-letters", None, resolution_headers("redriven by ann"), key)).why == "redriven by ann"
    )


def test_bytes_that_are_no_text_are_told_apart() -> None:
    told = document(record("messages", b"\xff\x00", (("h", b"\xfe"), ("none", None)), None))
    assert told["key"] is None
    assert told["value_base64"] == "/wA="
    assert told["headers"] == [{"name": "h", "value_base64": "/g=="}, {"name": "none", "value": None}]
    assert json.loads(orjson.dumps(told)) == told


@given(
    st.sampled_from(TOPICS),
    st.none() | st.binary() | st.builds(orjson.dumps, st.recursive(st.none() | st.text(), st.lists)),
    st.lists(st.tuples(st.sampled_from(HEADERS), st.none() | st.binary())),
)
def test_no_record_is_beyond_words(topic: str, value: bytes | None, headers: Headers) -> None:
    words(record(topic, value, headers))
    document(record(topic, value, headers))

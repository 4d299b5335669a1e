"""JSON without tolerance."""

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import strict_json
from schemas.reasons import Reason
from schemas.strict_json import MAX_DEPTH, MAX_INTEGER, Defect

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)
texts = st.text('{}[]",:\\/u0123456789abcdefnrtNI+-.eE \n\x00é') | st.text()
json_like = st.one_of(
    st.binary(),
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    values.map(lambda value: json.dumps(value).encode()),
    st.builds(lambda value, cut: json.dumps(value).encode()[:cut], values, st.integers(0, 60)),
)


def outcome(value: bytes) -> object:
    """What loads() says: the value, or the reason."""
    try:
        return ("value", strict_json.loads(value))
    except Defect as defect:
        return defect.reason


def slow_outcome(value: bytes) -> object:
    try:
        return ("value", strict_json._loads_slowly(value))  # noqa: SLF001  # the two ways in must agree
    except Defect as defect:
        return defect.reason


@given(json_like)
@example(b'{"a":1,"a":1}')
@example(b'{"a":{"b":1,"b":1}}')
@example(b"1e400")
@example(b"9007199254740992")
@example(b"-9007199254740992")
@example(b'"\\ud800"')
@example(b"[" * 33 + b"]" * 33)
@example(b"\xef\xbb\xbf{}")
@example(b"-0")
@example(b"1.0")
@example(b"1E5")
@example(b"123456789012345678901234567890")
@example(b"NaN")
def test_any_bytes_give_a_value_or_a_defect_and_both_ways_agree(value: bytes) -> None:
    fast, slow = outcome(value), slow_outcome(value)
    assert fast == slow
    assert type(fast) is type(slow)


@given(values)
def test_what_is_written_as_json_reads_back_the_same(value: object) -> None:
    text = json.dumps(value).encode()
    read = strict_json.loads(text)
    assert read == json.loads(text)
    assert json.dumps(read) == json.dumps(json.loads(text))


@given(json_like)
def test_what_is_accepted_is_what_every_other_reader_reads(value: bytes) -> None:
    try:
        read = strict_json.loads(value)
    except Defect:
        return
    expected = json.loads(value.decode())
    assert read == expected
    assert _types(read) == _types(expected)


def _types(value: object) -> object:
    if isinstance(value, dict):
        return {key: _types(inner) for key, inner in value.items()}
    return [_types(inner) for inner in value] if isinstance(value, list) else type(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (b'{"a":', Reason.TRUNCATED),
        (b'{"a":"b', Reason.TRUNCATED),
        (b"[1,2", Reason.TRUNCATED),
        (b"[1,]", Reason.NOT_JSON),
        (b"{]", Reason.NOT_JSON),
        (b"nul", Reason.NOT_JSON),
        (b"{} {}", Reason.NOT_JSON),
        (b"'a'", Reason.NOT_JSON),
        (b'"\x00"', Reason.NOT_JSON),
        (b"\xff", Reason.NOT_UTF8),
        (b'"\xed\xa0\x80"', Reason.NOT_UTF8),
        (b'{"a":1,"a":2}', Reason.DUPLICATE_KEY),
        (b'{"a":1,"\\u0061":2}', Reason.DUPLICATE_KEY),
        (b'[{"x":{"y":0,"y":0}}]', Reason.DUPLICATE_KEY),
        (b"NaN", Reason.NOT_FINITE),
        (b"[-Infinity]", Reason.NOT_FINITE),
        (b"1e999", Reason.NOT_FINITE),
        (b"9007199254740992", Reason.INTEGER_OUT_OF_RANGE),
        (b"[-9007199254740992]", Reason.INTEGER_OUT_OF_RANGE),
        (b"1" * 400, Reason.INTEGER_OUT_OF_RANGE),
        (b"1" * 5000, Reason.INTEGER_OUT_OF_RANGE),
        (b'{"a":"\\ud800"}', Reason.LONE_SURROGATE),
        (b'{"\\udc00":1}', Reason.LONE_SURROGATE),
        (b"[" * 33 + b"]" * 33, Reason.TOO_DEEP),
        (b'{"a":' * 33 + b"1" + b"}" * 33, Reason.TOO_DEEP),
        (b"[1," + b"[" * 32 + b"]" * 32 + b",{}]", Reason.TOO_DEEP),
        (b'{"a":' * 40, Reason.TOO_DEEP),
        (b"[" * 100_000, Reason.TOO_DEEP),
    ],
)
def test_each_defect_has_its_reason(value: bytes, reason: Reason) -> None:
    assert outcome(value) is reason


def test_what_is_at_the_limits_is_accepted() -> None:
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert strict_json.loads(deep) is not None
    assert strict_json.loads(b"[" + b",".join([b'{"a":[]}'] * 100) + b"]") == [{"a": []}] * 100
    assert strict_json.loads(b"[1," + b'{"a":' * (MAX_DEPTH - 2) + b"{}" + b"}" * (MAX_DEPTH - 2) + b"]") is not None
    assert strict_json.loads(str(MAX_INTEGER).encode()) == MAX_INTEGER
    assert strict_json.loads(b'"\\ud83d\\ude00"') == "\U0001f600"
    assert strict_json.loads(b'"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["') == "[" * 39
    assert strict_json.loads(b"1e308") == 1e308
    assert math.copysign(1, strict_json.loads(b"-0.0")) == -1  # type: ignore[arg-type]


def test_a_detail_never_shows_a_whole_long_key_or_number() -> None:
    with pytest.raises(Defect) as caught:
        strict_json.loads(b'{"' + b"k" * 1_000 + b'":1,"' + b"k" * 1_000 + b'":1}')
    assert len(caught.value.detail) < 200

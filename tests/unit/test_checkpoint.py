"""The checkpoint's contract: one way to write it, and what of it is signed."""

import hashlib

import pytest
import rfc8785

from handlers.signatures import is_signed
from schemas import registry
from schemas.checkpoint import FIRST_PREVIOUS, Checkpoint, LaneHead, TreeHead, parse, signed_bytes
from streams.keys import SigningKey

KEY = SigningKey.generate()


def checkpoint(**changes: object) -> Checkpoint:
    fields: dict[str, object] = {
        "v": 1,
        "number": 1,
        "signed_at": "2026-05-03T14:00:00.000Z",
        "prefix": "acgs.",
        "cluster_id": 'äö-\u2028/ "cluster"',
        "previous": FIRST_PREVIOUS,
        "trees": [{"partition": number, "size": number, "root": "a" * 64, "broken": 0} for number in range(2)],
        "heads": [{"agent": "gateway", "lane": lane, "seq": 2**53 - 1, "sha256": "b" * 64} for lane in (2, 10)],
        "key_id": KEY.id,
        **changes,
    }
    return Checkpoint.model_validate_json(rfc8785.dumps({**fields, "signature": KEY.sign(signed_bytes(fields))}))


def test_it_is_written_as_canonical_json_and_read_back() -> None:
    written = checkpoint()
    assert written.line() == rfc8785.dumps(written.model_dump(mode="json"))
    assert parse(written.line()) == written
    assert written.digest == hashlib.sha256(written.line()).hexdigest()


def test_the_signature_is_over_everything_but_itself() -> None:
    written = checkpoint()
    raw = registry.raw_key(KEY.public_key)
    assert is_signed(raw, written.signature, written.signed_bytes)
    for change in (
        {"number": 2},
        {"signed_at": "2026-05-03T14:00:00.001Z"},
        {"previous": "c" * 64},
        {"prefix": "other."},
        {"cluster_id": "other"},
        {"trees": (TreeHead(partition=0, size=1, root="a" * 64, broken=0),)},
        {"heads": (LaneHead(agent="gateway", lane=0, seq=1, sha256="b" * 64),)},
    ):
        assert not is_signed(raw, written.signature, written.model_copy(update=change).signed_bytes), change


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b'"number":1', b'"number": 1', "canonical"),
        (b'"number":1', b'"number":1,"number":1', "canonical"),
        (b'"number":1', b'"number":0', "number: Input should be greater than or equal to 1"),
        (b'"number":1', b'"number":"1"', "number: Input should be a valid integer"),
        (b'"partition":1', b'"partition":2', "trees are not those of partitions 0, 1, 2"),
        (b'"lane":2', b'"lane":11', "heads are not in the order"),
        (b'"lane":2', b'"lane":10', "heads are not in the order"),
        (b'"v":1', b'"v":2', "v: Input should be less than or equal to 1"),
        (b'{"cluster_id"', b'{"more":1,"cluster_id"', "more: Extra inputs are not permitted"),
        (b"}", b"", "EOF|JSON"),
    ],
)
def test_what_the_notary_would_not_write_is_refused(old: bytes, new: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(checkpoint().line().replace(old, new))

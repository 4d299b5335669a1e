"""What every claim-check store must do: one suite, run against a folder and against a server that speaks S3."""

import asyncio
import hashlib
from abc import ABC, abstractmethod

import pytest

from schemas.activity import MAX_RESULT_BYTES, Claim
from streams.claims import ClaimStore, open_claims
from streams.errors import ClaimDamagedError, ClaimMissingError, ClaimStoreError

VALUE = b'{"rows":[1,2,3]}'


def claim(value: bytes) -> Claim:
    return Claim(sha256=hashlib.sha256(value).hexdigest(), bytes=len(value))


class Place(ABC):
    """Where a store keeps its values, as whoever owns it sees it."""

    where: str

    @abstractmethod
    def names(self) -> list[str]:
        """What is there."""

    @abstractmethod
    def replace(self, name: str, value: bytes) -> None:
        """Puts other bytes under a name."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Removes what is there under a name."""


class ClaimsSuite:
    """The tests. A subclass gives the fixture `place`, empty."""

    @pytest.fixture
    def store(self, place: Place) -> ClaimStore:
        return open_claims(place.where)

    @pytest.mark.parametrize("length", [0, 1, MAX_RESULT_BYTES + 1, 9 * 1024 * 1024])
    async def test_a_value_of_any_length_is_kept_and_given_to_others(self, place: Place, length: int) -> None:
        value = bytes(range(256)) * (length // 256) + bytes(length % 256)
        writer = open_claims(place.where)
        kept = await writer.put(value)
        await writer.aclose()
        assert kept == claim(value)
        assert await open_claims(place.where).get(kept) == value

    async def test_a_value_is_kept_once_under_its_digest_however_often_it_is_put(
        self, place: Place, store: ClaimStore
    ) -> None:
        assert [await store.put(VALUE) for _ in range(3)] == [claim(VALUE)] * 3
        assert place.names() == [claim(VALUE).sha256]
        assert await store.get(claim(VALUE)) == VALUE

    async def test_what_is_put_and_got_at_the_same_time_does_not_mix(self, place: Place) -> None:
        stores = [open_claims(place.where) for _ in range(2)]
        values = [bytes([number]) * 10_000 for number in range(8)]
        kept = await asyncio.gather(*(store.put(value) for store in stores for value in values * 2))
        assert kept == [claim(value) for value in values * 4]
        assert await asyncio.gather(*(store.get(one) for store in stores for one in kept)) == values * 8
        assert sorted(place.names()) == sorted(claim(value).sha256 for value in values)

    async def test_a_value_never_put_or_removed_is_missing(self, place: Place, store: ClaimStore) -> None:
        await store.put(VALUE)
        place.remove(claim(VALUE).sha256)
        for absent in (claim(VALUE), claim(b"never put")):
            with pytest.raises(ClaimMissingError) as raised:
                await store.get(absent)
            assert_told(raised.value, absent, place)

    @pytest.mark.parametrize("found", [b"", VALUE[:-1], VALUE + b" ", VALUE[:-1] + b"]"])
    async def test_a_value_that_was_changed_is_not_given(self, place: Place, store: ClaimStore, found: bytes) -> None:
        await store.put(VALUE)
        place.replace(claim(VALUE).sha256, found)
        what = "other bytes" if len(found) == len(VALUE) else f"{len(found)} bytes"
        with pytest.raises(ClaimDamagedError, match=f"has {what}, not what was put") as raised:
            await store.get(claim(VALUE))
        assert_told(raised.value, claim(VALUE), place)

    @pytest.mark.parametrize("length", [0, len(VALUE) - 1, len(VALUE) + 1])
    async def test_a_claim_of_another_length_is_not_met(self, store: ClaimStore, length: int) -> None:
        kept = await store.put(VALUE)
        with pytest.raises(ClaimDamagedError):
            await store.get(kept.model_copy(update={"bytes": length}))

    async def test_a_damaged_value_is_whole_again_once_it_is_put_again(self, place: Place, store: ClaimStore) -> None:
        await store.put(VALUE)
        place.replace(claim(VALUE).sha256, b"damaged")
        await store.put(VALUE)
        assert await store.get(claim(VALUE)) == VALUE


def assert_told(error: ClaimStoreError, about: Claim, place: Place) -> None:
    """It says which claim and where, and shows no whole digest."""
    assert about.sha256[:8] in str(error)
    assert about.sha256[:9] not in str(error)
    assert place.where in str(error)

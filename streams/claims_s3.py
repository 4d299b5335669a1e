"""The claim-check store in S3, or in what speaks like it. Needs the extra `s3`."""

import os
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store

from schemas.activity import Claim
from streams.claims import ClaimStore, checked, claim_of, damaged, missing, said, unusable
from streams.errors import SettingsError

if TYPE_CHECKING:  # a name of its stubs only
    from obstore import GetResult

_RETRIES, _RETRY_FOR = 10, timedelta(seconds=20)
_CONNECT_TIMEOUT, _REQUEST_TIMEOUT = timedelta(seconds=5), timedelta(seconds=30)


class S3Claims(ClaimStore):
    """A claim-check store under a prefix of a bucket: an object for each value, named by its digest.

    Whatever speaks S3 and is durable when it answers will do. A request that fails is tried again, ten times within
    20 s at most. `where` is `s3://bucket/prefix`; the environment's AWS_... variables are read once, here.

    Raises:
        SettingsError: `where` is something else, or the environment does not make sense.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._bucket = _bucket(where)

    async def put(self, value: bytes) -> Claim:
        """As ClaimStore says."""
        claim = await claim_of(value)
        try:
            await self._bucket.put_async(claim.sha256, value, use_multipart=False)
        except (BaseError, OSError) as error:
            raise unusable(self._where, error) from error
        return claim

    async def get(self, claim: Claim) -> bytes:
        """As ClaimStore says."""
        try:
            value = await self._read(await self._bucket.get_async(claim.sha256), claim)
        except FileNotFoundError as error:
            raise missing(claim, self._where) from error
        except (BaseError, OSError) as error:
            raise unusable(self._where, error) from error
        return await checked(claim, value, self._where)

    async def aclose(self) -> None:
        """As ClaimStore says."""

    async def _read(self, found: "GetResult", claim: Claim) -> bytes:
        if found.meta["size"] != claim.bytes:  # known before the rest is fetched
            raise damaged(claim, self._where, f"{found.meta['size']} bytes")
        return bytes(await found.bytes_async())


def _bucket(where: str) -> S3Store:
    place, endpoint = _place(where), _endpoint()
    try:
        return S3Store(
            place.netloc,
            prefix=place.path.strip("/") or None,
            config={} if endpoint is None else {"endpoint": endpoint},
            client_options={
                "allow_http": endpoint is not None and endpoint.startswith("http://"),
                "connect_timeout": _CONNECT_TIMEOUT,
                "timeout": _REQUEST_TIMEOUT,
            },
            retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_FOR},
        )
    except (BaseError, ValueError) as error:
        raise SettingsError(f"claims cannot be kept in {where}: {said(error)}; see to it and to AWS_...") from error


def _place(where: str) -> SplitResult:
    place = urlsplit(where)
    if not place.netloc or place.netloc != place.hostname or place.query or place.fragment:
        raise SettingsError("claims in S3 are kept under s3://bucket/prefix, and nothing but these two is given there")
    return place


def _endpoint() -> str | None:
    given = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not given:
        return None
    place = urlsplit(given)
    if place.scheme not in {"http", "https"} or not place.hostname or place.username is not None:
        raise SettingsError("AWS_ENDPOINT_URL is the http:// or https:// URL of what speaks S3, without a user in it")
    return given

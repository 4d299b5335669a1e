"""The claim-check store: what is too large to travel on Kafka, kept by its digest."""

import asyncio
import hashlib
import os
import re
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from schemas.activity import Claim
from streams.durable import sync
from streams.errors import ClaimDamagedError, ClaimMissingError, ClaimStoreError, SettingsError

_S3 = "s3://"
_SHOWN_DIGEST_CHARACTERS = 8
_MAX_SAID_CHARACTERS = 300
_DIGEST = re.compile(r"([0-9a-f]{8})[0-9a-f]{56}")


class ClaimStore(Protocol):
    """Keeps values by their SHA-256. Nothing is ever deleted or changed: how long values stay is their keeper's to say.

    Any number of tasks and processes may put and get at the same time, the same value too. No reader ever sees a part
    of a value. A cancelled put may still store its value. A store belongs to one event loop.
    """

    async def put(self, value: bytes) -> Claim:
        """Stores a value of any length, durably once this returns. Putting it again changes nothing, or repairs it.

        Raises:
            ClaimStoreError: the store cannot be written. The value may be there all the same.
        """
        ...

    async def get(self, claim: Claim) -> bytes:
        """The value, checked against the claim's length and digest.

        Raises:
            ClaimMissingError: the store does not have it.
            ClaimDamagedError: what the store has is not what was put.
            ClaimStoreError: the store cannot be read.
        """
        ...

    async def aclose(self) -> None:
        """Closes the store. Nobody may be using it."""
        ...


def open_claims(where: str) -> ClaimStore:
    """The store in a folder, which is made where it is missing, or under `s3://bucket/prefix`.

    A folder must be one that all who share the store see. S3, or what speaks like it, is reached as the environment
    says: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL and the like; profile files are not
    read. The bucket is not asked for before the first put or get.

    Raises:
        SettingsError: `where` is neither, the environment does not make sense, or the client of S3 is not installed.
        ClaimStoreError: the folder cannot be made.
    """
    if where.startswith(_S3):
        return _in_s3(where)
    if not where or "://" in where:
        raise SettingsError("claims are kept in a folder or under s3://bucket/prefix: name one of them")
    return FolderClaims(Path(where))


def _in_s3(where: str) -> ClaimStore:
    try:
        from streams.claims_s3 import S3Claims  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise SettingsError("claims in S3 need obstore: pip install 'acgs-streams[s3]'") from error
    return S3Claims(where)


class FolderClaims(ClaimStore):
    """A claim-check store in one folder: a file for each value, named by its digest.

    Written under another name, synced, renamed, and the folder synced: a value is there whole or not at all, whatever
    is killed. What a killed process leaves ends in `.partial`; nothing reads it, and it may be deleted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        try:
            _make(self._folder)
        except OSError as error:
            raise unusable(str(self._folder), error) from error

    async def put(self, value: bytes) -> Claim:
        """As ClaimStore says."""
        claim = await claim_of(value)
        try:
            await asyncio.to_thread(self._write, claim.sha256, value)
        except OSError as error:
            raise unusable(str(self._folder), error) from error
        return claim

    async def get(self, claim: Claim) -> bytes:
        """As ClaimStore says."""
        try:
            value = await asyncio.to_thread((self._folder / claim.sha256).read_bytes)
        except FileNotFoundError as error:
            raise missing(claim, str(self._folder)) from error
        except OSError as error:
            raise unusable(str(self._folder), error) from error
        return await checked(claim, value, str(self._folder))

    async def aclose(self) -> None:
        """As ClaimStore says."""

    def _write(self, name: str, value: bytes) -> None:
        partial = self._folder / f"{name}.{uuid4().hex}.partial"
        try:
            with partial.open("xb") as file:
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._folder / name)
        finally:
            partial.unlink(missing_ok=True)
        sync(self._folder)


def _make(folder: Path) -> None:
    for absent in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        absent.mkdir(exist_ok=True)
        sync(absent.parent)
    if not folder.is_dir():
        raise NotADirectoryError("it is no folder")


async def claim_of(value: bytes) -> Claim:
    """The claim by which a value is kept."""
    return Claim(sha256=await asyncio.to_thread(_digest, value), bytes=len(value))


def _digest(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


async def checked(claim: Claim, value: bytes, where: str) -> bytes:
    """The value that was found, if it is the claim's.

    Raises:
        ClaimDamagedError: it is not.
    """
    if len(value) != claim.bytes:
        raise damaged(claim, where, f"{len(value)} bytes")
    if await claim_of(value) != claim:
        raise damaged(claim, where, "other bytes")
    return value


def missing(claim: Claim, where: str) -> ClaimMissingError:
    """The error of a store that does not have a value."""
    return ClaimMissingError(
        f"{_named(claim)} is not in {where}: see that workers and readers are given the same store, "
        "and that nothing deletes from it what workflows still need"
    )


def damaged(claim: Claim, where: str, found: str) -> ClaimDamagedError:
    """The error of a store that has another value than was put."""
    return ClaimDamagedError(
        f"{_named(claim)} in {where} has {found}, not what was put: restore it from a copy, or put the value again"
    )


def unusable(where: str, error: Exception) -> ClaimStoreError:
    """The error of a store that cannot be reached or refuses, as the system or the client puts it."""
    return ClaimStoreError(
        f"claims cannot be kept in or read from {where}: {said(error)}; "
        "see that it is there, reachable and allowed, then try again"
    )


def said(error: Exception) -> str:
    """An error's first line, safe to print: without whole digests."""
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return ascii(_DIGEST.sub(r"\1...", line))[1:-1][:_MAX_SAID_CHARACTERS]


def _named(claim: Claim) -> str:
    return f"claim {claim.sha256[:_SHOWN_DIGEST_CHARACTERS]}... ({claim.bytes} bytes)"

"""Checkpoints to a webhook: each at least once, in order, however long it is away."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Protocol

import aiohttp
from pydantic import Field, SecretStr, ValidationError

from schemas.checkpoint import Checkpoint
from schemas.model import Contract, Sha256
from streams.backoff import Backoff
from streams.durable import sync
from streams.notary.checkpoint_file import lines
from streams.notary.errors import CheckpointFileError, FileRefusedError, UnusableFileError

_log = logging.getLogger(__name__)

_WITHIN: Final = timedelta(seconds=10)
_CONNECT_WITHIN_S: Final = 5.0
_TAKEN_BELOW: Final = 300
_AS_JSON: Final = "application/json"


class Delivered(Contract):
    """The last checkpoint that the webhook has taken."""

    number: Annotated[int, Field(ge=1)]
    sha256: Sha256


class Counts(Protocol):
    """What is told of deliveries."""

    def delivered(self) -> None:
        """The webhook has taken one."""
        ...

    def not_delivered(self) -> None:
        """An attempt has failed."""
        ...


class Delivery:
    """Posts each line of the file of checkpoints as it is. Any status below 300 means that it is taken.

    What was taken is noted beside the file, in `FILE.delivered`, so that a restart goes on from there. Tell it of each
    checkpoint in the file with note(), in order, before run().
    """

    def __init__(
        self, url: SecretStr, token: SecretStr | None, file: Path, counts: Counts, backoff: Backoff | None = None
    ) -> None:
        """Reads what was delivered before.

        Raises:
            UnusableFileError: the note of it cannot be read.
        """
        self._url, self._token, self._file, self._counts = url, token, file, counts
        self._backoff = backoff or Backoff()
        self._note_file = file.with_name(f"{file.name}.delivered")
        self._delivered = self._read_note()
        self._at = 0
        self._last_number = 0
        self._more = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many checkpoints wait to be taken."""
        return self._last_number - (self._delivered.number if self._delivered else 0)

    def note(self, made: Checkpoint, end: int) -> None:
        """A checkpoint is in the file, up to an offset.

        Raises:
            FileRefusedError: the webhook has taken another one of that number.
        """
        self._last_number = made.number
        if self._delivered is not None and made.number == self._delivered.number:
            if made.digest != self._delivered.sha256:
                raise FileRefusedError(
                    f"{self._file} has another checkpoint {made.number} than the webhook has taken, by "
                    f"{self._note_file}: it was replaced by another file"
                )
            self._at = end
        self._more.set()

    def require_all(self) -> None:
        """Call it once every checkpoint in the file was noted.

        Raises:
            FileRefusedError: the webhook has taken more than there is.
        """
        if self.waiting < 0:
            raise FileRefusedError(
                f"{self._file} ends with checkpoint {self._last_number}, and the webhook has taken "
                f"{self._last_number - self.waiting}, by {self._note_file}: the file has lost its end. Going on would "
                "sign other checkpoints under numbers that are known outside; put the missing ones back from there"
            )

    async def run(self) -> None:
        """Delivers until it is cancelled. An outage only makes it wait."""
        timeout = aiohttp.ClientTimeout(total=_WITHIN.total_seconds(), connect=_CONNECT_WITHIN_S)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                self._more.clear()
                while (line := self._next()) is not None:
                    await self._deliver(session, *line)
                await self._more.wait()

    def _next(self) -> tuple[Checkpoint, bytes, int] | None:
        """The next line that was noted, and where it ends."""
        if not self.waiting:
            return None
        with self._file.open("rb") as opened:
            opened.seek(self._at)
            line = next(lines(opened))
        return Checkpoint.model_validate_json(line.content), line.content, line.end

    async def _deliver(self, session: aiohttp.ClientSession, made: Checkpoint, line: bytes, end: int) -> None:
        attempt = 0
        while (why := await self._refusal(session, line)) is not None:
            self._counts.not_delivered()
            _log.warning("the webhook has not taken checkpoint %d: %s; it is tried again", made.number, why)
            await asyncio.sleep(self._backoff.pause(attempt).total_seconds())
            attempt += 1
        self._delivered, self._at = Delivered(number=made.number, sha256=made.digest), end
        self._write_note(self._delivered)
        self._counts.delivered()

    async def _refusal(self, session: aiohttp.ClientSession, line: bytes) -> str | None:
        headers = {"Content-Type": _AS_JSON}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        try:
            async with session.post(
                self._url.get_secret_value(), data=line, headers=headers, allow_redirects=False
            ) as answered:
                return None if answered.status < _TAKEN_BELOW else f"it answers {answered.status}"
        except TimeoutError:
            return "it has not answered in time"
        except (aiohttp.ClientError, OSError) as error:
            return f"it cannot be reached ({type(error).__name__})"  # the message may hold the address

    def _read_note(self) -> Delivered | None:
        try:
            return Delivered.model_validate_json(self._note_file.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnusableFileError(f"{self._note_file} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise UnusableFileError(
                f"{self._note_file} does not say what was delivered. Remove it, and everything is delivered again"
            ) from error

    def _write_note(self, delivered: Delivered) -> None:
        """In one step: a crash leaves the note before or this one."""
        beside = self._note_file.with_name(f"{self._note_file.name}.new")
        _tell_disk(lambda: beside.write_bytes(delivered.model_dump_json().encode()), beside)
        _tell_disk(lambda: beside.replace(self._note_file), self._note_file)


def _tell_disk(write: Callable[[], object], file: Path) -> None:
    try:
        write()
        sync(file)
    except OSError as error:
        raise CheckpointFileError(f"{file} cannot be written: {error.strerror}") from error

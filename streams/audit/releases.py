"""Other releases, each in an environment of its own, that take the turns of their decision_version again."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import orjson

from schemas import topics
from streams.audit import wire
from streams.audit.subject import Subject
from streams.engine import fingerprint
from streams.engine.rerun import Range
from streams.engine.state import (
    CONTROL_KEY,
    POSITION_KEY,
    ROW_PREFIX,
    StoredRow,
    decode_position,
    decode_row_headers,
    decode_row_key,
    row_headers,
    row_key,
)
from streams.engine.turn import Bounds, Output, Turn
from streams.errors import StreamsError

Pythons = Mapping[tuple[str, int], Path]
"""The interpreter that has an agent's rules of a decision_version."""

_TAKES = ("-I", "-m", "streams.audit.release_process")  # -I: nothing of the auditor's folder, PYTHONPATH and packages
_OWN = ("--isolated", "--no-index", "--only-binary", ":all:", "--quiet", "--disable-pip-version-check")
_NO_CONFIGURATION = {"PIP_CONFIG_FILE": os.devnull}  # one may name other places to install from
_WHEELS = "acgs_streams-*.whl"
_LINE_LIMIT = 1 << 30
_INSTALLED_WITHIN_S = 600
_ENDS_WITHIN_S = 5.0
_ANSWERS_WITHIN_S = 120.0


class ReleaseError(StreamsError):
    """A release cannot be installed, or cannot take a turn again."""


def install(folder: Path, into: Path, say: Callable[[str], None]) -> dict[tuple[str, int], Path]:
    """Makes an environment in `into` for each release's wheel in a folder, which also has what the releases need.

    Nothing is fetched from elsewhere. Of two releases with the same rules the later in the order of names is taken.

    Raises:
        ReleaseError: the folder has no release, or one cannot be installed or asked.
    """
    wheels = sorted(folder.glob(_WHEELS))
    if not wheels:
        raise ReleaseError(f"{folder} has no release: there is no file {_WHEELS} in it")
    pythons: dict[tuple[str, int], Path] = {}
    for number, wheel in enumerate(wheels):
        say(f"Installing {wheel.name}")
        place = into / str(number)
        python = place / "bin" / "python"
        _run(wheel, [sys.executable, "-m", "venv", "--without-pip", str(place)])
        own = [*_OWN, "--find-links", str(folder)]
        _run(wheel, [sys.executable, "-m", "pip", "--python", str(python), "install", *own, str(wheel)])
        asked = _run(wheel, [str(python), *_TAKES], orjson.dumps({"do": "versions"}) + b"\n")
        pythons |= dict.fromkeys(versions_of(wheel, asked).items(), python)
    return pythons


def versions_of(wheel: Path, answered: bytes) -> Mapping[str, int]:
    """What a release says of itself.

    Raises:
        ReleaseError: it speaks another protocol, or says that it cannot answer.
    """
    answer = _object(answered)
    if answer is None:
        raise ReleaseError(f"{wheel.name} cannot be asked: what it says is no answer")
    versions: Mapping[str, int] | None = answer.get("versions")
    if answer.get("protocol") != wire.PROTOCOL or not isinstance(versions, dict):
        said = answer.get("error") or f"it speaks protocol {answer.get('protocol')}, this release {wire.PROTOCOL}"
        raise ReleaseError(f"{wheel.name} cannot be asked: {said}")
    return versions


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        answer = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return cast("dict[str, Any]", answer) if isinstance(answer, dict) else None


def _run(wheel: Path, command: Sequence[str], given: bytes = b"") -> bytes:
    try:
        done = subprocess.run(  # noqa: S603  # our own
            command,
            input=given,
            capture_output=True,
            timeout=_INSTALLED_WITHIN_S,
            check=True,
            env={**os.environ, **_NO_CONFIGURATION},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReleaseError(f"{wheel.name} cannot be installed: {error}") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise ReleaseError(
            f"{wheel.name} cannot be installed or asked: {' / '.join(said)}. The folder must have what it needs too"
        ) from error
    return done.stdout


class Release:
    """A process of another release that takes the turns of one lane again, beside the lane as this release has it."""

    def __init__(self, lane: Subject, process: asyncio.subprocess.Process) -> None:
        self._lane, self._process = lane, process
        self._rows: int | None = None
        self._control: bytes | None = None
        self._attempts: list[Turn[Any, Any]] = []

    @classmethod
    async def open(cls, lane: Subject, python: Path) -> "Release":
        """Starts the process. One that leaves a question without an answer for two minutes is ended.

        Raises:
            ReleaseError: it does not answer.
        """
        process = await asyncio.create_subprocess_exec(
            str(python),
            *_TAKES,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
        )
        made = cls(lane, process)
        prefix = lane.agent.topics.audit.removesuffix(topics.AUDIT)
        await made._ask({"do": "open", "agent": lane.agent.name, "lane": lane.lane, "prefix": prefix})
        return made

    async def stand(self) -> None:
        """The next attempts are of the turn after where the lane stands.

        Raises:
            ReleaseError: rows are not as the other release reads them.
        """
        state, position = self._lane.rerun.state, self._lane.rerun.position
        request: dict[str, Any] = {
            "do": "stand",
            "position": {
                "offsets": position.offsets,
                "seq": position.seq,
                "head": position.head,
                "clock_ms": position.clock_ms,
            },
            "accepted": None
            if state.accepted is None
            else {
                "offsets": state.accepted.offsets,
                "after_seq": state.accepted.after_seq,
                "operator": state.accepted.operator,
                "reason": state.accepted.reason,
            },
        }
        if self._control != state.control_document:
            request["control"] = wire.text(state.control_document)
        if self._rows != state.fingerprint and self._lane.agent.rows is not None:
            request["rows"] = list(self._encoded())
        await self._ask(request)
        self._rows, self._control, self._attempts = state.fingerprint, state.control_document, []

    async def attempt(
        self, ranges: Sequence[Range], draw: bytes, bounds: Bounds, timers: Sequence[str], recorded: int
    ) -> Turn[Any, Any]:
        """The turn as it comes out by the other release's rules.

        Raises:
            ReleaseError: it cannot take it.
        """
        answer = await self._ask(
            {
                "do": "attempt",
                "ranges": wire.of_ranges(ranges),
                "draw": draw.hex(),
                "partitions": dict(bounds.partitions),
                "max_bytes": dict(bounds.max_bytes),
                "timers": list(timers),
                "recorded": recorded,
            }
        )
        try:
            turn = self._turn(wire.batches_of(answer["batches"]), answer["records"])
        except (ValueError, TypeError, LookupError) as error:
            raise ReleaseError(f"the other release's answer is no turn: {error!r}") from error
        self._attempts.append(turn)
        return turn

    async def keep(self, turn: Turn[Any, Any]) -> None:
        """One of the attempts is part of the lane's past; nothing if it is none of them."""
        number = next((number for number, one in enumerate(self._attempts) if one is turn), None)
        if number is not None:
            await self._ask({"do": "keep", "attempt": number})
            self._rows, self._control = turn.fingerprint, turn.control_document

    async def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(_ENDS_WITHIN_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _ask(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise ReleaseError("the process of the other release has no pipes")
        try:
            async with asyncio.timeout(_ANSWERS_WITHIN_S):
                process.stdin.write(orjson.dumps(request) + b"\n")
                await process.stdin.drain()
                line = await process.stdout.readline()
        except TimeoutError as error:
            with suppress(ProcessLookupError):
                process.kill()  # what it would say later is an answer to something else
            raise ReleaseError(f"the other release did not answer within {_ANSWERS_WITHIN_S:.0f} s") from error
        except (OSError, ValueError) as error:
            raise ReleaseError(f"the other release has ended, or says too much: {error}") from error
        if not line:
            raise ReleaseError("the other release has ended without an answer")
        answer = _object(line)
        if answer is None:
            raise ReleaseError("the other release says something that is no answer")
        if "error" in answer:
            raise ReleaseError(answer["error"])
        return answer

    def _encoded(self) -> Iterator[list[Any]]:
        codec = self._lane.agent.rows
        for key, stored in self._lane.rerun.state.rows.items():
            value = b"" if codec is None else codec.encode(stored.row)
            if fingerprint.row_hash(row_key(key), value, row_headers(stored.due_ms, stored.version)) != stored.hash:
                raise ReleaseError("the lane's rows were written in a form that this release reads but does not write")
            yield [key, wire.text(value), stored.due_ms, stored.version]

    def _turn(self, batches: dict[tuple[str, int], list[Output]], records: int) -> Turn[Any, Any]:
        """The turn with its effects on the lane as this release has it: they are what it writes to the changelog."""
        lane, state = self._lane, self._lane.rerun.state
        changes: dict[str, StoredRow[Any] | None] = {}
        rows, position, document = state.fingerprint, lane.rerun.position, state.control_document
        for key, value, headers, _ in batches[lane.agent.topics.changelog, lane.lane]:
            if key == POSITION_KEY:
                position = decode_position(value or b"")
            elif key == CONTROL_KEY:
                document = value
            elif key is not None and key.startswith(ROW_PREFIX):
                name = decode_row_key(key)
                was = state.rows.get(name)
                changes[name] = now = self._stored(key, value, dict(headers))
                rows = fingerprint.changed(rows, was and was.hash, now and now.hash)
        control = lane.agent.control
        is_new = document is not state.control_document and document is not None and control is not None
        return Turn(
            batches=batches,
            position=position,
            changes=changes,
            fingerprint=rows,
            control_document=document,
            control=control.follow(document, None) if is_new and control and document else state.control,
            fired=(),
            rearmed=(),
            measures=(),
            records=records,
            dead_letters=0,
        )

    def _stored(self, key: bytes, value: bytes | None, headers: Mapping[str, bytes | None]) -> StoredRow[Any] | None:
        codec = self._lane.agent.rows
        if value is None or codec is None:
            return None
        due_ms, version = decode_row_headers(headers.items())
        hashed = fingerprint.row_hash(key, value, row_headers(due_ms, version))
        try:
            return StoredRow(codec.decode(value), due_ms, version, hashed)
        except ValueError as error:
            raise ReleaseError(f"this release does not read a row that the other one writes: {error}") from error

"""How the corpus is written: one JSON text a line, so that a changed decision is a changed line."""

import base64
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from streams.engine.agent import Agent
from streams.engine.records import Headers, InputRecord
from streams.engine.state import StoredRow
from streams.engine.turn import Turn

_LONG = 500
"""Longer contents are written once a file, and named elsewhere."""
_PACKED = 2_500


class Texts:
    """The long contents of a file, each under its name."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}

    def short(self, content: bytes | None) -> object:
        """The content as it stands in a line, or its name."""
        if content is None or len(content) <= _LONG:
            return None if content is None else _shown(content)
        name = _brief(content)
        self._known[name] = content
        return {"text": name}

    def whole(self, said: Any) -> bytes | None:  # noqa: ANN401  # as orjson reads it
        """The content that short() wrote so."""
        return self._known[said["text"]] if isinstance(said, Mapping) and "text" in said else _read(said)

    def lines(self) -> Iterator[str]:
        """Every long content, by name."""
        for name, content in sorted(self._known.items()):
            packed = {"zlib": base64.b64encode(zlib.compress(content, 9)).decode()}
            yield dumped({"text": name, "is": packed if len(content) > _PACKED else _shown(content)})

    def know(self, line: Mapping[str, Any]) -> None:
        """Takes one of lines() in."""
        content = _read(line["is"])
        assert content is not None
        self._known[line["text"]] = content


def dumped(line: object) -> str:
    return orjson.dumps(line).decode()


def reads(record: InputRecord, texts: Texts) -> str:
    """The line of a record that a turn has read."""
    return dumped(
        {
            "read": f"{record.topic}/{record.partition}/{record.offset}",
            "at": record.timestamp,
            "key": texts.short(record.key),
            "headers": _headers(record.headers, texts),
            "value": texts.short(record.value),
        }
    )


def read_of(line: Mapping[str, Any], texts: Texts) -> InputRecord:
    """The record of a line that reads() wrote."""
    topic, partition, offset = line["read"].rsplit("/", 2)
    headers = tuple((name, texts.whole(content)) for name, content in line["headers"])
    return InputRecord(
        topic, int(partition), int(offset), line["at"], texts.whole(line["key"]), texts.whole(line["value"]), headers
    )


class Decisions:
    """The lines of what one lane decides, turn by turn: records written, rows changed.

    Not its audit records, which say the same by digests. Of an object under the key of an earlier one on its topic only
    the fields are shown that differ, and its hash.
    """

    def __init__(self, agent: Agent[Any, Any], texts: Texts) -> None:
        self._agent, self._texts = agent, texts
        self._last: dict[tuple[str, bytes | None], Mapping[str, Any]] = {}

    def of(self, turn: Turn[Any, Any], read: Sequence[InputRecord]) -> list[str]:
        """The lines of the next turn, which has read these records."""
        own = {self._agent.topics.changelog, self._agent.topics.audit}
        lines: list[str] = []
        for (topic, partition), outputs in turn.batches.items():
            for key, value, headers, _ in () if topic in own else outputs:
                same = next((n for n, one in enumerate(read) if value and one.value == value), None)
                line = {
                    "wrote": f"{topic}/{partition}",
                    "key": self._texts.short(key),
                    "headers": _headers(headers, self._texts),
                    "value": self._value(topic, key, value) if same is None else {"as read": same},
                }
                lines.append(dumped(line))
        lines += [dumped(_row(self._agent, key, stored)) for key, stored in turn.changes.items()]
        return lines

    def _value(self, topic: str, key: bytes | None, value: bytes | None) -> object:
        try:
            said: Any = orjson.loads(value or b"")
        except orjson.JSONDecodeError:
            said = None
        if value is None or not isinstance(said, dict):
            return self._texts.short(value)
        last, self._last[topic, key] = self._last.get((topic, key)), said
        if last is None:
            return self._texts.short(value)
        changed = {name: content for name, content in said.items() if name not in last or last[name] != content}
        return {"sha256": _brief(value), "changed": changed}


def _row(agent: Agent[Any, Any], key: str, stored: StoredRow[Any] | None) -> dict[str, object]:
    if stored is None:
        return {"row": key, "is": None}
    assert agent.rows is not None
    return {"row": key, "due": stored.due_ms, "sha256": _brief(agent.rows.encode(stored.row))}


def _headers(headers: Headers, texts: Texts) -> list[tuple[str, object]]:
    return [(name, texts.short(content)) for name, content in headers]


def _brief(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _shown(content: bytes) -> object:
    """JSON as it is where it comes out the same again, else text, else base64."""
    if content[:1] in {b"{", b"["}:
        try:
            parsed = orjson.loads(content)
        except orjson.JSONDecodeError:
            parsed = None
        if parsed is not None and orjson.dumps(parsed) == content:
            return {"json": parsed}
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def _read(said: Any) -> bytes | None:  # noqa: ANN401  # as orjson reads it
    match said:
        case None:
            return None
        case str():
            return said.encode()
        case {"json": parsed}:
            return orjson.dumps(parsed)
        case {"base64": text}:
            return base64.b64decode(text)
        case {"zlib": text}:
            return zlib.decompress(base64.b64decode(text))
        case _:
            raise ValueError(f"no content: {said!r}")

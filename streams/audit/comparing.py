"""A decision as it was written and as it comes out now: what differs between the two, in words."""

from collections.abc import Iterator, Mapping
from typing import cast

import orjson

from streams.audit.outputs import Image
from streams.engine.records import Record, first_header

DECIDED = "{name} was {found}, is now {derived}"
"""A turn comes out otherwise: the log has what was decided then."""
CHANGED = "{name} is {found}, was written as {derived}"
"""The turn comes out as it did: the log has something else."""

_SHOWN = 60
_PARTS = 4
_NOTHING = object()


def same_but_for_encoding(now: Image, written: Record) -> bool:
    """Whether key, value and every header mean the same as JSON."""
    key, value, headers = now
    if [name for name, _ in headers] != [name for name, _ in written.headers]:
        return False
    pairs = [(key, written.key), (value, written.value)]
    pairs += [(mine, theirs) for (_, mine), (_, theirs) in zip(headers, written.headers, strict=True)]
    return all(mine == theirs or _same_json(mine, theirs) for mine, theirs in pairs)


def differing(derived: Image, found: Record, words: str = DECIDED) -> str:
    """The parts that differ, in words such as CHANGED: as the log has them, and as the turn comes out."""
    parts = [words.format(name=name, found=old, derived=new) for name, old, new in _parts(derived, found)]
    more = f" and {len(parts) - _PARTS} more" if len(parts) > _PARTS else ""
    return "; ".join(parts[:_PARTS]) + more


def counts_differ(recorded: Mapping[tuple[str, int], int], now: Mapping[tuple[str, int], int]) -> str:
    """Where another number of records is written, in words; empty if nowhere."""
    places = sorted(place for place in {*recorded, *now} if recorded.get(place, 0) != now.get(place, 0))
    return "; ".join(
        f"{topic}/{partition} got {recorded.get((topic, partition), 0)} records, now {now.get((topic, partition), 0)}"
        for topic, partition in places[:_PARTS]
    )


def _parts(derived: Image, found: Record) -> Iterator[tuple[str, str, str]]:
    """Name and both contents of each part that differs, as they are shown."""
    key, value, headers = derived
    yield from _part("key", found.key, key)
    names = list(dict.fromkeys(name for name, _ in (*found.headers, *headers)))
    for name in names:
        yield from _part(name, first_header(found.headers, name), first_header(headers, name))
    yield from _part("value", found.value, value)


def _part(name: str, found: bytes | None, derived: bytes | None) -> Iterator[tuple[str, str, str]]:
    if found == derived:
        return
    old, new = _object(found), _object(derived)
    fields = () if old is None or new is None else _fields_that_differ(old, new)
    for field, one, other in fields:
        yield f"{name}.{field}", _shown(one), _shown(other)
    if not fields:
        yield name, _shown(found), _shown(derived)


def _fields_that_differ(old: Mapping[str, object], new: Mapping[str, object]) -> list[tuple[str, object, object]]:
    names = [field for field in {**old, **new} if not _same(old.get(field, _NOTHING), new.get(field, _NOTHING))]
    return [(field, old.get(field), new.get(field)) for field in names]


def _same_json(one: bytes | None, other: bytes | None) -> bool:
    parsed = _json(one)
    return parsed is not _NOTHING and _same(parsed, _json(other))


def _same(one: object, other: object) -> bool:
    """Whether both are equal; not, if they are nested too deeply to tell."""
    try:
        return one == other
    except RecursionError:
        return False


def _object(content: bytes | None) -> dict[str, object] | None:
    parsed = _json(content)
    return cast("dict[str, object]", parsed) if isinstance(parsed, dict) else None


def _json(content: bytes | None) -> object:
    try:
        return orjson.loads(content or b"")
    except orjson.JSONDecodeError:
        return _NOTHING


def _written(content: object) -> str:
    try:
        return orjson.dumps(content).decode()
    except orjson.JSONEncodeError:
        return "nested too deeply to be shown"


def _shown(content: object) -> str:
    if isinstance(content, bytes):
        words = content.decode("utf-8", "backslashreplace")
    else:
        words = "nothing" if content is None else _written(content)
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."

"""Two policies compared, and a policy written as people edit it."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson
import tomli_w
from pydantic import JsonValue

from schemas.policy import Policy

ABSENT = "-"
_SHOWN_HASH_CHARACTERS = 8
_NAMES: Sequence[Sequence[str]] = (("tenant_id", "agent"), ("hash",), ("name",), ("id",))
"""By what items of lists are told apart: by the first of these that all of a list have."""
_READ_BEST_AS_ONE = {"tools": 2, "tiers": 2, "accepted_hashes": 2}
"""What is told in one line, and how many steps in."""
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)

Place = tuple[str, ...]
"""The steps to a value. Texts of steps that are joined could be two places' at once."""


@dataclass(frozen=True, slots=True)
class Change:
    """One place where two policies differ, with what each says there; ABSENT where it says nothing."""

    place: str
    before: str
    after: str


def between(before: Policy, after: Policy) -> list[Change]:
    """Every place that differs, but for the epoch's number: none if and only if the rest is the same in the log.

    Hashes are shown by their first 8 characters, or by more where two would look the same. Of two lists only the items
    are told that the other does not have.
    """
    old, new = _flat(before), _flat(after)
    places = [place for place in dict.fromkeys((*old, *new)) if old.get(place) != new.get(place)]
    hashes = [one.hash for policy in (before, after) for one in policy.accepted_hashes]
    changes = [Change(_named(place, hashes), *_told(old.get(place), new.get(place))) for place in places]
    return [*changes, *_reordered(before, after)]


def _told(old: JsonValue, new: JsonValue) -> tuple[str, str]:
    if isinstance(old, list) and isinstance(new, list):
        without = [item for item in old if item not in new]
        added = [item for item in new if item not in old]
        if without or added:
            return _shown(without or None), _shown(added or None)
    return _shown(old), _shown(new)


def to_toml(policy: Policy) -> str:
    """The whole document, built-in values included, as from_toml() reads it."""
    return tomli_w.dumps(policy.model_dump(mode="json", exclude_none=True))


def _document(policy: Policy) -> dict[str, JsonValue]:
    return policy.model_dump(mode="json", exclude={"epoch"}, exclude_none=True)


def _flat(policy: Policy) -> dict[Place, JsonValue]:
    return dict(_leaves((), _document(policy)))


def _leaves(place: Place, value: JsonValue) -> Iterator[tuple[Place, JsonValue]]:
    """Every leaf with its place. Items of a list that have names of their own are told apart by them."""
    named = _by_name(value) if isinstance(value, list) else None
    if named:
        for name, item in named.items():
            yield from _leaves((*place, *name), item)
    elif isinstance(value, dict) and value and _READ_BEST_AS_ONE.get(place[0] if place else "") != len(place):
        for key, one in value.items():
            yield from _leaves((*place, key), one)
    else:
        yield place, value


def _by_name(items: Sequence[JsonValue]) -> dict[Place, dict[str, JsonValue]] | None:
    """The items by their names, without the fields that name them; None unless each has another name."""
    for fields in _NAMES:
        found = [
            (tuple(str(item[field]) for field in fields), {k: v for k, v in item.items() if k not in fields})
            for item in items
            if isinstance(item, dict) and all(isinstance(item.get(field), str) for field in fields)
        ]
        if len(found) == len(items) == len(dict(found)):
            return dict(found)
    return None


def _reordered(before: Policy, after: Policy) -> Iterator[Change]:
    """The lists whose items stand in another order; what only one of the two has is told elsewhere."""
    old, new = dict(_orders((), _document(before))), dict(_orders((), _document(after)))
    for place in old.keys() & new.keys():
        was, is_ = ([name for name in one if name in other] for one, other in _both_ways(old[place], new[place]))
        if was != is_:
            yield Change(f"{_named(place, ())}, in order", *(_listed(names) for names in (was, is_)))


def _both_ways(one: Sequence[Place], other: Sequence[Place]) -> Iterable[tuple[Sequence[Place], Sequence[Place]]]:
    return (one, other), (other, one)


def _orders(place: Place, value: JsonValue) -> Iterator[tuple[Place, list[Place]]]:
    items: Mapping[Place, JsonValue] = {}
    if isinstance(value, list):
        items = _by_name(value) or {}
        yield place, list(items)
    elif isinstance(value, dict):
        items = {(key,): one for key, one in value.items()}
    for name, one in items.items():
        yield from _orders((*place, *name), one)


def _listed(names: Iterable[Place]) -> str:
    return ", ".join("/".join(name) for name in names)


def _named(place: Place, hashes: Sequence[str]) -> str:
    """A place as people read it; what would be ambiguous is quoted."""
    if place[:1] == ("accepted_hashes",) and len(place) > 1:
        return f"{place[0]}.{_short(place[1], hashes)}"
    return ".".join(step if _BARE.fullmatch(step) else orjson.dumps(step).decode() for step in place)


def _short(hash_: str, hashes: Sequence[str]) -> str:
    """As much of a hash as tells it from the others."""
    others = {other for other in hashes if other != hash_}
    length = _SHOWN_HASH_CHARACTERS
    while any(other.startswith(hash_[:length]) for other in others):
        length += 1
    return hash_ if length >= len(hash_) else f"{hash_[:length]}..."


def _shown(value: JsonValue) -> str:
    if value is None:
        return ABSENT
    if not isinstance(value, dict):
        return orjson.dumps(value).decode()
    return ", ".join(f"{key} {orjson.dumps(one).decode()}" for key, one in value.items() if one is not None) or "yes"

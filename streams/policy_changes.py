"""Two policies compared, and a policy written as people edit it."""

from collections.abc import Iterator
from dataclasses import dataclass

import orjson
import tomli_w
from pydantic import JsonValue

from schemas.policy import Policy

ABSENT = "-"
_SHOWN_HASH_CHARACTERS = 8
_NAMES = ("name", "id", "agent")
"""By what items of lists are told apart; the first of these fields that they have."""
_READ_BEST_AS_ONE = frozenset({"tools", "tiers", "accepted_hashes"})


@dataclass(frozen=True, slots=True)
class Change:
    """One place where two policies differ, with what each says there; ABSENT where it says nothing."""

    place: str
    before: str
    after: str


def between(before: Policy, after: Policy) -> list[Change]:
    """Every place that differs, but for the epoch's number. Hashes are shown by their first 8 characters.

    Of two lists only the items are told that the other does not have.
    """
    old, new = _flat(before), _flat(after)
    places = [place for place in dict.fromkeys((*old, *new)) if old.get(place) != new.get(place)]
    return [Change(place, *_told(old.get(place), new.get(place))) for place in places]


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


def _flat(policy: Policy) -> dict[str, JsonValue]:
    document = policy.model_dump(mode="json", exclude={"epoch", "accepted_hashes", "tiers"}, exclude_none=True)
    hashes = {
        f"accepted_hashes.{one.hash[:_SHOWN_HASH_CHARACTERS]}...": one.model_dump(mode="json", exclude={"hash"})
        for one in policy.accepted_hashes
    }
    tiers = {f"tiers.{tier.name}": tier.model_dump(mode="json", exclude={"name"}) for tier in policy.tiers}
    return dict(_places("", {**document, **hashes, **tiers}))


def _places(place: str, value: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    """Every leaf with its place. Items of a list that have names are told apart by them."""
    if isinstance(value, list) and (named := _by_name(value)):
        value = named
    if isinstance(value, dict) and not _reads_best_as_one(place):
        for key, one in value.items():
            yield from _places(f"{place}.{key}" if place else key, one)
    else:
        yield place, value


def _by_name(items: list[JsonValue]) -> dict[str, JsonValue]:
    found = [
        (next((item[name] for name in _NAMES if name in item), None), item) for item in items if isinstance(item, dict)
    ]
    return {str(name): item for name, item in found if name is not None}


def _reads_best_as_one(place: str) -> bool:
    head, _, rest = place.partition(".")
    return head in _READ_BEST_AS_ONE and rest != ""


def _shown(value: JsonValue) -> str:
    if value is None:
        return ABSENT
    if not isinstance(value, dict):
        return orjson.dumps(value).decode()
    return ", ".join(f"{key} {orjson.dumps(one).decode()}" for key, one in value.items() if one is not None) or "yes"

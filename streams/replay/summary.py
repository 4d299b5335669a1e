"""What a proposal of a policy says of the replay that tried it: bound to the exact policy, signed with the proposal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field, JsonValue, ValidationError

from schemas.model import Contract, Name, Sha256
from streams.errors import ReplayError
from streams.replay.comparing import digest_of

_MOST_KINDS = 20

Count = Annotated[int, Field(ge=0)]


class Kind(Contract):
    """So many inputs would be decided otherwise in this way."""

    kind: Annotated[str, Field(max_length=200)]
    count: Count


class Tried(Contract):
    """What a replay found, as it stands in a proposal's content under `replay`.

    `difference` is the SHA-256 of the whole difference: whoever makes the same replay again comes to the same. It is
    the proposer's word until somebody does. `policy` is the SHA-256 of the exact policy that was tried. `since` and
    `until` are milliseconds since 1970; `cut` if retention may have deleted some of what was there. `changes` are the
    most frequent kinds.
    """

    difference: Sha256
    policy: Sha256
    live: str
    since: Count
    until: Count
    cut: bool
    release: Name
    compared: Count
    not_compared: Count
    changed: Count
    changes: Annotated[Sequence[Kind], Field(max_length=_MOST_KINDS)]


def read_tried(file: Path) -> Tried:
    """The summary of a difference in a file, as `acgs replay diff --json` writes it.

    Raises:
        ReplayError: the file cannot be read, is no difference, or was changed.
    """
    try:
        said: Any = orjson.loads(file.read_bytes())
    except OSError as error:
        raise ReplayError(f"{file} cannot be read: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise ReplayError(f"{file} is no difference: 'acgs replay diff PREFIX --json > FILE' writes one") from error
    try:
        if digest_of(said) != said["sha256"]:
            raise ReplayError(f"{file} was changed after it was made: its digest is another. Make it anew")
        return _summary(said)
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise ReplayError(f"{file} is no difference: 'acgs replay diff PREFIX --json > FILE' writes one") from error


def _summary(said: dict[str, Any]) -> Tried:
    made_of = said["made_of"]
    return Tried(
        difference=said["sha256"],
        policy=said["policy"]["sha256"],
        live=made_of["live"],
        since=made_of["from"],
        until=made_of["to"],
        cut=any(window["cut"] for window in made_of["inputs"]),
        release=made_of["release"],
        compared=said["compared"],
        not_compared=said["not_compared"],
        changed=said["changed"],
        changes=[Kind(kind=one["kind"], count=one["count"]) for one in said["changes"][:_MOST_KINDS]],
    )


def tried_in(content: JsonValue) -> Tried | None:
    """The summary in a proposal's content; None where there is none, or something else."""
    found = content.get("replay") if isinstance(content, dict) else None
    try:
        return None if found is None else Tried.model_validate_json(orjson.dumps(found))
    except ValidationError:
        return None

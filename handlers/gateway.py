"""The gateway's decision: does a record from outside keep its contract and name a policy generation in force?"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Generic, NamedTuple, Protocol, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, SchemaValidator

from handlers import operators, senders
from handlers.proof import claims_signature
from schemas import envelope, strict_json
from schemas.effects import Refused
from schemas.model import ms
from schemas.policy import PublishedPolicy
from schemas.reasons import Reason
from schemas.topics import MAX_MESSAGE_BYTES

__all__ = [
    "DECISION_VERSION",
    "OPERATOR_REASONS",
    "REASONS",
    "RESERVED_REASONS",
    "SENDER_REASONS",
    "Admission",
    "Admitted",
    "Governed",
    "Refused",
]

DECISION_VERSION = 2
"""Rises when the same record and policy would be decided otherwise."""

REASONS = frozenset(
    {
        Reason.NULL_VALUE,
        Reason.TOO_LARGE,
        Reason.NOT_UTF8,
        Reason.NOT_JSON,
        Reason.TRUNCATED,
        Reason.TOO_DEEP,
        Reason.DUPLICATE_KEY,
        Reason.NOT_FINITE,
        Reason.INTEGER_OUT_OF_RANGE,
        Reason.LONE_SURROGATE,
        Reason.NOT_AN_OBJECT,
        Reason.UNKNOWN_FIELD,
        Reason.MISSING_FIELD,
        Reason.WRONG_TYPE,
        Reason.INVALID_VALUE,
        Reason.HASH_MISSING,
        Reason.HASH_MALFORMED,
        Reason.HASH_UNKNOWN,
        Reason.HASH_WITHDRAWN,
        Reason.EXPIRED,
        Reason.TOO_MANY_HEADERS,
        Reason.HEADERS_TOO_LARGE,
        Reason.RESERVED_HEADER,
    }
)
"""The reasons that every gateway gives. The others are for those behind it, who know more than the record."""

_SIGNATURE_REASONS = frozenset(
    {
        Reason.UNKNOWN_KEY,
        Reason.BAD_SIGNATURE,
        Reason.KEY_NOT_YET_VALID,
        Reason.KEY_EXPIRED,
        Reason.KEY_REVOKED,
    }
)
SENDER_REASONS = _SIGNATURE_REASONS | {Reason.UNKNOWN_SENDER}
"""The reasons that a gateway gives as well where senders may sign."""
OPERATOR_REASONS = _SIGNATURE_REASONS | {Reason.UNSIGNED, Reason.UNKNOWN_OPERATOR}
"""The reasons that a gateway gives as well where operators give orders."""
RESERVED_REASONS = frozenset({Reason.RESERVED_NAME})
"""The reason that a gateway gives as well where some names are this system's own."""

_MAX_DETAIL_CHARACTERS = 300
_HASH = re.compile(r"[0-9a-f]{16}", re.ASCII)
_HASH_FIELD = ("constitutional_hash",)
_SHOWN_HASH_CHARACTERS = 8


class Governed(Protocol):
    """What every contract on a public topic has."""

    @property
    def constitutional_hash(self) -> str:
        """The policy generation that the producer accepted."""
        ...

    @property
    def expires_at(self) -> datetime | None:
        """From when on the record must not be acted on."""
        ...


Message = TypeVar("Message", bound=Governed)
Headers = Sequence[tuple[str, bytes | None]]


class Admitted(NamedTuple):
    """A record that may pass under this key. `verified`: whether a signature proves who gave it; None: nobody asked."""

    key: bytes
    verified: bool | None = None


class Admission(Generic[Message]):
    """How records of one contract are admitted: the contract, and the key they travel under inside.

    `who` names whom a signature of a record has to prove. Sent: it may be signed, and one with a signature passes only
    if that is right (handlers.senders). Ordered: it is for operators, who sign it (handlers.operators). None: nobody.
    `reserved` says why a name that a record gives is this system's own, if it is.
    """

    def __init__(
        self,
        contract: type[Message],
        key: Callable[[Message], str],
        *,
        who: Callable[[Message], senders.Sent | operators.Ordered | None] | None = None,
        reserved: Callable[[Message], str | None] | None = None,
    ) -> None:
        self._validate = _validator(contract).validate_json
        self._key, self._who, self._reserved = key, who, reserved

    def decide(
        self,
        value: bytes | None,
        headers: Headers,
        published: PublishedPolicy,
        now_ms: int,
    ) -> Admitted | Refused:
        """Whether the record may pass. Never raises, whatever the bytes."""
        refused = _check_size(value) or _check_headers(headers)
        if refused is not None or value is None:
            return refused or Refused(Reason.NULL_VALUE, "the record has no value")
        try:
            if not isinstance(strict_json.loads(value), dict):
                return Refused(Reason.NOT_AN_OBJECT, "the JSON text is not an object")
            message = self._validate(value)
        except strict_json.Defect as defect:
            return Refused(defect.reason, defect.detail)
        except ValidationError as error:
            return _refusal(error)
        refused = _check_hash(message.constitutional_hash, published, now_ms) or _check_expiry(message, now_ms)
        refused = refused or self._check_names(message)
        return refused or self._proven(message, value, headers, published, now_ms)

    def _check_names(self, message: Message) -> Refused | None:
        why = None if self._reserved is None else self._reserved(message)
        return None if why is None else Refused(Reason.RESERVED_NAME, why)

    def _proven(
        self,
        message: Message,
        value: bytes,
        headers: Headers,
        published: PublishedPolicy,
        now_ms: int,
    ) -> Admitted | Refused:
        key = self._key(message).encode()
        who = None if self._who is None else self._who(message)
        if who is None:
            return Admitted(key)
        if isinstance(who, operators.Ordered):
            refused = operators.check(who, value, headers, published, now_ms)
        else:
            refused = senders.check(who, value, headers, published, now_ms) if headers else None
        return refused or Admitted(key, verified=claims_signature(headers))


def _validator(contract: type[Message]) -> SchemaValidator:
    validator = contract.__dict__["__pydantic_validator__"]
    if not isinstance(validator, SchemaValidator):
        raise TypeError(f"{contract.__name__} is no contract")
    return validator


def _check_size(value: bytes | None) -> Refused | None:
    if value is None:
        return Refused(Reason.NULL_VALUE, "the record has no value")
    if len(value) > MAX_MESSAGE_BYTES:
        return Refused(Reason.TOO_LARGE, f"{len(value)} bytes, allowed are {MAX_MESSAGE_BYTES}")
    return None


def _check_headers(headers: Headers) -> Refused | None:
    if not headers:
        return None
    if len(headers) > envelope.MAX_HEADERS:
        return Refused(Reason.TOO_MANY_HEADERS, f"{len(headers)} headers, allowed are {envelope.MAX_HEADERS}")
    size = sum(len(name.encode(errors="surrogatepass")) + len(content or b"") for name, content in headers)
    if size > envelope.MAX_HEADERS_BYTES:
        return Refused(Reason.HEADERS_TOO_LARGE, f"{size} bytes, allowed are {envelope.MAX_HEADERS_BYTES}")
    for name, _ in headers:
        if name.lower().startswith(envelope.RESERVED):
            return Refused(Reason.RESERVED_HEADER, f"header {_shown(name)} is this system's own")
    return None


def _check_hash(given: str, published: PublishedPolicy, now_ms: int) -> Refused | None:
    accepted = published.accepted.get(given)
    if accepted is None:
        if not _HASH.fullmatch(given):
            return Refused(Reason.HASH_MALFORMED, "constitutional_hash is not 16 lower-case hexadecimal digits")
        shown = f"{given[:_SHOWN_HASH_CHARACTERS]}..."
        return Refused(Reason.HASH_UNKNOWN, f"constitutional_hash {shown} is not accepted by the policy in force")
    if accepted.until is not None and ms(accepted.until) <= now_ms:
        shown = f"{given[:_SHOWN_HASH_CHARACTERS]}..."
        return Refused(Reason.HASH_WITHDRAWN, f"constitutional_hash {shown} was accepted until {_text(accepted.until)}")
    return None


def _check_expiry(message: Governed, now_ms: int) -> Refused | None:
    expires_at = message.expires_at
    if expires_at is None or ms(expires_at) > now_ms:
        return None
    return Refused(Reason.EXPIRED, f"it expired at {_text(expires_at)}")


_RULE = "Value error, "
"""What pydantic puts before the words of a contract's own rule."""
_OF_KIND = {"missing": Reason.MISSING_FIELD, "extra_forbidden": Reason.UNKNOWN_FIELD, "json_invalid": Reason.NOT_JSON}


def _refusal(error: ValidationError) -> Refused:
    places = error.errors(include_url=False, include_context=False, include_input=False)
    first = next((place for place in places if place["loc"] == _HASH_FIELD), places[0])
    where = ".".join(str(step) for step in first["loc"])
    said = first["msg"].removeprefix(_RULE)
    detail = f"{_shown(where)}: {said}" if where else said  # a rule of the whole contract names its fields itself
    return Refused(_reason(first), detail[:_MAX_DETAIL_CHARACTERS])


def _reason(place: ErrorDetails) -> Reason:
    kind = place["type"]
    if kind == "missing" and place["loc"] == _HASH_FIELD:
        return Reason.HASH_MISSING
    return _OF_KIND.get(kind, Reason.WRONG_TYPE if kind.endswith("_type") else Reason.INVALID_VALUE)


def _shown(name: str) -> str:
    """A name from outside, safe to print and log."""
    return ascii(name[: _MAX_DETAIL_CHARACTERS // 2])[1:-1]


def _text(time: datetime) -> str:
    with suppress(OverflowError):  # the first day that there is, in a zone in whose UTC it is none: shown as it is
        time = time.astimezone(UTC)
    return time.isoformat(timespec="seconds")

"""The base of every contract and the field types that several contracts share."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, JsonValue, Strict
from pydantic_core import CoreSchema, core_schema

MAX_SCORE = 10_000
"""The top of the impact scale. Scores are integers 0..10,000; people see 0.0000-1.0000."""

_RFC_3339 = r"^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)$"


class Contract(BaseModel):
    """A frozen record that refuses fields it does not know and types it would have to convert."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy that has nothing of what was computed from the fields before, such as who counts as one person."""
        made = super().model_copy(update=update, deep=deep)
        held = vars(made)
        for name in [name for name in held if name not in type(self).model_fields]:
            del held[name]
        return made


class _Rfc3339:
    """The text form, checked in the validator's own core: a check in Python costs a message 1.5 us of 7.5."""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        form = core_schema.str_schema(pattern=_RFC_3339, strict=True)
        text = core_schema.chain_schema([form, core_schema.datetime_schema(tz_constraint="aware", strict=False)])
        time = core_schema.datetime_schema(tz_constraint="aware", strict=True)
        return core_schema.json_or_python_schema(text, core_schema.union_schema([time, text]))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, object]:
        del schema, handler
        return {"type": "string", "format": "date-time", "pattern": _RFC_3339}


Rfc3339 = Annotated[datetime, _Rfc3339()]
"""A time with its zone, in the text form of RFC 3339 only, such as 2026-01-31T09:30:00Z."""

Rfc3339Text = Annotated[str, Field(pattern=_RFC_3339, json_schema_extra={"format": "date-time"})]
"""A time in the same form, kept as it was written."""

Uuid = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
        json_schema_extra={"format": "uuid"},
    ),
]
"""A UUID in its hyphenated form, kept as it was written."""

MAX_NAME_CHARACTERS = 256

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
"""An identifier given by a user: an agent, a tenant, a tool."""

JsonObject = dict[str, JsonValue]
"""An open JSON object."""

LONGEST_DURATION = timedelta(days=3_650)
"""Longer ones are mistakes, and times beyond what can be written down."""

Duration = Annotated[timedelta, Strict(strict=False), Field(gt=timedelta(0), le=LONGEST_DURATION)]
"""A positive length of time of at most ten years; ISO 8601 in a file, such as PT4H."""

Score = Annotated[int, Field(ge=0, le=MAX_SCORE)]
"""An impact score, 0..10,000."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def ms(time: datetime) -> int:
    """A time in whole milliseconds since 1970."""
    return (time - _EPOCH) // _MILLISECOND


def length_ms(duration: timedelta) -> int:
    """A length of time in whole milliseconds."""
    return duration // _MILLISECOND

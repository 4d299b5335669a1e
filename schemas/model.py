"""The base of every contract and the field types that several contracts share."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, Strict

MAX_SCORE = 10_000
"""The top of the impact scale. Scores are integers 0..10,000; people see 0.0000-1.0000."""

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class Contract(BaseModel):
    """A frozen record that refuses fields it does not know and types it would have to convert."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _require_rfc_3339(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC_3339.fullmatch(value)):
        return value
    raise ValueError("must be an RFC 3339 time with a zone, such as 2026-01-31T09:30:00Z")


Rfc3339 = Annotated[AwareDatetime, Strict(strict=False), BeforeValidator(_require_rfc_3339)]
"""A time with its zone, in the text form of RFC 3339 only."""

Uuid = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
        json_schema_extra={"format": "uuid"},
    ),
]
"""A UUID in its hyphenated form, kept as it was written."""

Name = Annotated[str, Field(min_length=1, max_length=256)]
"""An identifier given by a user: an agent, a tenant, a tool."""

JsonObject = dict[str, JsonValue]
"""An open JSON object."""

Score = Annotated[int, Field(ge=0, le=MAX_SCORE)]
"""An impact score, 0..10,000."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 digest in lower-case hexadecimal."""

"""Templates of idempotency keys: `inv_{order_id}`, filled from a workflow's input."""

import string
from collections.abc import Mapping

from pydantic import JsonValue

_FORMATTER = string.Formatter()
MAX_KEY_CHARACTERS = 256


def names_in(template: str) -> tuple[str, ...]:
    """The names that a template needs.

    Raises:
        ValueError: braces do not match, or a field is more than a name.
    """
    names: list[str] = []
    for _, name, form, conversion in _FORMATTER.parse(template):
        if name is None:
            continue
        if not name.isidentifier() or form or conversion:
            raise ValueError(f"{{{name}}} is no plain name")
        names.append(name)
    return tuple(dict.fromkeys(names))


def fill(template: str, values: Mapping[str, JsonValue]) -> str:
    """The key: each name replaced by its value, which must be text or an integer.

    Raises:
        ValueError: a name has no value, or one that is neither; or the key is longer than 256 characters.
    """
    for name in names_in(template):
        if name not in values:
            raise ValueError(f"the input has no {name!a}, which {template!a} needs")
        value = values[name]
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError(f"{name!a}, which {template!a} needs, is no text or integer")  # noqa: TRY004  # of the input
    key = template.format_map(dict(values))
    if len(key) > MAX_KEY_CHARACTERS:
        raise ValueError(f"the key from {template!a} has {len(key)} characters, allowed are {MAX_KEY_CHARACTERS}")
    return key

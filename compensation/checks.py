"""What a node may not be, however it is written down."""

from collections.abc import Iterator, Mapping

from compensation import templates


def problems(id_: str, *, pivot: bool, undone_or_optional: bool, keys: Mapping[str, str | None]) -> Iterator[str]:
    """Everything that is wrong; `keys` are its templates of idempotency keys, by where they stand."""
    at = f"node {id_!a}"
    if pivot and undone_or_optional:
        yield f"{at}: a pivot is neither undone nor optional"
    for where, template in keys.items():
        try:
            templates.names_in(template or "")
        except ValueError as error:
            yield f"{at}: {where}: {error}"

"""Which prefixes a replay may write under: none that could be taken for the live one."""

import re
from collections.abc import Collection

from schemas.topics import IN_MESSAGES
from streams.errors import ReplayError

MARKER = "replay"
"""The topic, without the prefix, that says what a replay was made of."""

_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,63}[._-]", re.ASCII)


def require_apart(prefix: str, live: str) -> None:
    """That topics under the prefix can be taken for none of the live ones, by people, by ACLs or by the broker.

    An ACL for all that begins with one of the two must not hold for the other. Kafka takes `.` and `_` for the same
    in some names of its own.

    Raises:
        ReplayError: they overlap, or it is no prefix.
    """
    if not _PREFIX.fullmatch(prefix):
        raise ReplayError(
            f"{prefix!r} is no prefix for a replay: up to 64 letters, digits, '.', '_' and '-', ending in one of the "
            "last three, such as 'try-1.'"
        )
    if not live:
        raise ReplayError(
            "the live topics have no prefix, so that every other begins as they do: replay where ACGS_PREFIX is set"
        )
    if _begin_alike(prefix, live):
        raise ReplayError(
            f"a replay is never written where it could be taken for what is live: '{prefix}' and the live prefix "
            f"'{live}' begin alike, so that what is granted for one is granted for the other. Take another, such as "
            "'try-1.'"
        )


def require_apart_from_all(prefix: str, topics: Collection[str]) -> None:
    """That the prefix and that of no installation whose topics these are begin alike; one without a prefix aside.

    Raises:
        ReplayError: they do.
    """
    for name in sorted(topics):
        live = name.removesuffix(IN_MESSAGES)
        if live != name and live and _begin_alike(prefix, live):
            raise ReplayError(
                f"'{prefix}' and the prefix '{live}' of another installation on this cluster begin alike, so that what "
                "is granted for one is granted for the other. Take another, such as 'try-1.'"
            )


def _begin_alike(prefix: str, live: str) -> bool:
    one, other = prefix.replace("_", "."), live.replace("_", ".")
    return one.startswith(other) or other.startswith(one)


def require_free(prefix: str, topics: Collection[str]) -> None:
    """That no topic begins with the prefix.

    Raises:
        ReplayError: there are some; the message says whether they are a replay's.
    """
    found = sorted(name for name in topics if name.startswith(prefix))
    if f"{prefix}{MARKER}" in found:
        raise ReplayError(
            f"there is a replay under '{prefix}' already. 'acgs replay diff {prefix}' shows what it found; "
            f"'acgs replay remove {prefix}' removes it; or take another prefix"
        )
    if found:
        raise ReplayError(
            f"{len(found)} topics begin with '{prefix}' and are no replay's, {found[0]} among them: take another prefix"
        )

"""Whether the approvals suffice: each role that is asked for filled by another approver."""

from collections.abc import Collection, Sequence
from typing import NamedTuple


class Approval(NamedTuple):
    """One approver's roles, and whether the vote came through a callback server."""

    roles: Collection[str]
    relayed: bool


def filled(asked: Sequence[str], approvals: Sequence[Approval], relayed_at_most: int) -> int:
    """How many of the roles asked for can be filled at once, each by another approval.

    A role that is asked for twice takes two approvals. No more than `relayed_at_most` of those that fill a role are
    relayed: direct ones come first, since whom a matching has filled, a larger one fills too.
    """
    taken: dict[int, int] = {}
    direct = [n for n, approval in enumerate(approvals) if not approval.relayed]
    relayed = [n for n, approval in enumerate(approvals) if approval.relayed]
    for number in direct:
        _fill(number, asked, approvals, taken, set())
    left = relayed_at_most
    for number in relayed:
        if left > 0 and _fill(number, asked, approvals, taken, set()):
            left -= 1
    return len(taken)


def missing(asked: Sequence[str], approvals: Sequence[Approval], relayed_at_most: int) -> tuple[str, ...]:
    """The roles of which one more approval, not relayed, would fill one role more."""
    so_far = filled(asked, approvals, relayed_at_most)
    return tuple(
        role
        for role in dict.fromkeys(asked)
        if filled(asked, [*approvals, Approval((role,), relayed=False)], relayed_at_most) > so_far
    )


def _fill(
    number: int, asked: Sequence[str], approvals: Sequence[Approval], taken: dict[int, int], tried: set[int]
) -> bool:
    """Gives an approval a role, moving others to roles they have as well where that helps."""
    for slot, role in enumerate(asked):
        if role in approvals[number].roles and slot not in tried:
            tried.add(slot)
            if slot not in taken or _fill(taken[slot], asked, approvals, taken, tried):
                taken[slot] = number
                return True
    return False

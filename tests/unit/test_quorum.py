"""Whether approvals fill the roles that are asked for."""

from itertools import permutations
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from handlers.deliberation.quorum import Approval, filled, missing

ROLES = st.sampled_from("abcd")
APPROVALS = st.lists(st.builds(Approval, st.frozensets(ROLES), st.booleans()), max_size=5)


def by_trying_all(asked: list[str], approvals: list[Approval], relayed_at_most: int) -> int:
    """The most roles that any assignment fills."""
    best = 0
    for order in permutations(range(len(approvals))):
        for slots in permutations(range(len(asked))):
            pairs = [(approvals[n], asked[slot]) for n, slot in zip(order, slots, strict=False)]
            fitting = [approval for approval, role in pairs if role in approval.roles]
            relayed = sum(approval.relayed for approval in fitting)
            best = max(best, len(fitting) - max(0, relayed - relayed_at_most))
    return best


@given(st.lists(ROLES, max_size=4), APPROVALS, st.integers(0, 3))
def test_as_many_roles_are_filled_as_any_assignment_fills(
    asked: list[str], approvals: list[Approval], relayed_at_most: int
) -> None:
    assert filled(asked, approvals, relayed_at_most) == by_trying_all(asked, approvals, relayed_at_most)


@given(st.lists(ROLES, max_size=4), APPROVALS, st.integers(0, 3), st.randoms())
def test_the_order_of_the_approvals_changes_nothing(
    asked: list[str], approvals: list[Approval], relayed_at_most: int, random: Random
) -> None:
    mixed = list(approvals)
    random.shuffle(mixed)
    assert filled(asked, mixed, relayed_at_most) == filled(asked, approvals, relayed_at_most)


@given(st.lists(ROLES, max_size=4), APPROVALS, st.integers(0, 3))
def test_a_role_is_missing_if_one_more_of_it_helps(
    asked: list[str], approvals: list[Approval], relayed_at_most: int
) -> None:
    so_far = by_trying_all(asked, approvals[:4], relayed_at_most)
    helps = {
        role
        for role in asked
        if by_trying_all(asked, [*approvals[:4], Approval(frozenset({role}), relayed=False)], relayed_at_most) > so_far
    }
    assert set(missing(asked, approvals[:4], relayed_at_most)) == helps

"""Where a call of an activity may be disturbed on purpose."""

from typing import Protocol


class CallDisturbance(Protocol):
    """What is done to calls on purpose. It knows what is called, and nothing of inputs and results.

    A call that it keeps from being made is answered as never started: true, and of use to try again.
    """

    async def before_call(self, activity: str, queue: str) -> str | None:
        """The call is about to be made. May wait. Returns why it is not to be made, or None."""
        ...


class _Undisturbed:
    """Does nothing."""

    async def before_call(self, activity: str, queue: str) -> str | None:
        """Lets every call be made."""
        del activity, queue
        return None


UNDISTURBED: CallDisturbance = _Undisturbed()
"""What workers have unless they are given another."""

"""The policy in force, as a process follows it that is no lane."""

from schemas.policy import Policy, PublishedPolicy
from streams.agents.control import follow
from streams.engine.errors import ControlRefusedError
from streams.engine.records import Record


class PolicyInForce:
    """Takes the records of `control`: a change is known here as soon as its record is read."""

    def __init__(self) -> None:
        self._published: PublishedPolicy | None = None

    def take(self, record: Record) -> None:
        """Takes a record of the control topic, every partition of which says the same."""
        if record.partition != 0:
            return
        try:
            self._published = follow(record.value or b"", self._published)
        except ControlRefusedError:
            return  # no lane follows it either

    @property
    def policy(self) -> Policy | None:
        """The policy, None while none is in force."""
        return self._published.policy if self._published else None

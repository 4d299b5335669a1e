"""The bank of the examples: a system outside that can be down, restarted and probed. A file stands for its outage."""

from pathlib import Path

from schemas.policy import Policy
from schemas.recovery import RecoveryRule

SERVICE = "bank"
"""What the breakers of its clients guard calls to, and what is recovered."""

RESTART, PROBE = "restart_bank", "probe_bank"
"""The activities that recover it, and look whether that helped; the default policy has them in its catalogue."""


class Bank:
    """One bank, in a folder that its clients and its operators share."""

    def __init__(self, folder: Path) -> None:
        self._outage = folder / "bank.down"

    def call(self) -> None:
        """What a client does.

        Raises:
            ConnectionError: it is down.
        """
        if not self.answers():
            raise ConnectionError("the bank does not answer")

    def answers(self) -> bool:
        """Whether it is up."""
        return not self._outage.exists()

    def fail(self) -> None:
        """From now on it is down, until it is restarted."""
        self._outage.touch()

    def restart(self) -> None:
        """It is up again."""
        self._outage.unlink(missing_ok=True)


def with_recovery(policy: Policy) -> Policy:
    """The policy with a rule that recovers the bank."""
    rule = RecoveryRule(activity=RESTART, health_check=PROBE, priority=1)
    return policy.model_copy(update={"recoveries": {**policy.recoveries, SERVICE: rule}})

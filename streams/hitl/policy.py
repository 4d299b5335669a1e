"""The policy in force as a callback server follows it: whose account is whose."""

from typing import NamedTuple

from handlers.signatures import void
from schemas.policy import PublishedPolicy
from schemas.registry import Approver
from streams.agents.control import follow
from streams.engine.errors import ControlRefusedError
from streams.engine.records import Record
from streams.hitl.settings import RelayKey


class Generation(NamedTuple):
    """What a decision takes from the policy: the epoch, and a constitutional hash that it accepts."""

    epoch: int
    constitutional_hash: str


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
    def generation(self) -> Generation | None:
        """What decisions name, None while no policy is in force."""
        if self._published is None:
            return None
        policy = self._published.policy
        hashes = policy.accepted_hashes
        chosen = next((one.hash for one in hashes if one.until is None), hashes[0].hash)
        return Generation(policy.epoch, chosen)

    def unfit(self, relay: RelayKey, now_s: float) -> str | None:
        """Why no vote that this callback server signs counts, None where they do."""
        if self._published is None:
            return "no policy is in force, so that no click counts"
        policy = self._published.policy
        about = f"by epoch {policy.epoch} of the policy, so that no click here counts"
        if all(one.id != relay.id for one in policy.relays):
            return f"there is no callback server {relay.id!a} {about}: 'relays' in the policy names it, with its key"
        key = policy.relay_key(relay.id, relay.key.id)
        if key is None:
            return (
                f"callback server {relay.id!a} has no key {relay.key.id} {about}: put "
                f'{{ public_key = "{relay.key.public_key}" }} to its keys'
            )
        now_ms = int(now_s * 1_000)
        refused = void(key, now_ms, now_ms)
        return None if refused is None else f"{refused.detail}, {about}: give it another key"

    def approver_of(self, platform: str, account: str) -> Approver | None:
        """Whose account that is. The policy has each account once."""
        if self._published is None:
            return None
        approvers = self._published.policy.approvers
        return next((one for one in approvers if one.accounts.get(platform) == account), None)

"""The policy in force as a callback server follows it: whose account is whose."""

from typing import NamedTuple

from handlers.signatures import void
from schemas.registry import Approver
from streams.hitl.settings import RelayKey
from streams.policy_in_force import PolicyInForce


class Generation(NamedTuple):
    """What a decision takes from the policy: the epoch, and a constitutional hash that it accepts."""

    epoch: int
    constitutional_hash: str


class Office(PolicyInForce):
    """What a callback server asks of the policy."""

    @property
    def generation(self) -> Generation | None:
        """What decisions name, None while no policy is in force."""
        policy = self.policy
        if policy is None:
            return None
        return Generation(policy.epoch, policy.preferred_hash)

    def unfit(self, relay: RelayKey, now_s: float) -> str | None:
        """Why no vote that this callback server signs counts, None where they do."""
        policy = self.policy
        if policy is None:
            return "no policy is in force, so that no click counts"
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
        policy = self.policy
        if policy is None:
            return None
        return next((one for one in policy.approvers if one.accounts.get(platform) == account), None)

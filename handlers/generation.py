"""Whether a policy generation still holds: the check of the constitutional hash for what has waited since."""

from schemas.model import ms
from schemas.policy import PublishedPolicy


def withdrawn(hash_: str, published: PublishedPolicy, now_ms: int) -> str | None:
    """Why the policy in force does not accept that hash any more, None where it does. Never shows a whole hash."""
    accepted = published.accepted.get(hash_)
    shown = f"constitutional_hash {hash_[:8]}..."
    if accepted is None:
        return f"epoch {published.policy.epoch} does not accept {shown}"
    if accepted.until is not None and ms(accepted.until) <= now_ms:
        return f"{shown} was accepted until {accepted.until.isoformat()}"
    return None

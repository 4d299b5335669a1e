"""Changes of the policy as held items: proposed by anybody, put in force by the signatures of two owners."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import orjson
from pydantic import ValidationError

from schemas import envelope
from schemas.deliberation import CHANGE_POLICY, POLICY_TENANT, DeliberationStatus, digest_of
from schemas.message import AgentMessage
from schemas.model import MAX_NAME_CHARACTERS
from schemas.policy import Policy
from schemas.reasons import Reason
from schemas.registry import Approver, PublicKey, Relay, Sender
from schemas.topics import MAX_MESSAGE_BYTES
from streams import control, policy_changes
from streams.approvals import ApprovalClient, ItemRefusedError, PendingItem
from streams.engine.client import EngineSettings
from streams.errors import PolicyRefusedError
from streams.keys import SigningKey
from streams.replay.summary import Tried
from streams.texts import require_text

PROPOSER = "the name of who proposes"
"""What it is called where it is no proper text."""


async def propose(
    settings: EngineSettings,
    document: Policy,
    proposer: str,
    key: SigningKey | None = None,
    *,
    tried: Tried | None = None,
) -> DeliberationStatus:
    """Puts the next epoch before its owners; returns how the item stands once it waits.

    What a replay found of exactly this document may go with it: the owners' signatures are for that, too.

    With the proposer's `key`, an approver's, it is signed, and has room of its own: proposals that nobody has signed
    share theirs, which whoever may write messages can use up.

    Raises:
        UnfitTextError: the proposer's name is empty, too long or no text.
        PolicyRefusedError: it is not the next epoch, no owners are named who could sign, it is too large, or an epoch
            that has been signed is not in force everywhere yet; or the replay tried another document, or on the
            traffic of another installation.
        InstallationError: a topic is missing, or one for a tenant or queue that the document names.
        ItemRefusedError: it was rejected, with the reason.
        DeliberationTimeoutError: nobody has taken it in time; it may still be.
        BrokerError: the broker cannot be reached or refuses.
    """
    require_text(proposer, PROPOSER, MAX_NAME_CHARACTERS)
    if tried is not None:
        _require_same(tried, document, settings.prefix)
    current = await control.in_force(settings)
    if current is None or not current.policy.owners:
        raise PolicyRefusedError(
            "nobody owns the policy in force, who could sign: 'acgs policy publish' changes it. Name `approvers` and "
            "`owners` in the document to have it signed from then on"
        )
    control.require_epoch(document, current)
    await control.require_topics_of(settings, document)
    value = orjson.dumps(message_of(document, current.policy, proposer, tried))
    if len(value) > MAX_MESSAGE_BYTES:
        raise PolicyRefusedError(f"the proposal has {len(value)} bytes, allowed are {MAX_MESSAGE_BYTES}")
    said = AgentMessage.model_validate_json(value)
    headers = () if key is None else ((envelope.SIGNATURE, key.message_signature(value)),)
    async with ApprovalClient(settings) as client:
        try:
            return await client.hold(said.message_id, said.conversation_id, value, headers)
        except ItemRefusedError as refused:
            if refused.reason == Reason.EPOCH_PENDING:
                raise PolicyRefusedError(
                    f"nothing is proposed: {refused.detail}, once 'acgs policy show' shows it, against what it says"
                ) from refused
            raise


def _require_same(tried: Tried, document: Policy, live: str) -> None:
    """That the replay tried exactly this document, its number included, on the traffic of this installation."""
    digest = digest_of(document.canonical())
    if tried.policy != digest:
        raise PolicyRefusedError(
            f"the replay tried another policy ({tried.policy[:8]}) than is proposed ({digest[:8]}): replay this one, "
            "with --next-epoch if it is numbered so here"
        )
    if tried.live != live:
        raise PolicyRefusedError(
            f"the replay tried it on the traffic of {tried.live!a}, and this is {live!a}: replay it here, or set "
            "ACGS_PREFIX"
        )


def message_of(document: Policy, in_force: Policy, proposer: str, tried: Tried | None) -> dict[str, object]:
    """The proposal as it is sent: what it would change is in its content, what is put in force in its action."""
    replayed = {} if tried is None else {"replay": tried.model_dump(mode="json")}
    changes = policy_changes.between(in_force, document)
    return {
        "message_id": str(uuid.uuid4()),
        "conversation_id": str(uuid.uuid4()),
        "content": {
            "proposal": f"epoch {document.epoch}",
            "difference": [{"place": c.place, "before": c.before, "after": c.after} for c in changes],
            **replayed,
        },
        "payload": {"action": {"tool": CHANGE_POLICY, "arguments": {"document": orjson.loads(document.canonical())}}},
        "from_agent": proposer,
        "message_type": "governance_request",
        "priority": 2,
        "constitutional_hash": in_force.preferred_hash,
        "tenant_id": POLICY_TENANT,
        "created_at": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }


def proposed_policy(one: PendingItem) -> Policy | None:
    """The epoch that a held proposal would put in force; None where it is none."""
    try:
        return Policy.model_validate_json(orjson.dumps(one.arguments.get("document")))
    except ValidationError:
        return None


async def earlier(settings: EngineSettings, epoch: int | None) -> Policy:
    """An earlier epoch's content, numbered as the next one; without a number, that of the one before.

    Keys that any epoch has revoked stay revoked. All else goes back, owners and operators too.

    Raises:
        PolicyRefusedError: there is no such epoch in the log.
        InstallationError: there is no control topic.
        BrokerError: the broker cannot be reached or refuses.
    """
    epochs = await control.epochs(settings)
    if not epochs:
        raise PolicyRefusedError("no policy is in force. 'acgs policy publish' publishes one")
    current = epochs[-1].policy.epoch
    wanted = current - 1 if epoch is None else epoch
    found = next((one.policy for one in epochs if one.policy.epoch == wanted), None)
    if found is None or wanted == current:
        known = ", ".join(str(one.policy.epoch) for one in epochs)
        raise PolicyRefusedError(f"epoch {wanted} cannot be gone back to; in the log are {known}, in force {current}")
    return restored(found, [one.policy for one in epochs])


def restored(found: Policy, epochs: Sequence[Policy]) -> Policy:
    """What one of the epochs said as the next one, but for keys that any of them has revoked: those stay revoked."""
    revoked: dict[str, datetime] = {}
    for epoch in epochs:
        for key in _keys(epoch):
            if key.revoked_at is not None:
                revoked[key.public_key] = min(key.revoked_at, revoked.get(key.public_key, key.revoked_at))

    def still(signers: Iterable[Approver | Relay | Sender]) -> tuple[Approver | Relay | Sender, ...]:
        return tuple(
            signer.model_copy(
                update={
                    "keys": tuple(
                        key.model_copy(update={"revoked_at": revoked.get(key.public_key)}) for key in signer.keys
                    )
                }
            )
            for signer in signers
        )

    changes = {
        "approvers": still(found.approvers),
        "relays": still(found.relays),
        "senders": still(found.senders),
    }
    following = found.model_copy(update={**changes, "epoch": epochs[-1].epoch + 1})
    return Policy.model_validate_json(following.canonical())


def _keys(policy: Policy) -> Iterator[PublicKey]:
    signers: tuple[Approver | Relay | Sender, ...] = (*policy.approvers, *policy.relays, *policy.senders)
    return (key for signer in signers for key in signer.keys)

"""A held item that changes the policy: which epoch it proposes, and whether that may follow the one in force."""

import orjson
from pydantic import ValidationError

from handlers.deliberation.rows import ACTIVATED, Activated, Row, decode
from schemas.effects import Refused, Surroundings
from schemas.parsed import first_defect
from schemas.policy import Policy
from schemas.reasons import Reason


def proposed(value: bytes, view: Surroundings[Row]) -> Policy | Refused:
    """The epoch that a proposal's bytes hold, if it may follow the one in force.

    While the lane has signed an epoch and not read it yet, none may: its signatures would be weighed by owners whom
    that epoch may have put out.
    """
    in_force, activated = view.control.policy, _activated(view)
    if activated > in_force.epoch:
        return Refused(Reason.EPOCH_PENDING, f"epoch {activated} is being put in force; propose again")
    if not in_force.owners:
        return Refused(Reason.INVALID_POLICY, f"epoch {in_force.epoch} names no owners, who could sign a proposal")
    try:
        document = orjson.loads(value)["payload"]["action"]["arguments"]["document"]
        policy = Policy.model_validate_json(orjson.dumps(document))
    except ValidationError as error:
        return Refused(Reason.INVALID_POLICY, first_defect(error, "the document"))
    except (KeyError, TypeError):
        return Refused(Reason.INVALID_POLICY, "the action has no argument 'document', which is the proposed epoch")
    if policy.epoch != in_force.epoch + 1:
        detail = f"it is epoch {policy.epoch}; {in_force.epoch + 1} is the one that can follow"
        return Refused(Reason.INVALID_POLICY, detail)
    return policy


def _activated(view: Surroundings[Row]) -> int:
    row = view.row(ACTIVATED)
    known = None if row is None else decode(row)
    return known.epoch if isinstance(known, Activated) else 0

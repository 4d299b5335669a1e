"""A held item that changes the policy: which epoch it proposes, and whether that may follow the one in force."""

import orjson
from pydantic import ValidationError

from handlers.deliberation.rows import ACTIVATED, Activated, Row, decode
from schemas.effects import Refused, Surroundings
from schemas.policy import Policy
from schemas.reasons import Reason


def proposed(value: bytes, view: Surroundings[Row]) -> Policy | Refused:
    """The epoch that a proposal's bytes hold, if it may follow the one in force."""
    in_force = view.control.policy
    if not in_force.owners:
        return Refused(Reason.INVALID_POLICY, f"epoch {in_force.epoch} names no owners, who could sign a proposal")
    try:
        document = orjson.loads(value)["payload"]["action"]["arguments"]["document"]
        policy = Policy.model_validate_json(orjson.dumps(document))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        return Refused(Reason.INVALID_POLICY, f"{place}: {first['msg']}")
    except (KeyError, TypeError):
        return Refused(Reason.INVALID_POLICY, "the action has no argument 'document', which is the proposed epoch")
    wanted = max(in_force.epoch, _activated(view)) + 1
    if policy.epoch != wanted:
        return Refused(Reason.INVALID_POLICY, f"it is epoch {policy.epoch}; {wanted} is the one that can follow")
    return policy


def _activated(view: Surroundings[Row]) -> int:
    row = view.row(ACTIVATED)
    known = None if row is None else decode(row)
    return known.epoch if isinstance(known, Activated) else 0

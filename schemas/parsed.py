"""A contract read from a record that another agent, or a gateway, has written; what is wrong with it is a refusal."""

from typing import TypeVar

from pydantic import ValidationError

from schemas import strict_json
from schemas.effects import Refused
from schemas.model import Contract
from schemas.reasons import Reason

Content = TypeVar("Content", bound=Contract)


def parsed(contract: type[Content], value: bytes) -> Content | Refused:
    """What the record says, or why it says nothing that can be acted on. Never raises, whatever the bytes."""
    try:
        if not isinstance(strict_json.loads(value), dict):
            return Refused(Reason.NOT_AN_OBJECT, "the JSON text is not an object")
        return contract.model_validate_json(value)
    except strict_json.Defect as defect:
        return Refused(defect.reason, defect.detail)
    except ValidationError as error:
        return Refused(Reason.INVALID_VALUE, first_defect(error, "the record"))


def first_defect(error: ValidationError, whole: str) -> str:
    """The first thing that is wrong, and where; `whole` is what to call it where it is wrong as a whole."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or whole}: {first['msg']}"

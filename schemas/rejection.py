"""A refused input as it stands on `rejected`: the original bytes, and why in the headers."""

from schemas.model import Contract
from schemas.reasons import Reason


class Rejection(Contract):
    """The headers of a record on `rejected`.

    The record's value is the refused value, byte for byte (null if `null_value`), and its key the refused record's key.
    """

    reason: Reason
    detail: str
    source: str
    policy: str
    null_value: bool

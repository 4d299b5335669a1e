"""Which states of a recovery may follow which."""

from collections.abc import Mapping

from schemas.recovery import RecoveryState

_S = RecoveryState

TRANSITIONS: Mapping[RecoveryState, frozenset[RecoveryState]] = {
    _S.IDLE: frozenset({_S.SCHEDULED, _S.AWAITING_MANUAL}),
    _S.SCHEDULED: frozenset({_S.IN_PROGRESS, _S.AWAITING_MANUAL, _S.CANCELLED, _S.IDLE}),
    _S.IN_PROGRESS: frozenset({_S.SUCCEEDED, _S.SCHEDULED, _S.FAILED, _S.AWAITING_MANUAL, _S.CANCELLED, _S.IDLE}),
    _S.AWAITING_MANUAL: frozenset({_S.SCHEDULED, _S.CANCELLED, _S.IDLE}),
    _S.SUCCEEDED: frozenset({_S.SCHEDULED, _S.AWAITING_MANUAL}),
    _S.FAILED: frozenset({_S.SCHEDULED, _S.AWAITING_MANUAL, _S.IDLE}),
    _S.CANCELLED: frozenset({_S.SCHEDULED, _S.AWAITING_MANUAL, _S.IDLE}),
}
"""What may follow. A recovery begins by becoming scheduled, or by awaiting a person."""

UNDER_WAY = frozenset({_S.SCHEDULED, _S.IN_PROGRESS, _S.AWAITING_MANUAL})
"""The states in which no other recovery of the service begins."""

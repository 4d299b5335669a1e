"""Which commands for chaos may pass. Asked twice: by their gateway, and by who acts on them, under the policy then."""

from handlers.gateway import Admission
from handlers.operators import Ordered
from schemas.chaos import ChaosCommand

KEY = "chaos"
"""The one key of every command: one lane decides on them all, so that their order says what is in force."""

ADMISSION: Admission[ChaosCommand] = Admission(
    ChaosCommand,
    lambda _: KEY,
    who=lambda command: Ordered(command.requested_by, must_be_signed=True),
)
"""An operator has signed it, and nobody may give it while the policy names none."""

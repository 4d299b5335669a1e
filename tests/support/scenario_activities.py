"""Activities for scenarios: those of the storm, one that needs mending, and one under an old and a new name."""

import os
from pathlib import Path

from pydantic import JsonValue

from compensation.activities import ActivityContext, activity
from compensation.errors import NonRetryableError
from tests.support.storm_activities import DO, FOLDER_VARIABLE, UNDO, StormActivities

MENDABLE, SHIP, SHIP_RENAMED = "mendable", "ship", "ship_v2"
NAMES = (DO, UNDO, MENDABLE, SHIP, SHIP_RENAMED)
MENDED = "mended"
"""The file in the world's folder from whose presence on nothing is broken any more."""


class Scenario(StormActivities):
    """What plays as its input says."""

    @activity(name=MENDABLE)
    async def mendable(self, _: ActivityContext) -> JsonValue:
        """Fails for good until somebody has mended it."""
        if not (Path(os.environ[FOLDER_VARIABLE]) / MENDED).exists():
            raise NonRetryableError("it is broken")
        return "mended"


@activity
async def ship(_: ActivityContext) -> JsonValue:
    """Ships."""
    return "shipped"


@activity(name=SHIP_RENAMED)
async def ship_renamed(_: ActivityContext) -> JsonValue:
    """Ships, under the name that another deploy has given it."""
    return "shipped"


BEFORE_THE_DEPLOY, AFTER_THE_DEPLOY = [ship], [ship_renamed]

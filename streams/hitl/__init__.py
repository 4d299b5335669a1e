"""People decide where they are: cards on Slack, Teams or a platform of one's own, and the clicks that come back.

Needs the extra `hitl`.
"""

from streams.hitl.errors import ExtraMissingError

try:
    import aiohttp as _aiohttp
    import slack_sdk as _slack_sdk
except ModuleNotFoundError as error:
    raise ExtraMissingError(
        f"cards and callbacks need {error.name}: pip install 'acgs-streams[hitl]'", name=error.name
    ) from error

from streams.hitl.errors import HitlError, PostError
from streams.hitl.manager import HITLManager
from streams.hitl.settings import Channel, HitlSettings

del _aiohttp, _slack_sdk

__all__ = ["Channel", "ExtraMissingError", "HITLManager", "HitlError", "HitlSettings", "PostError"]

"""The heartbeats of one attempt: passed on seldom enough, the newest details always."""

import asyncio
import logging
import threading
from collections.abc import Callable

from schemas.activity import MAX_DETAILS_BYTES
from streams.activities.wire import NotJsonError, encode_value

_log = logging.getLogger(__name__)

_PARTS = 3
_EVERY_S = 1.0
"""Between two heartbeats of an attempt that needs none."""


class AttemptPulse:
    """Takes an activity's heartbeats from any thread and passes on at most one per third of the time allowed.

    What comes in between is passed on at the end of that third, so that the newest details are never lost to a pause.
    """

    def __init__(self, activity: str, heartbeat_ms: int | None, details: object) -> None:
        self.is_cancelled = False
        self.last_s = 0.0
        """When it was heard of last, by the loop's clock."""
        self._activity = activity
        self._every_s = _EVERY_S if heartbeat_ms is None else heartbeat_ms / 1000 / _PARTS
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._publish: Callable[[bytes | None], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_new = False
        self._has_warned = False
        self._details = None if details is None else self._encoded(details)

    def start(self, publish: Callable[[bytes | None], None]) -> None:
        """The activity begins; `publish` is given the JSON of the newest details."""
        self._publish, self.last_s = publish, self._loop.time()

    def stop(self) -> None:
        """The activity has ended: nothing is passed on any more."""
        self._publish = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def beat(self, details: object) -> None:
        """As ActivityContext.heartbeat() says."""
        encoded = None if details is None else self._encoded(details)
        if threading.get_ident() == self._thread:
            self._heard(encoded)
            return
        try:
            self._loop.call_soon_threadsafe(self._heard, encoded)
        except RuntimeError:
            return  # the loop has ended, and the worker with it

    def _encoded(self, details: object) -> bytes | None:
        try:
            encoded = encode_value(details)
        except NotJsonError as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001  # details may change while a thread writes them; never raises
            why = repr(error)
        else:
            if len(encoded) <= MAX_DETAILS_BYTES:
                return encoded
            why = f"{len(encoded)} bytes are more than {MAX_DETAILS_BYTES}"
        self._warn(why)
        return None

    def _warn(self, why: str) -> None:
        if not self._has_warned:
            _log.warning("details of a heartbeat of activity %s are dropped: %s", self._activity, why)
        self._has_warned = True

    def _heard(self, details: bytes | None) -> None:
        if self._publish is None:
            return
        self.last_s = self._loop.time()
        if details is not None:
            self._details = details
        self._is_new = True
        if self._timer is None:
            self._pass_on()

    def _pass_on(self) -> None:
        self._timer = None
        if self._is_new and self._publish is not None:
            self._is_new = False
            self._publish(self._details)
            self._timer = self._loop.call_later(self._every_s, self._pass_on)

"""Records that were refused, for those who have published them."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from schemas import envelope
from streams.engine.records import Record
from streams.errors import StreamsError

_KEPT = 1_000
"""How many refusals are kept of records whose sender does not know yet where they stand."""


class Refusals:
    """Refusals of records on one public topic, by the place where the record was written.

    `refusal` makes the error of a reason code and its detail.
    """

    def __init__(self, topic: str, refusal: Callable[[str, str], StreamsError]) -> None:
        self.topic, self._of_ours, self._refusal = topic, f"{topic}/".encode(), refusal
        self._waiting: dict[bytes, asyncio.Future[Any]] = {}
        self._early: OrderedDict[bytes, StreamsError] = OrderedDict()

    @contextmanager
    def expecting(self, source: bytes, answer: asyncio.Future[Any]) -> Generator[None, None, None]:
        """Tells the future if the record at that place is refused, or has been since it was written."""
        self._waiting[source] = answer
        early = self._early.pop(source, None)
        if early is not None:
            _refuse(answer, early)
        try:
            yield
        finally:
            del self._waiting[source]

    def take(self, record: Record) -> None:
        """Takes a record of `rejected`."""
        headers = dict(reversed([(name, content or b"") for name, content in record.headers]))
        source = headers.get(envelope.SOURCE, b"")
        if not source.startswith(self._of_ours):
            return
        reason, detail = (
            headers.get(name, b"").decode(errors="replace") for name in (envelope.REASON, envelope.DETAIL)
        )
        refusal = self._refusal(reason, detail)
        answer = self._waiting.get(source)
        if answer is not None:
            _refuse(answer, refusal)
            return
        self._early[source] = refusal
        if len(self._early) > _KEPT:
            self._early.popitem(last=False)


def _refuse(answer: asyncio.Future[Any], refusal: StreamsError) -> None:
    if not answer.done():
        answer.set_exception(refusal)

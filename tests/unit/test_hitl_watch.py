"""What the manager says of whether clicks count."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

from streams.hitl.manager import HITLManager


async def test_that_the_log_is_no_longer_followed_does_not_say_that_clicks_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager = HITLManager.__new__(HITLManager)
    not_followed = SimpleNamespace(policy=None)
    manager.__dict__.update({"_relay": object(), "_told_unfit": "no click counts", "_posting": not_followed})
    with caplog.at_level(logging.WARNING), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await manager._watch()  # noqa: SLF001
    assert caplog.messages == []

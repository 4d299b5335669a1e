"""A service with a circuit breaker, whose state others see: `python -m streams.samples.checkout`.

It calls the bank five times a second. Take a breaker of your library in place of Breaker: streams.health has listeners
for pybreaker and purgatory. docs/health.md tells the rest.
"""

import argparse
import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

from schemas.breaker import BreakerState
from streams import logs
from streams.control import accepted_hash
from streams.health import BreakerPublisher
from streams.samples.bank import SERVICE, Bank
from streams.samples.payment_saga import FOLDER_VARIABLE
from streams.serving import run_until_told
from streams.settings import load

_EVERY_S: Final = 0.2
_FAILURES: Final = 3
"""So many in a row open the breaker."""
_OPEN_S: Final = 1.0
"""So long it refuses calls; then one is let through."""


class Breaker:
    """The least that a circuit breaker is."""

    def __init__(self, told: BreakerPublisher) -> None:
        self._told, self._failures, self._opened_at = told, 0, 0.0
        self._become(BreakerState.CLOSED)

    def call(self, bank: Bank) -> None:
        """Calls the bank, unless it is better left alone."""
        if self._state is BreakerState.OPEN:
            if time.monotonic() - self._opened_at < _OPEN_S:
                return
            self._become(BreakerState.HALF_OPEN)
        try:
            bank.call()
        except ConnectionError as error:
            self._failures += 1
            if self._failures >= _FAILURES:
                self._opened_at = time.monotonic()
                self._become(BreakerState.OPEN, str(error))
        else:
            self._failures = 0
            self._become(BreakerState.CLOSED)

    def _become(self, state: BreakerState, reason: str | None = None) -> None:
        self._state = state
        self._told.on_circuit_state_change("bank-api", state, reason=reason)


async def run(folder: Path) -> None:
    """Calls the bank until it is cancelled."""
    settings = load().engine(client_id="checkout")
    hash_, bank = await accepted_hash(settings), Bank(folder)
    with BreakerPublisher(settings, service=SERVICE, constitutional_hash=hash_, ttl=timedelta(seconds=15)) as told:
        breaker = Breaker(told)
        while True:
            breaker.call(bank)
            await asyncio.sleep(_EVERY_S)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m streams.samples.checkout", description=__doc__)
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    options = parser.parse_args()
    logs.configure()
    shop = Path(os.environ.get(FOLDER_VARIABLE, ".run/shop"))
    asyncio.run(run_until_told(run(shop), with_parent=options.with_parent))

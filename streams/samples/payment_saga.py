"""The payment saga: reserve the goods, charge the customer, ship; what was done is undone in reverse when it fails.

Serve its activities with `acgs worker streams.samples.payment_saga`, and start it with
`acgs workflow start` or a WorkflowClient. An order for a country that the carrier does not serve makes it refund and
release. The shop is an SQLite file that stands for three systems outside; each effect happens once by its key. Beside
them are the activities by which the bank is recovered.
"""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

from pydantic import JsonValue

from compensation.activities import ActivityContext, BaseActivities, activity
from compensation.definition import WorkflowDefinition
from compensation.effects_sqlite import SqliteEffectStore
from compensation.errors import NoEffect
from streams.samples.bank import Bank

FOLDER_VARIABLE = "ACGS_SHOP"
"""Names the folder of the shop; .run/shop without it."""

_CARRIER_SERVES = frozenset({"AT", "CH", "DE", "FR", "IT", "NL"})

DEFINITION = WorkflowDefinition.parse(
    """
    {
      "name": "payment-saga",
      "nodes": [
        {
          "id": "reserve_inventory",
          "name": "Reserve Inventory",
          "activity": "reserve_inventory",
          "compensation": {
            "name": "release_inventory",
            "activity": "release_inventory",
            "idempotency_key": "inv_{order_id}"
          }
        },
        {
          "id": "charge_payment",
          "name": "Charge Payment",
          "activity": "charge_payment",
          "dependencies": ["reserve_inventory"],
          "compensation": {
            "name": "refund_payment",
            "activity": "refund_payment",
            "idempotency_key": "pay_{order_id}"
          }
        },
        {
          "id": "ship_order",
          "name": "Ship Order",
          "activity": "ship_order",
          "dependencies": ["reserve_inventory", "charge_payment"]
        }
      ]
    }
    """
)
"""The saga as data."""


def order(order_id: str, country: str, *, amount: int = 4_900) -> dict[str, JsonValue]:
    """The input of one saga; `amount` in the currency's smallest unit."""
    return {"order_id": order_id, "sku": "teapot", "quantity": 1, "amount": amount, "country": country}


class Shop(BaseActivities):
    """The saga's activities, on one SQLite file and an effect store beside it."""

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__()
        folder = folder or Path(os.environ.get(FOLDER_VARIABLE, ".run/shop"))
        folder.mkdir(parents=True, exist_ok=True)
        self.bank = Bank(folder)
        self._books = folder / "books.sqlite"
        self._effects = SqliteEffectStore(folder / "effects.sqlite")
        with closing(sqlite3.connect(self._books)) as books, books:
            columns = "at INTEGER PRIMARY KEY, workflow_id TEXT, order_id TEXT, entry TEXT"
            books.execute(f"CREATE TABLE IF NOT EXISTS book ({columns})")

    @activity
    async def reserve_inventory(self, context: ActivityContext) -> JsonValue:
        """Takes the goods from the shelf."""
        return await self._effects.do(context.effect_key, self._entry(context, "reserved"))

    @activity
    async def release_inventory(self, context: ActivityContext) -> bool:
        """Puts them back."""
        await self._effects.undo(context.effect_key, lambda _: self._write(context, "released"))
        return True

    @activity
    async def charge_payment(self, context: ActivityContext) -> JsonValue:
        """Charges the customer."""
        return await self._effects.do(context.effect_key, self._entry(context, "charged"))

    @activity
    async def refund_payment(self, context: ActivityContext) -> bool:
        """Pays the money back."""
        await self._effects.undo(context.effect_key, lambda _: self._write(context, "refunded"))
        return True

    @activity
    async def ship_order(self, context: ActivityContext) -> JsonValue:
        """Hands the goods to the carrier."""
        if context["country"] not in _CARRIER_SERVES:
            raise NoEffect(f"the carrier does not serve {context['country']}")
        return await self._effects.do(context.effect_key, self._entry(context, "shipped"))

    @activity
    async def restart_bank(self, context: ActivityContext) -> None:
        """What an operator does when the bank is down."""
        del context
        self.bank.restart()

    @activity
    async def probe_bank(self, context: ActivityContext) -> bool:
        """Whether that helped."""
        del context
        return self.bank.answers()

    def entries(self, workflow_id: str) -> list[str]:
        """What a workflow has done outside, in its order."""
        with closing(sqlite3.connect(self._books)) as books:
            rows = books.execute("SELECT entry FROM book WHERE workflow_id = ? ORDER BY at", (workflow_id,))
            return [str(entry) for (entry,) in rows]

    def _entry(self, context: ActivityContext, entry: str) -> Callable[[], Awaitable[JsonValue]]:
        async def effect() -> JsonValue:
            await self._write(context, entry)
            return {"order_id": str(context["order_id"]), "entry": entry}

        return effect

    async def _write(self, context: ActivityContext, entry: str) -> None:
        def write() -> None:
            with closing(sqlite3.connect(self._books)) as books, books:
                row = (context.workflow_id, str(context["order_id"]), entry)
                books.execute("INSERT INTO book (workflow_id, order_id, entry) VALUES (?, ?, ?)", row)

        await asyncio.to_thread(write)

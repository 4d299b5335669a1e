"""The demonstration of workflows: three orders go through the payment saga, and one of them must be undone."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from compensation.constitution import CONSTITUTIONAL_HASH
from schemas.workflow import WorkflowEvent, WorkflowState
from streams.engine.client import EngineSettings
from streams.samples.payment_saga import DEFINITION, Shop, order
from streams.workflows import WorkflowClient, WorkflowHandle

_COUNTRIES: Mapping[str, str] = {"A-1": "AT", "A-2": "AQ", "A-3": "NL"}
"""Orders and where they go; the carrier does not serve the Antarctic."""

_WITHIN = timedelta(seconds=60)

OnEvent = Callable[[str, WorkflowEvent], None]
"""Is told of each event of an order's workflow."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an order's workflow ended, and what happened outside, in its order."""

    order_id: str
    workflow_id: str
    state: WorkflowState
    cause: str | None
    entries: tuple[str, ...]


async def run(settings: EngineSettings, shop: Path, on_event: OnEvent) -> list[Ended]:
    """Starts the orders' workflows, follows them to their ends, and looks into the shop's books.

    A worker must serve the activities of the sample. An order bears the time in its id, so that each run has its own.

    Raises:
        TimeoutError: a workflow has not ended within a minute.
    """
    client = WorkflowClient(
        settings, tenant_id="shop", requested_by="checkout", constitutional_hash=CONSTITUTIONAL_HASH
    )
    async with client:
        handles = {order_id: await _start(client, order_id, country) for order_id, country in _COUNTRIES.items()}
        async with asyncio.timeout(_WITHIN.total_seconds()):
            await asyncio.gather(*(_follow(order_id, handle, on_event) for order_id, handle in handles.items()))
        return [await _ended(order_id, handle, Shop(shop)) for order_id, handle in handles.items()]


async def _start(client: WorkflowClient, order_id: str, country: str) -> WorkflowHandle:
    return await client.start(DEFINITION, order(order_id, country), tags=("demonstration",))


async def _follow(order_id: str, handle: WorkflowHandle, on_event: OnEvent) -> None:
    async for event in handle.events():
        on_event(order_id, event)


async def _ended(order_id: str, handle: WorkflowHandle, shop: Shop) -> Ended:
    outcome = await handle.result(_WITHIN)
    entries = tuple(shop.entries(handle.workflow_id))
    return Ended(order_id, outcome.workflow_id, outcome.state, outcome.cause, entries)


def result_line(ended: list[Ended]) -> str:
    """The line for scripts."""
    completed = sum(one.state is WorkflowState.COMPLETED for one in ended)
    compensated = sum(one.state is WorkflowState.COMPENSATED for one in ended)
    return f"RESULT sagas {len(ended)} started, {completed} completed, {compensated} compensated"

"""How a workflow ended, with its results."""

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

import orjson
from pydantic import JsonValue

from compensation.definition import WorkflowDefinition
from compensation.graph import dependents
from schemas.activity import Claim, Given
from schemas.workflow import WorkflowState, WorkflowStatus
from streams.claims import ClaimStore
from streams.engine.client import EngineSettings
from streams.workflows.history import events


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowOutcome:
    """How a workflow stands at its end, or where it is parked.

    `results` are those of the nodes on which none depends, once it is completed; else none. A result that is kept in a
    claim-check store is its Claim where no store was given. `cause` is why it was undone or parked.
    """

    workflow_id: str
    run: str
    state: WorkflowState
    cause: str | None
    results: Mapping[str, JsonValue | Claim]
    status: WorkflowStatus = field(repr=False)

    @property
    def success(self) -> bool:
        """Whether it completed."""
        return self.state is WorkflowState.COMPLETED


async def outcome_of(settings: EngineSettings, status: WorkflowStatus, claims: ClaimStore | None) -> WorkflowOutcome:
    """The outcome that a status tells of, with results that are too large for it read from the events.

    Raises:
        BrokerError: the events cannot be read.
        ClaimStoreError: the claim-check store cannot be read, or has lost a result.
    """
    given: Mapping[str, Given] = {}
    if status.state is WorkflowState.COMPLETED:
        given = await _from_events(settings, status) if status.results is None else status.results
    return WorkflowOutcome(
        workflow_id=status.workflow_id,
        run=status.run,
        state=status.state,
        cause=status.cause,
        results={node: await _resolved(one, claims) for node, one in given.items()},
        status=status,
    )


async def _from_events(settings: EngineSettings, status: WorkflowStatus) -> Mapping[str, Given]:
    leaves: frozenset[str] | None = None
    found: dict[str, Given] = {}
    async with aclosing(events(settings, status, follow=False)) as happened:
        async for event in happened:
            if event.definition is not None:
                leaves = _leaves(WorkflowDefinition.parse(orjson.dumps(event.definition)))
            if event.node is not None and event.result is not None and (leaves is None or event.node in leaves):
                found[event.node] = event.result
    return found


def _leaves(definition: WorkflowDefinition) -> frozenset[str]:
    after = dependents({node.id: node.dependencies for node in definition.nodes})
    return frozenset(id_ for id_, those in after.items() if not those)


async def _resolved(given: Given, claims: ClaimStore | None) -> JsonValue | Claim:
    if given.claim is None:
        return given.value
    if claims is None:
        return given.claim
    value: JsonValue = orjson.loads(await claims.get(given.claim))
    return value

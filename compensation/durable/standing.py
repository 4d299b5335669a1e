"""How a workflow stands, as `workflow-status` says it."""

from collections.abc import Callable, Mapping

import orjson

from compensation.durable.rows import Case, Head, Leaf
from compensation.durable.wire import fragment
from compensation.plan import Plan, PlannedNode
from compensation.rows import Awaits, NodeRow
from compensation.status import StepStatus, WorkflowState
from schemas.workflow import MAX_ATTENTION, MAX_STATUS_RESULTS_BYTES

_PEOPLE = frozenset({Awaits.VERDICT, Awaits.RELEASE, Awaits.SIGNAL})
_WAITS_FOR: Mapping[Awaits | None, str] = {
    Awaits.VERDICT: "it waits for an approval",
    Awaits.RELEASE: "what it would do is too dangerous to be done without an approval, and waits for one",
    Awaits.SIGNAL: "it waits for a signal",
}
_FAILED = frozenset({StepStatus.FAILED, StepStatus.UNKNOWN, StepStatus.NO_EFFECT})
_MAY_NEED = _FAILED | {StepStatus.WAITING, StepStatus.BLOCKED, StepStatus.COMPENSATION_FAILED}


def attending(
    plan: Plan, head: Head, before: Mapping[str, Leaf | None], leaf: Callable[[str], Leaf], *, was_failing: bool
) -> tuple[tuple[str, ...], int]:
    """The nodes that need somebody: the first of them by name, and how many they are.

    `before` has the nodes that have changed since the head was written, as they were.
    """
    failing = head.row.failing
    if failing is not was_failing:
        found = [id_ for id_, node in plan.nodes.items() if _needs_somebody(node, leaf(id_).row, failing=failing)]
        return tuple(found[:MAX_ATTENTION]), len(found)
    listed, count = list(head.attention), head.attention_count
    for id_, was in before.items():
        had = was is not None and _needs_somebody(plan.nodes[id_], was.row, failing=failing)
        has = _needs_somebody(plan.nodes[id_], leaf(id_).row, failing=failing)
        if had is has:
            continue
        count += 1 if has else -1
        if had and not has and id_ in listed:
            listed.remove(id_)
        elif has and not had and len(listed) < MAX_ATTENTION:
            listed.append(id_)
    return tuple(listed), count


def _needs_somebody(node: PlannedNode, row: NodeRow, *, failing: bool) -> bool:
    """Whether a node waits for people: one that failed for good does where the workflow is past its pivot."""
    if row.status not in _MAY_NEED:
        return False
    if row.status is StepStatus.WAITING:
        return row.awaits in _PEOPLE
    return row.status not in _FAILED or (not node.optional and not failing)


def status(case: Case, head: Head, now_ms: int, leaf: Callable[[str], Leaf]) -> bytes:
    """A WorkflowStatus."""
    row = head.row
    attention = attention_of(head, leaf)
    return orjson.dumps(
        {
            "v": 1,
            "workflow_id": case.workflow_id,
            "run": case.run,
            "name": case.prepared.definition.name,
            "definition_digest": case.prepared.digest,
            "tenant_id": case.tenant_id,
            "requested_by": case.requested_by,
            "tags": case.tags,
            "state": row.state.value,
            "version": row.version,
            "nodes": len(case.prepared.nodes),
            "started_ms": case.started_ms,
            "changed_ms": now_ms,
            "closed_ms": head.closed_ms,
            "cause": row.cause,
            "attention": attention,
            "attention_count": max(len(attention), head.attention_count),
            "results": results_of(case, head, leaf),
        }
    )


def attention_of(head: Head, leaf: Callable[[str], Leaf]) -> list[dict[str, object]]:
    """Who is needed: the first of the nodes that wait for somebody, and what for."""
    if head.row.held:
        return [{"node": None, "status": None, "why": head.row.cause}]
    return [_one(id_, leaf(id_).row) for id_ in head.attention]


def _one(id_: str, row: NodeRow) -> dict[str, object]:
    waits_for = _WAITS_FOR.get(row.awaits) if row.status is StepStatus.WAITING else None
    why = waits_for or (row.undo_error if row.status is StepStatus.COMPENSATION_FAILED else row.error) or "it failed"
    return {"node": id_, "status": row.status.value, "why": why}


def results_of(case: Case, head: Head, leaf: Callable[[str], Leaf]) -> dict[str, object] | None:
    """The results of the nodes on which none depends, of a workflow that completed."""
    if head.row.state is not WorkflowState.COMPLETED:
        return None
    found = {id_: leaf(id_) for id_ in case.prepared.ends}
    texts = {
        id_: one.result
        for id_, one in found.items()
        if one.result is not None and one.row.status is StepStatus.COMPLETED
    }
    if sum(map(len, texts.values())) > MAX_STATUS_RESULTS_BYTES:
        return None
    return {id_: fragment(text) for id_, text in texts.items()}

"""Definitions made ready once for all workflows that share them."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import orjson

from compensation import templates
from compensation.definition import Node, WorkflowDefinition
from compensation.plan import Plan, planned

_KEPT = 1_024


class Prepared(NamedTuple):
    """A definition, its canonical JSON, digest, plan and nodes by id; `ends` are those on which none depends."""

    definition: WorkflowDefinition
    text: bytes
    digest: str
    plan: Plan
    nodes: Mapping[str, Node]
    ends: tuple[str, ...]


@lru_cache(_KEPT)
def prepare(text: bytes) -> Prepared:
    """A definition from JSON.

    Raises:
        DefinitionError: it cannot run.
    """
    definition = WorkflowDefinition.parse(text)
    plan = planned(definition)
    return Prepared(
        definition=definition,
        text=definition.canonical(),
        digest=definition.digest(),
        plan=plan,
        nodes={node.id: node for node in definition.nodes},
        ends=tuple(node.id for node in plan.nodes.values() if not node.dependents),
    )


class Keys(NamedTuple):
    """The keys of one call: its own, and its node's for an effect store."""

    idempotency: str
    effect: str


def keys(node: Node, workflow_id: str, run: str, values: bytes, undo_round: int | None) -> Keys:
    """The keys of a node's forward call, or of its undo in a round.

    Raises:
        ValueError: a template needs a name that the workflow's input does not have.
    """
    own = f"{workflow_id}:{node.id}"
    forward = _filled(node.idempotency_key, values) or own
    effect = f"{run}:{forward}"
    if undo_round is None:
        return Keys(f"{run}:do:{forward}", effect)
    template = node.compensation.idempotency_key if node.compensation else None
    return Keys(f"{run}:undo:{undo_round}:{_filled(template, values) or own}", effect)


def _filled(template: str | None, values: bytes) -> str | None:
    return None if template is None else templates.fill(template, orjson.loads(values))

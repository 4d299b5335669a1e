"""The impact score: an integer from what an action does, to what, how much, and under which claims.

Pure: the same message, policy and decision version give the same card, on every Python and whatever the hash seed. The
points are data in the policy; docs/reference/impact.md says how a score is made.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import JsonValue

from handlers.action import AS_EFFECT, UnscorableError, deeds_of, quantity
from handlers.constraints import broken
from handlers.deeds import Deed
from handlers.effects import DOES, READS, VERBS
from handlers.secret import holds_credential
from handlers.tally import Tally
from handlers.targets import is_outside, sensitive
from schemas.message import Priority
from schemas.model import MAX_SCORE
from schemas.policy import Policy, PublishedPolicy, Tool, Verb
from schemas.score import ScoreCard, encode_card
from schemas.weights import Effect, Step, Weights

__all__ = ["DECISION_VERSION", "encode_card", "score"]

DECISION_VERSION = 1
"""The version of the rules in this module and those it uses. A change that can change a card raises it."""

_VERB_SAYS: dict[Verb, str] = {
    Verb.READ: "it reads",
    Verb.CHANGE: "it changes",
    Verb.DELETE: "it deletes",
    Verb.EXECUTE: "it executes",
    Verb.PAY: "it pays",
    Verb.PUBLISH: "it publishes",
    Verb.ESCALATE: "it changes who may do what",
}

_LEAVES = frozenset(
    {Effect.FETCH, Effect.SEND, Effect.REMOTE, Effect.PUSH, Effect.PUBLISH, Effect.REVEAL, Effect.DEPLOY}
)
"""Effects by which what stands in the arguments leaves the machine."""

_GRAVE_WRITING = frozenset({Effect.EXHAUST, Effect.REVEAL})
"""Effects that a text has which is only written: it will have them when it is run."""

_SHOWN = 48
"""How much of a name stands on a card."""


def score(message: Mapping[str, JsonValue], published: PublishedPolicy) -> ScoreCard:
    """The impact of a message that passed the gateway, under a policy.

    Never raises for a message that keeps the contract. What cannot be scored weighs at least `unknown_tool`; a claim of
    the caller raises and never lowers.
    """
    payload = message.get("payload")
    action = payload.get("action") if isinstance(payload, dict) else None
    tally = Tally()
    if not isinstance(payload, dict) or not isinstance(action, dict):
        _type(tally, message, published.policy)
        _claim(tally, message)
        return tally.card(None, None, published.reference, DECISION_VERSION)
    name = str(action["tool"])
    verb = _action(tally, message, payload, action, published.policy)
    if message["priority"] == Priority.CRITICAL:
        tally.at_least("priority", published.policy.critical_floor, "sent with CRITICAL priority")
    _claim(tally, message)
    return tally.card(name, verb, published.reference, DECISION_VERSION)


def _type(tally: Tally, message: Mapping[str, JsonValue], policy: Policy) -> None:
    kind = message["message_type"]
    for known, floor in policy.type_floors.items():
        if known == kind:
            tally.at_least("type", floor, f"the policy's floor for messages of type {kind}")


def _claim(tally: Tally, message: Mapping[str, JsonValue]) -> None:
    claim = message.get("impact_score")
    if isinstance(claim, int | float):
        numerator, denominator = claim.as_integer_ratio()
        tally.at_least("claim", -(-numerator * MAX_SCORE // denominator), "its sender's own score")


def _action(
    tally: Tally,
    message: Mapping[str, JsonValue],
    payload: Mapping[str, JsonValue],
    action: Mapping[str, JsonValue],
    policy: Policy,
) -> str | None:
    """Scores the action; returns what it does, None for an unknown tool."""
    given = action["arguments"]
    arguments = given if isinstance(given, dict) else {}
    name = str(action["tool"])
    tool = policy.tools.get(name)
    constraints = _constraints(payload)
    verb: str | None = None
    deeds: Sequence[Deed] = ()
    if tool is None:
        tally.at_least("tool", policy.unknown_tool, "the policy's catalogue does not have this tool")
    else:
        verb, deeds = _does(tally, arguments, tool, name, policy, wanted=bool(constraints))
        _how_much(tally, arguments, tool, policy)
        _tenant(tally, message, arguments, tool, policy)
    _to_what(tally, action, deeds, policy.weights)
    _secret(tally, arguments, deeds, policy.weights)
    _reversibility(tally, action, tool, policy.weights)
    if constraints and deeds:
        _task(tally, constraints, deeds, policy.weights)
    return verb


def _does(
    tally: Tally, arguments: Mapping[str, JsonValue], tool: Tool, name: str, policy: Policy, *, wanted: bool
) -> tuple[str, Sequence[Deed]]:
    """Scores what the action does: its verb, or the gravest of what its command line, SQL or text says."""
    verb = tool.verb
    tally.add("verb", policy.verb_points[verb] if tool.points is None else tool.points, _VERB_SAYS[verb])
    if tool.is_plain and not wanted:
        return verb.value, ()
    try:
        deeds = deeds_of(arguments, tool, name)
    except UnscorableError as error:
        tally.at_least("unscorable", policy.unknown_tool, str(error))
        return verb.value, ()
    points = policy.weights.effects
    gravest = max(deeds, key=lambda deed: points[deed.effect], default=None)
    if gravest is not None and (tool.command_argument is not None or tool.sql_argument is not None):
        verb = VERBS[gravest.effect]
        tally.at_least("command", points[gravest.effect], f"{DOES[gravest.effect]}: {gravest.why}")
    elif gravest is not None and gravest.effect in _GRAVE_WRITING:
        tally.at_least("written", points[gravest.effect], f"what it writes {DOES[gravest.effect]}")
    return verb.value, deeds


def _how_much(tally: Tally, arguments: Mapping[str, JsonValue], tool: Tool, policy: Policy) -> None:
    if tool.count_argument is not None:
        _quantity(tally, "count", arguments, tool.count_argument, policy.weights.counts, policy.unknown_tool)
    if tool.amount_argument is not None:
        _quantity(tally, "amount", arguments, tool.amount_argument, policy.weights.amounts, policy.unknown_tool)


def _quantity(
    tally: Tally, factor: str, arguments: Mapping[str, JsonValue], name: str, steps: Iterable[Step], floor: int
) -> None:
    try:
        number = quantity(arguments, name)
    except UnscorableError as error:
        tally.at_least("unscorable", floor, str(error))
    else:
        tally.add(factor, _points(number, steps), f"{name} is {number}")


def _points(number: int, steps: Iterable[Step]) -> int:
    return max((step.points for step in steps if number >= step.at_least), default=0)


def _tenant(
    tally: Tally, message: Mapping[str, JsonValue], arguments: Mapping[str, JsonValue], tool: Tool, policy: Policy
) -> None:
    own = message["tenant_id"]
    if tool.tenant_argument is not None and arguments.get(tool.tenant_argument, own) != own:
        tally.at_least("tenant", policy.weights.other_tenant, "it acts on another tenant's data")


def _to_what(tally: Tally, action: Mapping[str, JsonValue], deeds: Sequence[Deed], weights: Weights) -> None:
    """The gravest sensitive target, paths outside of the workspaces, another user's rights, and how often."""
    claimed = action.get("target")
    if isinstance(claimed, str) or deeds:
        touched = [*_touched(deeds), *_claimed(claimed, deeds)]
        points, why = max(_sensitive(touched, weights), key=lambda found: found[0], default=(0, ""))
        tally.add("target", points, why)
    for deed in deeds:
        if any(is_outside(path, weights) for path in deed.changed):
            tally.add("outside", weights.outside, f"outside of the workspaces: {deed.why}")
            break
    if any(deed.command is not None and deed.command.privileged for deed in deeds):
        tally.add("privileged", weights.privileged, "it asks for another user's rights")
    times = max((deed.command.repeats for deed in deeds if deed.command and deed.effect is not Effect.NOTHING), default=1)
    tally.add("repeated", _points(times, weights.counts), f"it does so {times} times")


def _touched(deeds: Iterable[Deed]) -> Iterator[tuple[str, bool]]:
    """What the deeds have to do with, each with whether it is only read."""
    for deed in deeds:
        for name in deed.touched:
            yield name, deed.effect in READS


def _claimed(target: JsonValue, deeds: Sequence[Deed]) -> Iterator[tuple[str, bool]]:
    """The target that the caller names; only read where the whole action only reads."""
    if isinstance(target, str):
        yield target, bool(deeds) and all(deed.effect in READS for deed in deeds)


def _sensitive(touched: Iterable[tuple[str, bool]], weights: Weights) -> Iterator[tuple[int, str]]:
    for name, reads in touched:
        for target in sensitive(name, weights):
            yield (target.read if reads else target.change), f"{target.name}: {name[:_SHOWN]}"


def _secret(tally: Tally, arguments: Mapping[str, JsonValue], deeds: Sequence[Deed], weights: Weights) -> None:
    if _holds_credential(arguments) or any(deed.signs.hardcodes for deed in deeds):
        tally.add("secret", weights.secret, "a credential stands in the arguments")
        if any(deed.effect in _LEAVES for deed in deeds):
            tally.at_least("secret_sent", weights.secret_sent, "a credential leaves with it")


def _holds_credential(arguments: Mapping[str, JsonValue]) -> bool:
    pending: list[JsonValue] = list(arguments.values())
    while pending:
        value = pending.pop()
        if isinstance(value, str):
            if holds_credential(value):
                return True
        elif isinstance(value, dict):
            pending.extend(value.values())
        elif isinstance(value, list):
            pending.extend(value)
    return False


def _reversibility(tally: Tally, action: Mapping[str, JsonValue], tool: Tool | None, weights: Weights) -> None:
    if tool is not None and not tool.reversible:
        tally.add("irreversible", weights.irreversible, "it cannot be undone")
    elif action.get("reversible") is False:
        tally.add("irreversible", weights.irreversible, "its sender says that it cannot be undone")


def _constraints(payload: Mapping[str, JsonValue]) -> list[str]:
    task = payload.get("task")
    constraints = task.get("constraints") if isinstance(task, dict) else None
    return [text for text in constraints if isinstance(text, str)] if isinstance(constraints, list) else []


def _task(tally: Tally, constraints: Sequence[str], deeds: Sequence[Deed], weights: Weights) -> None:
    constraint = broken(constraints, deeds)
    if constraint is not None:
        points = max(weights.constraint, weights.broken_constraint - tally.total)
        tally.add("constraint", points, f"it breaks: {constraint[:96]}")

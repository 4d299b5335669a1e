"""The impact score: an integer from what an action does, to what, how much, and under which claims.

Pure: the same message, policy and decision version give the same card, on every Python and whatever the hash seed. The
points are data in the policy; docs/reference/impact.md says how a score is made.
"""

from collections.abc import Iterable, Mapping, Sequence

from pydantic import JsonValue

from handlers.action import UnscorableError, deeds_of, quantity, targets_of
from handlers.constraints import broken
from handlers.deeds import Deed
from handlers.effects import DOES, READS, VERBS
from handlers.secret import holds_credential
from handlers.tally import Tally
from handlers.targets import is_outside, sensitive
from schemas.deliberation import CHANGE_POLICY
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

_UNKNOWN = "the policy's catalogue does not have this tool"
_CHANGES_POLICY = "it changes the policy: owners sign it, whatever it weighs"
_SHOWN = 48
"""How much of a name stands on a card."""


def score(message: Mapping[str, JsonValue], published: PublishedPolicy, *, sender_verified: bool) -> ScoreCard:
    """The impact of a message that passed the gateway, under a policy.

    Never raises for a message that keeps the contract. What cannot be scored weighs at least `unknown_tool`, and so
    does what a sender asks for who is not verified, of a tenant whose messages must be signed. A claim of the caller
    raises and never lowers.
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
    if not sender_verified and message["tenant_id"] in published.policy.signed_tenants:
        tally.at_least("unverified", published.policy.unknown_tool, "its tenant's messages must be signed; it is not")
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
        tally.at_least("tool", policy.unknown_tool, _CHANGES_POLICY if name == CHANGE_POLICY else _UNKNOWN)
    else:
        verb, deeds = _does(tally, arguments, tool, name, policy, with_deeds=not tool.is_plain or bool(constraints))
        if tool.is_measured:
            _how_much(tally, arguments, tool, policy)
            _tenant(tally, message, arguments, tool, policy)
    if deeds:
        _deeds(tally, deeds, policy.weights)
    _claimed_target(tally, action, verb, policy.weights)
    _secret(tally, arguments, deeds, policy.weights)
    _reversibility(tally, action, tool, policy.weights)
    if constraints and deeds:
        _task(tally, constraints, deeds, policy.weights)
    return verb


def _does(
    tally: Tally, arguments: Mapping[str, JsonValue], tool: Tool, name: str, policy: Policy, *, with_deeds: bool
) -> tuple[str, Sequence[Deed]]:
    """Scores what the action does, and to what; returns its verb, and its deeds where they are wanted."""
    verb = tool.verb
    tally.add("verb", policy.verb_points[verb] if tool.points is None else tool.points, _VERB_SAYS[verb])
    deeds: Sequence[Deed] = ()
    try:
        if with_deeds:
            deeds = deeds_of(arguments, tool, name)
        elif tool.target_argument is not None:
            _names(tally, targets_of(arguments, tool, name), verb, policy.weights)
    except UnscorableError as error:
        tally.at_least("unscorable", policy.unknown_tool, str(error))
    if deeds:
        verb = _gravest(tally, deeds, tool, policy.weights)
    return verb.value, deeds


def _gravest(tally: Tally, deeds: Sequence[Deed], tool: Tool, weights: Weights) -> Verb:
    """Scores the gravest deed of a command line or SQL statement, or what a text does; returns the action's verb."""
    points = weights.effects
    gravest = max(deeds, key=lambda deed: points[deed.effect])
    if tool.command_argument is not None or tool.sql_argument is not None:
        tally.at_least("command", points[gravest.effect], f"{DOES[gravest.effect]}: {gravest.why}")
        return VERBS[gravest.effect]
    if gravest.effect in _GRAVE_WRITING:
        tally.at_least("written", points[gravest.effect], f"what it writes {DOES[gravest.effect]}")
    return tool.verb


def _how_much(tally: Tally, arguments: Mapping[str, JsonValue], tool: Tool, policy: Policy) -> None:
    if tool.count_argument is not None:
        _quantity(tally, arguments, tool.count_argument, policy, "count")
    if tool.amount_argument is not None:
        _quantity(tally, arguments, tool.amount_argument, policy, "amount")


def _quantity(tally: Tally, arguments: Mapping[str, JsonValue], name: str, policy: Policy, factor: str) -> None:
    try:
        number = quantity(arguments, name)
    except UnscorableError as error:
        tally.at_least("unscorable", policy.unknown_tool, str(error))
    else:
        steps = policy.weights.counts if factor == "count" else policy.weights.amounts
        tally.add(factor, _points(number, steps), f"{name} is {number}")


def _points(number: int, steps: Iterable[Step]) -> int:
    return max((step.points for step in steps if number >= step.at_least), default=0)


def _tenant(
    tally: Tally, message: Mapping[str, JsonValue], arguments: Mapping[str, JsonValue], tool: Tool, policy: Policy
) -> None:
    own = message["tenant_id"]
    if tool.tenant_argument is not None and arguments.get(tool.tenant_argument, own) != own:
        tally.at_least("tenant", policy.weights.other_tenant, "it acts on another tenant's data")


def _names(tally: Tally, names: Sequence[str], verb: Verb, weights: Weights) -> None:
    """Scores what a plain tool acts on."""
    reads = verb is Verb.READ
    _target(tally, [(name, reads) for name in names], weights)
    for name in names:
        if not reads and is_outside(name, weights):
            tally.add("outside", weights.outside, f"outside of the workspaces: {name[:_SHOWN]}")
            break


def _deeds(tally: Tally, deeds: Sequence[Deed], weights: Weights) -> None:
    """Scores what deeds act on, whose rights they ask for, and how often they are done."""
    _target(tally, [(name, deed.effect in READS) for deed in deeds for name in deed.touched], weights)
    for deed in deeds:
        if any(is_outside(path, weights) for path in deed.changed):
            tally.add("outside", weights.outside, f"outside of the workspaces: {deed.why}")
            break
    commands = [(deed.command, deed.effect) for deed in deeds if deed.command is not None]
    if any(command.privileged for command, _ in commands):
        tally.add("privileged", weights.privileged, "it asks for another user's rights")
    times = max((command.repeats for command, effect in commands if effect is not Effect.NOTHING), default=1)
    tally.add("repeated", _points(times, weights.counts), f"it does so {times} times")


def _claimed_target(tally: Tally, action: Mapping[str, JsonValue], verb: str | None, weights: Weights) -> None:
    """The target that the caller names, as far as it weighs more than what the arguments name."""
    target = action.get("target")
    if isinstance(target, str):
        points, why = _weigh([(target, verb == Verb.READ)], weights)
        known = sum(factor.points for factor in tally.factors if factor.name == "target")
        tally.add("claimed_target", points - known, why)


def _target(tally: Tally, touched: Iterable[tuple[str, bool]], weights: Weights) -> None:
    points, why = _weigh(touched, weights)
    tally.add("target", points, why)


def _weigh(touched: Iterable[tuple[str, bool]], weights: Weights) -> tuple[int, str]:
    """The gravest sensitive target of all names, each given with whether it is only read."""
    points, why = 0, ""
    for name, reads in touched:
        for target in sensitive(name, weights):
            weight = target.read if reads else target.change
            if weight > points:
                points, why = weight, f"{target.name}: {name[:_SHOWN]}"
    return points, why


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

"""What stands around a call of the user's function: may it be made, with what, and what has come of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from compensation.activities import ActivityContext, Pulse
from compensation.activity_set import ActivitySet, Registered
from compensation.errors import ConstitutionalError
from schemas.activity import MAX_RESULT_BYTES, ActivityCommand, Direction, Given, Outcome
from streams.activities.disturbance import UNDISTURBED, CallDisturbance
from streams.activities.generations import Generations, now_ms
from streams.activities.wire import NotJsonError, encode_value, given, given_claim, parse_value
from streams.claims import ClaimStore
from streams.errors import ClaimStoreError


class Answer(NamedTuple):
    """How an attempt ended. `result` is the JSON of a Given; None for whatever did not complete, and for an undo."""

    outcome: Outcome
    error: str | None = None
    result: bytes | None = None


_UNDONE = Answer(Outcome.COMPLETED)
_NOTHING = Answer(Outcome.COMPLETED, result=given(b"null"))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every attempt of a worker shares."""

    activities: ActivitySet
    generations: Generations
    claims: ClaimStore | None
    publish_heartbeat: Callable[[ActivityCommand, bytes | None], None]
    """Is given the JSON of the details."""
    disturbance: CallDisturbance = UNDISTURBED


async def refusal(command: ActivityCommand, activity: Registered, surroundings: Surroundings) -> Answer | None:
    """The answer to a command whose constitutional hash the activity's owner does not find valid.

    Doing has had no effect then; undoing has failed, and may be tried again under another policy.
    """
    provided = command.constitutional_hash
    expected = surroundings.generations.expected(provided, command.direction, now_ms())
    checked: Mapping[str, object] = await activity.owner.validate_constitutional_hash(provided, expected)
    if checked["is_valid"] is True:  # the owner's own check may return any mapping
        return None
    words = f"{ConstitutionalError.__name__}: {checked.get('reason') or 'the hash is not valid'}"
    return Answer(Outcome.NO_EFFECT if command.direction is Direction.DO else Outcome.FAILED, words)


async def context(command: ActivityCommand, surroundings: Surroundings, pulse: Pulse) -> ActivityContext:
    """What the function is given.

    Raises:
        ClaimStoreError: an input cannot be had from the claim-check store, or there is none.
        NotJsonError: what the store has is no JSON.
    """
    claims = surroundings.claims
    return ActivityContext(
        constitutional_hash=command.constitutional_hash,
        input=command.input,
        workflow_id=command.workflow_id,
        run_id=command.run,
        results={id_: await _resolved(one, claims) for id_, one in command.inputs.items()},
        idempotency_key=command.idempotency_key,
        effect_key=command.effect_key,
        result=None if command.result is None else await _resolved(command.result, claims),
        node=command.node,
        direction=command.direction,
        round=command.round,
        attempt=command.attempt,
        tenant_id=command.tenant_id,
        details=command.details,
        pulse=pulse,
    )


async def _resolved(one: Given, claims: ClaimStore | None) -> object:
    if one.claim is None:
        return one.value
    if claims is None:
        raise ClaimStoreError("an input is kept in a claim-check store: start the worker with --claims")
    return parse_value(await claims.get(one.claim))


async def completed(
    command: ActivityCommand, activity: Registered, result: object, claims: ClaimStore | None
) -> Answer:
    """What a returned value means. One that is too large to travel is kept in the claim-check store.

    Raises:
        ClaimStoreError: the store cannot be written.
    """
    if command.direction is Direction.UNDO:
        failed = Answer(Outcome.FAILED, f"compensation {activity.name} returned False")
        return failed if result is False else _UNDONE
    if result is None:
        return _NOTHING
    try:
        encoded = encode_value(result)
    except NotJsonError as error:
        return Answer(Outcome.FINAL, f"the result of activity {activity.name} is no JSON: {error}")
    return await _kept(encoded, activity, claims) if len(encoded) > MAX_RESULT_BYTES else _done(given(encoded))


async def _kept(encoded: bytes, activity: Registered, claims: ClaimStore | None) -> Answer:
    if claims is not None:
        return _done(given_claim(await claims.put(encoded)))
    return Answer(
        Outcome.FINAL,
        f"the result of activity {activity.name} has {len(encoded)} bytes, and no more than {MAX_RESULT_BYTES} travel: "
        "start the workers with --claims, or return a reference to it",
    )


def _done(result: bytes) -> Answer:
    return Answer(Outcome.COMPLETED, result=result)
